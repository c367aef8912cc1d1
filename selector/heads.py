"""Linear heads on frozen features, and how they are fitted.

The ordinary probe and the bound-optimal head minimise the same convex objective, the mean over
images of

    log(1 + sum_{j != y} exp(m_j + s c_j)) + l2/2 ||W||^2,   m_j = f_j - f_y,  c_j = ||W_j - W_y||_2

which is cross-entropy (the ordinary probe) for s = 0 and the worst-case loss under a displacement
of at most s otherwise. Features are centred and divided by their root mean square norm first, so
that a given ``l2`` means the same for every backbone and rescaled features give the same head.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor

from selector.objective import Objective
from selector.rows import Moments, Rows, moments, ranges

L2_GRID = tuple(10.0**exponent for exponent in range(-1, -7, -1))
# More features or logits than this are taken in parts; a GPU waits longer for each.
_VALUES_AT_ONCE = {"cpu": 2**22, "cuda": 2**25}
# Directions of less variance than this share of the largest are rounding.
_FELT = 1e-14


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
        labels: (n,) int64 in 0..K-1, on the device that computes.
        displacement: (n,) >= 0, how far each feature may move; zero for an ordinary probe.
    """

    features: Rows
    labels: Tensor
    displacement: Tensor

    @classmethod
    def clean(cls, features: Rows, labels: Tensor) -> Labelled:
        """Features that do not move."""
        return cls(features, labels, torch.zeros(len(labels), device=labels.device))

    def chunks(self, at_once: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Features (b,d), labels (b,) and displacement (b,) of so many at a time."""
        for part in ranges(len(self.labels), at_once):
            features = self.features[part].to(self.labels.device)
            yield features, self.labels[part], self.displacement[part]


def fit_head(data: Labelled, classes: int, l2: float) -> LinearHead:
    """The head that minimises the regularised worst-case loss; see the module's formula.

    Args:
        data: images to fit on; every class needs at least one.
        classes: K, at least 2.
        l2: regularisation, above 0, for features of root mean square norm 1.
    """
    return next(fit_path(data, classes, (l2,)))


def task_projection(head: LinearHead) -> Tensor:
    """Orthonormal basis (r,d), r <= K-1, of the row space of the centred weights.

    Softmax does not see what all logits share, so the head's loss and decisions depend on g only
    through A∘g for this A.
    """
    centred = head.weight - head.weight.mean(dim=0, keepdim=True)
    _, singular, rows = torch.linalg.svd(centred, full_matrices=False)
    basis: Tensor = rows[singular > singular[0] * 1e-6]
    return basis


def fit_path(
    data: Labelled, classes: int, grid: tuple[float, ...] = L2_GRID
) -> Iterator[LinearHead]:
    """Heads as :func:`fit_head` for each l2 of ``grid``, each started from the one before."""
    at_once = rows_at_once(data, classes)
    frame = _frame(data, at_once)
    objective = _objective(data, frame, classes, at_once)
    counts = torch.bincount(data.labels, minlength=classes).double()
    # A class without an image gets a bias that no softmax notices.
    priors = (counts / counts.sum()).clamp_min(1e-9).log()
    constant = priors.new_zeros(classes, len(frame.axes)), priors
    solution = constant
    for l2 in grid:
        solution = objective.minimise(solution, l2)
        # At W = 0 the objective has a kink, where the smoothed one is not exact.
        weight, bias = min(
            solution, constant, key=lambda head: objective.value(head[0], head[1], l2)
        )
        in_features = weight @ frame.axes / frame.scale
        yield LinearHead(in_features, bias - in_features @ frame.mean)


@dataclass(frozen=True)
class _Frame:
    """Where features have mean 0, root mean square norm 1 and uncorrelated coordinates.

    The optimum lies in the span of the features, so there are no more of these than images, and
    in them the curvature of the objective is close to diagonal.
    """

    mean: Tensor  # (d,)
    scale: Tensor  # ()
    axes: Tensor  # (r,d), orthonormal rows
    variances: Tensor  # (r,)

    def standard(self, features: Tensor) -> Tensor:
        """Features (b,d) moved and scaled, along their own axes."""
        return (features.double() - self.mean) / self.scale


def _frame(data: Labelled, at_once: int) -> _Frame:
    """Of few images from the images themselves, of many from their covariance (d,d)."""
    images, dimensions = data.features.shape
    tiny = torch.finfo(torch.float64).tiny
    parts = (features for features, _, _ in data.chunks(at_once))
    if images <= min(at_once, dimensions):
        features = next(parts).double()
        mean = features.mean(dim=0)
        centred = features - mean
        scale = centred.square().sum(dim=1).mean().sqrt().clamp_min(tiny)
        _, singular, axes = torch.linalg.svd(centred / scale, full_matrices=False)
        variances = singular.square() / images
    else:
        total = reduce(Moments.plus, map(moments, parts))
        mean, covariance = total.mean, total.scatter / images
        scale = covariance.trace().sqrt().clamp_min(tiny)
        rising, columns = torch.linalg.eigh(covariance / scale / scale)
        variances, axes = rising.flip(0), columns.T.flip(0)
    felt = variances > variances[0] * _FELT
    return _Frame(mean, scale, axes[felt], variances[felt])


def _objective(data: Labelled, frame: _Frame, classes: int, at_once: int) -> Objective:
    images = len(data.labels)
    if images > at_once:

        def parts() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
            for features, labels, displacement in data.chunks(at_once):
                yield frame.standard(features), labels, displacement.double() / frame.scale

        return Objective(images, classes, parts, frame.axes, frame.variances)
    ((features, labels, displacement),) = data.chunks(at_once)
    # In memory anyway, and often fewer coordinates than dimensions.
    points = frame.standard(features) @ frame.axes.T
    whole = (points, labels, displacement.double() / frame.scale)
    return Objective(images, classes, lambda: iter((whole,)), None, frame.variances)


def rows_at_once(data: Labelled, classes: int) -> int:
    """Images whose features and logits are held in float64 at a time."""
    values = _VALUES_AT_ONCE["cpu" if data.labels.device.type == "cpu" else "cuda"]
    return max(1, values // max(data.features.shape[1], classes))
