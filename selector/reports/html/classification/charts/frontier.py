"""Heads by how much of the displacement they are fitted against: clean and attacked accuracy."""

from __future__ import annotations

from selector.records import FrontierPoint, HeadReport, Ranking
from selector.reports.html.charts.base import Chart, axis_percent, figure, lined, lines
from selector.reports.html.charts.heads import Spot, draw
from selector.reports.html.wording import nats, with_span


def chart(ranking: Ranking) -> Chart:
    """A line of heads for each candidate, and the head it is ranked by."""
    drawn = figure(440)
    shown = lined(ranking.ranking, ranking.choice)
    points: list[FrontierPoint | HeadReport] = []
    for _, e in shown:
        points += [*e.frontier, e.head]
    drawn.update_xaxes(axis_percent("clean accuracy", [one.clean_accuracy.value for one in points]))
    drawn.update_yaxes(
        axis_percent("attacked accuracy", [one.attacked_accuracy.value for one in points])
    )
    for index, e in shown:
        draw(drawn, index, e.name, [_on_the_line(one) for one in e.frontier], _ranked(e.head))
    return Chart(
        id="frontier",
        title="The frontier of heads",
        caption=(
            "On one backbone, from the ordinary probe (radius scale 0, the smallest point) to one"
            " fitted against the whole displacement (1, the largest). Star: the head that"
            " it is ranked"
            f" by, {ranking.protocol.head}. Attacked accuracy of heads on the line is over"
            " points that"
            " attacks on other heads found, so it flatters more than the star's. --head picks one."
        ),
        figure=drawn,
    )


def _on_the_line(one: FrontierPoint) -> Spot:
    return _spot(
        one,
        f"radius scale {one.radius_scale:g}, l2 {one.l2:g}",
        f"clean {with_span(one.clean_accuracy)}",
        f"attacked {with_span(one.attacked_accuracy)}",
        f"estimated robust {with_span(one.estimated_robust_accuracy)}",
        f"estimated worst-case loss {nats(one.estimated_worst_case_loss)}",
    )


def _ranked(head: HeadReport) -> Spot:
    return _spot(
        head,
        f"ranked by this head: radius scale {head.radius_scale:g}, l2 {head.l2:g}",
        f"clean {with_span(head.clean_accuracy)}",
        f"attacked {with_span(head.attacked_accuracy)}",
    )


def _spot(one: FrontierPoint | HeadReport, *told: str) -> Spot:
    clean, attacked = one.clean_accuracy.value, one.attacked_accuracy.value
    return Spot(one.radius_scale, 100 * clean, 100 * attacked, lines(*told))
