"""What came of each test image: errors read off its features and the pool, which then can go."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from selector.choosing import Heads
from selector.diagnostics import Signs
from selector.heads import LinearHead
from selector.outcomes import Outcomes, of_heads
from selector.regression import bounds
from selector.regression.heads import residuals
from selector.regression.pool import worst_errors
from selector.sensitivity import Pool


@dataclass(frozen=True)
class Estimates:
    """The theorems per image (n,), fed with one attained displacement.

    Attributes:
        displacement: what they were fed with, >= 0.
        squared: estimated worst squared error.
        absolute: estimated worst absolute error.
    """

    displacement: Tensor
    squared: Tensor
    absolute: Tensor


@dataclass(frozen=True)
class HeadOutcomes:
    """Of one head, per image (n,).

    Attributes:
        residual: r (n,q), clean.
        attacked_squared: the largest squared error over the pool.
        attacked_absolute: the largest absolute error over the pool.
        on_representation: fed with displacement on g.
        on_task: fed with displacement on A∘g.
    """

    residual: Tensor
    attacked_squared: Tensor
    attacked_absolute: Tensor
    on_representation: Estimates
    on_task: Estimates


def outcomes(
    pool: Pool, heads: Heads, picked: LinearHead, targets: Tensor, signs: Signs
) -> Outcomes[HeadOutcomes]:
    """Read them off.

    Args:
        pool: what attacks attained on n images.
        heads: of the candidate.
        picked: the one of them that candidates are ranked by.
        targets: (n,q) float64.
        signs: how the attack went.
    """
    on_g, on_task = pool.displacement(), pool.displacement(heads.projection)

    def of(head: LinearHead) -> HeadOutcomes:
        residual = residuals(head, pool.clean, targets)
        return HeadOutcomes(
            residual=residual,
            attacked_squared=worst_errors(pool, head, targets, bounds.squared_errors),
            attacked_absolute=worst_errors(pool, head, targets, bounds.absolute_errors),
            on_representation=_estimates(residual, head.weight, on_g),
            on_task=_estimates(residual, head.weight, on_task),
        )

    return of_heads(of, heads, picked, signs)


def _estimates(residual: Tensor, weight: Tensor, displacement: Tensor) -> Estimates:
    return Estimates(
        displacement=displacement,
        squared=bounds.worst_squared(residual, weight, displacement),
        absolute=bounds.worst_absolute(residual, weight, displacement),
    )
