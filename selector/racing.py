"""Which candidates of a race can still be among the best, and which of them comes next.

A candidate is first looked at with a short attack on some of the test images, drawn at random:
:func:`upper_mean` bounds what it would show on all of them. A full measurement attacks
harder, so this bounds the candidate's share as well. Best first: the candidate of the
highest bound is looked at more closely, until it is measured in full; whoever's bound lies below
the last of the wanted full measurements is out.

**What the confidence covers.** One of the true best is lost only if its own bound fails, hence
each bound holds with ``1 - (1 - confidence) / wanted``, after every number of images at once. This
covers which test images were looked at. That a look shows no less than a full measurement of the
same images is measured, not proven: its attacks are weaker, but its head was chosen under weaker
ones, too, and can serve worse, for which every bound is raised by :data:`ALLOWANCE`;
benchmarks/racing.py counts how often and how far looks fall behind. Whether other test images
would give the same best is a question for rank intervals and groups.

**Why no paired differences.** A challenger is compared with a share that is known, the bar's on
all test images. A difference to what the bar shows on the few images looked at would add the bar's
noise, and range over [-1,1]: at the correlations seen here, 0.1 to 0.4, it settles later.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selector.errors import UsageError
from selector.ranking import order_key, tier
from selector.records import Evaluation, Screened

ALLOWANCE = 0.02
"""Of the images, what another head may cost a look beyond what its short attack flatters."""

# Fewer images than this settle nothing.
_FEWEST = 16
_SHARES = (0.25, 0.5, 1.0)
# Stakes of the bets, as shares of what may be staked at all.
_STAKES = np.array([0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9])
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Goal:
    """What a race is for.

    Attributes:
        top: how many of the best are wanted; None: all, in order.
        confidence: that they are those which measuring every candidate in full would give.
        budget: seconds that it may take; None: as many as it needs.
    """

    top: int | None = None
    confidence: float = 0.95
    budget: float | None = None

    def __post_init__(self) -> None:
        if self.top is not None and self.top < 1:
            raise UsageError(f"--top must be at least 1, found {self.top}.")
        if not 0.5 <= self.confidence < 1:
            raise UsageError(
                f"--confidence must be at least 0.5 and below 1, found {self.confidence:g}.",
                hint="To be certain, leave out --top: every candidate is then measured in full.",
            )

    def wanted(self, candidates: int) -> int:
        """How many of so many candidates are to be found."""
        return candidates if self.top is None else min(self.top, candidates)

    def is_race(self, candidates: int) -> bool:
        """Whether anything can be saved over measuring all of them in full."""
        return self.budget is not None or self.wanted(candidates) < candidates


def choose_goal(top: int | None, confidence: float | None, budget: float | None) -> Goal:
    """What is asked for; a confidence that is not stated is the usual one.

    Raises:
        UsageError: a confidence without a race that it would be of; or as of :class:`Goal`.
    """
    if confidence is None:
        return Goal(top, budget=budget)
    if top is None and budget is None:
        raise UsageError("--confidence is of --top K or --budget TIME: one must be given with it.")
    return Goal(top, confidence, budget)


@dataclass(frozen=True)
class Standing:
    """How good a candidate can at most be; for one that is measured in full, how good it is.

    Attributes:
        tier: as :func:`selector.ranking.tier` has it.
        share: of images that withstand, 0..1.
        images: it was looked at.
    """

    tier: int
    share: float
    images: int

    @property
    def order(self) -> tuple[int, float]:
        """What standings are sorted by, best first."""
        return self.tier, -self.share

    def below(self, other: Standing) -> bool:
        """Whether it ranks below ``other`` for certain; equals do not."""
        return self.order > other.order


@dataclass(frozen=True)
class Field:
    """Who runs for what.

    Attributes:
        images: N, test images of the full measurement.
        wanted: how many of the best are to be found.
        confidence: that these are found.
    """

    images: int
    wanted: int
    confidence: float

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of images, rising to all, at which a candidate is looked at."""
        fewest = min(_FEWEST, self.images)
        return tuple(sorted({max(fewest, math.ceil(self.images * share)) for share in _SHARES}))

    def next_look(self, images: int) -> int | None:
        """The number of images after ``images``; None where all have been looked at."""
        return next((look for look in self.looks if look > images), None)

    def standing(self, seen: Sequence[Screened]) -> Standing:
        """At most this good is a candidate of whom so much was seen (at least once)."""
        values = [float(kept) for part in seen for kept in part.withstood]
        alpha = (1 - self.confidence) / self.wanted
        share = upper_mean(np.array(values), self.images, alpha)
        # Whether its gradients are masked, only the full measurement tells.
        return Standing(0, min(1.0, share + ALLOWANCE), len(values))

    def bar(self, settled: Sequence[Evaluation]) -> Standing | None:
        """The last of the wanted among full measurements; None while there are too few."""
        if len(settled) < self.wanted:
            return None
        last = sorted(settled, key=order_key)[self.wanted - 1]
        return Standing(tier(last), -order_key(last)[1], self.images)


def upper_mean(values: np.ndarray, population: int, alpha: float) -> float:
    """An upper bound of the mean of a population, from a random part of it.

    For every prefix of ``values`` at once it fails with probability ``alpha`` at most: a betting
    confidence sequence for draws without replacement (Waudby-Smith and Ramdas 2020, "Confidence
    sequences for sampling without replacement", and 2024, "Estimating means of bounded random
    variables by betting"). Whoever believes in the mean m loses money to one who bets on lower
    values, and is refuted when that fortune has grown to 1 / alpha.

    Args:
        values: (n,) in [0,1], in the random order of their drawing, n >= 1.
        population: N >= n, of which these are some.
        alpha: 0 < alpha < 1.

    >>> upper_mean(np.zeros(32), 32, 0.05), upper_mean(np.ones(8), 32, 0.05)
    (0.0, 1.0)
    """
    total = float(values.sum())
    low, high = total / population, (total + population - len(values)) / population
    if len(values) == population:
        return float(np.mean(values))
    for _ in range(40):
        middle = (low + high) / 2
        if _refuted(values, middle, population, alpha):
            high = middle
        else:
            low = middle
    return high


def _refuted(values: np.ndarray, mean: float, population: int, alpha: float) -> bool:
    """Whether bets against a population mean of at least ``mean`` have won 1 / alpha."""
    seen = np.concatenate([[0.0], np.cumsum(values)[:-1]])
    # What the rest would have to be on average.
    expected = (population * mean - seen) / (population - np.arange(len(values)))
    if (expected >= 1).any():
        return True
    gains = (expected - values) / (1 - expected)
    fortunes = np.exp(np.log1p(_STAKES[:, None] * gains).cumsum(axis=1))
    return bool(fortunes.mean(axis=0).max() >= 1 / alpha)


def parse_budget(text: str) -> float:
    """Read a duration in seconds.

    >>> parse_budget("10m"), parse_budget("90s"), parse_budget("1.5h")
    (600.0, 90.0, 5400.0)

    Raises:
        UsageError: it is none, or zero.
    """
    match = _DURATION.fullmatch(text.strip().lower())
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not 0 < seconds < math.inf:
        raise UsageError(f"--budget must be a duration such as 90s, 10m or 2h, found {text!r}.")
    return seconds
