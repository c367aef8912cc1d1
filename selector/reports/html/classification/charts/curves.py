"""Accuracy against the size of the perturbation, where a run has several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import plotly.graph_objects as go

from selector.norms import NORMS, Norm, format_threat
from selector.records import Curve, CurvePoint, Ranking
from selector.reports.html.charts.base import (
    HOVER,
    Chart,
    axis_percent,
    colour,
    errors,
    figure,
    lined,
    lines,
    literal,
)
from selector.reports.html.wording import with_span


def charts(ranking: Ranking) -> tuple[Chart, ...]:
    """A panel for each norm; none where there was one threat."""
    if ranking.curves is None:
        return ()
    return tuple(
        _panel(ranking, norm, sizes) for norm in NORMS if (sizes := _sizes(ranking.curves, norm))
    )


def _sizes(curves: Sequence[Curve], norm: Norm) -> list[float]:
    """Every eps of this norm."""
    return sorted(
        {one.threat.eps for curve in curves for one in curve.points if one.threat.norm == norm}
    )


def _panel(ranking: Ranking, norm: Norm, sizes: list[float]) -> Chart:
    drawn = figure(400)
    drawn.update_yaxes(axis_percent("accuracy of the head", [0.0]))
    drawn.update_xaxes(
        title={"text": f"eps, {norm}"},
        tickvals=sizes,
        ticktext=[format_threat(norm, eps).removeprefix(f"{norm} ") for eps in sizes],
        rangemode="tozero",
    )
    places = {e.model: index for index, e in lined(ranking.ranking, ranking.choice)}
    for curve in ranking.curves or ():
        points = [one for one in curve.points if one.threat.norm == norm]
        if points and curve.model in places:
            drawn.add_traces(list(_traces(places[curve.model], curve.name, points)))
    return Chart(
        id=f"curves-{norm}",
        title=f"Accuracy against eps, {norm}",
        caption=(
            f"Solid: attacked accuracy of the head that --head {ranking.protocol.head} picks at"
            " that eps, an upper estimate. Dashed: estimated robust accuracy, criterion on A∘g."
            " Both with 95 % intervals over test images. A cross: gradients are masked there, so"
            " that the numbers flatter."
        ),
        figure=drawn,
    )


def _traces(index: int, name: str, points: list[CurvePoint]) -> Iterator[go.Scatter]:
    """The estimated accuracy below the attacked one, which is what ranks."""
    eps = [one.threat.eps for one in points]
    hover = [_hover(one) for one in points]
    symbols = ["x" if one.masked else "circle" for one in points]
    for attacked, found in (
        (False, [one.estimated_robust_accuracy for one in points]),
        (True, [one.attacked_accuracy for one in points]),
    ):
        yield go.Scatter(
            name=literal(name),
            meta=index,
            mode="lines+markers",
            x=eps,
            y=[100 * one.value for one in found],
            error_y=errors(found, 100) | {"color": colour(index)},
            line={
                "color": colour(index),
                "dash": "solid" if attacked else "dash",
                "width": 2.2 if attacked else 1.2,
            },
            marker={"color": colour(index), "symbol": symbols, "size": 8 if attacked else 5},
            hovertext=hover,
            hovertemplate=HOVER,
        )


def _hover(one: CurvePoint) -> str:
    low, high = one.rank_interval
    said = [
        f"at {format_threat(one.threat.norm, one.threat.eps)}",
        f"rank {one.rank} (95 %: {low}–{high})",
        f"attacked {with_span(one.attacked_accuracy)}",
        f"estimated robust {with_span(one.estimated_robust_accuracy)}",
        f"clean {with_span(one.clean_accuracy)}",
        f"estimated worst-case loss {one.estimated_worst_case_loss.value:.2f} nats"
        + (", vacuous" if one.vacuous else ""),
        f"head: radius scale {one.radius_scale:g}",
    ]
    return lines(*said, *(["masked gradients"] if one.masked else []))
