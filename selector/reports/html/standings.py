"""The lines of the table: a candidate each, best first."""

from __future__ import annotations

from dataclasses import dataclass

from selector.ranking import tier
from selector.records import RankedEvaluation, Ranking
from selector.reports.explain import as_good_as_constant
from selector.reports.html.charts.base import colour, lined
from selector.reports.html.columns import Cell, Column

# Lines in charts at the start: enough to compare, few enough to tell apart.
_DRAWN = 5
# Rows of the table: the page has to stay small, and the ranking's JSON has all.
LISTED = 200


@dataclass(frozen=True)
class Row:
    """A candidate's line.

    Attributes:
        index: place in the ranking from 0, by which charts know it.
        name: as the registry calls it.
        place: its rank.
        group: candidates of a group cannot be told apart from its first.
        starts_group: the candidate above it is of another group.
        says_nothing: measured unsoundly, or no better than a constant answer.
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


def rows(ranking: Ranking, shown: tuple[Column, ...]) -> tuple[Row, ...]:
    """The lines of the table, best first."""
    groups = [e.group for e in ranking.ranking]
    with_lines = {index for index, _ in lined(ranking)}
    cleanest = ranking.choice.by_clean_accuracy if ranking.choice else ""
    return tuple(
        Row(
            index=index,
            name=e.name,
            place=e.rank,
            group=e.group,
            starts_group=index > 0 and groups[index - 1] != e.group,
            says_nothing=_says_nothing(ranking, e),
            lined=index in with_lines,
            drawn=index < _DRAWN or e.name == cleanest,
            colour=colour(index),
            text=_searched(e),
            cells=tuple(column.cell(e) for column in shown),
        )
        for index, e in enumerate(ranking.ranking[:LISTED])
    )


def _says_nothing(ranking: Ranking, e: RankedEvaluation) -> str:
    if tier(e):
        return "masked gradients: attacks were blind, its numbers flatter"
    if as_good_as_constant(ranking, e):
        return "may withstand no more than a constant answer"
    return ""


def _searched(e: RankedEvaluation) -> str:
    trained = e.provenance.pretraining
    words = [e.name, e.model, e.provenance.architecture, e.provenance.license or ""]
    words += [*e.provenance.tags, trained.objective if trained else ""]
    return " ".join(words).lower()
