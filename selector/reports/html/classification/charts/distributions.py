"""What displacement does to decisions, image by image: a line for each candidate."""

from __future__ import annotations

import math
from collections.abc import Sequence

from selector.records import Ranking
from selector.reports.html.charts.base import KINDS, Chart, lined
from selector.reports.html.charts.shares import at_least, at_most, drawn, grid

# Displacement in decision radii, and losses in prior entropies, up to which lines are drawn.
_FARTHEST = 3.0


def charts(ranking: Ranking) -> tuple[Chart, ...]:
    """Against the margin, as share of the attack, and in the loss bound."""
    return (_against_radius(ranking), _survived(ranking), _losses(ranking))


def _against_radius(ranking: Ranking) -> Chart:
    points = grid(_FARTHEST)
    made = drawn(
        lined(ranking.ranking, ranking.choice), points, lambda e: _moved(e.per_image.smooth, points)
    )
    made.update_xaxes(title={"text": "reach of the nearest rival / its margin"})
    made.add_vline(x=1, line={"color": KINDS["clean"], "dash": "dot", "width": 1.2})
    return Chart(
        id="moved",
        title="Reach, image by image",
        caption=(
            "Share of test images that are right and on which no other class can gain more than so"
            " many times its margin by what attacks attained on A∘g. At 1 it is the estimated"
            " robust accuracy; far to the right, the clean accuracy."
        ),
        figure=made,
    )


def _survived(ranking: Ranking) -> Chart:
    points = grid(1.0)[1:]
    made = drawn(
        lined(ranking.ranking, ranking.choice),
        points,
        lambda e: at_least(e.per_image.attacked_tolerance, points),
    )
    made.update_xaxes(title={"text": "share of the attack survived"}, tickformat=".0%")
    made.update_xaxes(range=[0, 1.02], dtick=0.25)
    return Chart(
        id="survived",
        title="Attacks survived, image by image",
        caption=(
            "Share of test images whose decision survives at least this share of the displacement"
            " that attacks attained, class pair by class pair: attacked, an upper estimate."
        ),
        figure=made,
    )


def _losses(ranking: Ranking) -> Chart:
    prior = ranking.task.prior_entropy
    points = grid(_FARTHEST * prior)
    made = drawn(
        lined(ranking.ranking, ranking.choice),
        points,
        lambda e: at_most(e.per_image.worst_case_loss, points),
    )
    made.update_xaxes(title={"text": "estimated worst-case loss, nats"})
    made.add_vline(x=prior, line={"color": KINDS["attacked"], "dash": "dash", "width": 1.5})
    return Chart(
        id="losses",
        title="Loss bound, image by image",
        caption=(
            "Share of test images with at most this worst-case loss: estimated, of the"
            " bound-optimal head, on A∘g. Dashed: knowing only class frequencies."
        ),
        figure=made,
    )


def _moved(smooth: Sequence[float], points: list[float]) -> list[float]:
    """Share of images with reach <= x margin, from margin / (margin + reach); 0 is wrong."""
    return at_most([1 / one - 1 if one > 0 else math.inf for one in smooth], points)
