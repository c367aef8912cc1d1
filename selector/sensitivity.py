"""How far a representation can be pushed: features that attacks attained, per image.

Every number that rests on an attack is computed from one :class:`Pool` per set of images: the
features of all points that any attack found. An attack made for one purpose then also counts for
the others, at the price of one forward pass, and the inequalities of the theory hold between the
reported numbers because they hold at every point of the pool: displacement on A∘g is at most that
on g, and the criterion on A∘g holds for no image whose prediction an attack has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from selector import bounds
from selector.heads import LinearHead

Aim = Callable[[Tensor, Tensor], Tensor]
"""(features (b,d), indices (b,) of the images) -> what to maximise (b,).

Aims are records, so that what was attained with one is found again with an equal one.
"""


@dataclass(frozen=True)
class Pool:
    """Features of every point that an attack attained, beside the clean ones.

    Attributes:
        clean: (n,d) float32.
        attained: one (n,d) float32 per aim.
    """

    clean: Tensor
    attained: tuple[Tensor, ...]

    @property
    def points(self) -> tuple[Tensor, ...]:
        """The clean ones first."""
        return (self.clean, *self.attained)

    def with_points(self, points: Tensor) -> Pool:
        """With what one more attack attained (n,d)."""
        return replace(self, attained=(*self.attained, points))

    def displacement(self, projection: Tensor | None = None) -> Tensor:
        """ŝ(x) = max over the pool of ||A(g(x') - g(x))||_2 per image (n,), float64.

        Args:
            projection: A (r,d); None for the identity.
        """
        return torch.stack(
            [displacement(points, self.clean, projection) for points in self.attained]
        ).amax(dim=0)

    def scores(self, head: LinearHead) -> Scores:
        """What a head makes of it."""
        return Scores(torch.stack([head(points) for points in self.points]))


@dataclass(frozen=True)
class Scores:
    """A head's logits (1+p,n,K) on a pool of p attacks, those of the clean points first."""

    logits: Tensor

    def always_correct(self, labels: Tensor) -> Tensor:
        """Images (n,) bool that are classified correctly at every point."""
        return (self.logits.argmax(dim=2) == labels).all(dim=0)

    def worst_losses(self, labels: Tensor) -> Tensor:
        """Largest cross-entropy over the points, the clean one included (n,)."""
        each = [bounds.cross_entropy(logits, labels) for logits in self.logits]
        return torch.stack(each).amax(dim=0)

    def pair_reach(self, labels: Tensor) -> Tensor:
        """Attained s_j(x) = max over the points of (W_j - W_y)·(g(x') - g(x)), >= 0, as (n,K)."""
        clean, own = self.logits[0], labels[:, None]
        reach = torch.zeros_like(clean)
        for logits in self.logits[1:]:
            moved = logits - clean
            reach = torch.maximum(reach, moved - moved.gather(1, own))
        return reach

    def tolerances(self, labels: Tensor) -> Tensor:
        """Share (n,) of what was attained for its class pairs that the decision survives, 0..1."""
        return bounds.pair_tolerances(self.logits[0], labels, self.pair_reach(labels))


def displacement(points: Tensor, clean: Tensor, projection: Tensor | None = None) -> Tensor:
    """||A(points - clean)||_2 per image (n,), float64."""
    moved = points.double() - clean.double()
    if projection is not None:
        moved = moved @ projection.double().T
    distance: Tensor = torch.linalg.vector_norm(moved, dim=1)
    return distance


@dataclass(frozen=True)
class _Displacement:
    clean: Tensor
    projection: Tensor | None

    def __call__(self, features: Tensor, index: Tensor) -> Tensor:
        moved = features - self.clean[index]
        projected = moved if self.projection is None else moved @ self.projection.T
        return projected.square().sum(dim=1)


@dataclass(frozen=True)
class _Loss:
    head: LinearHead
    labels: Tensor

    def __call__(self, features: Tensor, index: Tensor) -> Tensor:
        logits, labels = self.head(features), self.labels[index]
        return torch.nn.functional.cross_entropy(logits, labels, reduction="none")


def displacement_aim(clean: Tensor, projection: Tensor | None = None) -> Aim:
    """Squared displacement on g, or on A∘g for a projection A.

    The square has the direction of the norm and no division, hence no NaN at small distances.
    """
    return _Displacement(clean, None if projection is None else projection.to(clean.dtype))


def loss_aim(head: LinearHead, labels: Tensor) -> Aim:
    """Cross-entropy of a head on the features."""
    return _Loss(head.to(torch.float32), labels)
