"""Heads between the ordinary probe and the bound-optimal one: clean against attacked accuracy."""

from __future__ import annotations

import plotly.graph_objects as go

from selector.records import FrontierPoint, HeadReport, RankedEvaluation, Ranking
from selector.reports.html.charts.base import (
    HOVER,
    Chart,
    axis_percent,
    colour,
    dash,
    figure,
    lined,
    lines,
    literal,
)
from selector.reports.html.wording import nats, with_span


def chart(ranking: Ranking) -> Chart:
    """A line of heads for each candidate, and the head it is ranked by."""
    drawn = figure(440)
    shown = lined(ranking)
    points: list[FrontierPoint | HeadReport] = []
    for _, e in shown:
        points += [*e.frontier, e.head]
    drawn.update_xaxes(axis_percent("clean accuracy", [one.clean_accuracy.value for one in points]))
    drawn.update_yaxes(
        axis_percent("attacked accuracy", [one.attacked_accuracy.value for one in points])
    )
    for index, e in shown:
        drawn.add_trace(_heads(index, e))
        drawn.add_trace(_ranked(index, e))
    return Chart(
        id="frontier",
        title="The frontier of heads",
        caption=(
            "On one backbone, from the ordinary probe (radius scale 0, the smallest point) to the"
            " bound-optimal head (1, the largest). Star: the head that it is ranked by,"
            f" {ranking.protocol.head}. Attacked accuracy of heads on the line is over points that"
            " attacks on other heads found, so it flatters more than the star's. --head picks one."
        ),
        figure=drawn,
    )


def _heads(index: int, e: RankedEvaluation) -> go.Scatter:
    return go.Scatter(
        name=literal(e.name),
        meta=index,
        mode="lines+markers",
        x=[100 * one.clean_accuracy.value for one in e.frontier],
        y=[100 * one.attacked_accuracy.value for one in e.frontier],
        line={"color": colour(index), "dash": dash(index), "width": 1.5},
        marker={"color": colour(index), "size": [6 + 6 * one.radius_scale for one in e.frontier]},
        hovertext=[_hover(one) for one in e.frontier],
        hovertemplate=HOVER,
    )


def _hover(one: FrontierPoint) -> str:
    return lines(
        f"radius scale {one.radius_scale:g}, l2 {one.l2:g}",
        f"clean {with_span(one.clean_accuracy)}",
        f"attacked {with_span(one.attacked_accuracy)}",
        f"estimated robust {with_span(one.estimated_robust_accuracy)}",
        f"estimated worst-case loss {nats(one.estimated_worst_case_loss)}",
    )


def _ranked(index: int, e: RankedEvaluation) -> go.Scatter:
    head = e.head
    return go.Scatter(
        name=literal(e.name),
        meta=index,
        mode="markers",
        x=[100 * head.clean_accuracy.value],
        y=[100 * head.attacked_accuracy.value],
        marker={
            "color": colour(index),
            "symbol": "star",
            "size": 16,
            "line": {"width": 1, "color": "#ffffff"},
        },
        hovertext=[
            lines(
                f"ranked by this head: radius scale {head.radius_scale:g}, l2 {head.l2:g}",
                f"clean {with_span(head.clean_accuracy)}",
                f"attacked {with_span(head.attacked_accuracy)}",
            )
        ],
        hovertemplate=HOVER,
    )
