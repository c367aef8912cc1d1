"""How far attacks push features, in the mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import plotly.graph_objects as go

from selector.records import AnyRanked, Sensitivity
from selector.reports.html.charts.base import (
    KINDS,
    LEGEND,
    ROWS,
    Chart,
    first_of,
    lines,
    literal,
    row_figure,
)
from selector.reports.html.wording import percent

# Of a logarithmic axis, in percent.
_TICKS = [digit * 10.0**power for power in range(-2, 6) for digit in (1, 2, 5)]


def chart(ranked: Sequence[AnyRanked], what_counts: str) -> Chart:
    """Mean displacement on g and on A∘g, a row for each candidate.

    Args:
        ranked: candidates, best first.
        what_counts: of it, for the caption.
    """
    shown = ranked[:ROWS]
    drawn = row_figure([e.name for e in shown], showlegend=True)
    drawn.update_layout(legend=LEGEND)
    drawn.update_xaxes(title={"text": "% of the distance between features"})
    drawn.update_xaxes(rangemode="tozero")
    values = [one.relative for e in shown for one in (e.sensitivity, e.task_sensitivity)]
    if min(values) > 0 and max(values) > 10 * min(values):
        drawn.update_xaxes(type="log", tickvals=_TICKS)
    drawn.add_trace(_dots("all directions, g", "circle-open", shown, lambda e: e.sensitivity))
    drawn.add_trace(_dots("of this task, A∘g", "circle", shown, lambda e: e.task_sensitivity))
    return Chart(
        id="displacement",
        title="How far attacks push the features",
        caption=(
            f"{first_of(ROWS, len(ranked))}Mean displacement that attacks attained, divided by the"
            " mean distance between the features of two images, with 95 % intervals of the"
            " mean. A lower"
            " estimate: a stronger attack may push farther. Less is better, but what counts is"
            f" {what_counts}."
        ),
        figure=drawn,
    )


def _dots(
    title: str,
    symbol: str,
    shown: Sequence[AnyRanked],
    of: Callable[[AnyRanked], Sensitivity],
) -> go.Scatter:
    found = [of(e) for e in shown]
    # The interval is of the mean in units of features; dividing both by one number keeps it.
    units = [100 * one.relative / one.mean.value if one.mean.value else 0.0 for one in found]
    return go.Scatter(
        name=title,
        mode="markers",
        x=[100 * one.relative for one in found],
        y=list(range(len(found))),
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [
                unit * (s.mean.high - s.mean.value) for unit, s in zip(units, found, strict=True)
            ],
            "arrayminus": [
                unit * (s.mean.value - s.mean.low) for unit, s in zip(units, found, strict=True)
            ],
            "color": KINDS["estimated"],
            "thickness": 1.2,
            "width": 3,
        },
        marker={"color": KINDS["estimated"], "symbol": symbol, "size": 10},
        hovertext=[
            lines(
                f"<b>{literal(e.name)}</b>",
                f"{title}: {percent(one.relative)} % of the distance between features",
                f"attained {one.mean.value:.3g} units ({one.mean.low:.3g}–{one.mean.high:.3g})",
            )
            for e, one in zip(shown, found, strict=True)
        ],
        hoverinfo="text",
    )
