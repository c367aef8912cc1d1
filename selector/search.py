"""Search every image's threat set for the point that maximises an aim.

Representations differ. On some, short ascents come close to a maximum, of which there are many,
good and bad; there more random starts raise the worst images. On others, such as networks of
ImageNet under a perturbation that is strong for them, short ascents end far from any maximum and
about equally high; there one long ascent goes farthest. Which it is shows, per image, in how much
is gained by going on from the best of two starts. ``benchmarks/attack_quality.py`` compares this
with whole ascents from every start, with a single one and with other libraries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor

from selector.ascent import Ascent, Climb
from selector.attacks import Attack
from selector.batches import Images, over_batches
from selector.sensitivity import Aim
from selector.threat import ThreatModel, seeds

# Going on that adds more than this share of what a start's ascent had risen: it had ended far from
# a maximum. Measured shares: at most 0.2 on the built-in zoo and 0.25 to 0.7 on MobileNetV2.
FAR = 0.2
_FIRST_STARTS = 2


@dataclass(frozen=True)
class Budget:
    """How hard to search: ``restarts`` x ``steps`` gradient evaluations per image.

    Attributes:
        attack: a value of :data:`selector.attacks.ATTACKS`.
        restarts: random starts per image, at least 1; where going on pays more, these are fewer.
        steps: gradient evaluations per restart, at least 1.
        seed: of the random starts.
    """

    attack: Attack
    restarts: int
    steps: int
    seed: int

    @property
    def adapts(self) -> bool:
        """Whether there are starts to choose from, and steps to go on from the best of them."""
        return self.restarts >= _FIRST_STARTS and self.steps > 1

    @property
    def first_starts(self) -> int:
        """Random starts of every image."""
        return _FIRST_STARTS if self.adapts else self.restarts

    @property
    def steps_per_start(self) -> int:
        """Steps of the ascent from each random start, and of going on from the best."""
        return (self.steps + 1) // 2 if self.adapts else self.steps

    def steps_left(self, starts: int) -> int:
        """For the last ascent, when so many starts were made and one was gone on from."""
        return self.restarts * self.steps - (starts + 1) * self.steps_per_start

    @property
    def backward_passes(self) -> int:
        """Per image: one for each step."""
        return self.restarts * self.steps

    @property
    def forward_passes(self) -> int:
        """Per image, at most: of every ascent one for each step and one at its end; one to score.

        An image that is far from a maximum has fewer starts, hence fewer ends.
        """
        ascents = self.restarts + (1 + (self.steps_left(self.restarts) > 0) if self.adapts else 0)
        return self.backward_passes + ascents + 1


@dataclass(frozen=True)
class Search:
    """What attacks with one aim attained.

    Attributes:
        features: (n,d) at the best point per image, scored in fp32.
        restart_values: (restarts,n), what the ascent from each random start attained; NaN where
            none was made.
        far: (n,) bool, short ascents ended far from a maximum.
        rising: (n,) bool, the ascent that found the best point was still rising at its end.
        stuck: (n,) bool, some iterate had a zero gradient.
    """

    features: Tensor
    restart_values: Tensor
    far: Tensor
    rising: Tensor
    stuck: Tensor


def search(images: Images, aim: Aim, threat: ThreatModel, budget: Budget) -> Search:
    """Maximise ``aim`` over the threat set of every image, as far as ``budget`` goes.

    The ascents may run in lower precision; the point that they found is scored by a plain forward
    pass, and only that counts.
    """

    def run(index: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        found = _search_batch(_Batch(images, aim, threat, budget, index, x))
        with torch.no_grad():
            features = images.backbone(found.best.x)
        return features, found.starts.T, found.far, found.best.rising, found.best.stuck

    features, values, far, rising, stuck = over_batches(images, run)
    return Search(features, values.T, far, rising, stuck)


@dataclass(frozen=True)
class _Found:
    """The best of all ascents per image (b,), what each start attained (restarts,b), and far."""

    best: Ascent
    starts: Tensor
    far: Tensor


@dataclass(frozen=True)
class _Batch:
    """Images that are searched together: their indices (b,) and pixels (b,3,S,S)."""

    images: Images
    aim: Aim
    threat: ThreatModel
    budget: Budget
    index: Tensor
    x: Tensor

    def only(self, rows: Tensor) -> _Batch:
        """Some of the images, ``rows`` (b,) bool."""
        return replace(self, index=self.index[rows], x=self.x[rows])

    def start(self, number: int) -> Ascent:
        """A short ascent from the random start of that number."""
        start = self.threat.random_start(self.x, seeds(self.budget.seed, number, self.index))
        return self.climb(self.budget.attack.short, start, self.budget.steps_per_start)

    def climb(self, climb: Climb, start: Tensor, steps: int) -> Ascent:
        """An ascent from ``start`` (b,3,S,S)."""
        return climb(self._objective, self.x, start, self.threat, steps)

    def _objective(self, x: Tensor) -> Tensor:
        return self.aim(self.images.backbone(x), self.index)


def _search_batch(batch: _Batch) -> _Found:
    budget = batch.budget
    first = [batch.start(number) for number in range(budget.first_starts)]
    best = _best_of(first)
    far = torch.zeros_like(best.stuck)
    starts = best.value.new_full((budget.restarts, len(far)), torch.nan)
    starts[: len(first)] = torch.stack([one.value for one in first])
    if not budget.adapts:
        return _Found(best, starts, far)
    on = batch.climb(budget.attack.long, best.x, budget.steps_per_start)
    far = on.rise > FAR * best.rise
    best = best.or_better(on)
    if far.any():
        steps = budget.steps_left(len(first))
        rows = _gone_on(batch.only(far), budget.attack.long, best.of(far), steps)
        best = best.replace(far, rows)
    if not far.all():
        near = ~far
        more = [batch.only(near).start(n) for n in range(len(first), budget.restarts)]
        for number, one in enumerate(more, len(first)):
            starts[number, near] = one.value
        rows, steps = _best_of([best.of(near), *more]), budget.steps_left(budget.restarts)
        best = best.replace(near, _gone_on(batch.only(near), budget.attack.short, rows, steps))
    return _Found(best, starts, far)


def _gone_on(batch: _Batch, climb: Climb, best: Ascent, steps: int) -> Ascent:
    """The better of ``best`` and an ascent from there; no steps, no ascent."""
    return best.or_better(batch.climb(climb, best.x, steps)) if steps else best


def _best_of(ascents: Sequence[Ascent]) -> Ascent:
    return reduce(Ascent.or_better, ascents)
