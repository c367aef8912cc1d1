"""Search every image's threat set for the point that maximises an aim.

A representation that is pushed far one way is often pushed about as far the other way, so that the
mirror image of a good point is a good start, and a different one. (What it gains was measured for
displacement; other aims are searched in the same way.) Which of several starts leads farthest shows
after few steps. So ascents from random starts and from the mirror images of their ends are short,
and half of the starts are gone on with.

Most of these end on the same hill: they push the features the same way, each by other means. Half
way between two of them is what they agree on in full, and from there the rest is found anew. So
what is left begins between the best two, unless a valley lies there.

Representations differ. On some, such as networks of ImageNet under a perturbation that is strong
for them, short ascents end far from any maximum and about equally high; there one long ascent goes
farthest. It shows, per image, in how much is gained by going on from the best of two starts.
``benchmarks/attack_quality.py`` compares this with a single start and with other libraries.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from itertools import chain

import torch
from torch import Tensor

from selector.ascent import Ascent, Climb
from selector.batches import Images, in_batches, in_groups
from selector.budget import FIRST_STARTS, Budget
from selector.sensitivity import Aim
from selector.threat import ThreatModel, seeds

# Going on, with twice the steps of a start's ascent, that adds more than this share of what it had
# risen: it had ended far from a maximum. Measured with 5 x 20, from the 10th to the 90th percentile
# of images: 0.01 to 0.4 on the built-in zoo, 0.44 to 1.3 on a MobileNetV2 of ImageNet.
FAR = 0.5
# Between two points lies a valley where more is lost than this share of what the higher had risen.
VALLEY = 0.5


@dataclass(frozen=True)
class Search:
    """What attacks with one aim attained.

    Attributes:
        features: (n,d) at the best point per image, scored in fp32.
        restart_values: (restarts,n), what was attained from each random start and its mirror
            image; NaN where none was made.
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

    def run(rows: slice) -> tuple[Tensor, ...]:
        return _search_group(Group(images, aim, threat, budget, *images.part(rows)))

    found = in_groups(len(images.pixels), images.batch_size, run)
    features, starts, far, rising, stuck = found
    return Search(features, starts.T, far, rising, stuck)


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

    def both_ways(self, number: int) -> Ascent:
        """The better of :meth:`start` and of as many steps from the mirror image of its end."""
        one = self.start(number)
        other = self.climb(
            self.budget.attack.short, self._mirrored(one.x), self.budget.steps_per_start
        )
        # A mirror image is high up from the beginning, which the climb before it has brought.
        return one.or_better(replace(other, rise=other.value - one.value + one.rise))

    def _mirrored(self, x: Tensor) -> Tensor:
        """As far to the other side of each image, inside the threat set; where it can move so."""
        mirrored = self.threat.project(2 * self.x - x, self.x)
        # An image of black and white alone stays where it is, which is a stationary point.
        still = (mirrored == self.x).flatten(1).all(dim=1)
        return torch.where(still[:, None, None, None], x, mirrored)

    def gone_on(self, one: Ascent) -> Ascent:
        """With twice the steps of a start's ascent."""
        steps = 2 * self.budget.steps_per_start
        return one.continued(self.climb(self.budget.attack.short, one.x, steps))

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

    def between(self, one: Ascent, other: Ascent) -> Tensor:
        """Points (b,3,S,S) half way from the higher to the other, or the higher over a valley."""
        half = self.threat.project((one.x + other.x) / 2, self.x)
        same = one.value - self.values(half) < VALLEY * one.rise
        return torch.where(same[:, None, None, None], half, one.x)

    def values(self, x: Tensor) -> Tensor:
        """The aim (b,) at points (b,3,S,S), as ascents see it.

        Raises:
            FloatingPointError: it is not finite somewhere.
        """

        def run(rows: slice) -> tuple[Tensor]:
            with self.images.precision.climbing(), torch.no_grad():
                return (self.aim(self.images.searched(x[rows]), self.index[rows]),)

        values = in_batches(len(x), self.images.batch_size, run)[0]
        if not values.isfinite().all():
            raise FloatingPointError("the objective of the attack is not finite")
        return values

    def features(self, x: Tensor) -> Tensor:
        """Features (b,d) of points (b,3,S,S), in fp32."""
        size = self.images.batch_size
        return in_batches(len(x), size, lambda rows: (self.images.features(x[rows]),))[0]


