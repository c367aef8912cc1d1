"""What each loss bound is made up of: clean loss, and what displacement adds."""

from __future__ import annotations

from selector.records import Estimate, RankedEvaluation, Ranking
from selector.reports.html.charts.base import ROWS, Chart, first_of, lines, literal
from selector.reports.html.charts.stack import Bar, drawn
from selector.reports.html.table import Kind
from selector.reports.html.wording import nats

_PARTS: tuple[tuple[str, Kind], ...] = (
    ("clean loss, measured", "clean"),
    ("added by displacement, estimated", "estimated"),
)


def chart(ranking: Ranking) -> Chart:
    """A bar for each candidate."""
    prior = ranking.task.prior_entropy
    bars = [_bar(e, prior) for e in ranking.ranking[:ROWS]]
    return Chart(
        id="bounds",
        title="What each loss bound is made up of",
        caption=(
            f"{first_of(ROWS, len(ranking.ranking))}Estimated worst-case loss of each bound-optimal"
            " head, on A∘g, with its 95 % interval: the head's clean loss, and what the"
            f" displacement that attacks attained adds. Dashed: {prior:.2f} nats, the entropy of"
            " the class frequencies; a bound that is no lower says nothing. Hatched: vacuous, as"
            " it is not lower on validation images. Bounds would be proven if attacks found the"
            " farthest point."
        ),
        figure=drawn(bars, _PARTS, prior, "nats"),
    )


def _bar(e: RankedEvaluation, prior: float) -> Bar:
    clean, total = e.bound_optimal.clean_loss.value, _total(e)
    return Bar(
        name=e.name,
        parts=(clean, total.value - clean),
        total=total,
        hatched=e.vacuous,
        hover=_hover(e, prior),
    )


def _total(e: RankedEvaluation) -> Estimate:
    return e.bound_optimal.on_task.estimated_worst_case_loss


def _hover(e: RankedEvaluation, prior: float) -> str:
    head = e.bound_optimal
    side = head.on_task
    added = _total(e).value - head.clean_loss.value
    growth = head.steepness * side.displacement.value
    return lines(
        f"<b>{literal(e.name)}</b>" + (" (vacuous)" if e.vacuous else ""),
        f"estimated worst-case loss {nats(_total(e))}",
        f"of it clean loss {head.clean_loss.value:.2f}, displacement {added:.2f}",
        f"knowing only class frequencies {prior:.2f}",
        f"head: radius scale {head.radius_scale:g}, l2 {head.l2:g}",
        f"Theorem 1 alone: {head.steepness:.3g} per unit x {side.displacement.value:.3g} units"
        f" = {growth:.2f} nats",
    )
