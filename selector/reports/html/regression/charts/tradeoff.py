"""Clean against attacked error, and who is on the Pareto front."""

from __future__ import annotations

import plotly.graph_objects as go

from selector.records import RankedRegression, RegressionRanking
from selector.reports.explain.regression import as_good_as_mean
from selector.reports.html.charts.base import KINDS, LEGEND, POINTS, Chart, figure, first_of
from selector.reports.html.charts.plane import Mark, Plane, draw, mark
from selector.reports.html.regression.charts.axes import Axis, fitting, linear
from selector.reports.squared import with_span

# Outside of every figure.
_BEYOND = 1e12


def chart(ranking: RegressionRanking) -> Chart:
    """A point for each of the first candidates."""
    mean, heads = ranking.task.mean_error, [e.head for e in ranking.ranking[:POINTS]]
    clean = linear("clean squared error of the head", [h.clean_squared_error.high for h in heads])
    attacked = fitting(
        "attacked squared error of the head",
        [mean]
        + [h.attacked_squared_error.value for h in heads]
        + [h.attacked_squared_error.high for h in heads],
    )
    plane = Plane(
        scale=1,
        better=-1,
        edge=_BEYOND,
        idle="perhaps no better than the mean",
        middle=clean.settings["range"][1] / 2,
        low=attacked.low,
        height=attacked.place,
    )
    drawn = figure(480, showlegend=True)
    drawn.update_layout(legend=LEGEND)
    drawn.update_xaxes(clean.settings)
    drawn.update_yaxes(attacked.settings)
    _mean(drawn, mean, attacked)
    draw(drawn, plane, marks(ranking), ranking.choice)
    return Chart(
        id="tradeoff",
        title="Clean against attacked error",
        caption=(
            f"{first_of(POINTS, len(ranking.ranking))}Both of the {ranking.protocol.head} head, on"
            f" the same {ranking.task.test_images} test images, with 95 % intervals over"
            " test images;"
            " lower is better, so the best corner is at the bottom left. Attacked error is a lower"
            " estimate. On the line, the Pareto front, whoever is beaten in one is better in the"
            " other; masked candidates take no part."
        ),
        figure=drawn,
    )


def marks(ranking: RegressionRanking) -> list[Mark]:
    """The first candidates."""
    return [_mark(ranking, e) for e in ranking.ranking[:POINTS]]


def _mark(ranking: RegressionRanking, e: RankedRegression) -> Mark:
    clean, attacked = e.head.clean_squared_error, e.head.attacked_squared_error
    told = (
        f"attacked {with_span(attacked)}",
        f"estimated bound {with_span(e.head.on_task.estimated_squared_error)}",
        f"clean {with_span(clean)}",
    )
    return mark(e, (clean, attacked), told, idle=as_good_as_mean(ranking, e))


def _mean(drawn: go.Figure, error: float, attacked: Axis) -> None:
    """A line at knowing only the mean, and its name where few points are."""
    drawn.add_hline(y=error, line={"color": KINDS["clean"], "dash": "dot", "width": 1.2})
    drawn.add_annotation(
        text="knowing only the mean",
        x=0,
        xref="x domain",
        xanchor="left",
        y=attacked.place(error) if error > 0 else 0,
        yanchor="bottom",
        showarrow=False,
    )
