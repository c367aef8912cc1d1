"""What is reached without any gradient: a control of the attacks that follow one.

A gradient attack that one of these beats has not followed a useful gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from selector.batches import Images, over_batches
from selector.sensitivity import displacement
from selector.threat import ThreatModel, seeds

NOISE_DRAWS = 2
SEARCH_STEPS = 10

# The draws of a search's restarts are counted from 0; these must not be the same.
_FIRST_DRAW = 1000


@dataclass(frozen=True)
class Controls:
    """Features of the farthest point per image that each control found.

    Attributes:
        noise: (n,d), of NOISE_DRAWS random points.
        searched: (n,d), of a random search that began at the farther of these.
    """

    noise: Tensor
    searched: Tensor


def gradient_free(
    images: Images, clean: Tensor, threat: ThreatModel, seed: int, steps: int = SEARCH_STEPS
) -> Controls:
    """Push every image's features away from ``clean`` (n,d) by chance alone.

    Noise is at corners of the ball for linf, on its surface for l2. The random search moves a
    square of the image at a time and keeps what went farther, as Andriushchenko et al. 2020 do,
    "Square Attack: a query-efficient black-box adversarial attack via random search".

    Args:
        images: what to disturb, and how to run it.
        clean: the features of the undisturbed images (n,d).
        threat: the set to stay in.
        seed: of every draw.
        steps: forward passes of the random search per image.
    """

    def run(index: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        origin, number = clean[index], images.first + index
        draws = [
            _score(images, _noise(x, threat, seeds(seed, _FIRST_DRAW + k, number)), origin)
            for k in range(NOISE_DRAWS)
        ]
        best = noise = draws[0].farther(draws[1])
        for step in range(steps):
            draw = seeds(seed, _FIRST_DRAW + NOISE_DRAWS + step, number)
            side = _side(step / steps, x.shape[-1])
            moved = move_square(best.x, x, threat, side, draw)
            best = best.farther(_score(images, moved, origin))
        return noise.features, best.features

    return Controls(*over_batches(images, run))


@dataclass(frozen=True)
class _Points:
    x: Tensor
    features: Tensor
    distance: Tensor

    def farther(self, other: _Points) -> _Points:
        wins = other.distance > self.distance
        return _Points(
            torch.where(wins[:, None, None, None], other.x, self.x),
            torch.where(wins[:, None], other.features, self.features),
            torch.where(wins, other.distance, self.distance),
        )


def _score(images: Images, points: Tensor, origin: Tensor) -> _Points:
    features = images.features(points)
    return _Points(points, features, displacement(features, origin))


def _noise(x: Tensor, threat: ThreatModel, draw: list[int]) -> Tensor:
    return _outwards(threat.random_start(x, draw), x, threat)


def _outwards(points: Tensor, x: Tensor, threat: ThreatModel) -> Tensor:
    """Onto the border of the ball in the direction of ``points``, then into the box."""
    return threat.project(x + threat.eps * threat.steepest_step(points - x), x)


def _side(progress: float, size: int) -> int:
    """Side of the square in pixels: half of the image at first, a fifth at the end."""
    return max(1, math.ceil(size * (0.5 - 0.3 * progress)))


def move_square(
    points: Tensor, x: Tensor, threat: ThreatModel, side: int, draw: list[int]
) -> Tensor:
    """Give every channel of one square per image a random sign, at full strength."""
    height, width = x.shape[-2:]
    strength = threat.eps if threat.norm == "linf" else threat.eps / math.sqrt(3 * side * side)
    tops, lefts, signs = zip(
        *(_square(one, height - side, width - side) for one in draw), strict=True
    )
    inside = (
        _from(tops, side, height, x)[:, None, :, None] & _from(lefts, side, width, x)[:, None, None]
    )
    signed = strength * torch.stack(signs).to(x)[:, :, None, None]
    delta = torch.where(inside, signed, points - x)
    if threat.norm == "linf":
        return threat.project(x + delta, x)
    return _outwards(x + delta, x, threat)


def _square(seed: int, lowest: int, rightmost: int) -> tuple[int, int, Tensor]:
    """Where a square begins, and the sign (3,) of each of its channels."""
    generator = torch.Generator().manual_seed(seed)
    top = int(torch.randint(lowest + 1, (), generator=generator))
    left = int(torch.randint(rightmost + 1, (), generator=generator))
    return top, left, 2 * torch.randint(2, (3,), generator=generator) - 1


def _from(starts: Sequence[int], length: int, size: int, like: Tensor) -> Tensor:
    """Which places (n,size) bool lie in the ``length`` from each start on."""
    after = torch.arange(size) - torch.tensor(starts)[:, None]
    return ((after >= 0) & (after < length)).to(like.device)
