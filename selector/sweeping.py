"""One candidate under several threats, and all candidates' curves over them.

The representation, the ordinary probe and what others rank by are the same under all threats; they
are found once. Attacks and heads belong to a threat. What was attained under a smaller perturbation
of the same norm counts under a larger one, so that displacement never falls with eps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from selector.evaluation import evaluate_each
from selector.ranking import rank, tier
from selector.records import Curve, CurvePoint, RankedEvaluation, Sweep, ThreatRecord
from selector.run import Prepared
from selector.threat import ThreatModel
from selector.workload import Setting


def sweep(
    prepared: Prepared, setting: Setting, on_pass: Callable[[int], None] = lambda images: None
) -> Sweep:
    """Measure one candidate under all threats of a setting.

    Raises:
        CandidateError: it cannot be loaded, attacked or trusted.
    """
    upwards = sorted(setting.threats, key=_size)
    found = evaluate_each(prepared, [setting.under(threat) for threat in upwards], on_pass)
    by_threat = dict(zip(upwards, found, strict=True))
    evaluations = tuple(by_threat[threat] for threat in setting.threats)
    return Sweep(name=prepared.name, evaluations=evaluations)


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
    for place, threat in sorted(enumerate(setting.threats), key=lambda one: _size(one[1])):
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
    )


def _size(threat: ThreatModel) -> tuple[str, float]:
    """Norm by norm, smaller perturbations first."""
    return threat.norm, threat.eps
