"""In which directions small changes of an image move its representation, and how unequally.

What a threat set becomes on A∘g is long in some directions and flat in others. A ball around it, of
the radius that attacks attain, grants every class pair the longest of these. An ellipsoid of the
set's own shape grants each pair about its own: for any positive definite Σ, by Cauchy and Schwarz
with v = A(W_j - W_y) and Δ = A(g(x') - g(x)),

    (W_j - W_y)·(g(x') - g(x)) = v·Δ <= sqrt(v·Σv) · sup over x' of sqrt(Δ·Σ⁻¹Δ),

and all bounds hold with this in place of c_j s(x). Where g is linear, the threat is l2 and the box
of pixels far, it is an equality for Σ = J Jᵀ with the Jacobian J of A∘g, if that has an inverse. So
the *shape* of an image is J Jᵀ there, with a little of every direction.

Where A has more than :data:`DIRECTIONS` rows, J is taken in as many directions as that, those of
the image's nearest rivals; what lies outside of them counts as round.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from selector import bounds
from selector.batches import Images, over_batches
from selector.heads import LinearHead
from selector.pairs import RIVALS
from selector.sensitivity import Aim, Pool

# As many as there are rivals that may be attacked: of ten classes, all that A has.
DIRECTIONS = RIVALS
# What every direction has in addition, as a share of the mean over directions: with none, Σ may be
# singular, and 0.2 or 0.5 let the criterion hold for fewer images.
_EVERY_DIRECTION = 0.05

# The mean shape of validation images is that of so many at most.
SHAPED = 256


@dataclass(frozen=True)
class Directions:
    """In which the shapes of n images are measured, on A∘g.

    Attributes:
        projection: A (r,d), orthonormal rows.
        basis: (n,r,k) float64, orthonormal columns, k = min(r, DIRECTIONS).
        outside: (n,r,m) float64, of unit length and orthogonal to the basis; m is 1, or 0 where the
            basis is all there is.
    """

    projection: Tensor
    basis: Tensor
    outside: Tensor


@dataclass(frozen=True)
class Shapes:
    """Σ = B S Bᵀ + ρ (I - B Bᵀ) of each of n images, on A∘g with r dimensions.

    Attributes:
        basis: B (n,r,k) float64, orthonormal columns.
        spread: S (n,k,k) float64, positive definite, of trace k.
        rest: ρ (n,) float64, above 0; without effect where k is r.
    """

    basis: Tensor
    spread: Tensor
    rest: Tensor

    def lengths(self, moved: Tensor) -> Tensor:
        """sqrt(Δ·Σ⁻¹Δ) (n,) of Δ ``moved`` (n,r)."""
        inside = torch.einsum("nr,nrk->nk", moved, self.basis)
        squares = (inside * torch.linalg.solve(self.spread, inside)).sum(dim=1)
        outside = (moved - torch.einsum("nrk,nk->nr", self.basis, inside)).square().sum(dim=1)
        lengths: Tensor = (squares + outside / self.rest).sqrt()
        return lengths

    def distances(self, weight: Tensor, labels: Tensor) -> Tensor:
        """sqrt(v·Σv) (n,K) of v = W_j - W_y for each class j; ``weight`` (K,r), labels (n,)."""
        inside = weight @ self.basis
        inside = inside - inside.gather(1, labels[:, None, None].expand_as(inside[:, :1]))
        squares = torch.einsum("njk,nkl,njl->nj", inside, self.spread, inside)
        whole = bounds.pairwise_distances(weight)[labels].square()
        outside = (whole - inside.square().sum(dim=2)).clamp_min(0)
        return (squares + self.rest[:, None] * outside).sqrt()

    def mean(self) -> Tensor:
        """The mean of Σ over the images (r,r)."""
        round_ = torch.eye(self.spread.shape[1]).to(self.spread)
        inside = self.spread - self.rest[:, None, None] * round_
        total = torch.einsum("nrk,nkl,nsl->rs", self.basis, inside, self.basis)
        return total / len(self.rest) + self.rest.mean() * torch.eye(len(total)).to(total)


def directions(
    clean: Tensor, head: LinearHead, labels: Tensor, projection: Tensor, seed: int
) -> Directions:
    """Which directions of A∘g matter to images.

    Args:
        clean: features (n,d).
        head: of K classes, whose nearest rivals count.
        labels: (n,) int64.
        projection: A (r,d), orthonormal rows.
        seed: of the direction outside of them.
    """
    weight, r = head.weight @ projection.T, len(projection)
    if r <= DIRECTIONS:
        basis = torch.eye(r).to(weight).expand(len(clean), r, r)
        return Directions(projection, basis, basis[:, :, :0])
    logits = head(clean)
    margins = logits.gather(1, labels[:, None]) - logits
    radii = margins / bounds.pairwise_distances(weight)[labels].clamp_min(1e-12)
    own = torch.nn.functional.one_hot(labels, logits.shape[1]).bool()
    nearest = radii.masked_fill(own, torch.inf).topk(DIRECTIONS, dim=1, largest=False).indices
    basis = torch.linalg.qr((weight[nearest] - weight[labels][:, None]).mT).Q
    drawn = torch.randn(r, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    drawn = drawn.to(weight)
    outside = drawn - (basis @ (basis.mT @ drawn)[:, :, None])[:, :, 0]
    return Directions(projection, basis, torch.nn.functional.normalize(outside, dim=1)[:, :, None])


def measure_grams(images: Images, along: Directions) -> Tensor:
    """Products (n,k+m,k+m) of the rows of J in all of these directions: J Jᵀ there, float64.

    A forward pass, and a backward pass for each direction.
    """
    columns = torch.cat([along.basis, along.outside], dim=2).float()

    def run(index: Tensor, x: Tensor) -> tuple[Tensor]:
        x = x.detach().requires_grad_(True)
        on_task = images.backbone(x) @ along.projection.float().T
        values = torch.einsum("br,brk->kb", on_task, columns[index])
        # Filled row by row: beside a list of them, a stack would take as much memory again.
        jacobian = x.new_empty(len(x), len(values), x[0].numel())
        for place, value in enumerate(values):
            (row,) = torch.autograd.grad(value.sum(), x, retain_graph=True)
            jacobian[:, place] = row.flatten(1)
        return ((jacobian @ jacobian.mT).double(),)

    return over_batches(images, run)[0]


def shapes_of(grams: Tensor, along: Directions) -> Shapes:
    """Σ from :func:`measure_grams`.

    An image that no feature answers to is round, and so is one where the Jacobian is not finite,
    as that of a norm at 0: any Σ will do, and attacks begin elsewhere.
    """
    inner = along.basis.shape[2]
    spread, rest = grams[:, :inner, :inner], grams.diagonal(dim1=1, dim2=2)[:, inner:].sum(dim=1)
    mean = spread.diagonal(dim1=1, dim2=2).mean(dim=1)
    plain = ~(grams.isfinite().all(dim=(1, 2)) & (mean > 0))
    identity = torch.eye(inner).to(spread)
    spread = torch.where(plain[:, None, None], identity, spread / mean[:, None, None])
    everywhere = along.outside.shape[2] == 0
    rest = torch.where(plain | everywhere, 1.0, rest / mean)
    return Shapes(
        along.basis,
        (spread + _EVERY_DIRECTION * identity) / (1 + _EVERY_DIRECTION),
        (rest + _EVERY_DIRECTION) / (1 + _EVERY_DIRECTION),
    )


@dataclass(frozen=True)
class Extent:
    """How far attacks moved n images on a projection of g.

    Attributes:
        projection: independent rows (r,d); A where there are shapes.
        displacement: (n,), the farthest.
        shapes: of the images, on A∘g; None: all are round.
        length: (n,), the longest in the shape of the image, where there are shapes.
    """

    projection: Tensor
    displacement: Tensor
    shapes: Shapes | None
    length: Tensor

    @classmethod
    def of(cls, pool: Pool, projection: Tensor, shapes: Shapes | None = None) -> Extent:
        """What is in a pool."""
        displacement = length = pool.displacement(projection)
        if shapes is not None:
            a, clean = projection.double(), pool.clean.double()
            moved = ((points.double() - clean) @ a.T for points in pool.attained)
            length = torch.stack([shapes.lengths(one) for one in moved]).amax(dim=0)
        return cls(projection, displacement, shapes, length)

    def reach(self, head: LinearHead, labels: Tensor) -> Tensor:
        """What each class of a head can gain on the label, at most (n,K): estimated, >= 0.

        The smaller of what displacement grants a pair, and of what length in the shape of the image
        does.

        Args:
            head: reads the projection alone.
            labels: (n,) int64.
        """
        weight = _coordinates(head.weight, self.projection.to(head.weight))
        by_displacement = bounds.pair_reach(weight, labels, self.displacement)
        if self.shapes is None:
            return by_displacement
        by_shape = self.shapes.distances(weight, labels) * self.length[:, None]
        return torch.minimum(by_displacement, by_shape)


def _coordinates(weight: Tensor, rows: Tensor) -> Tensor:
    """What does on ``rows`` (r,d) of g as ``weight`` (K,d) does on g, (K,r)."""
    coordinates: Tensor = torch.linalg.solve(rows @ rows.T, rows @ weight.T).T
    return coordinates


def rounding(shape: Tensor, projection: Tensor) -> Tensor:
    """T = Σ^-½ A (r,d): A∘g in coordinates where a ``shape`` Σ (r,r) is round."""
    variances, axes = torch.linalg.eigh(shape)
    rounded: Tensor = (axes * variances.rsqrt()) @ axes.T @ projection
    return rounded


@dataclass(frozen=True)
class _Length:
    clean: Tensor
    projection: Tensor
    shapes: Shapes
    factor: Tensor

    def __call__(self, features: Tensor, index: Tensor) -> Tensor:
        moved = (features - self.clean[index]) @ self.projection.T
        basis = self.shapes.basis[index].to(moved)
        inside = torch.einsum("br,brk->bk", moved, basis)
        squares = torch.einsum("bk,bkl->bl", inside, self.factor[index]).square().sum(dim=1)
        outside = (moved - torch.einsum("brk,bk->br", basis, inside)).square().sum(dim=1)
        return squares + outside / self.shapes.rest[index].to(moved)


def length_aim(clean: Tensor, projection: Tensor, shapes: Shapes) -> Aim:
    """Δ·Σ⁻¹Δ, the squared length of a displacement in the shape of its image.

    Args:
        clean: features (n,d).
        projection: A (r,d).
        shapes: of the n images, on A∘g.
    """
    # Of Σ⁻¹ = L Lᵀ, so that the aim is a sum of squares in float32 too.
    factor = torch.linalg.cholesky(torch.linalg.inv(shapes.spread))
    return _Length(clean, projection.to(clean.dtype), shapes, factor.to(clean.dtype))
