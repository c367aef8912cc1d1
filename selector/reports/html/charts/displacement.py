"""How far attacks push features: means of candidates, and what it does image by image."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

import plotly.graph_objects as go

from selector.records import PerImage, RankedEvaluation, Ranking, Sensitivity
from selector.reports.html.charts.base import (
    KINDS,
    LEGEND,
    ROWS,
    Chart,
    axis_percent,
    colour,
    dash,
    figure,
    lined,
    lines,
    literal,
    row_figure,
)
from selector.reports.html.wording import percent

# Points of a line; between them it is drawn straight.
_POINTS = 61
# Displacement in decision radii, and losses in prior entropies, up to which lines are drawn.
_FARTHEST = 3.0
# Of a logarithmic axis, in percent.
_TICKS = [digit * 10.0**power for power in range(-2, 6) for digit in (1, 2, 5)]


def means(ranking: Ranking) -> Chart:
    """Mean displacement on g and on A∘g, a row for each candidate."""
    shown = ranking.ranking[:ROWS]
    drawn = row_figure([e.name for e in shown], showlegend=True)
    drawn.update_layout(legend=LEGEND)
    drawn.update_xaxes(title={"text": "% of the distance between features"})
    drawn.update_xaxes(rangemode="tozero")
    values = [one.relative for e in shown for one in (e.sensitivity, e.task_sensitivity)]
    if min(values) > 0 and max(values) > 10 * min(values):
        drawn.update_xaxes(type="log", tickvals=_TICKS)
    drawn.add_trace(_dots("all directions, g", "circle-open", shown, lambda e: e.sensitivity))
    drawn.add_trace(_dots("of this task, A∘g", "circle", shown, lambda e: e.task_sensitivity))
    first = f"The first {ROWS} of the ranking. " if len(ranking.ranking) > ROWS else ""
    return Chart(
        id="displacement",
        title="How far attacks push the features",
        caption=(
            f"{first}Mean displacement that attacks attained, divided by the mean distance between"
            " the features of two images, with 95 % intervals of the mean. A lower estimate: a"
            " stronger attack may push farther. Less is better, but what counts is how far the"
            " decision is away, below."
        ),
        figure=drawn,
    )


def _dots(
    title: str,
    symbol: str,
    shown: Sequence[RankedEvaluation],
    of: Callable[[RankedEvaluation], Sensitivity],
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


def distributions(ranking: Ranking) -> tuple[Chart, ...]:
    """What displacement does, image by image: a line for each candidate."""
    prior = ranking.task.prior_entropy
    return (_against_radius(ranking), _survived(ranking), _losses(ranking, prior))


def _against_radius(ranking: Ranking) -> Chart:
    grid = _grid(_FARTHEST)
    drawn = _lines(ranking, grid, lambda one: _moved(one.smooth, grid))
    drawn.update_xaxes(title={"text": "displacement / decision radius"})
    drawn.add_vline(x=1, line={"color": KINDS["clean"], "dash": "dot", "width": 1.2})
    return Chart(
        id="moved",
        title="Displacement, image by image",
        caption=(
            "Share of test images that are right and that attacks move at most so many times as"
            " far as the decision is away, on A∘g. At 1 it is the estimated robust accuracy; far to"
            " the right, the clean accuracy."
        ),
        figure=drawn,
    )


def _survived(ranking: Ranking) -> Chart:
    grid = _grid(1.0)[1:]
    drawn = _lines(ranking, grid, lambda one: _at_least(one.attacked_tolerance, grid))
    drawn.update_xaxes(title={"text": "share of the attack survived"}, tickformat=".0%")
    drawn.update_xaxes(range=[0, 1.02], dtick=0.25)
    return Chart(
        id="survived",
        title="Attacks survived, image by image",
        caption=(
            "Share of test images whose decision survives at least this share of the displacement"
            " that attacks attained, class pair by class pair: attacked, an upper estimate."
        ),
        figure=drawn,
    )


def _losses(ranking: Ranking, prior: float) -> Chart:
    grid = _grid(_FARTHEST * prior)
    drawn = _lines(ranking, grid, lambda one: _at_most(one.worst_case_loss, grid))
    drawn.update_xaxes(title={"text": "estimated worst-case loss, nats"})
    drawn.add_vline(x=prior, line={"color": KINDS["attacked"], "dash": "dash", "width": 1.5})
    return Chart(
        id="losses",
        title="Loss bound, image by image",
        caption=(
            "Share of test images with at most this worst-case loss: estimated, of the"
            " bound-optimal head, on A∘g. Dashed: knowing only class frequencies."
        ),
        figure=drawn,
    )


def _grid(end: float) -> list[float]:
    return [end * step / (_POINTS - 1) for step in range(_POINTS)]


def _moved(smooth: Sequence[float], grid: list[float]) -> list[float]:
    """Share of images with s <= x r, from r / (r + s); an image that is wrong has 0 there."""
    return _at_most([1 / one - 1 if one > 0 else math.inf for one in smooth], grid)


def _at_most(values: Sequence[float], grid: list[float]) -> list[float]:
    """Percentage of values that are no larger, at each point of a grid."""
    ordered = sorted(values)
    return [100 * bisect_right(ordered, x) / len(ordered) for x in grid]


def _at_least(values: Sequence[float], grid: list[float]) -> list[float]:
    """Percentage of values that are no smaller, at each point of a grid."""
    ordered = sorted(values)
    return [100 * (1 - bisect_left(ordered, x) / len(ordered)) for x in grid]


def _lines(
    ranking: Ranking, grid: list[float], shares: Callable[[PerImage], list[float]]
) -> go.Figure:
    drawn = figure(340)
    drawn.update_yaxes(axis_percent("of test images", [0.0]))
    for index, e in lined(ranking):
        drawn.add_trace(
            go.Scatter(
                name=literal(e.name),
                meta=index,
                mode="lines",
                x=grid,
                y=shares(e.per_image),
                line={"color": colour(index), "dash": dash(index), "width": 2},
                hovertemplate="<b>%{fullData.name}</b><br>%{y:.1f} % of images at %{x:.2f}"
                "<extra></extra>",
            )
        )
    return drawn
