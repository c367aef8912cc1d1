"""The threat model: which perturbed images count as the same picture."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from selector.errors import UsageError
from selector.norms import NORMS, Norm, format_threat


@dataclass(frozen=True)
class ThreatModel:
    """All images within ``eps`` of an image in ``norm``, and inside the box [0,1].

    Args:
        norm: ``linf`` or ``l2``, over all values of one image.
        eps: radius in pixel units of [0,1]; 0 < eps, and eps <= 1 for linf.
    """

    norm: Norm
    eps: float

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise UsageError(f"--norm must be one of {', '.join(NORMS)}, found {self.norm!r}.")
        if not 0 < self.eps < float("inf"):
            raise UsageError(f"--eps must be a finite number above 0, found {self.eps:g}.")
        if self.norm == "linf" and self.eps > 1:
            raise UsageError(
                f"--eps must be at most 1 for linf, since pixels lie in [0,1]; found {self.eps:g}.",
                hint=f"For 8-bit pixel steps write --eps {self.eps:g}/255.",
            )

    def contains(self, other: ThreatModel) -> bool:
        """Whether each point of the other's threat set is known to be one of this, too.

        >>> ThreatModel("linf", 2 / 255).contains(ThreatModel("linf", 1 / 255))
        True
        >>> ThreatModel("l2", 0.5).contains(ThreatModel("linf", 1 / 255))
        False
        """
        return self.norm == other.norm and self.eps >= other.eps

    def around(self, x: Tensor) -> ThreatSet:
        """The threat set of each image of ``x`` (n,3,h,w) in [0,1], ready for many projections."""
        if self.norm == "linf":
            return ThreatSet(self, x, (x - self.eps).clamp_(min=0), (x + self.eps).clamp_(max=1))
        return ThreatSet(self, x, x.new_zeros(()), x.new_ones(()))

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Bring ``x_adv`` (n,3,h,w) back into the threat set of ``x`` (n,3,h,w), itself in [0,1].

        For l2 this scales into the ball and then clips to the box; clipping moves every value
        towards ``x``, so the result lies in both (it is not the nearest such point).
        """
        return self.around(x).project_(x_adv.clone())

    def random_start(self, x: Tensor, seeds: Sequence[int]) -> Tensor:
        """One random point of the threat set per image of ``x`` (n,3,h,w).

        Uniform in the ball before the box is applied. Every image has its own seed, so that a
        result does not depend on how images are batched.
        """
        delta = torch.empty_like(x)
        for row, seed in zip(delta, seeds, strict=True):
            generator = torch.Generator(device=x.device).manual_seed(seed)
            if self.norm == "linf":
                row.uniform_(-self.eps, self.eps, generator=generator)
            else:
                row.normal_(generator=generator)
                share = torch.rand((), generator=generator, device=x.device)
                row.mul_(self.eps * share ** (1 / row.numel()) / row.norm().clamp_min(1e-12))
        return self.project(x + delta, x)

    def steepest_step(self, gradient: Tensor) -> Tensor:
        """The direction of unit ``norm`` per image that raises the objective fastest.

        An image whose gradient (n,3,h,w) is zero gets a zero direction.
        """
        if self.norm == "linf":
            return gradient.sign()
        # Scaled by its largest value first: squares of very small or large ones leave fp32.
        smallest = torch.finfo(gradient.dtype).tiny
        each = (1, 2, 3)
        largest = torch.maximum(
            gradient.amax(each, keepdim=True), -gradient.amin(each, keepdim=True)
        )
        scaled = gradient / largest.clamp_min(smallest)
        return scaled.div_(_lengths(scaled).clamp_min(smallest))

    def __str__(self) -> str:
        return format_threat(self.norm, self.eps)


def seeds(seed: int, draw: int, index: Tensor) -> list[int]:
    """One seed per image of ``index`` (b,) for the draw of that number.

    A checksum spreads them so that neighbouring images share no noise.
    """
    return [zlib.crc32(f"{seed}/{draw}/{i}".encode()) for i in index.tolist()]


@dataclass(frozen=True)
class ThreatSet:
    """Where the perturbed images of one batch may be.

    Attributes:
        threat: norm and eps.
        x: the images (n,3,h,w) in [0,1].
        low: smallest allowed value, for l2 that of the box alone; broadcasts against ``x``.
        high: largest.
    """

    threat: ThreatModel
    x: Tensor
    low: Tensor
    high: Tensor

    def project_(self, points: Tensor) -> Tensor:
        """Bring ``points`` (n,3,h,w) back into the set, in place."""
        if self.threat.norm == "l2":
            delta = points.sub_(self.x)
            length = _lengths(delta)
            points = delta.mul_(self.threat.eps / length.clamp_min(self.threat.eps)).add_(self.x)
        return points.clamp_(self.low, self.high)

    def step(self, points: Tensor, gradient: Tensor, size: float | Tensor) -> Tensor:
        """New points (n,3,h,w), ``size`` farther in the steepest direction and back in the set.

        Args:
            points: (n,3,h,w), in the set.
            gradient: (n,3,h,w).
            size: length of the step in the threat's norm, of all or each (n,1,1,1).
        """
        ahead = self.threat.steepest_step(gradient).mul_(size).add_(points)
        return self.project_(ahead)


def _lengths(delta: Tensor) -> Tensor:
    """Euclidean length per image, shaped (n,1,1,1)."""
    lengths: Tensor = torch.linalg.vector_norm(delta, dim=(1, 2, 3), keepdim=True)
    return lengths
