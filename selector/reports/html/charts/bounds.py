"""What each loss bound is made up of: clean loss, and what displacement adds."""

from __future__ import annotations

import plotly.graph_objects as go

from selector.records import Estimate, RankedEvaluation, Ranking
from selector.reports.html.charts.base import (
    KINDS,
    LEGEND,
    ROWS,
    Chart,
    errors,
    lines,
    literal,
    row_figure,
)
from selector.reports.html.wording import nats


def chart(ranking: Ranking) -> Chart:
    """A bar for each candidate."""
    shown = ranking.ranking[:ROWS]
    drawn = row_figure([e.name for e in shown], barmode="stack", showlegend=True, bargap=0.68)
    drawn.update_layout(legend=LEGEND)
    drawn.update_xaxes(title={"text": "nats"}, rangemode="tozero")
    totals = [_total(e) for e in shown]
    clean = [e.bound_optimal.clean_loss.value for e in shown]
    added = [total.value - own for total, own in zip(totals, clean, strict=True)]
    hatched = ["/" if e.vacuous else "" for e in shown]
    hover = [_hover(e, ranking.task.prior_entropy) for e in shown]
    drawn.add_trace(_bars("clean loss, measured", KINDS["clean"], clean, hatched, hover))
    bars = _bars("added by displacement, estimated", KINDS["estimated"], added, hatched, hover)
    drawn.add_trace(bars.update(error_x=errors(totals)))
    drawn.add_vline(
        x=ranking.task.prior_entropy,
        line={"color": KINDS["attacked"], "dash": "dash", "width": 1.5},
    )
    first = f"The first {ROWS} of the ranking. " if len(ranking.ranking) > ROWS else ""
    return Chart(
        id="bounds",
        title="What each loss bound is made up of",
        caption=(
            f"{first}Estimated worst-case loss of each bound-optimal head, on A∘g, with its 95 %"
            " interval: the head's clean loss, and what the displacement that attacks attained"
            f" adds. Dashed: {ranking.task.prior_entropy:.2f} nats, the entropy of the class"
            " frequencies; a bound that is no lower says nothing. Hatched: vacuous, as it is not"
            " lower on validation images. Bounds would be proven if attacks found the farthest"
            " point."
        ),
        figure=drawn,
    )


def _total(e: RankedEvaluation) -> Estimate:
    return e.bound_optimal.on_task.estimated_worst_case_loss


def _bars(
    title: str, colour: str, values: list[float], hatched: list[str], hover: list[str]
) -> go.Bar:
    return go.Bar(
        name=title,
        orientation="h",
        x=values,
        y=list(range(len(values))),
        marker={
            "color": colour,
            "pattern": {"shape": hatched, "fillmode": "overlay", "size": 6},
            "line": {"width": 0},
        },
        hovertext=hover,
        hoverinfo="text",
        textposition="none",
    )


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
