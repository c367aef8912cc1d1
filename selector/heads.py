"""Linear heads on frozen features: the ordinary probe and the bound-optimal head.

Both minimise the same convex objective, the mean over images of

    log(1 + sum_{j != y} exp(m_j + s c_j)) + l2/2 ||W||^2,   m_j = f_j - f_y,  c_j = ||W_j - W_y||_2

which is cross-entropy (the ordinary probe) for s = 0 and the worst-case loss under a displacement
of at most s otherwise. Features are centred and divided by their root mean square norm first, so
that a given ``l2`` means the same for every backbone and rescaled features give the same head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
import torch
from scipy.optimize import minimize
from threadpoolctl import ThreadpoolController
from torch import Tensor

from selector.bounds import worst_case_losses

L2_GRID = tuple(10.0**exponent for exponent in range(-1, -7, -1))
RADIUS_SCALES = (0.25, 0.5, 1.0)
_MAX_ITERATIONS = 1000
_WORTH_THREADS = 20_000_000
# Of distances between rows of W, for features of root mean square norm 1; useful heads have
# distances of 1 to 100, so it is felt only where W is as good as zero.
_SMOOTHING = 1e-4


@dataclass(frozen=True)
class LinearHead:
    """f(z) = W z + b.

    Attributes:
        weight: W (K,d), float64.
        bias: b (K,), float64.
    """

    weight: Tensor
    bias: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Logits (n,K) of features (n,d)."""
        return features.to(self.weight.dtype) @ self.weight.T + self.bias

    def before(self, projection: Tensor) -> LinearHead:
        """The head on g that equals this head on A∘g, for ``projection`` A (r,d)."""
        return replace(self, weight=self.weight @ projection)

    def to(self, dtype: torch.dtype) -> LinearHead:
        """The same head in another precision."""
        return LinearHead(self.weight.to(dtype), self.bias.to(dtype))


@dataclass(frozen=True)
class Labelled:
    """Features with what a head is fitted on or chosen by.

    Attributes:
        features: (n,d).
        labels: (n,) int64 in 0..K-1.
        displacement: (n,) >= 0, how far each feature may move; zero for an ordinary probe.
    """

    features: Tensor
    labels: Tensor
    displacement: Tensor

    @classmethod
    def clean(cls, features: Tensor, labels: Tensor) -> Labelled:
        """Features that do not move."""
        return cls(features, labels, torch.zeros(len(labels), device=features.device))


@dataclass(frozen=True)
class ChosenHead:
    """A head whose hyperparameters were chosen on validation images.

    Attributes:
        head: the head itself.
        l2: regularisation it was fitted with.
        radius_scale: share of the displacement it was fitted against; 0 for an ordinary probe.
        validation_loss: mean worst-case loss (n,) on the validation images, at their full
            displacement.
    """

    head: LinearHead
    l2: float
    radius_scale: float
    validation_loss: float


@dataclass(frozen=True)
class Heads:
    """The heads of a candidate.

    Attributes:
        probe: ordinary linear probe on g.
        bound_optimal: bound-optimal head on A∘g, written as a head on g.
        projection: A (K-1,d), orthonormal rows.
    """

    probe: ChosenHead
    bound_optimal: ChosenHead
    projection: Tensor


def fit_head(data: Labelled, classes: int, l2: float) -> LinearHead:
    """The head that minimises the regularised worst-case loss; see the module's formula.

    Args:
        data: images to fit on; every class needs at least one.
        classes: K, at least 2.
        l2: regularisation, above 0, for features of root mean square norm 1.
    """
    return next(_fit_path(data, classes, (l2,)))


def choose_head(
    fit: Labelled,
    validation: Labelled,
    classes: int,
    radius_scales: tuple[float, ...] = RADIUS_SCALES,
) -> ChosenHead:
    """Fit over the grid of l2 and radius scale; keep what does best on validation images.

    "Best" is the smallest mean worst-case loss at the full displacement of the validation images.
    With zero displacement everywhere this is the ordinary probe chosen by validation loss.
    """
    chosen: ChosenHead | None = None
    for scale in radius_scales:
        scaled = replace(fit, displacement=fit.displacement * scale)
        for l2, head in zip(L2_GRID, _fit_path(scaled, classes, L2_GRID), strict=True):
            losses = worst_case_losses(
                head(validation.features), head.weight, validation.labels, validation.displacement
            )
            loss = losses.mean().item()
            if chosen is None or loss < chosen.validation_loss:
                chosen = ChosenHead(head, l2, scale, loss)
    assert chosen is not None
    return chosen


