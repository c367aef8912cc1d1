"""What attacks attained, as errors of a head: worst points of a pool, and what to maximise."""

from __future__ import annotations

import torch
from torch import Tensor

from selector.heads import LinearHead
from selector.regression.bounds import absolute_errors, squared_errors
from selector.regression.heads import residuals
from selector.sensitivity import Aim, Pool


def worst_squared_errors(pool: Pool, head: LinearHead, targets: Tensor) -> Tensor:
    """Largest squared error over the pool, clean point included, per image (n,)."""
    points = (pool.clean, *pool.attained)
    return torch.stack([squared_errors(residuals(head, z, targets)) for z in points]).amax(dim=0)


def worst_absolute_errors(pool: Pool, head: LinearHead, targets: Tensor) -> Tensor:
    """Largest absolute error over the pool, clean point included, per image (n,)."""
    points = (pool.clean, *pool.attained)
    return torch.stack([absolute_errors(residuals(head, z, targets)) for z in points]).amax(dim=0)


def squared_aim(head: LinearHead, targets: Tensor) -> Aim:
    """Squared error of a head on the features, for targets (n,q)."""
    head, small = head.to(torch.float32), targets.float()

    def aim(features: Tensor, index: Tensor) -> Tensor:
        return squared_errors(residuals(head, features, small[index]))

    return aim