def _search_group(group: Group) -> tuple[Tensor, ...]:
    """What :class:`Search` is made of, images first."""
    budget = group.budget
    if budget.adapts:
        best, starts, far = _adapted(group)
    else:
        every = [group.start(number) for number in range(budget.restarts)]
        best = reduce(Ascent.or_better, every)
        starts = torch.stack([one.value for one in every], dim=1)
        far = torch.zeros_like(best.stuck)
    return group.features(best.x), starts, far, best.rising, best.stuck


def _adapted(group: Group) -> tuple[Ascent, Tensor, Tensor]:
    """What was attained, the values (b,restarts) of starts, and which images (b,) are far."""
    budget = group.budget
    first: list[Tensor] = []
    start, rival = _best_of(_both_ways(group, range(FIRST_STARTS), first), FIRST_STARTS)
    starts = torch.full_like(start.value[:, None], torch.nan).repeat(1, budget.restarts)
    starts[:, :FIRST_STARTS] = torch.stack(first, dim=1)
    best = group.gone_on(start)
    far = best.value - start.value > FAR * start.rise
    if far.any():
        best = best.exchanged(far, _one_long_ascent(group.only(far), best.of(far)))
    if not far.all():
        near = group.only(~far)
        more: list[Tensor] = []
        further = _both_ways(near, range(FIRST_STARTS, budget.restarts), more)
        leaders = _best_of(chain([rival.of(~far)], further), budget.starts_gone_on_from - 1)
        if more:
            starts[~far, FIRST_STARTS:] = torch.stack(more, dim=1)
        reached = _best_of(chain([best.of(~far)], map(near.gone_on, leaders)), 2)
        best = best.exchanged(~far, _polished(near, reached))
    return best, starts, far


def _both_ways(group: Group, numbers: Iterable[int], values: list[Tensor]) -> Iterator[Ascent]:
    """One start at a time, since points take memory; what each attained (b,) goes to ``values``."""
    for number in numbers:
        one = group.both_ways(number)
        values.append(one.value)
        yield one


def _best_of(ascents: Iterable[Ascent], count: int) -> list[Ascent]:
    """Per image the best ``count`` of some ascents, in order."""
    found: list[Ascent] = []
    for one in ascents:
        for place, leader in enumerate(found):
            found[place], one = leader.or_better(one), leader.or_worse(one)
        if len(found) < count:
            found.append(one)
    return found


def _one_long_ascent(group: Group, best: Ascent) -> Ascent:
    """All steps that remain after the first starts, from the best point."""
    steps = group.budget.steps_left(FIRST_STARTS, 1)
    return best.continued(group.climb(group.budget.attack.long, best.x, steps))


def _polished(group: Group, reached: list[Ascent]) -> Ascent:
    """All steps that remain, from between the best two points, or from the only one.

    What they bring comes late, in so far as they are a quarter of all steps; mostly they are more.
    """
    budget, before = group.budget, reached[0]
    for climb, steps in zip(
        (budget.attack.short, budget.attack.long), budget.last_steps, strict=True
    ):
        if steps:
            best = reached[0]
            start = group.between(*reached) if len(reached) > 1 else best.x
            found = group.climb(climb, start, steps)
            # As high up from the beginning as the climbs were that led there.
            found = replace(found, rise=found.value - best.value + best.rise)
            reached = _best_of([*reached, found], len(reached))
    share = min(1.0, budget.backward_passes / 4 / sum(budget.last_steps))
    return replace(reached[0], late=share * (reached[0].value - before.value))
