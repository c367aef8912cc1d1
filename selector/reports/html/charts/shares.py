"""Lines of how many test images have at most, or at least, a value."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

import plotly.graph_objects as go

from selector.reports.html.charts.base import (
    Ranked,
    axis_percent,
    colour,
    dash,
    figure,
    literal,
)

# Points of a line; between them it is drawn straight.
_POINTS = 61


def grid(end: float) -> list[float]:
    """Values from 0 to ``end``."""
    return [end * step / (_POINTS - 1) for step in range(_POINTS)]


def at_most(values: Sequence[float], points: list[float]) -> list[float]:
    """Percentage of values that are no larger, at each point."""
    ordered = sorted(values)
    return [100 * bisect_right(ordered, x) / len(ordered) for x in points]


def at_least(values: Sequence[float], points: list[float]) -> list[float]:
    """Percentage of values that are no smaller, at each point."""
    ordered = sorted(values)
    return [100 * (1 - bisect_left(ordered, x) / len(ordered)) for x in points]


def drawn(
    candidates: Sequence[tuple[int, Ranked]],
    points: list[float],
    shares: Callable[[Ranked], list[float]],
) -> go.Figure:
    """A line for each candidate.

    Args:
        candidates: with their places from 0.
        points: values, where the lines are.
        shares: percentage of images of a candidate at each point.
    """
    made = figure(340)
    made.update_yaxes(axis_percent("of test images", [0.0]))
    for index, e in candidates:
        made.add_trace(
            go.Scatter(
                name=literal(e.name),
                meta=index,
                mode="lines",
                x=points,
                y=shares(e),
                line={"color": colour(index), "dash": dash(index), "width": 2},
                hovertemplate="<b>%{fullData.name}</b><br>%{y:.1f} % of images at %{x:.2f}"
                "<extra></extra>",
            )
        )
    return made
