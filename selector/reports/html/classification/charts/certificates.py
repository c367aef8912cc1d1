"""Certified accuracy against the radius it is certified for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

import plotly.graph_objects as go

from selector.records import CertifiedCandidate, Ranking
from selector.reports.html.charts.base import (
    LEGEND,
    Chart,
    axis_percent,
    colour,
    dash,
    errors,
    figure,
    lines,
    literal,
)
from selector.reports.html.wording import with_span

_POINTS = 121


def charts(ranking: Ranking) -> tuple[Chart, ...]:
    """One, or none where nothing is certified."""
    proven = [one for one in ranking.certified or () if isinstance(one, CertifiedCandidate)]
    if not proven:
        return ()
    places = {e.model: index for index, e in enumerate(ranking.ranking)}
    drawn = figure(400, showlegend=True)
    drawn.update_layout(legend=LEGEND)
    drawn.update_xaxes(title={"text": "certified radius, l2"}, rangemode="tozero")
    drawn.update_yaxes(axis_percent("certified accuracy", [0.0]))
    for one in proven:
        drawn.add_traces(list(_traces(places.get(one.model, 0), one)))
    smoothing = proven[0].smoothing
    confidence = f"{100 * (1 - smoothing.alpha):g} %"
    return (
        Chart(
            id="certified-accuracy",
            title="Certified accuracy",
            caption=(
                "Share of test images that the smoothed head gets right, with proof that no change"
                f" of this l2 size or less alters its answer: {confidence} confidence for each"
                " image. Points, with 95 % intervals over test images, are at the radii that were"
                f" asked for. The smoothed head has to be used with noise of sigma"
                f" {smoothing.sigma:g}; {smoothing.draws} draws certify no radius above"
                f" {smoothing.largest_radius:.3g}."
            ),
            figure=drawn,
        ),
    )


def _traces(index: int, one: CertifiedCandidate) -> Iterator[go.Scatter]:
    line = {"color": colour(index), "dash": dash(index), "width": 2, "shape": "hv"}
    grid = [one.smoothing.largest_radius * step / (_POINTS - 1) for step in range(_POINTS)]
    right = sorted(
        radius
        for radius, is_right in zip(one.per_image.radius, one.per_image.correct, strict=True)
        if is_right and radius > 0
    )
    images = len(one.per_image.radius)
    yield go.Scatter(
        name=literal(one.name),
        mode="lines",
        x=grid,
        y=[100 * (len(right) - bisect_left(right, radius)) / images for radius in grid],
        line=line,
        hovertemplate="<b>%{fullData.name}</b><br>certified %{y:.1f} % up to l2 %{x:.3f}"
        "<extra></extra>",
    )
    asked = list(one.certified_accuracy)
    yield go.Scatter(
        mode="markers",
        showlegend=False,
        x=[share.radius for share in asked],
        y=[100 * share.value for share in asked],
        error_y=errors(asked, 100) | {"color": colour(index)},  # type: ignore[arg-type]
        marker={"color": colour(index), "size": 9},
        hovertext=[
            lines(
                f"<b>{literal(one.name)}</b>",
                f"certified {with_span(share)} up to l2 {share.radius:g}",
            )
            for share in asked
        ],
        hoverinfo="text",
    )
