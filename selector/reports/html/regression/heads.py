"""What the page tells of a candidate's heads."""

from __future__ import annotations

from selector.records import RankedRegression, RegressionHead, RegressionRanking, TargetColumn
from selector.reports.html.details import Heads
from selector.reports.squared import in_units, with_span

# Columns with a line each; the ranking's JSON has all.
_COLUMNS = 12
_LABELS = (
    "radius scale",
    "l2",
    "clean squared error",
    "attacked squared error",
    "estimated squared error, A∘g",
    "estimated squared error, g",
    "clean absolute error",
    "attacked absolute error",
    "estimated absolute error, A∘g",
    "estimated Theorem 1 error, A∘g",
)


def heads(ranking: RegressionRanking, e: RankedRegression) -> Heads:
    """The head it is ranked by, ordinary ridge and the bound-optimal head."""
    shown = (
        (f"{ranking.protocol.head} (ranked by)", e.head),
        ("ordinary ridge", e.probe),
        ("bound-optimal", e.bound_optimal),
    )
    told = ranking.task.columns[:_COLUMNS]
    roots = tuple(f"clean, root of the mean square, {one.name}" for one in told)
    return Heads(
        labels=(*_LABELS, *roots),
        numbers=tuple((title, _numbers(head, told)) for title, head in shown),
    )


def _numbers(head: RegressionHead, told: tuple[TargetColumn, ...]) -> tuple[str, ...]:
    return (
        f"{head.radius_scale:g}",
        f"{head.l2:g}",
        with_span(head.clean_squared_error),
        with_span(head.attacked_squared_error),
        with_span(head.on_task.estimated_squared_error),
        with_span(head.on_representation.estimated_squared_error),
        with_span(head.clean_absolute_error),
        with_span(head.attacked_absolute_error),
        with_span(head.on_task.estimated_absolute_error),
        f"{head.on_task.estimated_theorem1_error:.2f}",
        *(root for _, root in in_units(head, told)),
    )
