"""How far a representation can be pushed: features that attacks attained, per image.

Every number that rests on an attack is computed from one :class:`Pool` per set of images: the
features of all points that any attack found. An attack made for one purpose then also counts for
the others, at the price of one forward pass, and the inequalities of the theory hold between the
reported numbers because they hold at every point of the pool: displacement on A∘g is at most that
on g, and the criterion on A∘g holds for no image whose prediction an attack has changed.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from selector.attacks import Attack, Objective
from selector.heads import LinearHead
from selector.threat import ThreatModel

Features = Callable[[Tensor], Tensor]
Aim = Callable[[Tensor, Tensor], Tensor]
"""(features (b,d), indices (b,) of the images) -> what to maximise (b,)."""


@dataclass(frozen=True)
class Images:
    """Canonical images and how to run them through a backbone.

    Attributes:
        pixels: (n,3,S,S) uint8, in host memory.
        backbone: images (b,3,S,S) in [0,1] -> features (b,d).
        device: where the backbone is.
        batch_size: images per pass; halved for good when memory runs out.
    """

    pixels: Tensor
    backbone: Features
    device: torch.device
    batch_size: BatchSize

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Pairs of indices (b,) and images (b,3,S,S) float in [0,1], on the device."""
        start = 0
        while start < len(self.pixels):
            stop = min(start + self.batch_size.value, len(self.pixels))
            index = torch.arange(start, stop, device=self.device)
            x = self.pixels[start:stop].to(self.device, torch.float32) / 255
            yield index, x.contiguous(memory_format=torch.channels_last)
            start = stop


@dataclass
class BatchSize:
    """Images per pass, shared by everything that runs one candidate."""

    value: int

    def halve(self) -> None:
        """Try again with half; a single image that does not fit is out of memory for good."""
        if self.value == 1:
            raise MemoryError("a single image does not fit into memory")
        self.value = (self.value + 1) // 2


@dataclass(frozen=True)
class Budget:
    """How hard to search.

    Attributes:
        attack: the ascent, a value of :data:`selector.attacks.ATTACKS`.
        restarts: random starts per image, at least 1.
        steps: gradient evaluations per start, at least 1.
        seed: of the random starts.
    """

    attack: Attack
    restarts: int
    steps: int
    seed: int


@dataclass(frozen=True)
class Search:
    """What attacks with one aim attained.

    Attributes:
        features: (n,d) at the best point per image, re-scored in fp32.
        restart_values: (restarts,n), the aim there for the best point of each restart.
        rising: (n,) bool, the best restart was still rising at its end.
        stuck: (n,) bool, some iterate had a zero gradient.
    """

    features: Tensor
    restart_values: Tensor
    rising: Tensor
    stuck: Tensor


@dataclass(frozen=True)
class Pool:
    """Features of every point that an attack attained, beside the clean ones.

    Attributes:
        clean: (n,d) float32.
        attained: one (n,d) float32 per aim.
    """

    clean: Tensor
    attained: tuple[Tensor, ...]

    def displacement(self, projection: Tensor | None = None) -> Tensor:
        """ŝ(x) = max over the pool of ||A(g(x') - g(x))||_2 per image (n,), float64.

        Args:
            projection: A (r,d) with orthonormal rows; None for the identity.
        """
        return torch.stack(
            [displacement(points, self.clean, projection) for points in self.attained]
        ).amax(dim=0)

    def worst_losses(self, head: LinearHead, labels: Tensor) -> Tensor:
        """Largest cross-entropy of ``head`` over the pool, clean point included (n,)."""
        points = (self.clean, *self.attained)
        losses = [
            torch.nn.functional.cross_entropy(head(z), labels, reduction="none") for z in points
        ]
        return torch.stack(losses).amax(dim=0)

    def always_correct(self, head: LinearHead, labels: Tensor) -> Tensor:
        """Images (n,) bool that ``head`` classifies correctly at every point of the pool."""
        points = (self.clean, *self.attained)
        return torch.stack([head(z).argmax(dim=1) == labels for z in points]).all(dim=0)


def extract(images: Images) -> Tensor:
    """Clean features (n,d) float32."""

    def run(index: Tensor, x: Tensor) -> tuple[Tensor]:
        del index
        with torch.no_grad():
            return (images.backbone(x),)

    return _over_batches(images, run)[0]


