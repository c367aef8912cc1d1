"""Bars that say what bounds are made up of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from selector.records import Estimate
from selector.reports.html.charts.base import KINDS, LEGEND, errors, row_figure
from selector.reports.html.table import Kind


@dataclass(frozen=True)
class Bar:
    """A candidate's bound.

    Attributes:
        name: of the candidate.
        parts: lengths one after the other, which sum up to the bound.
        total: the bound.
        hatched: it says nothing.
        hover: shown on hovering, as Plotly reads it.
    """

    name: str
    parts: tuple[float, ...]
    total: Estimate
    hatched: bool
    hover: str


def drawn(
    bars: Sequence[Bar], parts: Sequence[tuple[str, Kind]], reference: float, unit: str
) -> go.Figure:
    """A row for each bar, and a line at what a bound has to be below to say something.

    Args:
        bars: at least one.
        parts: title and kind of number of each part.
        reference: where the line is.
        unit: of the axis.
    """
    made = row_figure([bar.name for bar in bars], barmode="stack", showlegend=True, bargap=0.68)
    made.update_layout(legend=LEGEND)
    made.update_xaxes(title={"text": unit}, rangemode="tozero")
    traces = [_part(bars, place, *part) for place, part in enumerate(parts)]
    traces[-1].update(error_x=errors([bar.total for bar in bars]))
    made.add_traces(traces)
    made.add_vline(x=reference, line={"color": KINDS["attacked"], "dash": "dash", "width": 1.5})
    return made


def _part(bars: Sequence[Bar], place: int, title: str, kind: Kind) -> go.Bar:
    return go.Bar(
        name=title,
        orientation="h",
        x=[bar.parts[place] for bar in bars],
        y=list(range(len(bars))),
        marker={
            "color": KINDS[kind],
            "pattern": {
                "shape": ["/" if bar.hatched else "" for bar in bars],
                "fillmode": "overlay",
                "size": 6,
            },
            "line": {"width": 0},
        },
        hovertext=[bar.hover for bar in bars],
        hoverinfo="text",
        textposition="none",
    )
