"""All candidates under all threats of a run: what they withstand, and their places."""

from __future__ import annotations

from collections.abc import Sequence

from selector.ranking import rank, tier
from selector.records import Curve, CurvePoint, RankedEvaluation, Sweep, ThreatRecord
from selector.sweeping import by_size
from selector.threat import ThreatModel
from selector.workload import Setting


def curves(
    ranking: Sequence[RankedEvaluation],
    sweeps: Sequence[Sweep],
    setting: Setting,
    *,
    seed: int,
    objective: str,
) -> tuple[Curve, ...]:
    """Of each candidate of a ranking, in its order.

    Args:
        ranking: under the first threat.
        sweeps: of the same candidates.
        setting: whose threats they are.
        seed: of the rank intervals.
        objective: a name of OBJECTIVES, by which they are ranked under every threat.
    """
    points: dict[str, list[CurvePoint]] = {one.model: [] for one in ranking}
    for place, threat in sorted(enumerate(setting.threats), key=lambda one: by_size(one[1])):
        measured = [one.evaluations[place] for one in sweeps]
        for ranked in rank(measured, seed=seed, objective=objective):
            points[ranked.model].append(_point(ranked, threat))
    return tuple(
        Curve(name=one.name, model=one.model, points=tuple(points[one.model])) for one in ranking
    )


def _point(ranked: RankedEvaluation, threat: ThreatModel) -> CurvePoint:
    head, on_task = ranked.head, ranked.bound_optimal.on_task
    return CurvePoint(
        threat=ThreatRecord(norm=threat.norm, eps=threat.eps),
        rank=ranked.rank,
        rank_interval=ranked.rank_interval,
        masked=bool(tier(ranked)),
        radius_scale=head.radius_scale,
        clean_accuracy=head.clean_accuracy,
        attacked_accuracy=head.attacked_accuracy,
        estimated_robust_accuracy=head.on_task.estimated_robust_accuracy,
        estimated_worst_case_loss=on_task.estimated_worst_case_loss,
        vacuous=ranked.vacuous,
        warnings=ranked.warnings,
    )
