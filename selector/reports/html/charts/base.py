"""What the charts share: colours, text that Plotly takes literally, an empty figure."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import plotly.graph_objects as go

from selector.errors import printable
from selector.records import AnyRanked, Choice, Estimate, RegressionChoice

AnyChoice = Choice | RegressionChoice
Ranked = TypeVar("Ranked", bound=AnyRanked)

# Each is told from white and from near-black alike, so that charts need no second set of them.
COLOURS = (
    "#3b82f6",
    "#e8690b",
    "#0f9f6e",
    "#a855f7",
    "#e5484d",
    "#0891b2",
    "#b7860b",
    "#ec4899",
    "#6b8e23",
    "#7d899e",
)
KINDS = {
    "clean": "#7d899e",
    "attacked": "#e8690b",
    "estimated": "#8b5cf6",
    "certified": "#0f9f6e",
}
ACCENT = "#3b82f6"
_DASHES = ("solid", "dash", "dot", "dashdot")
Dash = Literal["solid", "dash", "dot", "dashdot"]
# Points of a chart that has one for each candidate: the page has to stay small.
POINTS = 150
# Rows of a chart that has one for each candidate, and candidates that have lines.
ROWS = 40
# On hovering over a point of a trace that belongs to a candidate; Plotly fills in both.
HOVER = "<b>%{fullData.name}</b><br>%{hovertext}<extra></extra>"
_ROW_HEIGHT = 46
LEGEND = {"orientation": "h", "traceorder": "normal", "x": 0, "y": 1, "yanchor": "bottom"}
_SHORT = 30


@dataclass(frozen=True)
class Chart:
    """One figure and what a reader has to know of it.

    Attributes:
        id: of its element, unique on the page.
        title: above it.
        caption: below it: what is drawn, and what kind of number it is.
        figure: the drawing; a trace whose ``meta`` is the place of a candidate in the ranking,
            from 0, is shown while that candidate is ticked in the table.
    """

    id: str
    title: str
    caption: str
    figure: go.Figure


def colour(index: int) -> str:
    """Of the lines of the candidate with this place in the ranking, from 0."""
    return COLOURS[index % len(COLOURS)]


def dash(index: int) -> str:
    """Of its lines: tells those of one colour apart."""
    return _DASHES[index // len(COLOURS) % len(_DASHES)]


def literal(text: str) -> str:
    """``text`` as Plotly has to be given it to show just that.

    Plotly reads a part of HTML, entities included, in labels and in what it shows on hovering, and
    takes what stands between dollars for a formula.

    >>> literal("<b>a&amp;b</b>")
    '&lt;b&gt;a&amp;amp;b&lt;/b&gt;'
    """
    return html.escape(printable(text), quote=False).replace("$", "&#36;")


def short(name: str) -> str:
    """A name that fits beside a point; the end tells one variant from another, so it stays.

    >>> short("vit_base_patch16_clip_224.laion2b_ft_in12k_in1k")
    'vit_base_patch1…2b_ft_in12k_in1k'
    """
    half = _SHORT // 2
    return literal(name if len(name) <= _SHORT + 2 else f"{name[:half]}…{name[-half - 1 :]}")


def lined(ranked: Sequence[Ranked], choice: AnyChoice | None) -> list[tuple[int, Ranked]]:
    """Candidates that have lines, with their places from 0: the first, and the cleanest.

    There is an end to what a page can hold; more lines could not be told apart in any case.
    """
    cleanest = choice.cleanest if choice else ""
    return [(index, e) for index, e in enumerate(ranked) if index < ROWS or e.name == cleanest]


def first_of(limit: int, candidates: int) -> str:
    """What a caption says first, where a chart has not something for each of so many.

    >>> first_of(40, 41), first_of(40, 40)
    ('The first 40 of the ranking. ', '')
    """
    return f"The first {limit} of the ranking. " if candidates > limit else ""


def lines(*parts: str) -> str:
    """What is shown on hovering, a line each; parts are literal or markup already."""
    return "<br>".join(parts)


def figure(height: int, **layout: Any) -> go.Figure:
    """An empty figure; colours of text, grid and ground are set by the page, as light or dark."""
    made = go.Figure(layout=go.Layout(template=go.layout.Template(), height=height))
    made.update_layout(
        margin={"l": 8, "r": 16, "t": 16, "b": 8},
        dragmode=False,
        hovermode="closest",
        showlegend=False,
        font={"size": 13},
        hoverlabel={"align": "left", "namelength": -1},
    )
    made.update_xaxes(automargin=True, fixedrange=True, zeroline=False, ticks="outside")
    made.update_yaxes(automargin=True, fixedrange=True, zeroline=False)
    return made.update_layout(**layout)


def row_figure(names: list[str], **layout: Any) -> go.Figure:
    """A figure with a row for each name, which stands above what is drawn at y = 0, 1, ..."""
    made = figure(_ROW_HEIGHT * len(names) + 110, **layout)
    made.update_yaxes(visible=False, range=[len(names) - 0.4, -0.75])
    for row, name in enumerate(names):
        made.add_annotation(
            text=f"{row + 1} · {short(name)}",
            x=0,
            xref="paper",
            xanchor="left",
            y=row,
            yanchor="bottom",
            yshift=8,
            showarrow=False,
        )
    return made


def errors(estimates: list[Estimate], scale: float = 1.0) -> dict[str, Any]:
    """The intervals of estimates, as error bars of their values, both times ``scale``."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [scale * (one.high - one.value) for one in estimates],
        "arrayminus": [scale * (one.value - one.low) for one in estimates],
        "thickness": 1.2,
        "width": 3,
    }


def axis_percent(title: str, lows: list[float]) -> dict[str, Any]:
    """An axis of shares in percent, up to 100 and from somewhat below the lowest."""
    start = max(-2.0, 100 * min(lows) - 4)
    return {"title": {"text": title}, "ticksuffix": " %", "range": [start, 102]}
