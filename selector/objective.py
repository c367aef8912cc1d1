"""The regularised worst-case loss of a linear head over many images, and where it is smallest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy.optimize import minimize
from threadpoolctl import ThreadpoolController
from torch import Tensor

from selector.bounds import worst_case_losses, worst_case_slopes

_MAX_ITERATIONS = 1000
_WORTH_THREADS = 20_000_000
# Of distances between rows of W, for points of root mean square norm 1; useful heads have
# distances of 1 to 100, so it is felt only where W is as good as zero.
_SMOOTHING = 1e-4


@dataclass(frozen=True)
class Objective:
    """The mean loss of all images plus ``l2/2 ||W||^2``, as a function of W (K,r) and b (K,).

    Attributes:
        images: n.
        classes: K.
        parts: each call goes once through all images and gives points (b,p) float64, labels (b,)
            and how far the points may move (b,).
        axes: (r,p), orthonormal rows whose coordinates W is in; None where points have these.
        variances: (r,) of the points in these coordinates.
    """

    images: int
    classes: int
    parts: Callable[[], Iterator[tuple[Tensor, Tensor, Tensor]]]
    axes: Tensor | None
    variances: Tensor

    def value(self, weight: Tensor, bias: Tensor, l2: float) -> float:
        """The objective itself."""
        on_points = self._on_points(weight)
        with torch.no_grad():
            total = sum(self._loss(part, on_points, bias) for part in self.parts())
        return total + 0.5 * l2 * weight.square().sum().item()

    def minimise(self, start: tuple[Tensor, Tensor], l2: float) -> tuple[Tensor, Tensor]:
        """L-BFGS from ``start`` = (W,b), in coordinates W / stretch of curvature near the identity.

        Smoothed where two rows of W are equal, as it has a kink there.
        """
        stretch = (self.variances / self.classes + l2).rsqrt()
        first = torch.cat([start[0] / stretch, start[1][:, None]], dim=1)

        def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
            weight, bias = self._unpack(torch.from_numpy(flat).to(stretch.device))
            weight = weight * stretch
            total = 0.5 * l2 * weight.square().sum()
            on_points = self._on_points(weight)
            steep, steep_bias = torch.zeros_like(on_points), torch.zeros_like(bias)
            for points, labels, reach in self.parts():
                logits = points @ on_points.T + bias
                losses, in_logits, in_weight = worst_case_slopes(
                    logits, on_points, labels, reach, smoothing=_SMOOTHING
                )
                total += losses / self.images
                steep += (in_logits.T @ points + in_weight) / self.images
                steep_bias += in_logits.sum(dim=0) / self.images
            if self.axes is not None:
                steep = steep @ self.axes.T
            gradient = [(steep + l2 * weight) * stretch, steep_bias[:, None]]
            return total.item(), torch.cat(gradient, dim=1).flatten().cpu().numpy()

        with _threads_for(self.images * len(stretch) * self.classes):
            result = minimize(
                objective,
                first.flatten().cpu().numpy(),
                jac=True,
                method="L-BFGS-B",
                options={"maxiter": _MAX_ITERATIONS, "maxcor": 20, "gtol": 1e-5, "ftol": 1e-8},
            )
        weight, bias = self._unpack(torch.from_numpy(result.x).to(stretch.device))
        return weight * stretch, bias

    def _loss(self, part: tuple[Tensor, Tensor, Tensor], weight: Tensor, bias: Tensor) -> float:
        """What a part contributes to the mean over all images."""
        points, labels, reach = part
        each = worst_case_losses(points @ weight.T + bias, weight, labels, reach)
        return each.sum().item() / self.images

    def _on_points(self, weight: Tensor) -> Tensor:
        return weight if self.axes is None else weight @ self.axes

    def _unpack(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        matrix = flat.view(self.classes, -1)
        return matrix[:, :-1], matrix[:, -1]


@contextmanager
def _threads_for(multiplications: int) -> Iterator[None]:
    """One CPU thread for a small problem: waiting for a second costs far more than its help.

    The optimiser's own vectors are always small, so its BLAS gets one thread in any case.
    """
    threads = torch.get_num_threads()
    if multiplications < _WORTH_THREADS:
        torch.set_num_threads(1)
    try:
        with _blas().limit(limits=1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(threads)


@cache
def _blas() -> ThreadpoolController:
    """The thread pools of the libraries that are loaded, looked up once."""
    return ThreadpoolController()
