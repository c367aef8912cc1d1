"""The candidates of two rankings in pairs: how far each moved, and the chance of that.

Noise is which test images were drawn; that all candidates are tested at once is accounted for by
Holm's correction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from selector.objectives import OBJECTIVES, Objective
from selector.ranking import p_value
from selector.records import (
    Change,
    ComparedCandidate,
    Estimate,
    Provenance,
    RankedEvaluation,
    Ranking,
)

LEVEL = 0.05
# Of a candidate, what its numbers depend on.
_FUNCTION = (
    "repo",
    "commit",
    "files",
    "architecture",
    "input_size",
    "feature_dim",
    "mean",
    "std",
    "interpolation",
)


def compared(before: Ranking, after: Ranking) -> tuple[ComparedCandidate, ...]:
    """Every candidate that both rankings have by its name, in the order after."""
    old, by = {e.name: e for e in before.ranking}, OBJECTIVES[after.objective]
    pairs = [(old[e.name], e) for e in after.ranking if e.name in old]
    raw = [_p_value(a, b, by) for a, b in pairs]
    tested = [p for p in raw if p is not None]
    adjusted = iter(holm(tested))
    return tuple(
        _candidate(a, b, by, p, None if p is None else next(adjusted))
        for (a, b), p in zip(pairs, raw, strict=True)
    )


def _p_value(a: RankedEvaluation, b: RankedEvaluation, by: Objective) -> float | None:
    first, second = by.scores(a), by.scores(b)
    # One number for all images says nothing of its own error.
    return None if len(first) < len(a.per_image.attacked_correct) else p_value(first, second)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment: below a level are those that all tests together may call different.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def _candidate(
    a: RankedEvaluation, b: RankedEvaluation, by: Objective, p: float | None, adjusted: float | None
) -> ComparedCandidate:
    computed = math.isfinite(by.score(a)) and math.isfinite(by.score(b))
    return ComparedCandidate(
        name=b.name,
        differs_in=_differs_in(a.provenance, b.provenance),
        rank=_change(a.rank, b.rank),
        masked_before=a.masked,
        masked_after=b.masked,
        attacked_accuracy=_of(a.head.attacked_accuracy, b.head.attacked_accuracy),
        clean_accuracy=_of(a.head.clean_accuracy, b.head.clean_accuracy),
        estimated_robust_accuracy=_of(
            a.head.on_task.estimated_robust_accuracy, b.head.on_task.estimated_robust_accuracy
        ),
        estimated_worst_case_loss=_of(
            a.bound_optimal.on_task.estimated_worst_case_loss,
            b.bound_optimal.on_task.estimated_worst_case_loss,
        ),
        score=_change(by.score(a), by.score(b)) if computed else None,
        p_value=p,
        adjusted_p_value=adjusted,
        moved=None if adjusted is None else adjusted < LEVEL,
    )


def _differs_in(a: Provenance, b: Provenance) -> tuple[str, ...]:
    return tuple(name for name in _FUNCTION if getattr(a, name) != getattr(b, name))


def _of(before: Estimate, after: Estimate) -> Change:
    return _change(before.value, after.value)


def _change(before: float, after: float) -> Change:
    return Change(before=before, after=after, difference=after - before)
