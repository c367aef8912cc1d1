"""The columns of the table: what one is, and those that every ranking has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from selector.records import AnyRanked
from selector.reports.html.wording import count, percent

Kind = Literal["attacked", "estimated", "certified", "clean", ""]
E_contra = TypeVar("E_contra", bound=AnyRanked, contravariant=True)

RESAMPLED = "95 % of its ranks over resampled test images."
"""What rank intervals are."""
OF_EQUALS = "Places of its equals: it is ranked by one number, of which no interval is known."
"""What they are where an objective is one number for all images."""


@dataclass(frozen=True)
class Cell:
    """One number or word.

    Attributes:
        text: as shown.
        sort: what the column is sorted by; None is last in either direction.
        note: smaller, beside it.
        bar: low, value and high on a scale of 0..100, drawn below it.
    """

    text: str
    sort: float | str | None
    note: str = ""
    bar: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Heading:
    """What a column is.

    Attributes:
        title: short.
        kind: what its numbers promise; empty where they are none of that.
        tip: what they are, in a sentence.
    """

    title: str
    kind: Kind
    tip: str


@dataclass(frozen=True)
class Column(Heading, Generic[E_contra]):
    """What stands in a column.

    Attributes:
        cell: of a candidate.
    """

    cell: Callable[[E_contra], Cell]


def ranks(candidates: int, tip: str = RESAMPLED) -> Column[AnyRanked]:
    """Rank intervals, of so many candidates, and what they are."""

    def cell(e: AnyRanked) -> Cell:
        low, high = e.rank_interval
        scale = 100 / candidates
        bar = (scale * (low - 1), scale * (e.rank - 0.5), scale * high)
        return Cell(str(low) if low == high else f"{low}–{high}", low + high / 1e6, "", bar)

    return Column("ranks", "", tip, cell)


GROUP: Column[AnyRanked] = Column(
    "group",
    "",
    "Candidates of a group cannot be told apart from its first on these test images, at the 5 %"
    " level.",
    lambda e: Cell(str(e.group), e.group),
)
ABOUT: tuple[Column[AnyRanked], ...] = (
    Column(
        "moved %",
        "estimated",
        "Mean displacement that attacks attained on A∘g, of the mean distance between the features"
        " of two images: a lower estimate.",
        lambda e: Cell(percent(e.task_sensitivity.relative), e.task_sensitivity.relative),
    ),
    Column(
        "parameters",
        "",
        "Of the backbone, its classifier included.",
        lambda e: Cell(count(e.provenance.parameters), e.provenance.parameters),
    ),
    Column(
        "licence",
        "",
        "As its authors state it.",
        lambda e: Cell(e.provenance.license or "not stated", e.provenance.license),
    ),
)
"""The last columns."""
