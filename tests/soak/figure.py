"""The figure: memory, files and threads over the rankings, as an SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH, _PANEL, _LEFT, _TOP, _GAP = 720, 120, 64, 30, 34
_INK, _GRID, _LINE = "#1f2933", "#d5dbe1", "#1769aa"


@dataclass(frozen=True)
class Panel:
    """A line over the rankings.

    Attributes:
        title: with the unit.
        values: one for each ranking.
    """

    title: str
    values: Sequence[float]


def svg(panels: Sequence[Panel], warm_up: int) -> str:
    """Panels below each other, each from 0; the first ``warm_up`` rankings are shaded."""
    height = _TOP + len(panels) * (_PANEL + _GAP)
    count = len(panels[0].values)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"'
        f' font-family="sans-serif" font-size="12" fill="{_INK}">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for place, panel in enumerate(panels):
        parts += _panel(panel, _TOP + place * (_PANEL + _GAP), warm_up)
    for number in range(0, count + 1, max(1, count // 5)):
        parts.append(_text(_across(number, count), height - 12, f"{number}", "middle"))
    parts.append(_text(_WIDTH - 4, height - 1, "rankings", "end"))
    return "\n".join([*parts, "</svg>\n"])


def _panel(panel: Panel, top: float, warm_up: int) -> list[str]:
    highest, count = max(panel.values) * 1.15, len(panel.values)
    bottom = top + _PANEL
    points = " ".join(
        f"{_across(number, count):.1f},{bottom - _PANEL * value / highest:.1f}"
        for number, value in enumerate(panel.values, 1)
    )
    shaded = _across(warm_up, count) - _LEFT
    return [
        f'<rect x="{_LEFT}" y="{top}" width="{shaded:.1f}" height="{_PANEL}" fill="#eef1f4"/>',
        f'<path d="M{_LEFT} {top}V{bottom}H{_WIDTH - 16}" stroke="{_GRID}" fill="none"/>',
        f'<polyline points="{points}" fill="none" stroke="{_LINE}" stroke-width="1.5"/>',
        _text(_LEFT, top - 8, panel.title, "start"),
        _text(_LEFT - 6, bottom + 4, "0", "end"),
        _text(_LEFT - 6, bottom - _PANEL / 1.15 + 4, f"{max(panel.values):.0f}", "end"),
    ]


def _across(number: float, count: int) -> float:
    return _LEFT + (_WIDTH - 16 - _LEFT) * number / count


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