def search(images: Images, aim: Aim, threat: ThreatModel, budget: Budget) -> Search:
    """Maximise ``aim`` over the threat set of every image, from several random starts.

    The search may run in any precision; the point that each restart found is scored once more by
    a plain forward pass, and only that score counts.
    """

    def run(index: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        objective = _objective(images.backbone, aim, index)
        values, best = [], None
        for restart in range(budget.restarts):
            start = threat.random_start(x, _seeds(budget.seed, restart, index))
            ascent = budget.attack(objective, x, start, threat, budget.steps)
            with torch.no_grad():
                features = images.backbone(ascent.x)
                value = aim(features, index)
            values.append(value)
            if best is None:
                best = (value, features, ascent.rising, ascent.stuck)
            else:
                better = value > best[0]
                best = (
                    torch.where(better, value, best[0]),
                    torch.where(better[:, None], features, best[1]),
                    torch.where(better, ascent.rising, best[2]),
                    best[3] | ascent.stuck,
                )
        assert best is not None
        return (best[1], torch.stack(values, dim=1), best[2], best[3])

    features, values, rising, stuck = _over_batches(images, run)
    return Search(features, values.T, rising, stuck)


def noise_control(images: Images, clean: Tensor, threat: ThreatModel, seed: int) -> Tensor:
    """Features (n,d) of the farther of two random points per image, without any gradient.

    Corners of the ball for linf, its surface for l2. A gradient attack that does not beat this
    has not followed a useful gradient.
    """

    def run(index: Tensor, x: Tensor) -> tuple[Tensor]:
        best = torch.zeros_like(clean[index])
        farthest = torch.full((len(index),), -1.0, dtype=torch.float64, device=x.device)
        for draw in range(2):
            noise = threat.random_start(x, _seeds(seed, 1000 + draw, index)) - x
            surface = threat.project(x + threat.eps * threat.steepest_step(noise), x)
            with torch.no_grad():
                features = images.backbone(surface)
            distance = displacement(features, clean[index])
            farther = distance > farthest
            best = torch.where(farther[:, None], features, best)
            farthest = torch.where(farther, distance, farthest)
        return (best,)

    return _over_batches(images, run)[0]


def displacement(points: Tensor, clean: Tensor, projection: Tensor | None = None) -> Tensor:
    """||A(points - clean)||_2 per image (n,), float64."""
    moved = points.double() - clean.double()
    if projection is not None:
        moved = moved @ projection.double().T
    distance: Tensor = torch.linalg.vector_norm(moved, dim=1)
    return distance


def displacement_aim(clean: Tensor, projection: Tensor | None = None) -> Aim:
    """Squared displacement on g, or on A∘g for a projection A.

    The square has the direction of the norm and no division, hence no NaN at small distances.
    """
    small = None if projection is None else projection.to(clean.dtype)

    def aim(features: Tensor, index: Tensor) -> Tensor:
        moved = features - clean[index]
        return (moved if small is None else moved @ small.T).square().sum(dim=1)

    return aim


def loss_aim(head: LinearHead, labels: Tensor) -> Aim:
    """Cross-entropy of a head on the features."""
    head = head.to(torch.float32)

    def aim(features: Tensor, index: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(head(features), labels[index], reduction="none")

    return aim


def margin_aim(head: LinearHead, labels: Tensor) -> Aim:
    """Largest wrong logit minus the right one: positive where the prediction is wrong."""
    head = head.to(torch.float32)

    def aim(features: Tensor, index: Tensor) -> Tensor:
        logits = head(features)
        right = logits.gather(1, labels[index, None])
        own = torch.nn.functional.one_hot(labels[index], logits.shape[1]).bool()
        return (logits - right).masked_fill(own, -torch.inf).amax(dim=1)

    return aim


def _objective(backbone: Features, aim: Aim, index: Tensor) -> Objective:
    return lambda x: aim(backbone(x), index)


def _seeds(seed: int, restart: int, index: Tensor) -> list[int]:
    """One seed per image; a checksum spreads them so that neighbouring images share no noise."""
    return [zlib.crc32(f"{seed}/{restart}/{i}".encode()) for i in index.tolist()]


def _over_batches(
    images: Images, run: Callable[[Tensor, Tensor], Sequence[Tensor]]
) -> list[Tensor]:
    """Run every batch and join the results; start over with half the batch when out of memory."""
    while True:
        try:
            parts = [run(index, x) for index, x in images.batches()]
        except (torch.OutOfMemoryError, MemoryError):
            images.batch_size.halve()
        except RuntimeError as error:
            # torch's CPU allocator has no exception type of its own
            if "can't allocate memory" not in str(error):
                raise
            images.batch_size.halve()
        else:
            return [torch.cat(part) for part in zip(*parts, strict=True)]
        torch.cuda.empty_cache()
