"""The candidates of two rankings in pairs: how far each moved, and the chance of that.

Noise is which test images were drawn; that all candidates are tested at once is accounted for by
Holm's correction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from selector.comparing.by import By
from selector.ranking import p_value
from selector.records import (
    AnyRanked,
    Change,
    ComparedCandidate,
    ComparedRegression,
    Estimate,
    Provenance,
    RankedEvaluation,
    RankedRegression,
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

_E = TypeVar("_E", RankedEvaluation, RankedRegression)
_C = TypeVar("_C", ComparedCandidate, ComparedRegression)
_Tested = tuple[float | None, float | None]
"""p-value and Holm's; None: the objective gives no score of each image."""


def compared_accuracies(
    before: Sequence[RankedEvaluation], after: Sequence[RankedEvaluation], by: By, images: int
) -> tuple[ComparedCandidate, ...]:
    """Every candidate that two rankings of classes have by its name, in the order after."""

    def numbers(a: RankedEvaluation, b: RankedEvaluation) -> dict[str, Change]:
        return {
            "attacked_accuracy": _of(a.head.attacked_accuracy, b.head.attacked_accuracy),
            "clean_accuracy": _of(a.head.clean_accuracy, b.head.clean_accuracy),
            "estimated_robust_accuracy": _of(
                a.head.on_task.estimated_robust_accuracy, b.head.on_task.estimated_robust_accuracy
            ),
            "estimated_worst_case_loss": _of(
                a.bound_optimal.on_task.estimated_worst_case_loss,
                b.bound_optimal.on_task.estimated_worst_case_loss,
            ),
        }

    return _compared(ComparedCandidate, _pairs(before, after), by, images, numbers)


def compared_errors(
    before: Sequence[RankedRegression], after: Sequence[RankedRegression], by: By, images: int
) -> tuple[ComparedRegression, ...]:
    """Every candidate that two rankings of a regression have by its name, in the order after."""

    def numbers(a: RankedRegression, b: RankedRegression) -> dict[str, Change]:
        return {
            "attacked_squared_error": _of(
                a.head.attacked_squared_error, b.head.attacked_squared_error
            ),
            "clean_squared_error": _of(a.head.clean_squared_error, b.head.clean_squared_error),
            "estimated_squared_error": _of(
                a.head.on_task.estimated_squared_error, b.head.on_task.estimated_squared_error
            ),
        }

    return _compared(ComparedRegression, _pairs(before, after), by, images, numbers)


def _pairs(before: Sequence[_E], after: Sequence[_E]) -> list[tuple[_E, _E]]:
    old = {e.name: e for e in before}
    return [(old[e.name], e) for e in after if e.name in old]


def _compared(
    form: type[_C],
    pairs: Sequence[tuple[_E, _E]],
    by: By,
    images: int,
    numbers: Callable[[_E, _E], dict[str, Change]],
) -> tuple[_C, ...]:
    tested = _tested(pairs, by, images)
    return tuple(
        form(**_same_for_all(a, b, by, found), **numbers(a, b))
        for (a, b), found in zip(pairs, tested, strict=True)
    )


def _tested(pairs: Sequence[tuple[AnyRanked, AnyRanked]], by: By, images: int) -> list[_Tested]:
    raw = [_p_value(a, b, by, images) for a, b in pairs]
    adjusted = iter(holm([p for p in raw if p is not None]))
    return [(p, None if p is None else next(adjusted)) for p in raw]


def _p_value(a: AnyRanked, b: AnyRanked, by: By, images: int) -> float | None:
    first, second = by.scores(a), by.scores(b)
    # One number for all images says nothing of its own error.
    return None if len(first) < images else p_value(first, second)


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


def _same_for_all(a: AnyRanked, b: AnyRanked, by: By, tested: _Tested) -> dict[str, Any]:
    """Fields of :class:`selector.records.Compared`."""
    old, new = by.score(a), by.score(b)
    p, adjusted = tested
    return {
        "name": b.name,
        "differs_in": _differs_in(a.provenance, b.provenance),
        "rank": _change(a.rank, b.rank),
        "masked_before": a.masked,
        "masked_after": b.masked,
        "score": _change(old, new) if math.isfinite(old) and math.isfinite(new) else None,
        "p_value": p,
        "adjusted_p_value": adjusted,
        "moved": None if adjusted is None else adjusted < LEVEL,
    }


def _differs_in(a: Provenance, b: Provenance) -> tuple[str, ...]:
    return tuple(name for name in _FUNCTION if getattr(a, name) != getattr(b, name))


def _of(before: Estimate, after: Estimate) -> Change:
    return _change(before.value, after.value)


def _change(before: float, after: float) -> Change:
    return Change(before=before, after=after, difference=after - before)
