"""Clean against attacked accuracy, and who is on the Pareto front."""

from __future__ import annotations

from selector.records import RankedEvaluation, Ranking
from selector.reports.explain.classification import as_good_as_constant
from selector.reports.html.charts.base import (
    KINDS,
    LEGEND,
    POINTS,
    Chart,
    axis_percent,
    figure,
    first_of,
)
from selector.reports.html.charts.plane import Mark, Plane, draw, mark
from selector.reports.html.wording import with_span

_PLANE = Plane(
    scale=100,
    better=1,
    edge=-10.0,
    idle="perhaps no better than a constant answer",
    middle=50,
    low=30,
)


def chart(ranking: Ranking) -> Chart:
    """A point for each of the first candidates."""
    drawn = figure(480, showlegend=True)
    drawn.update_layout(legend=LEGEND)
    heads = [e.head for e in ranking.ranking[:POINTS]]
    drawn.update_xaxes(
        axis_percent("clean accuracy of the head", [h.clean_accuracy.low for h in heads])
    )
    drawn.update_yaxes(
        axis_percent("attacked accuracy of the head", [h.attacked_accuracy.low for h in heads])
    )
    drawn.add_hline(
        y=100 * ranking.task.constant_accuracy,
        line={"color": KINDS["clean"], "dash": "dot", "width": 1.2},
        annotation_text="a constant answer",
        annotation_position="top right",
    )
    draw(drawn, _PLANE, marks(ranking), ranking.choice)
    return Chart(
        id="tradeoff",
        title="Clean against attacked accuracy",
        caption=(
            f"{first_of(POINTS, len(ranking.ranking))}Both of the {ranking.protocol.head} head, on"
            f" the same {ranking.task.test_images} test images, with 95 % intervals over"
            " test images."
            " Attacked accuracy is an upper estimate. On the line, the Pareto front, whoever is"
            " beaten in one is better in the other; masked candidates take no part."
        ),
        figure=drawn,
    )


def marks(ranking: Ranking) -> list[Mark]:
    """The first candidates."""
    return [_mark(ranking, e) for e in ranking.ranking[:POINTS]]


def _mark(ranking: Ranking, e: RankedEvaluation) -> Mark:
    clean, attacked = e.head.clean_accuracy, e.head.attacked_accuracy
    told = (
        f"attacked {with_span(attacked)}",
        f"estimated robust {with_span(e.head.on_task.estimated_robust_accuracy)}",
        f"clean {with_span(clean)}",
    )
    return mark(e, (clean, attacked), told, idle=as_good_as_constant(ranking, e))
