"""What an ascent is, and how its best iterate is kept.

All tensors are batches: images (n,3,h,w) in [0,1], objectives (n,), one value per image, so that
images never influence each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from selector.threat import ThreatModel

Objective = Callable[[Tensor], Tensor]
"""Images (n,3,h,w) -> one value each (n,), differentiable."""

# An objective that grew by more than this share in the last quarter of the steps was still rising.
RISING = 0.05


@dataclass(frozen=True)
class Ascent:
    """What one ascent attained.

    Attributes:
        x: best point found per image (n,3,h,w), inside the threat set.
        value: objective there (n,).
        rise: how much higher that is than where the climb began (n,), >= 0.
        late: what the last quarter of the steps brought of it (n,).
        stuck: (n,) bool, the gradient was zero at some iterate, so the ascent could not move.
    """

    x: Tensor
    value: Tensor
    rise: Tensor
    late: Tensor
    stuck: Tensor

    @property
    def rising(self) -> Tensor:
        """Images (n,) bool whose climb was still gaining at its end."""
        return self.late > RISING * self.rise

    def continued(self, by: Ascent) -> Ascent:
        """One climb of two ascents, the second of which began at the best point of this one.

        Where that brought nothing, this one had ended at a maximum, as far as it can be told.
        """
        ended = replace(self, late=torch.zeros_like(self.late))
        return ended.or_better(replace(by, rise=by.rise + self.rise))

    def parts(self) -> tuple[Tensor, ...]:
        """All of its tensors, from which an Ascent is made."""
        return tuple(getattr(self, each.name) for each in fields(self))

    def or_better(self, other: Ascent) -> Ascent:
        """Per image the better of two; an image that was stuck in either was stuck."""
        return self._where(other.value <= self.value, other)

    def or_worse(self, other: Ascent) -> Ascent:
        """Per image the one that :meth:`or_better` leaves."""
        return self._where(other.value > self.value, other)

    def _where(self, mine: Tensor, other: Ascent) -> Ascent:
        """This one for images ``mine`` (n,) bool, the other elsewhere."""
        return Ascent(
            torch.where(mine[:, None, None, None], self.x, other.x),
            torch.where(mine, self.value, other.value),
            torch.where(mine, self.rise, other.rise),
            torch.where(mine, self.late, other.late),
            self.stuck | other.stuck,
        )

    def of(self, rows: Tensor) -> Ascent:
        """That of some images, ``rows`` (n,) bool."""
        return Ascent(*(part[rows] for part in self.parts()))

    def exchanged(self, rows: Tensor, by: Ascent) -> Ascent:
        """With that of some images, ``rows`` (n,) bool, from elsewhere."""
        whole = []
        for mine, others in zip(self.parts(), by.parts(), strict=True):
            values = mine.clone()
            values[rows] = others
            whole.append(values)
        return Ascent(*whole)


Climb = Callable[[Objective, Tensor, Tensor, ThreatModel, int], Ascent]
"""(objective, clean images x (n,3,h,w) in [0,1], start (n,3,h,w) inside the threat set, threat,
steps >= 1) -> what was attained with that many gradients per image.

Raises FloatingPointError where the objective is not finite at some iterate. The start must not be a
stationary point.
"""


class Best:
    """The best iterate per image, with what the diagnostics need.

    Nothing here waits for the device; whether all values were finite is asked once, at the end.
    """

    def __init__(self, x: Tensor, value: Tensor, gradient: Tensor) -> None:
        self.x, self.value = x.clone(), value
        self._stuck = _is_zero(gradient)
        self._finite = torch.isfinite(value)
        self._history = [value]

    def update(self, x: Tensor, value: Tensor, gradient: Tensor | None = None) -> Tensor:
        """Compare an iterate; returns which images (n,) it is the best of so far."""
        better = value > self.value
        # Of weights 0 and 1 this is exact, and on a CPU it takes a fifth of the time of a `where`.
        self.x.lerp_(x, better[:, None, None, None].to(x.dtype))
        self.value = torch.where(better, value, self.value)
        if gradient is not None:
            self._stuck |= _is_zero(gradient)
        self._finite &= torch.isfinite(value)
        self._history.append(self.value)
        return better

    def ascent(self) -> Ascent:
        """What was attained, once all iterates were compared.

        Raises:
            FloatingPointError: the objective was not finite at some iterate.
        """
        # In the search a NaN loses every comparison, so that the failure would pass unseen.
        if not self._finite.all():
            raise FloatingPointError("the objective of the attack is not finite")
        steps = len(self._history) - 1
        earlier = self._history[steps - max(1, steps // 4)]
        rise = self.value - self._history[0]
        return Ascent(self.x, self.value, rise, self.value - earlier, self._stuck)


def value_and_gradient(objective: Objective, x: Tensor) -> tuple[Tensor, Tensor]:
    """The objective (n,) at ``x`` (n,3,h,w), and its gradient there (n,3,h,w)."""
    x = x.detach().requires_grad_(True)
    value = objective(x)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient


def value_of(objective: Objective, x: Tensor) -> Tensor:
    """The objective (n,) at ``x`` (n,3,h,w)."""
    with torch.no_grad():
        return objective(x)


def _is_zero(gradient: Tensor) -> Tensor:
    each = (1, 2, 3)
    return (gradient.amax(dim=each) == 0) & (gradient.amin(dim=each) == 0)
