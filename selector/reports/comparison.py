"""A comparison of two rankings: as a table of 100 columns, or as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from selector.comparing.sentence import NOT_LISTED
from selector.errors import printable
from selector.norms import format_threat
from selector.objectives import DEFAULT_OBJECTIVE, OBJECTIVES
from selector.records import Change, ComparedCandidate, Comparison, Unpaired
from selector.reports import WIDTH

# Marks, and what would make a link of an address.
_SPECIAL = re.compile(r"([\\`*_{}\[\]!|<>~&$@]|:(?=//)|(?<=www)\.)")


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print one row for each candidate of both, who is in one only, and the conclusion."""
    console.print(Group(*_parts(comparison, min(WIDTH, console.width))))


def to_markdown(comparison: Comparison) -> str:
    """The same as Markdown with a table, as GitHub shows it."""
    parts = [f"**{escape_markdown(comparison.sentence)}**", escape_markdown(_heading(comparison))]
    if comparison.candidates:
        titles = [title.replace("\n", " ") for title in _titles(comparison)]
        rules = [":--" if title == "backbone" else "--:" for title in titles]
        cells = [
            [escape_markdown(cell) for cell in _cells(one, comparison)]
            for one in comparison.candidates
        ]
        parts += ["\n".join(f"| {' | '.join(row)} |" for row in (titles, rules, *cells))]
        parts += [escape_markdown(_legend(comparison))]
    for title, lines in _lists(comparison):
        parts.append(f"{title}\n\n" + "\n".join(f"- {escape_markdown(line)}" for line in lines))
    return "\n\n".join(parts) + "\n"


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is, on one line.

    >>> escape_markdown("a_b|c")
    'a\\\\_b\\\\|c'
    """
    return _SPECIAL.sub(r"\\\1", printable(text))


def _parts(comparison: Comparison, width: int) -> Iterator[RenderableType]:
    yield Text(_heading(comparison))
    if comparison.candidates:
        table = Table(width=width, pad_edge=False, header_style="bold")
        for title in _titles(comparison):
            if title == "backbone":
                table.add_column(title, ratio=1, overflow="fold")
            else:
                table.add_column(title, justify="right", no_wrap=True)
        for one in comparison.candidates:
            style = "bold" if one.moved else None
            table.add_row(*(Text(cell) for cell in _cells(one, comparison)), style=style)
        yield table
        yield Text(_legend(comparison), style="dim")
    for title, lines in _lists(comparison):
        yield Text(f"\n{title}", style="bold")
        yield from (Text(f"  {line}") for line in lines)
    yield Text(f"\n{printable(comparison.sentence)}", style="bold")


def _heading(comparison: Comparison) -> str:
    threat = format_threat(comparison.threat.norm, comparison.threat.eps)
    return printable(
        f"{comparison.task}: {comparison.test_images} test images, threat {threat}; before:"
        f" {comparison.created_before}, after: {comparison.created_after}"
    )


def _titles(comparison: Comparison) -> list[str]:
    """Of the columns; see :func:`_cells`."""
    by_default = comparison.objective == DEFAULT_OBJECTIVE
    score = ["withstood %"] if by_default else [f"by\n{comparison.objective}", "with-\nstood"]
    return ["#", "backbone", *score, "clean", "robust\nest.", "loss\nbound", "p", "noise?"]


def _cells(one: ComparedCandidate, comparison: Comparison) -> list[str]:
    withstood = one.attacked_accuracy
    if comparison.objective == DEFAULT_OBJECTIVE:
        score = [_before_after(withstood, shares=True)]
    else:
        shares = OBJECTIVES[comparison.objective].share
        score = [_before_after(one.score, shares=shares), _points(withstood)]
    return [
        f"{one.rank.before:.0f}" + ("" if _same(one.rank) else f" → {one.rank.after:.0f}"),
        printable(one.name),
        *score,
        _points(one.clean_accuracy),
        "masked" if one.masked_after else _points(one.estimated_robust_accuracy),
        _difference(one.estimated_worst_case_loss),
        "–" if one.adjusted_p_value is None else _p(one.adjusted_p_value),
        _verdict(one),
    ]


def _verdict(one: ComparedCandidate) -> str:
    """Whether its score moved, in a word."""
    if one.moved is None:
        return "untested"
    if one.score is not None and _same(one.score):
        return "equal"
    return "moved" if one.moved else "noise"


def _before_after(change: Change | None, *, shares: bool) -> str:
    if change is None:
        return "–"
    before, after = (
        f"{100 * value:.1f}" if shares else f"{value:.4g}"
        for value in (change.before, change.after)
    )
    return f"{before} → {after}"


def _same(change: Change) -> bool:
    return change.before == change.after


def _points(change: Change) -> str:
    return "=" if _same(change) else f"{100 * change.difference:+.1f}"


def _difference(change: Change) -> str:
    return "=" if _same(change) else f"{change.difference:+.2f}"


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _legend(comparison: Comparison) -> str:
    by = OBJECTIVES[comparison.objective]
    return (
        f"Rank and numbers before → after, or their difference; =: not a bit. By {by.what}"
        f" ({by.kind}). withstood: attacked accuracy of the head, an upper estimate, in points;"
        " robust est.: estimated, in points; clean, in points; loss bound: estimated, in nats, of"
        " the bound-optimal head. p: of no difference, by a paired test over test images, with"
        f" Holm's correction for all rows. moved: p is below {comparison.level:g}; noise: other"
        " test images might show none."
    )


def _lists(comparison: Comparison) -> Iterator[tuple[str, list[str]]]:
    """Titles and lines of what has no row, or stands beside the numbers."""
    rebuilt = [
        f"{one.name}: {', '.join(one.differs_in)}"
        for one in comparison.candidates
        if one.differs_in
    ]
    masked = [
        f"{one.name}: {'only now' if one.masked_after else 'before, and not now'}"
        for one in comparison.candidates
        if one.masked_before != one.masked_after
    ]
    gone = [one for one in comparison.left if one.code == NOT_LISTED]
    told = [one for one in comparison.left if one.code != NOT_LISTED]
    surroundings = [f"{one.field}: {one.before} → {one.after}" for one in comparison.surroundings]
    listed = [
        ("Not the same backbone under its name", rebuilt),
        ("Masked gradients: attacks were blind, numbers flatter", masked),
        ("New", [_line(one) for one in comparison.entered]),
        ("Gone", [_line(one) for one in gone]),
        ("Newly without a place", [_line(one) for one in told]),
        ("Made differently", surroundings),
    ]
    return ((title, [printable(line) for line in lines]) for title, lines in listed if lines)


def _line(one: Unpaired) -> str:
    place = "" if one.rank is None else f", number {one.rank}"
    reason = f": [{one.code}] {one.reason}" if one.reason else ""
    return f"{one.name}{place}{reason}"
