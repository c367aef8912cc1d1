"""Candidates in the plane of clean and attacked results, and who is on the Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from selector.records import AnyRanked, Estimate
from selector.reports.html.charts.base import (
    ACCENT,
    KINDS,
    AnyChoice,
    errors,
    lines,
    literal,
    short,
)


@dataclass(frozen=True)
class Mark:
    """A candidate in the plane.

    Attributes:
        name: of it.
        rank: of it.
        group: of it.
        clean: result of its head.
        attacked: the same under attack.
        masked: attacks were blind.
        idle: knowing nothing of the image may do as well under attack.
        hover: lines that are shown on hovering, as Plotly reads them.
    """

    name: str
    rank: int
    group: int
    clean: Estimate
    attacked: Estimate
    masked: bool
    idle: bool
    hover: tuple[str, ...]


@dataclass(frozen=True)
class Plane:
    """How results are drawn.

    Attributes:
        scale: what they are multiplied with.
        better: 1 where more is better, -1 where less is.
        edge: outside of every figure, on the worse side, as drawn.
        idle: what is said of those who are.
        middle: of the clean axis, as drawn: names of who is beyond it stand to the left.
        low: of the attacked axis, as drawn: names of who is below it stand above.
        height: where an annotation is at an attacked result, as drawn.
    """

    scale: float
    better: int
    edge: float
    idle: str
    middle: float
    low: float
    height: Callable[[float], float] = float

    def drawn(self, results: Sequence[Estimate]) -> list[float]:
        """Where they are in the figure."""
        return [self.scale * one.value for one in results]


def mark(
    e: AnyRanked, results: tuple[Estimate, Estimate], told: Sequence[str], *, idle: bool
) -> Mark:
    """Of a candidate.

    Args:
        e: the candidate.
        results: of its head, clean and attacked.
        told: lines on hovering, below its name and place.
        idle: see :class:`Mark`.
    """
    low, high = e.rank_interval
    first = (f"<b>{literal(e.name)}</b>", f"rank {e.rank} (95 %: {low}–{high}), group {e.group}")
    return Mark(e.name, e.rank, e.group, *results, e.masked, idle, (*first, *told))


def front(marks: Sequence[Mark], better: int) -> list[Mark]:
    """Those no other beats in one result without losing in the other, the worst clean one first.

    Candidates whose gradients are masked take no part: their numbers flatter.
    """

    def position(one: Mark) -> tuple[float, float]:
        return better * one.clean.value, better * one.attacked.value

    def beats(a: Mark, b: Mark) -> bool:
        mine, theirs = position(a), position(b)
        return mine != theirs and mine[0] >= theirs[0] and mine[1] >= theirs[1]

    sound = [one for one in marks if not one.masked]
    return sorted(
        (one for one in sound if not any(beats(other, one) for other in sound)), key=position
    )


def draw(figure: go.Figure, plane: Plane, marks: Sequence[Mark], choice: AnyChoice | None) -> None:
    """A point for each candidate, the front, and the names of a few, into a figure with axes."""
    on_front = front(marks, plane.better)
    figure.add_trace(_stairs(plane, on_front))
    for title, colour, symbol, members in _sorts(plane, marks):
        if members:
            figure.add_trace(_points(plane, title, colour, symbol, members, on_front))
    cleanest = choice.cleanest if choice else ""
    named = [one for one in marks if one.rank <= 2 or one.name == cleanest][:3]
    for one in named:
        _name(figure, plane, one)


Sort = tuple[str, str, str, list[Mark]]


def _sorts(plane: Plane, marks: Sequence[Mark]) -> list[Sort]:
    """Title, colour, symbol and members of the sorts of points."""
    masked = [one for one in marks if one.masked]
    idle = [one for one in marks if one.idle and not one.masked]
    told = [one for one in marks if not (one.masked or one.idle)]
    first = [one for one in told if one.group == marks[0].group]
    apart = [one for one in told if one.group != marks[0].group]
    return [
        ("first group", ACCENT, "star" if len(first) == 1 else "circle", first),
        ("told apart from it", KINDS["attacked"], "diamond", apart),
        (plane.idle, KINDS["clean"], "circle-open", idle),
        ("masked gradients: flattered", KINDS["clean"], "x", masked),
    ]


def _points(
    plane: Plane,
    title: str,
    colour: str,
    symbol: str,
    members: list[Mark],
    on_front: list[Mark],
) -> go.Scatter:
    clean, attacked = [one.clean for one in members], [one.attacked for one in members]
    return go.Scatter(
        name=title,
        mode="markers",
        x=plane.drawn(clean),
        y=plane.drawn(attacked),
        error_x=errors(clean, plane.scale) | {"color": colour},
        error_y=errors(attacked, plane.scale) | {"color": colour},
        marker={"color": colour, "symbol": symbol, "size": 11},
        hovertext=[
            lines(*one.hover, *(["on the Pareto front"] if one in on_front else []))
            for one in members
        ],
        hoverinfo="text",
    )


def _stairs(plane: Plane, on_front: list[Mark]) -> go.Scatter:
    """Stairs around all that somebody on the front beats, up to the edges of the figure."""
    clean = plane.drawn([one.clean for one in on_front])
    attacked = plane.drawn([one.attacked for one in on_front])
    return go.Scatter(
        name="Pareto front",
        mode="lines",
        x=[plane.edge, *clean, *clean[-1:]],
        y=[*attacked[:1], *attacked, plane.edge],
        line={"color": KINDS["certified"], "width": 1.6, "shape": "vh"},
        hoverinfo="skip",
    )


def _name(figure: go.Figure, plane: Plane, one: Mark) -> None:
    """Beside its point."""
    clean, attacked = plane.drawn([one.clean, one.attacked])
    leftwards = clean > plane.middle
    # Of the first towards the better side, which is empty; of others below.
    upwards = attacked < plane.low or (one.rank == 1 and plane.better > 0)
    figure.add_annotation(
        text=short(one.name),
        x=clean,
        y=plane.height(attacked),
        ax=-40 if leftwards else 40,
        ay=-34 if upwards else 34,
        xanchor="right" if leftwards else "left",
        arrowwidth=1,
        arrowhead=0,
        standoff=6,
    )
