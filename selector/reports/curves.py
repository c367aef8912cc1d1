"""What candidates withstand under several threats, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from selector.errors import printable
from selector.norms import format_threat
from selector.records import Curve, CurvePoint, ThreatRecord


def curve_table(curves: Sequence[Curve], width: int) -> Iterator[RenderableType]:
    """A row of each candidate, a column of each threat."""
    threats = threats_of(curves)
    table = Table(width=width, pad_edge=False, header_style="bold")
    table.add_column("backbone", ratio=1, overflow="fold")
    for threat in threats:
        table.add_column(format_threat(threat.norm, threat.eps), justify="right", no_wrap=True)
    for curve in curves:
        table.add_row(Text(printable(curve.name)), *map(at_threat, points_of(curve, threats)))
    yield Text("\nUnder every perturbation", style="bold")
    yield table
    yield Text(
        "withstood %, an upper estimate, and place among all (95 % of ranks over resampled test"
        " images), of the head that is picked for this very perturbation.",
        style="dim",
    )


def threats_of(curves: Sequence[Curve]) -> list[ThreatRecord]:
    """All that there are: norm by norm, smaller perturbations first."""
    found = {point.threat for curve in curves for point in curve.points}
    return sorted(found, key=lambda threat: (threat.norm, threat.eps))


def points_of(curve: Curve, threats: Sequence[ThreatRecord]) -> list[CurvePoint | None]:
    """Its point under each; None where it was not measured."""
    points = {point.threat: point for point in curve.points}
    return [points.get(threat) for threat in threats]


def at_threat(point: CurvePoint | None) -> str:
    """What is withstood, %, and the place."""
    if point is None:
        return "–"
    low, high = point.rank_interval
    place = f"#{point.rank}" if low == high else f"#{low}-{high}"
    if point.masked:
        return f"masked {place}"
    return f"{100 * point.attacked_accuracy.value:.1f} {place}"
