"""Bounds on a linear head's error for numeric targets, as pure functions.

Source: Nern, Raj, Georgi and Sharma, NeurIPS 2023 (arXiv 2208.03835), whose Theorem 1 covers
regression. Shapes throughout: residual r = W g(x) + b - y (n,q), weight W (q,d), displacement s
(n,) >= 0 in the units of the features that W reads. Errors are means over the q columns, in the
units of the targets or their square.

The residual at x' is r + W u with ||u||_2 <= s(x). Fed with the exact supremum s(x) these are
bounds; fed with what an attack attained, which is never more, they are estimates.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from selector.bounds import hoeffding_term

_HALVINGS = 60
# In place of 0, where W is 0 and nothing can be pushed.
_SMALLEST = 1e-150


def absolute_errors(residual: Tensor) -> Tensor:
    """Mean of |r_k| over columns, per image (n,)."""
    return residual.abs().mean(dim=1)


def squared_errors(residual: Tensor) -> Tensor:
    """Mean of r_k^2 over columns, per image (n,)."""
    return residual.square().mean(dim=1)


def absolute_slope(weight: Tensor) -> float:
    """C1 · L_alpha(W): how much the mean absolute error can grow per unit of displacement.

    The mean of q absolute values is 1/q-Lipschitz in the 1-norm and 1/sqrt(q) in the 2-norm; with
    L_1 = sum_k ||W_k||_2 and L_2 = ||W||_2 of Theorem 1 either holds, so the smaller does. (The
    max-norm, C1 = 1 and L_inf = max_k ||W_k||_2, is never smaller than the first.)
    """
    columns = len(weight)
    by_rows = float(torch.linalg.vector_norm(weight, dim=1).sum()) / columns
    return min(by_rows, float(torch.linalg.matrix_norm(weight, ord=2)) / math.sqrt(columns))


def worst_absolute(residual: Tensor, weight: Tensor, displacement: Tensor) -> Tensor:
    """Per image (n,): mean_k |r_k| + s · :func:`absolute_slope` is at least the error at x'."""
    return absolute_errors(residual) + displacement * absolute_slope(weight)


def worst_squared_by_rows(residual: Tensor, weight: Tensor, displacement: Tensor) -> Tensor:
    """Per image (n,): mean_k (|r_k| + s ||W_k||_2)^2, every column pushed its own worst way."""
    steps = displacement[:, None] * torch.linalg.vector_norm(weight, dim=1)
    return squared_errors(residual.abs() + steps)


def worst_squared_by_spectrum(residual: Tensor, weight: Tensor, displacement: Tensor) -> Tensor:
    """Per image (n,): (||r||_2 + s ||W||_2)^2 / q."""
    length = torch.linalg.vector_norm(residual, dim=1)
    longest: Tensor = length + displacement * torch.linalg.matrix_norm(weight, ord=2)
    return longest.square() / len(weight)


def worst_squared(residual: Tensor, weight: Tensor, displacement: Tensor) -> Tensor:
    """Per image (n,): max over ||u||_2 <= s of ||r + W u||_2^2 / q, the best that s alone allows.

    A trust-region problem, which its dual solves exactly (see :class:`Ball`). Never above
    :func:`worst_squared_by_rows` or :func:`worst_squared_by_spectrum`, and equal to both for one
    column. Convex in (W,b), as a maximum of convex functions.
    """
    return Ball.around(residual, weight, displacement).values() / len(weight)


class Ball:
    """max over ||u||_2 <= s of ||r + W u||_2^2 per image, by its dual.

    With W W^T = V diag(m) V^T and c = V^T r it is the minimum over t >= 0, λ = max(m) + t, of

        λ s^2 + ||r||_2^2 + sum_k m_k c_k^2 / (λ - m_k)

    which every t > 0 bounds from above; at the best one u = W^T (λI - W W^T)^-1 r.

    With ``smoothing`` h, c_k^2 + h^2 stands for c_k^2: the same maximum for the residual [r, hI]
    and Frobenius norms, so still convex in (W,b), somewhat larger, and smooth at r = 0.

    Attributes:
        axes: V (q,q).
        along: c (n,q).
        multiplier: λ (n,1).
        apart: λ - m_k (n,q), > 0.
    """

    def __init__(
        self, residual: Tensor, weight: Tensor, displacement: Tensor, smoothing: float
    ) -> None:
        self._gains, self.axes = torch.linalg.eigh(weight @ weight.T)
        self._gains = self._gains.clamp_min(0)
        self.along = residual @ self.axes
        self._squares = self.along.square() + smoothing**2
        self._reach = displacement
        largest = self._gains[-1]
        gap = self._best_gap(largest - self._gains)
        self.multiplier = (largest + gap)[:, None]
        self.apart = (gap[:, None] + (largest - self._gains)).clamp_min(_SMALLEST)

    @classmethod
    def around(
        cls, residual: Tensor, weight: Tensor, displacement: Tensor, *, smoothing: float = 0.0
    ) -> Ball:
        """For residuals (n,q), W (q,d) and s (n,), in float64."""
        return cls(residual.double(), weight.double(), displacement.double(), smoothing)

    def values(self) -> Tensor:
        """The maxima (n,)."""
        growth = self._shares(self.apart).sum(dim=1)
        still: Tensor = self._squares.sum(dim=1)
        moved: Tensor = self.multiplier[:, 0] * self._reach.square() + still + growth
        return torch.where(self._reach > 0, moved, still)

    def _best_gap(self, below: Tensor) -> Tensor:
        """t (n,) by bisection, from above: where sum_k m_k c_k^2 / (t + below_k)^2 <= s^2."""
        pull = (self._gains * self._squares).sum(dim=1).sqrt()
        high: Tensor = pull / self._reach.clamp_min(torch.finfo(torch.float64).tiny)
        low = torch.zeros_like(high)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            apart = middle[:, None] + below
            enough = (self._shares(apart) / apart).nan_to_num(0).sum(dim=1) <= self._reach.square()
            low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
        return high

    def _shares(self, apart: Tensor) -> Tensor:
        """m_k c_k^2 / (λ - m_k) (n,q), 0 where nothing is pushed."""
        pushed = self._gains * self._squares
        shares: Tensor = torch.where(pushed > 0, pushed / apart, 0.0)
        return shares


def theorem1_error(
    residual: Tensor, weight: Tensor, displacement: Tensor, *, clip: float, rho: float
) -> float:
    """Theorem 1: the expected worst absolute error, clipped at ``clip``, is at most this.

    Holds with probability 1 - rho over the n images, none of which W was fitted on; ``clip`` is
    the range of the error, stated in advance.
    """
    clipped = absolute_errors(residual).clamp_max(clip).mean().item()
    growth = absolute_slope(weight) * displacement.mean().item()
    return clipped + growth + hoeffding_term(clip, len(residual), rho)
