"""The columns of the table for errors."""

from __future__ import annotations

from selector.records import Estimate, RankedRegression, RegressionRanking
from selector.reports.html.table import ABOUT, GROUP, Cell, Column, ranks
from selector.reports.squared import error, span


def columns(ranking: RegressionRanking) -> tuple[Column[RankedRegression], ...]:
    """What the table tells of each candidate, beside its place and name: first what ranks."""
    attacked = _attacked(ranking)
    first = {"attacked": attacked, "bound": _BOUND, "clean": _RIDGE}[ranking.objective]
    errors = (attacked, _BOUND, _CLEAN, _RIDGE, _RIDGE_ATTACKED)
    others = [one for one in errors if one is not first]
    return (first, ranks(len(ranking.ranking)), GROUP, *others, *ABOUT)


def _attacked(ranking: RegressionRanking) -> Column[RankedRegression]:
    mean = ranking.task.mean_error
    return Column(
        "attacked error",
        "attacked",
        f"Mean squared error of the {ranking.protocol.head} head, the largest after every attack; a"
        f" lower estimate. Its bar ends at knowing only the mean, which has {error(mean)}.",
        lambda e: _error(e.head.attacked_squared_error, _bar(e, mean)),
    )


def _bar(e: RankedRegression, mean: float) -> tuple[float, float, float] | None:
    """The attacked error and its interval on a scale that ends at knowing only the mean."""
    if mean <= 0:
        return None
    attacked = e.head.attacked_squared_error
    low, value, high = (
        min(100.0, max(0.0, 100 * end / mean))
        for end in (attacked.low, attacked.value, attacked.high)
    )
    return low, value, high


def _error(of: Estimate, bar: tuple[float, float, float] | None = None) -> Cell:
    return Cell(error(of.value), of.value, span(of), bar)


def _bound(e: RankedRegression) -> Cell:
    worst = e.head.on_task.estimated_squared_error
    if e.masked:
        return Cell("masked", None)
    return Cell("vacuous", worst.value) if e.vacuous else _error(worst)


_BOUND: Column[RankedRegression] = Column(
    "error bound",
    "estimated",
    "Worst-case squared error of the head, fed with the displacement on A∘g that attacks attained:"
    " an estimate, not a certificate; vacuous: on validation images not even the bound-optimal"
    " head's is below knowing only the mean.",
    _bound,
)
_CLEAN: Column[RankedRegression] = Column(
    "clean error",
    "clean",
    "Mean squared error of the head, nothing attacked.",
    lambda e: _error(e.head.clean_squared_error),
)
_RIDGE: Column[RankedRegression] = Column(
    "ridge clean",
    "clean",
    "Mean squared error of ordinary ridge, nothing attacked.",
    lambda e: _error(e.probe.clean_squared_error),
)
_RIDGE_ATTACKED: Column[RankedRegression] = Column(
    "ridge attacked",
    "attacked",
    "Mean squared error of ordinary ridge, the largest after every attack; a lower estimate.",
    lambda e: _error(e.probe.attacked_squared_error),
)
