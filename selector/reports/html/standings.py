"""The lines of the table: a candidate each, best first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from selector.records import AnyRanked
from selector.reports.html.charts.base import AnyChoice, Ranked, colour, lined
from selector.reports.html.table import Cell, Column

# Lines in charts at the start: enough to compare, few enough to tell apart.
_DRAWN = 5
# Rows of the table: the page has to stay small, and the ranking's JSON has all.
LISTED = 150
_MASKED = "masked gradients: attacks were blind, its numbers flatter"


@dataclass(frozen=True)
class Row:
    """A candidate's line.

    Attributes:
        index: place in the ranking from 0, by which charts know it.
        name: as the registry calls it.
        place: its rank.
        group: candidates of a group cannot be told apart from its first.
        starts_group: the candidate above it is of another group.
        says_nothing: measured unsoundly, or no better than knowing nothing of the image.
        lined: charts have lines of it.
        drawn: they are shown at the start.
        colour: of its lines.
        text: what the filter searches, in lower case.
        cells: one for each column.
    """

    index: int
    name: str
    place: int
    group: int
    starts_group: bool
    says_nothing: str
    lined: bool
    drawn: bool
    colour: str
    text: str
    cells: tuple[Cell, ...]


def rows(
    ranked: Sequence[Ranked],
    shown: Sequence[Column[Ranked]],
    choice: AnyChoice | None,
    says_nothing: Callable[[Ranked], str],
) -> tuple[Row, ...]:
    """The lines of the table.

    Args:
        ranked: candidates, best first.
        shown: columns.
        choice: of the ranking.
        says_nothing: why a candidate's numbers say nothing; empty where they say something.
    """
    groups = [e.group for e in ranked]
    with_lines = {index for index, _ in lined(ranked, choice)}
    cleanest = choice.cleanest if choice else ""
    return tuple(
        Row(
            index=index,
            name=e.name,
            place=e.rank,
            group=e.group,
            starts_group=index > 0 and groups[index - 1] != e.group,
            says_nothing=_MASKED if e.masked else says_nothing(e),
            lined=index in with_lines,
            drawn=index < _DRAWN or e.name == cleanest,
            colour=colour(index),
            text=_searched(e),
            cells=tuple(column.cell(e) for column in shown),
        )
        for index, e in enumerate(ranked[:LISTED])
    )


def _searched(e: AnyRanked) -> str:
    trained = e.provenance.pretraining
    words = [e.name, e.model, e.provenance.architecture, e.provenance.license or ""]
    words += [*e.provenance.tags, trained.objective if trained else ""]
    return " ".join(words).lower()
