"""What displacement and attacks do to errors, image by image: a line for each candidate."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import plotly.graph_objects as go

from selector.records import RegressionPerImage, RegressionRanking
from selector.reports.html.charts.base import KINDS, Chart, lined
from selector.reports.html.charts.shares import at_most, drawn, grid

# Errors of knowing only the mean, up to which lines are drawn.
_FARTHEST = 3.0


def charts(ranking: RegressionRanking) -> tuple[Chart, ...]:
    """What displacement adds, the error under attack, and the bound."""
    return (_added(ranking), _attacked(ranking), _bounds(ranking))


def _added(ranking: RegressionRanking) -> Chart:
    made = _lines(ranking, _what_is_added)
    made.update_xaxes(title={"text": "what displacement adds, estimated"})
    return Chart(
        id="added",
        title="Added error, image by image",
        caption=(
            "Share of test images on which the displacement that attacks attained, on A∘g, can add"
            " at most this to the squared error of the head: estimated."
        ),
        figure=made,
    )


def _what_is_added(one: RegressionPerImage) -> list[float]:
    return [worst - clean for worst, clean in zip(one.bound, one.clean, strict=True)]


def _attacked(ranking: RegressionRanking) -> Chart:
    made = _lines(ranking, lambda one: one.attacked)
    made.update_xaxes(title={"text": "attacked squared error"})
    _mark_mean(made, ranking)
    return Chart(
        id="attacked-errors",
        title="Error under attack, image by image",
        caption=(
            "Share of test images on which the head has at most this squared error after every"
            " attack: attacked, a lower estimate of the error. Dashed: what knowing only the mean"
            " has on average."
        ),
        figure=made,
    )


def _bounds(ranking: RegressionRanking) -> Chart:
    made = _lines(ranking, lambda one: one.bound)
    made.update_xaxes(title={"text": "estimated squared error"})
    _mark_mean(made, ranking)
    return Chart(
        id="error-bounds",
        title="Error bound, image by image",
        caption=(
            "Share of test images with at most this worst-case squared error: estimated, of the"
            " head, on A∘g. Dashed: what knowing only the mean has on average."
        ),
        figure=made,
    )


def _lines(
    ranking: RegressionRanking, errors: Callable[[RegressionPerImage], Sequence[float]]
) -> go.Figure:
    points = grid(_FARTHEST * ranking.task.mean_error)
    candidates = lined(ranking.ranking, ranking.choice)
    return drawn(candidates, points, lambda e: at_most(errors(e.per_image), points))


def _mark_mean(made: go.Figure, ranking: RegressionRanking) -> None:
    line = {"color": KINDS["attacked"], "dash": "dash", "width": 1.5}
    made.add_vline(x=ranking.task.mean_error, line=line)
