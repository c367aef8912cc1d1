"""What candidates withstand under the other perturbations of a run, as rows of plain values."""

from __future__ import annotations

from collections.abc import Iterator

from selector.records import CurvePoint, Estimate, Ranking

Cell = str | int | float | bool | None
"""A value as it is, neither formatted nor escaped; None: there is none."""


def further_rows(ranking: Ranking) -> Iterator[dict[str, Cell]]:
    """Of each perturbation but the first the candidates in their order under it.

    A row has what was measured under it alone: no score, no probe, no cost.
    """
    points = [
        (point, curve.name, curve.model)
        for curve in ranking.curves or ()
        for point in curve.points
        if point.threat != ranking.threat
    ]
    points.sort(key=lambda one: (one[0].threat.norm, one[0].threat.eps, one[0].rank))
    for point, name, model in points:
        yield {"name": name, "model": model, **_cells(point)}


def _cells(point: CurvePoint) -> dict[str, Cell]:
    low, high = point.rank_interval
    return {
        "rank": point.rank,
        "rank_low": low,
        "rank_high": high,
        "threat_norm": point.threat.norm,
        "threat_eps": point.threat.eps,
        **_estimate("attacked_accuracy", point.attacked_accuracy),
        **_estimate("estimated_robust_accuracy", point.estimated_robust_accuracy),
        **_estimate("estimated_worst_case_loss", point.estimated_worst_case_loss),
        **_estimate("clean_accuracy", point.clean_accuracy),
        "n": point.attacked_accuracy.n,
        "vacuous": point.vacuous,
        "warnings": " ".join(flag.code for flag in point.warnings) or None,
    }


def _estimate(name: str, of: Estimate) -> dict[str, Cell]:
    return {name: of.value, f"{name}_low": of.low, f"{name}_high": of.high}
