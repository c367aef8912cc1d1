"""Axes of squared errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

# An axis is logarithmic from this factor between its ends on.
_SPREAD = 10.0
# Share of an axis that a name below its point takes.
_ROOM = 7
_TICKS = [digit * 10.0**power for power in range(-6, 9) for digit in (1, 2, 5)]


@dataclass(frozen=True)
class Axis:
    """One of them.

    Attributes:
        settings: for Plotly.
        place: of a value, where Plotly puts an annotation.
        low: value below which no name fits.
    """

    settings: dict[str, Any]
    place: Callable[[float], float]
    low: float


def linear(title: str, values: Sequence[float]) -> Axis:
    """From 0 to somewhat above the highest."""
    end = 1.05 * max(values) or 1.0
    return Axis({"title": {"text": title}, "range": [0, end]}, float, end / _ROOM)


def fitting(title: str, values: Sequence[float]) -> Axis:
    """As :func:`linear`, or logarithmic where values are so far apart that it shows more.

    Of a head that is not made for it, an attack can make errors of many times the others'.
    """
    least, most = min(values), max(values)
    if least <= 0 or most <= _SPREAD * least:
        return linear(title, values)
    start, end = math.log10(least), math.log10(most)
    room = (end - start) / _ROOM
    settings = {
        "title": {"text": title},
        "type": "log",
        "tickvals": _TICKS,
        "range": [start - room, end + room / 2],
    }
    return Axis(settings, math.log10, least)
