"""A comparison of two rankings: as a table of 100 columns, or as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from selector.comparing.sentence import NOT_LISTED
from selector.errors import printable
from selector.norms import format_threat
from selector.records import AnyComparison, Unpaired
from selector.reports import WIDTH
from selector.reports.compared import columns
from selector.reports.escaping import prose


def print_comparison(comparison: AnyComparison, console: Console) -> None:
    """Print one row for each candidate of both, who is in one only, and the conclusion."""
    console.print(Group(*_parts(comparison, min(WIDTH, console.width))))


def to_markdown(comparison: AnyComparison) -> str:
    """The same as Markdown with a table, as GitHub shows it."""
    parts = [f"**{prose(comparison.sentence)}**", prose(_heading(comparison))]
    if comparison.candidates:
        shown = columns(comparison)
        titles = [title.replace("\n", " ") for title in shown.titles]
        rules = [":--" if title == "backbone" else "--:" for title in titles]
        cells = [[prose(cell) for cell in shown.cells(one)] for one in comparison.candidates]
        parts += ["\n".join(f"| {' | '.join(row)} |" for row in (titles, rules, *cells))]
        parts += [prose(shown.legend)]
    for title, lines in _lists(comparison):
        parts.append(f"{title}\n\n" + "\n".join(f"- {prose(line)}" for line in lines))
    return "\n\n".join(parts) + "\n"


def _parts(comparison: AnyComparison, width: int) -> Iterator[RenderableType]:
    yield Text(_heading(comparison))
    if comparison.candidates:
        shown = columns(comparison)
        table = Table(width=width, pad_edge=False, header_style="bold")
        for title in shown.titles:
            if title == "backbone":
                table.add_column(title, ratio=1, overflow="fold")
            else:
                table.add_column(title, justify="right", no_wrap=True)
        for one in comparison.candidates:
            style = "bold" if one.moved else None
            table.add_row(*(Text(cell) for cell in shown.cells(one)), style=style)
        yield table
        yield Text(shown.legend, style="dim")
    for title, lines in _lists(comparison):
        yield Text(f"\n{title}", style="bold")
        yield from (Text(f"  {line}") for line in lines)
    yield Text(f"\n{printable(comparison.sentence)}", style="bold")


def _heading(comparison: AnyComparison) -> str:
    threat = format_threat(comparison.threat.norm, comparison.threat.eps)
    return printable(
        f"{comparison.task}: {comparison.test_images} test images, threat {threat}; before:"
        f" {comparison.created_before}, after: {comparison.created_after}"
    )


def _lists(comparison: AnyComparison) -> Iterator[tuple[str, list[str]]]:
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
