"""What attacks attained, as errors of a head: worst points of a pool, and what to maximise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from selector.heads import LinearHead
from selector.regression.bounds import squared_errors
from selector.regression.heads import residuals
from selector.sensitivity import Aim, Pool


def worst_errors(
    pool: Pool, head: LinearHead, targets: Tensor, errors: Callable[[Tensor], Tensor]
) -> Tensor:
    """Largest error over the pool, clean point included, per image (n,).

    Args:
        pool: of n images.
        head: of q columns.
        targets: (n,q).
        errors: of residuals (n,q): squared or absolute ones (n,).
    """
    return torch.stack([errors(residuals(head, z, targets)) for z in pool.points]).amax(dim=0)


@dataclass(frozen=True)
class _SquaredError:
    head: LinearHead
    targets: Tensor

    def __call__(self, features: Tensor, index: Tensor) -> Tensor:
        return squared_errors(residuals(self.head, features, self.targets[index]))


def squared_aim(head: LinearHead, targets: Tensor) -> Aim:
    """Squared error of a head on the features, for targets (n,q)."""
    return _SquaredError(head.to(torch.float32), targets.float())
