"""Lines of the heads on each backbone: clean against attacked results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from selector.reports.html.charts.base import HOVER, colour, dash, literal


@dataclass(frozen=True)
class Spot:
    """A head.

    Attributes:
        radius_scale: 0..1, the share of the displacement that it is fitted against.
        clean: its result, as drawn.
        attacked: the same under attack.
        hover: what is shown on hovering, as Plotly reads it.
    """

    radius_scale: float
    clean: float
    attacked: float
    hover: str


def draw(figure: go.Figure, index: int, name: str, line: Sequence[Spot], ranked: Spot) -> None:
    """The heads of a candidate, and a star where it is ranked by, into a figure with axes.

    Args:
        figure: to draw into.
        index: place of the candidate from 0.
        name: of it.
        line: its heads, from the ordinary one on.
        ranked: the head it is ranked by.
    """
    figure.add_trace(
        go.Scatter(
            name=literal(name),
            meta=index,
            mode="lines+markers",
            x=[one.clean for one in line],
            y=[one.attacked for one in line],
            line={"color": colour(index), "dash": dash(index), "width": 1.5},
            marker={"color": colour(index), "size": [6 + 6 * one.radius_scale for one in line]},
            hovertext=[one.hover for one in line],
            hovertemplate=HOVER,
        )
    )
    figure.add_trace(
        go.Scatter(
            name=literal(name),
            meta=index,
            mode="markers",
            x=[ranked.clean],
            y=[ranked.attacked],
            marker={
                "color": colour(index),
                "symbol": "star",
                "size": 16,
                "line": {"width": 1, "color": "#ffffff"},
            },
            hovertext=[ranked.hover],
            hovertemplate=HOVER,
        )
    )
