"""Linear heads for numeric targets: ordinary ridge, and the head of the lowest error bound.

Both minimise, over W (q,d) and b (q,), the mean over images of

    max over ||u||_2 <= s of ||W (z + u) + b - y||_2^2   +   l2 ||W||^2

which is ridge regression for s = 0 and the worst-case squared error under a displacement of at
most s otherwise: convex, so it has one optimum. Features are centred and divided by their root
mean square norm first, so that a given ``l2`` means the same for every backbone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from selector.batches import AT_ONCE
from selector.heads import LinearHead
from selector.regression.bounds import Ball
from selector.rows import Moments, Rows, moments, ranges

RIDGE_GRID = tuple(10.0**exponent for exponent in range(0, -9, -1))
# Of residuals, whose standard deviation is about 1; felt only where they are as good as zero.
_SMOOTHING = 1e-4
_MAX_ITERATIONS = 500


@dataclass(frozen=True)
class Examples:
    """Features with what a head is fitted on or chosen by.

    Attributes:
        features: (n,d).
        targets: (n,q) float64, on the device that computes.
        displacement: (n,) >= 0, how far each feature may move.
    """

    features: Rows
    targets: Tensor
    displacement: Tensor

    @classmethod
    def clean(cls, features: Rows, targets: Tensor) -> Examples:
        """Features that do not move."""
        return cls(features, targets, targets.new_zeros(len(targets)))

    def chunks(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Features (b,d) float64, targets (b,q) and displacement (b,) of some at a time."""
        for part in ranges(len(self.targets), AT_ONCE):
            features = self.features[part].to(self.targets.device).double()
            yield features, self.targets[part], self.displacement[part]


def residuals(head: LinearHead, features: Tensor, targets: Tensor) -> Tensor:
    """r = W z + b - y (n,q)."""
    return head(features) - targets


def row_space(head: LinearHead) -> Tensor:
    """A: an orthonormal basis (r,d), r <= q, of the row space of W; the head sees only A∘g."""
    _, singular, rows = torch.linalg.svd(head.weight, full_matrices=False)
    basis: Tensor = rows[singular >= singular[0] * 1e-9]
    return basis


def ridge_path(data: Examples, grid: Sequence[float] = RIDGE_GRID) -> Iterator[LinearHead]:
    """Ridge regression for each l2 of ``grid``, above 0, in closed form; nothing moves."""
    parts = (torch.cat([z, y], dim=1) for z, y, _ in data.chunks())
    total = reduce(Moments.plus, map(moments, parts))
    dimensions = data.features.shape[1]
    mean, covariance = total.mean[:dimensions], total.scatter / total.count
    scale = _scale(covariance.diagonal()[:dimensions].sum())
    variances, axes = torch.linalg.eigh(covariance[:dimensions, :dimensions] / scale**2)
    along = covariance[dimensions:, :dimensions] / scale @ axes
    for l2 in grid:
        weight = along / (variances.clamp_min(0) + l2) @ axes.T / scale
        yield LinearHead(weight, total.mean[dimensions:] - weight @ mean)


def fit_bounded(data: Examples, l2: float) -> LinearHead:
    """The head that minimises the regularised worst-case error; see the module's formula.

    Args:
        data: images to fit on, all in memory at once: few dimensions, as A∘g has.
        l2: regularisation, above 0, for features of root mean square norm 1.
    """
    features = torch.cat([z for z, _, _ in data.chunks()])
    mean = features.mean(dim=0)
    scale = _scale((features - mean).square().sum(dim=1).mean())
    problem = _Bounded((features - mean) / scale, data.targets, data.displacement / scale, l2)
    weight, bias = problem.minimise(next(ridge_path(data, (l2,))).weight * scale)
    return LinearHead(weight / scale, bias - weight / scale @ mean)


def _scale(total_variance: Tensor) -> Tensor:
    return total_variance.sqrt().clamp_min(torch.finfo(torch.float64).tiny)


@dataclass(frozen=True)
class _Bounded:
    """The regularised mean of worst-case errors, where points have mean 0 and norm about 1.

    Attributes:
        points: (n,p).
        targets: (n,q).
        reach: (n,) how far the points may move.
        l2: above 0.
    """

    points: Tensor
    targets: Tensor
    reach: Tensor
    l2: float

    def value(self, weight: Tensor, bias: Tensor) -> float:
        """The objective itself."""
        residual = self.points @ weight.T + bias - self.targets
        worst = Ball.around(residual, weight, self.reach).values().mean().item()
        return worst + self.l2 * weight.square().sum().item()

    def minimise(self, start: Tensor) -> tuple[Tensor, Tensor]:
        """L-BFGS from W = ``start`` (q,p), smoothed where residuals vanish."""
        centre = self.targets.mean(dim=0)
        first = torch.cat([start, centre[:, None]], dim=1)

        def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
            both = torch.from_numpy(flat).to(start.device).view_as(first)
            value, slope = self._smooth(both[:, :-1], both[:, -1])
            return value, slope.flatten().cpu().numpy()

        found = minimize(
            objective,
            first.flatten().cpu().numpy(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _MAX_ITERATIONS, "maxcor": 20, "gtol": 1e-7, "ftol": 1e-11},
        )
        both = torch.from_numpy(found.x).to(start.device).view_as(first)
        # At W = 0 the objective has a kink, where a descent does not end exactly.
        candidates = ((both[:, :-1], both[:, -1]), (torch.zeros_like(start), centre))
        return min(candidates, key=lambda head: self.value(*head))

    def _smooth(self, weight: Tensor, bias: Tensor) -> tuple[float, Tensor]:
        """The smoothed objective and its slope (q,p+1).

        By Danskin's theorem the slope is that of ||r + W u||^2 with the maximising u held fixed.
        """
        residual = self.points @ weight.T + bias - self.targets
        ball = Ball.around(residual, weight, self.reach, smoothing=_SMOOTHING)
        pulled = ball.along / ball.apart
        worst = (ball.multiplier * pulled) @ ball.axes.T
        moved = self.points + pulled @ ball.axes.T @ weight
        images = len(self.points)
        # What smoothing adds, with its own share of the displacement held fixed.
        spread = (ball.multiplier / ball.apart.square()).mean(dim=0) * _SMOOTHING**2
        of_smoothing = (ball.axes * spread) @ ball.axes.T @ weight
        of_weight = 2 * (worst.T @ moved / images + of_smoothing + self.l2 * weight)
        of_bias = 2 * worst.mean(dim=0)
        value = ball.values().mean().item() + self.l2 * weight.square().sum().item()
        return value, torch.cat([of_weight, of_bias[:, None]], dim=1)
