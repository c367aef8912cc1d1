"""Heads by how much of the displacement they are fitted against: clean and attacked error."""

from __future__ import annotations

from selector.records import RegressionHead, RegressionPoint, RegressionRanking
from selector.reports.html.charts.base import Chart, figure, lined, lines
from selector.reports.html.charts.heads import Spot, draw
from selector.reports.html.regression.charts.axes import fitting, linear
from selector.reports.squared import with_span


def chart(ranking: RegressionRanking) -> Chart:
    """A line of heads for each candidate, and the head it is ranked by."""
    drawn = figure(440)
    shown = lined(ranking.ranking, ranking.choice)
    points: list[RegressionPoint | RegressionHead] = []
    for _, e in shown:
        points += [*e.frontier, e.head]
    clean = [one.clean_squared_error.value for one in points]
    attacked = [one.attacked_squared_error.value for one in points]
    drawn.update_xaxes(linear("clean squared error", clean).settings)
    drawn.update_yaxes(fitting("attacked squared error", attacked).settings)
    for index, e in shown:
        draw(drawn, index, e.name, [_on_the_line(one) for one in e.frontier], _ranked(e.head))
    return Chart(
        id="frontier",
        title="The frontier of heads",
        caption=(
            "On one backbone, from ordinary ridge (radius scale 0, the smallest point) to one"
            " fitted against the whole displacement (1, the largest); lower is better. Star: the"
            f" head that it is ranked by, {ranking.protocol.head}. Attacked error of heads"
            " on the line is over"
            " points that attacks on other heads found, so it flatters more than the star's."
            " --head picks one."
        ),
        figure=drawn,
    )


def _on_the_line(one: RegressionPoint) -> Spot:
    return _spot(
        one,
        f"radius scale {one.radius_scale:g}, l2 {one.l2:g}",
        f"clean {with_span(one.clean_squared_error)}",
        f"attacked {with_span(one.attacked_squared_error)}",
        f"estimated bound {with_span(one.estimated_squared_error)}",
    )


def _ranked(head: RegressionHead) -> Spot:
    return _spot(
        head,
        f"ranked by this head: radius scale {head.radius_scale:g}, l2 {head.l2:g}",
        f"clean {with_span(head.clean_squared_error)}",
        f"attacked {with_span(head.attacked_squared_error)}",
    )


def _spot(one: RegressionPoint | RegressionHead, *told: str) -> Spot:
    clean, attacked = one.clean_squared_error.value, one.attacked_squared_error.value
    return Spot(one.radius_scale, clean, attacked, lines(*told))
