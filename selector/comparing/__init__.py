"""What moved between two rankings of the same question, and whether it is more than noise.

Works on records alone. Equal fingerprints mean the same test images in the same order, so every
candidate is compared with itself image by image.
"""

from __future__ import annotations

from collections.abc import Iterator

from selector import __version__
from selector.comparing.candidates import LEVEL, compared, holm
from selector.comparing.question import require_same_question, surroundings
from selector.comparing.sentence import NOT_LISTED, conclusion
from selector.objectives import OBJECTIVES
from selector.ranking import tier, told_apart
from selector.records import ChangeOfChoice, Comparison, Ranking, Unpaired

__all__ = ["LEVEL", "compare", "holm"]


def compare(before: Ranking, after: Ranking) -> Comparison:
    """Compare two rankings, candidate by candidate.

    Raises:
        UsageError: they do not answer the same question; with every field in which they differ.
    """
    require_same_question(before, after)
    candidates = compared(before, after)
    entered = tuple(_entered(before, after))
    left = tuple(_left(before, after))
    choice = _choice(before, after)
    return Comparison(
        selector_version=__version__,
        created_before=before.created,
        created_after=after.created,
        task=after.task.name,
        test_images=after.task.test_images,
        threat=after.threat,
        objective=after.objective,
        objective_kind=after.objective_kind,
        surroundings=tuple(surroundings(before, after)),
        level=LEVEL,
        candidates=candidates,
        entered=entered,
        left=left,
        choice=choice,
        sentence=conclusion(after.objective, candidates, entered, left, choice),
    )


def _entered(before: Ranking, after: Ranking) -> Iterator[Unpaired]:
    known = {e.name for e in before.ranking}
    for e in after.ranking:
        if e.name not in known:
            code, reason = _absence(before, e.name)
            yield Unpaired(name=e.name, rank=e.rank, code=code, reason=reason)


def _left(before: Ranking, after: Ranking) -> Iterator[Unpaired]:
    """Who lost a place, in the order before; then who was skipped anew without having had one."""
    still = {e.name for e in after.ranking}
    for e in before.ranking:
        if e.name not in still:
            code, reason = _absence(after, e.name)
            yield Unpaired(name=e.name, rank=e.rank, code=code, reason=reason)
    known = {e.name for e in before.ranking} | {one.name for one in before.skipped}
    for one in after.skipped:
        if one.name not in known:
            yield Unpaired(name=one.name, rank=None, code=one.code, reason=one.reason)


def _absence(ranking: Ranking, name: str) -> tuple[str, str]:
    """Code and reason of why a name has no place in a ranking."""
    found = ((one.code, one.reason) for one in ranking.left_out if one.name == name)
    return next(found, (NOT_LISTED, ""))


def _choice(before: Ranking, after: Ranking) -> ChangeOfChoice:
    first, second = (next(iter(r.ranking), None) for r in (before, after))
    apart = None
    if first is not None and second is not None and first.name != second.name:
        by = OBJECTIVES[after.objective]
        again = next((e for e in after.ranking if e.name == first.name), None)
        if again is not None:
            apart = tier(again, by) != tier(second, by) or told_apart(again, second, by)
    return ChangeOfChoice(
        before=None if first is None else first.name,
        after=None if second is None else second.name,
        told_apart=apart,
    )
