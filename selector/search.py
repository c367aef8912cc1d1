"""Search every image's threat set for the point that maximises an aim.

Representations differ. On some, short ascents come close to a maximum, of which there are many,
good and bad; there more random starts raise the worst images. On others, such as networks of
ImageNet under a perturbation that is strong for them, short ascents end far from any maximum and
about equally high; there one long ascent goes farthest. Which it is shows, per image, in how much
is gained by going on from the best of two starts. ``benchmarks/attack_quality.py`` compares this
with whole ascents from every start, with a single one and with other libraries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor

from selector.ascent import Ascent, Climb
from selector.attacks import Attack
from selector.batches import Images, in_batches
from selector.sensitivity import Aim
from selector.threat import ThreatModel, seeds

# Going on that adds more than this share of what a start's ascent had risen: it had ended far from
# a maximum. Measured, from the 10th to the 90th percentile of images: 0 to 0.2 on the built-in zoo,
# 0.24 to 0.7 on a MobileNetV2 of ImageNet.
FAR = 0.2
_FIRST_STARTS = 2
# Where images go different ways, more of them at once leave fuller batches for each way.
_BATCHES_PER_GROUP = 4


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
        last = min(2, self.steps_left(self.restarts)) if self.adapts else 0
        ascents = self.restarts + self.adapts + last
        return self.backward_passes + ascents + 1


@dataclass(frozen=True)
class Search:
    """What attacks with one aim attained.

    Attributes:
        features: (n,d) at the best point per image, scored in fp32.
        restart_values: (restarts,n), what the ascent from each random start attained; NaN where
            none was made.
        far: (n,) bool, short ascents ended far from a maximum.
        rising: (n,) bool, the climb that found the best point was still gaining at its end.
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
    parts = [_search_group(group) for group in groups(images, aim, threat, budget)]
    features, starts, far, rising, stuck = (torch.cat(part) for part in zip(*parts, strict=True))
    return Search(features, starts.T, far, rising, stuck)


def groups(images: Images, aim: Aim, threat: ThreatModel, budget: Budget) -> Iterator[Group]:
    """All images, so many at a time as give whole batches to whoever goes on with a part."""
    start = 0
    while start < len(images.pixels):
        stop = min(len(images.pixels), start + _BATCHES_PER_GROUP * images.batch_size.value)
        yield Group(images, aim, threat, budget, *images.part(slice(start, stop)))
        start = stop


@dataclass(frozen=True)
class Group:
    """Images that are searched together: their indices (b,) and pixels (b,3,S,S)."""

    images: Images
    aim: Aim
    threat: ThreatModel
    budget: Budget
    index: Tensor
    x: Tensor

    def only(self, rows: Tensor) -> Group:
        """Some of the images, ``rows`` (b,) bool."""
        x = self.x[rows].contiguous(memory_format=torch.channels_last)
        return replace(self, index=self.index[rows], x=x)

    def start(self, number: int) -> Ascent:
        """A short ascent from the random start of that number."""
        start = self.threat.random_start(
            self.x, seeds(self.budget.seed, number, self.images.first + self.index)
        )
        return self.climb(self.budget.attack.short, start, self.budget.steps_per_start)

    def climb(self, climb: Climb, start: Tensor, steps: int) -> Ascent:
        """An ascent from ``start`` (b,3,S,S)."""

        def run(rows: slice) -> tuple[Tensor, ...]:
            index = self.index[rows]
            with self.images.precision.climbing():
                found = climb(
                    lambda x: self.aim(self.images.searched(x), index),
                    self.x[rows],
                    start[rows],
                    self.threat,
                    steps,
                )
            return found.parts()

        return Ascent(*in_batches(len(self.x), self.images.batch_size, run))

    def features(self, x: Tensor) -> Tensor:
        """Features (b,d) of points (b,3,S,S), in fp32."""

        def run(rows: slice) -> tuple[Tensor]:
            with torch.no_grad():
                return (self.images.backbone(x[rows]),)

        return in_batches(len(x), self.images.batch_size, run)[0]


def _search_group(group: Group) -> tuple[Tensor, ...]:
    """What :class:`Search` is made of, images first."""
    budget = group.budget
    first = [group.start(number) for number in range(budget.first_starts)]
    best = _best_of(first)
    far = torch.zeros_like(best.stuck)
    starts = best.value.new_full((len(far), budget.restarts), torch.nan)
    starts[:, : len(first)] = torch.stack([one.value for one in first], dim=1)
    if budget.adapts:
        on = group.climb(budget.attack.long, best.x, budget.steps_per_start)
        far = on.rise > FAR * best.rise
        best = best.continued(on)
        if far.any():
            best = best.exchanged(far, _one_long_ascent(group.only(far), best.of(far)))
        if not far.all():
            near = group.only(~far)
            more = [near.start(number) for number in range(len(first), budget.restarts)]
            for number, one in enumerate(more, len(first)):
                starts[~far, number] = one.value
            best = best.exchanged(~far, _polished(near, _best_of([best.of(~far), *more])))
    return group.features(best.x), starts, far, best.rising, best.stuck


def _one_long_ascent(group: Group, best: Ascent) -> Ascent:
    """All steps that remain after the first starts, from the best point."""
    steps = group.budget.steps_left(group.budget.first_starts)
    return best.continued(group.climb(group.budget.attack.long, best.x, steps)) if steps else best


def _polished(group: Group, best: Ascent) -> Ascent:
    """All steps that remain after every start, from the best point: half of them in either way.

    They are a quarter of all steps or somewhat more, so what they bring comes late.
    """
    attack, steps = group.budget.attack, group.budget.steps_left(group.budget.restarts)
    reached = best
    for climb, share in ((attack.short, (steps + 1) // 2), (attack.long, steps // 2)):
        if share:
            reached = reached.continued(group.climb(climb, reached.x, share))
    late = reached.value - best.value
    return replace(reached, late=late) if steps else best


def _best_of(ascents: Sequence[Ascent]) -> Ascent:
    return reduce(Ascent.or_better, ascents)
