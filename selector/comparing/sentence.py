"""A comparison in a few sentences: the choice, what is more than noise, who came and went."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from selector.comparing.by import By
from selector.records import ChangeOfChoice, Compared, Unpaired

NOT_LISTED = "not_listed"
"""Code of who has no place in a ranking that does not say why."""
_LISTED = 4


def conclusion(
    by: By,
    candidates: Sequence[Compared],
    entered: Sequence[Unpaired],
    left: Sequence[Unpaired],
    choice: ChangeOfChoice,
) -> str:
    """What to take from a comparison.

    Args:
        by: what both were ranked by.
        candidates: of both rankings.
        entered: who has a place only after.
        left: who has a place only before, or was skipped anew.
        choice: the first of each.
    """
    said = [_choice(choice, left), _moves(by, candidates)]
    said += _masked(candidates)
    said += [f"New: {_names([one.name for one in entered])}."] if entered else []
    said += _left(left)
    return " ".join(said)


def _choice(choice: ChangeOfChoice, left: Sequence[Unpaired]) -> str:
    before, after = choice.before, choice.after
    if after is None:
        return f"Nobody is ranked any more; the choice was {before}." if before else "No choice."
    if before is None:
        return f"The choice is {after}; before, nobody was ranked."
    if before == after:
        return f"The choice stays {after}."
    changes = f"The choice changes from {before} to {after}"
    if choice.told_apart is None:
        reason = next((one.reason for one in left if one.name == before), "").rstrip(".")
        return f"{changes}, as the former is not ranked any more{f': {reason}' if reason else ''}."
    if choice.told_apart:
        return f"{changes}, which the new ranking tells apart from it."
    return f"{changes}, but the new ranking cannot tell the two apart."


def _moves(by: By, candidates: Sequence[Compared]) -> str:
    if not candidates:
        return "No candidate has a place in both rankings."
    what = by.what
    if all(one.moved is None for one in candidates):
        return f"By {what}, one number for all images, noise cannot be told from change."
    moved = [
        f"{one.name} ({difference(one.score.difference, share=by.share)})"
        for one in candidates
        if one.moved and one.score is not None
    ]
    if not moved:
        return f"None of {_count(len(candidates))} in both moved by more than noise, by {what}."
    return f"By {what}, {len(moved)} of {_count(len(candidates))} in both moved by more than" + (
        f" noise: {_names(moved)}."
    )


def difference(value: float, *, share: bool) -> str:
    """A difference of scores, with its sign; of shares of test images in points.

    >>> difference(-0.125, share=True), difference(0.03, share=False)
    ('-12.5 points', '+0.03')
    """
    return f"{100 * value:+.1f} points" if share else f"{value:+.3g}"


def _masked(candidates: Sequence[Compared]) -> Iterator[str]:
    newly = [one.name for one in candidates if one.masked_after and not one.masked_before]
    if newly:
        yield f"Masked only now, so that attacks were blind and numbers flatter: {_names(newly)}."
    cured = [one.name for one in candidates if one.masked_before and not one.masked_after]
    if cured:
        yield f"Masked before and not now, so that old numbers flattered: {_names(cured)}."


def _left(left: Sequence[Unpaired]) -> Iterator[str]:
    gone = [one.name for one in left if one.code == NOT_LISTED]
    others = [one.name for one in left if one.code != NOT_LISTED]
    if gone:
        yield f"Gone: {_names(gone)}."
    if others:
        yield f"Newly without a place: {_names(others)}."


def _count(number: int) -> str:
    return "1 candidate" if number == 1 else f"{number} candidates"


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
