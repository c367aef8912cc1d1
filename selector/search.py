"""Search every image's threat set for the point that maximises an aim.

Half of the steps go to short ascents from random starts, one per restart, and the other half to one
long ascent from the best point that they found. On ``benchmarks/attack_quality.py``'s networks
this attains more at equal passes than the same number of whole ascents, and than a single one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from selector.attacks import Ascent, Attack, Objective
from selector.batches import Features, Images, over_batches
from selector.sensitivity import Aim
from selector.threat import ThreatModel, seeds


@dataclass(frozen=True)
class Budget:
    """How hard to search: at most ``restarts`` x ``steps`` gradient evaluations per image.

    Attributes:
        attack: the ascent, a value of :data:`selector.attacks.ATTACKS`.
        restarts: random starts per image, at least 1.
        steps: gradient evaluations per restart, at least 1.
        seed: of the random starts.
    """

    attack: Attack
    restarts: int
    steps: int
    seed: int

    @property
    def steps_per_start(self) -> int:
        """Steps of the ascent from each random start; a single start has no others to beat."""
        return self.steps if self.restarts == 1 else (self.steps + 1) // 2

    @property
    def steps_from_best(self) -> int:
        """Steps of the ascent from the best of them; 0 for none."""
        return self.restarts * (self.steps - self.steps_per_start)

    @property
    def backward_passes(self) -> int:
        """Per image: one for each step."""
        return self.restarts * self.steps

    @property
    def forward_passes(self) -> int:
        """Per image: of every ascent one for each step, one at its end and one to score it."""
        ascents = self.restarts + (self.steps_from_best > 0)
        return self.backward_passes + 2 * ascents


@dataclass(frozen=True)
class Search:
    """What attacks with one aim attained.

    Attributes:
        features: (n,d) at the best point per image, re-scored in fp32.
        restart_values: (restarts,n), the aim at the best point of each random start's ascent.
        rising: (n,) bool, the ascent that found the best point was still rising at its end.
        stuck: (n,) bool, some iterate had a zero gradient.
    """

    features: Tensor
    restart_values: Tensor
    rising: Tensor
    stuck: Tensor


def search(images: Images, aim: Aim, threat: ThreatModel, budget: Budget) -> Search:
    """Maximise ``aim`` over the threat set of every image, as far as ``budget`` goes.

    The search may run in any precision; the point that each ascent found is scored once more by
    a plain forward pass, and only that score counts.
    """

    def run(index: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        objective = _objective(images.backbone, aim, index)

        def ascend(start: Tensor, steps: int) -> _Found:
            ascent = budget.attack(objective, x, start, threat, steps)
            return _score(images.backbone, aim, index, ascent)

        starts = (
            threat.random_start(x, seeds(budget.seed, restart, images.first + index))
            for restart in range(budget.restarts)
        )
        found = [ascend(start, budget.steps_per_start) for start in starts]
        values = torch.stack([one.value for one in found], dim=1)
        best = _best_of(found)
        if budget.steps_from_best:
            best = _best_of([best, ascend(best.x, budget.steps_from_best)])
        return best.features, values, best.rising, best.stuck

    features, values, rising, stuck = over_batches(images, run)
    return Search(features, values.T, rising, stuck)


@dataclass(frozen=True)
class _Found:
    """The best points of one or more ascents, one per image of a batch, and their scores."""

    x: Tensor
    value: Tensor
    features: Tensor
    rising: Tensor
    stuck: Tensor


def _objective(backbone: Features, aim: Aim, index: Tensor) -> Objective:
    return lambda x: aim(backbone(x), index)


def _score(backbone: Features, aim: Aim, index: Tensor, ascent: Ascent) -> _Found:
    with torch.no_grad():
        features = backbone(ascent.x)
        value = aim(features, index)
    return _Found(ascent.x, value, features, ascent.rising, ascent.stuck)


def _best_of(found: Sequence[_Found]) -> _Found:
    best = found[0]
    for other in found[1:]:
        better = other.value > best.value
        best = _Found(
            torch.where(better[:, None, None, None], other.x, best.x),
            torch.where(better, other.value, best.value),
            torch.where(better[:, None], other.features, best.features),
            torch.where(better, other.rising, best.rising),
            best.stuck | other.stuck,
        )
    return best
