"""Clean against attacked accuracy, and who is on the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from selector.ranking import tier
from selector.records import RankedEvaluation, Ranking
from selector.reports.explain import as_good_as_constant
from selector.reports.html.charts.base import (
    ACCENT,
    KINDS,
    LEGEND,
    Chart,
    axis_percent,
    errors,
    figure,
    lines,
    literal,
    short,
)
from selector.reports.html.wording import with_span

# Outside of every figure, in percent.
_BEYOND = -10.0


def chart(ranking: Ranking) -> Chart:
    """A point for each candidate."""
    drawn = figure(480, showlegend=True)
    drawn.update_layout(legend=LEGEND)
    heads = [e.head for e in ranking.ranking]
    drawn.update_xaxes(
        axis_percent("clean accuracy of the head", [h.clean_accuracy.low for h in heads])
    )
    drawn.update_yaxes(
        axis_percent("attacked accuracy of the head", [h.attacked_accuracy.low for h in heads])
    )
    _constant(drawn, 100 * ranking.task.constant_accuracy)
    front = pareto_front(ranking.ranking)
    drawn.add_trace(_front(front))
    for title, colour, symbol, members in _sorts(ranking):
        if members:
            drawn.add_trace(_points(title, colour, symbol, members, front))
    _names(drawn, ranking)
    return Chart(
        id="tradeoff",
        title="Clean against attacked accuracy",
        caption=(
            f"Both of the {ranking.protocol.head} head, on the same"
            f" {ranking.task.test_images} test images, with 95 % intervals over test images."
            " Attacked accuracy is an upper estimate. On the line, the Pareto front, whoever is"
            " beaten in one is better in the other; masked candidates take no part."
        ),
        figure=drawn,
    )


def pareto_front(ranked: Sequence[RankedEvaluation]) -> list[RankedEvaluation]:
    """Those no other beats in clean or attacked accuracy without losing in the other, by clean.

    Candidates whose gradients are masked take no part: their numbers flatter.
    """
    sound = [e for e in ranked if not tier(e)]
    kept = [e for e in sound if not any(_beats(other, e) for other in sound)]
    return sorted(kept, key=_position)


def _beats(a: RankedEvaluation, b: RankedEvaluation) -> bool:
    mine, theirs = _position(a), _position(b)
    return mine != theirs and mine[0] >= theirs[0] and mine[1] >= theirs[1]


def _position(e: RankedEvaluation) -> tuple[float, float]:
    return e.head.clean_accuracy.value, e.head.attacked_accuracy.value


Sort = tuple[str, str, str, list[RankedEvaluation]]


def _sorts(ranking: Ranking) -> list[Sort]:
    """Title, colour, symbol and members of the sorts of points."""
    best = ranking.ranking[0]
    masked = [e for e in ranking.ranking if tier(e)]
    idle = [e for e in ranking.ranking if not tier(e) and as_good_as_constant(ranking, e)]
    told = [e for e in ranking.ranking if e not in masked and e not in idle]
    first = [e for e in told if e.group == best.group]
    return [
        ("first group", ACCENT, "star" if len(first) == 1 else "circle", first),
        ("told apart from it", KINDS["attacked"], "diamond", [e for e in told if e not in first]),
        ("perhaps no better than a constant answer", KINDS["clean"], "circle-open", idle),
        ("masked gradients: flattered", KINDS["clean"], "x", masked),
    ]


def _points(
    title: str,
    colour: str,
    symbol: str,
    members: list[RankedEvaluation],
    front: list[RankedEvaluation],
) -> go.Scatter:
    clean = [e.head.clean_accuracy for e in members]
    attacked = [e.head.attacked_accuracy for e in members]
    return go.Scatter(
        name=title,
        mode="markers",
        x=[100 * one.value for one in clean],
        y=[100 * one.value for one in attacked],
        error_x=errors(clean, 100) | {"color": colour},
        error_y=errors(attacked, 100) | {"color": colour},
        marker={"color": colour, "symbol": symbol, "size": 11},
        hovertext=[_hover(e, on_front=e in front) for e in members],
        hoverinfo="text",
    )


def _hover(e: RankedEvaluation, *, on_front: bool) -> str:
    low, high = e.rank_interval
    said = [
        f"<b>{literal(e.name)}</b>",
        f"rank {e.rank} (95 %: {low}–{high}), group {e.group}",
        f"attacked {with_span(e.head.attacked_accuracy)}",
        f"estimated robust {with_span(e.head.on_task.estimated_robust_accuracy)}",
        f"clean {with_span(e.head.clean_accuracy)}",
    ]
    return lines(*said, *(["on the Pareto front"] if on_front else []))


def _front(front: list[RankedEvaluation]) -> go.Scatter:
    """Stairs around all that somebody on the front beats, up to the edges of the figure."""
    clean = [100 * e.head.clean_accuracy.value for e in front]
    attacked = [100 * e.head.attacked_accuracy.value for e in front]
    return go.Scatter(
        name="Pareto front",
        mode="lines",
        x=[_BEYOND, *clean, *clean[-1:]],
        y=[*attacked[:1], *attacked, _BEYOND],
        line={"color": KINDS["certified"], "width": 1.6, "shape": "vh"},
        hoverinfo="skip",
    )


def _constant(drawn: go.Figure, share: float) -> None:
    drawn.add_hline(
        y=share,
        line={"color": KINDS["clean"], "dash": "dot", "width": 1.2},
        annotation_text="a constant answer",
        annotation_position="top right",
    )


def _names(drawn: go.Figure, ranking: Ranking) -> None:
    """Of the choice, the rival and the one with the best clean accuracy, beside their points."""
    cleanest = ranking.choice.by_clean_accuracy if ranking.choice else ""
    named = [e for e in ranking.ranking if e.rank <= 2 or e.name == cleanest][:3]
    for order, e in enumerate(named):
        clean, attacked = (100 * share for share in _position(e))
        leftwards, upwards = clean > 50, order == 0 or attacked < 30
        drawn.add_annotation(
            text=short(e.name),
            x=clean,
            y=attacked,
            ax=-40 if leftwards else 40,
            ay=-34 if upwards else 34,
            xanchor="right" if leftwards else "left",
            arrowwidth=1,
            arrowhead=0,
            standoff=6,
        )
