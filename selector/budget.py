"""How many gradients a search may take, and how it divides them; see :mod:`selector.search`."""

from __future__ import annotations

from dataclasses import dataclass

from selector.attacks import Attack

# What the first one gains when it is gone on with tells whether others are worth their steps.
FIRST_STARTS = 2
# With fewer steps per restart there is nothing to divide.
_FEWEST_STEPS = 4


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
        return self.restarts >= FIRST_STARTS and self.steps >= _FEWEST_STEPS

    @property
    def steps_per_start(self) -> int:
        """Steps from each random start; where the search adapts, as many from its mirror image.

        These are about a fifth of ``steps`` each, and else all of them.
        """
        return max(1, (self.steps + 2) // 5) if self.adapts else self.steps

    @property
    def starts_gone_on_from(self) -> int:
        """Half of the starts: the better of the first two, and the best of the others."""
        return (self.restarts + 1) // 2

    def steps_left(self, starts: int, gone_on_from: int) -> int:
        """For the last ascents, when so many starts were made and so many gone on from."""
        return self.restarts * self.steps - 2 * self.steps_per_start * (starts + gone_on_from)

    @property
    def last_steps(self) -> tuple[int, int]:
        """Of the short and the long climb at last, where images are near a maximum.

        Two fifths of what the best start is gone on with are short, the steps before included.
        """
        left = self.steps_left(self.restarts, self.starts_gone_on_from)
        before = 2 * self.steps_per_start
        short = max(0, (before + left) * 2 // 5 - before)
        return short, left - short

    @property
    def backward_passes(self) -> int:
        """Per image: one for each step."""
        return self.restarts * self.steps

    @property
    def forward_passes(self) -> int:
        """Per image, at most: of every ascent one for each step and one at its end; one to score.

        An image that is far from a maximum has fewer starts, hence fewer ends.
        """
        ascents = self.restarts
        if self.adapts:
            last = sum(steps > 0 for steps in self.last_steps)
            # The last ascents begin between two points, which are looked at first.
            between = last if self.starts_gone_on_from > 1 else 0
            ascents = 2 * self.restarts + self.starts_gone_on_from + last + between
        return self.backward_passes + ascents + 1
