"""One candidate under several threats.

The representation, the ordinary probe and what others rank by are the same under all threats; they
are found once. Attacks and heads belong to a threat. What was attained under a smaller perturbation
of the same norm counts under a larger one, so that displacement never falls with eps.
"""

from __future__ import annotations

from collections.abc import Callable

from selector.evaluation import evaluate_each
from selector.records import Sweep
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
    upwards = sorted(setting.threats, key=by_size)
    found = evaluate_each(prepared, [setting.under(threat) for threat in upwards], on_pass)
    by_threat = dict(zip(upwards, found, strict=True))
    evaluations = tuple(by_threat[threat] for threat in setting.threats)
    return Sweep(name=prepared.name, evaluations=evaluations)


def by_size(threat: ThreatModel) -> tuple[str, float]:
    """A key to sort by: norm by norm, smaller perturbations first."""
    return threat.norm, threat.eps
