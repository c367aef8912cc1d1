"""What each error bound is made up of: clean error, what attacks add, and what may come on top."""

from __future__ import annotations

from selector.records import RankedRegression, RegressionRanking
from selector.reports.html.charts.base import ROWS, Chart, first_of, lines, literal
from selector.reports.html.charts.stack import Bar, drawn
from selector.reports.html.table import Kind
from selector.reports.squared import error, with_span

_PARTS: tuple[tuple[str, Kind], ...] = (
    ("clean", "clean"),
    ("attacks add", "attacked"),
    ("displacement may add more", "estimated"),
)
# The axis ends there, in errors of knowing only the mean: larger bounds say nothing, and would
# make the others too small to see.
_FARTHEST = 3.0


def chart(ranking: RegressionRanking) -> Chart:
    """A bar for each candidate."""
    mean = ranking.task.mean_error
    bars = [_bar(e, mean) for e in ranking.ranking[:ROWS]]
    figure = drawn(bars, _PARTS, mean, "squared error")
    end = 1.05 * max(mean, *(bar.total.high for bar in bars)) or 1.0
    limit = _FARTHEST * mean if mean > 0 else end
    figure.update_xaxes(range=[0, min(end, limit)])
    cut = any(bar.total.value > limit for bar in bars)
    return Chart(
        id="bounds",
        title="What each error bound is made up of",
        caption=(
            f"{first_of(ROWS, len(ranking.ranking))}Estimated worst-case squared error of each"
            f" {ranking.protocol.head} head, on A∘g, with its 95 % interval: the head's clean"
            " error, what attacks on it added to that, and what the displacement that attacks"
            f" attained could add on top. Dashed: {error(mean)}, knowing only the mean; a bound"
            " that is no lower says nothing. Hatched: vacuous, as on validation images no head's"
            " is lower. Bounds would be proven if attacks found the farthest point."
            + (f" Bars are cut off at {error(limit)}." if cut else "")
        ),
        figure=figure,
    )


def _bar(e: RankedRegression, mean: float) -> Bar:
    head = e.head
    total = head.on_task.estimated_squared_error
    clean, attacked = head.clean_squared_error.value, head.attacked_squared_error.value
    return Bar(
        name=e.name,
        parts=(clean, max(0.0, attacked - clean), max(0.0, total.value - attacked)),
        total=total,
        hatched=e.vacuous,
        hover=_hover(e, mean),
    )


def _hover(e: RankedRegression, mean: float) -> str:
    head = e.head
    clean, attacked = head.clean_squared_error.value, head.attacked_squared_error.value
    total = head.on_task.estimated_squared_error
    return lines(
        f"<b>{literal(e.name)}</b>" + (" (vacuous)" if e.vacuous else ""),
        f"estimated worst-case squared error {with_span(total)}",
        f"of it clean error {error(clean)}, displacement {error(total.value - clean)}",
        f"attacked error {error(attacked)}",
        f"knowing only the mean {error(mean)}",
        f"head: radius scale {head.radius_scale:g}, l2 {head.l2:g}",
        f"Theorem 1 alone: absolute error {head.on_task.estimated_theorem1_error:.2f}",
    )