def choose_probe(fit: Labelled, validation: Labelled, classes: int) -> ChosenHead:
    """The ordinary linear probe: multinomial logistic regression, l2 chosen by validation loss."""
    return choose_head(
        Labelled.clean(fit.features, fit.labels),
        Labelled.clean(validation.features, validation.labels),
        classes,
        radius_scales=(0.0,),
    )


def task_projection(head: LinearHead) -> Tensor:
    """Orthonormal basis (r,d), r <= K-1, of the row space of the centred weights.

    Softmax does not see what all logits share, so the head's loss and decisions depend on g only
    through A∘g for this A.
    """
    centred = head.weight - head.weight.mean(dim=0, keepdim=True)
    _, singular, rows = torch.linalg.svd(centred, full_matrices=False)
    basis: Tensor = rows[singular > singular[0] * 1e-6]
    return basis


def _fit_path(data: Labelled, classes: int, grid: tuple[float, ...]) -> Iterator[LinearHead]:
    """Heads for each l2 of ``grid``, each started from the one before."""
    features = data.features.double()
    mean = features.mean(dim=0)
    centred = features - mean
    scale = centred.square().sum(dim=1).mean().sqrt().clamp_min(torch.finfo(torch.float64).tiny)
    # The optimum lies in the span of the features. In principal coordinates there are no more of
    # them than images, and the curvature of the objective is close to diagonal.
    _, singular, axes = torch.linalg.svd(centred / scale, full_matrices=False)
    axes = axes[singular > singular[0] * 1e-10]
    variances = singular[: len(axes)].square() / len(centred)
    z = centred @ axes.T / scale
    radius = data.displacement.double() / scale
    counts = torch.bincount(data.labels, minlength=classes).double()
    # A class without an image gets a bias that no softmax notices.
    priors = (counts / counts.sum()).clamp_min(1e-9).log()
    constant = torch.zeros(classes, len(axes), dtype=torch.float64, device=z.device), priors
    solution = constant

    def regularised(l2: float, weight: Tensor, bias: Tensor, smoothing: float) -> Tensor:
        each = worst_case_losses(
            z @ weight.T + bias, weight, data.labels, radius, smoothing=smoothing
        )
        return each.mean() + 0.5 * l2 * weight.square().sum()

    for l2 in grid:
        loss = partial(regularised, l2)
        with _threads_for(z.numel() * classes):
            solution = _minimise(loss, solution, (variances / classes + l2).rsqrt())
        # At W = 0 the objective has a kink, where the smoothed one is not exact.
        weight, bias = min(solution, constant, key=lambda head: loss(head[0], head[1], 0.0).item())
        in_features = weight @ axes / scale
        yield LinearHead(in_features, bias - in_features @ mean)


def _minimise(
    loss: Callable[[Tensor, Tensor, float], Tensor], start: tuple[Tensor, Tensor], stretch: Tensor
) -> tuple[Tensor, Tensor]:
    """L-BFGS from ``start`` = (W,b), in coordinates W / stretch of curvature near the identity."""
    classes, device = len(start[1]), stretch.device
    first = torch.cat([start[0] / stretch, start[1][:, None]], dim=1)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        parameters = torch.from_numpy(flat).to(device).requires_grad_(True)
        weight, bias = _unpack(parameters, classes)
        value = loss(weight * stretch, bias, _SMOOTHING)
        (gradient,) = torch.autograd.grad(value, parameters)
        return value.item(), gradient.cpu().numpy()

    result = minimize(
        objective,
        first.flatten().cpu().numpy(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _MAX_ITERATIONS, "maxcor": 20, "gtol": 1e-5, "ftol": 1e-8},
    )
    weight, bias = _unpack(torch.from_numpy(result.x).to(device), classes)
    return weight * stretch, bias


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


def _unpack(flat: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    matrix = flat.view(classes, -1)
    return matrix[:, :-1], matrix[:, -1]
