"""Maximise an objective of the image within a threat model.

An attack here is a deterministic ascent from a given start; where to start, and how often, is the
business of :mod:`selector.sensitivity`. All tensors are batches: images (n,3,h,w) in [0,1],
objectives (n,), one value per image, so that images never influence each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from selector.threat import ThreatModel

Objective = Callable[[Tensor], Tensor]

# An objective that grew by more than this share in the last quarter of the steps was still rising.
RISING = 0.05


@dataclass(frozen=True)
class Ascent:
    """What one ascent attained.

    Attributes:
        x: best point found per image (n,3,h,w), inside the threat set.
        value: objective there (n,).
        rising: (n,) bool, the last quarter of the steps brought more than 5 % of the gain.
        stuck: (n,) bool, the gradient was zero at some iterate, so the ascent could not move.
    """

    x: Tensor
    value: Tensor
    rising: Tensor
    stuck: Tensor


Attack = Callable[[Objective, Tensor, Tensor, ThreatModel, int], Ascent]


def apgd(objective: Objective, x: Tensor, start: Tensor, threat: ThreatModel, steps: int) -> Ascent:
    """Auto-PGD: momentum, and a step size that halves where an image stops improving.

    Algorithm 1 of Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an
    ensemble of diverse parameter-free attacks" (rho = 0.75, alpha = 0.75, first step 2 eps).

    Args:
        objective: images (n,3,h,w) -> (n,), differentiable.
        x: clean images (n,3,h,w) in [0,1].
        start: where to begin (n,3,h,w), inside the threat set; must not be a stationary point.
        threat: the set to stay in.
        steps: gradient evaluations per image, at least 1.

    Raises:
        FloatingPointError: the objective is not finite at some iterate.
    """
    step_size = torch.full_like(x[:, :1, :1, :1], 2 * threat.eps)
    previous = current = start
    value, gradient = _value_and_gradient(objective, current)
    best = _Best(current, value, gradient)
    rises = torch.zeros_like(value)
    halved = torch.ones_like(value, dtype=torch.bool)
    value_at_checkpoint = value
    checkpoints = _checkpoints(steps)
    last_checkpoint = 0

    for step in range(1, steps + 1):
        ahead = threat.project(current + step_size * threat.steepest_step(gradient), x)
        if step > 1:
            ahead = threat.project(
                current + 0.75 * (ahead - current) + 0.25 * (current - previous), x
            )
        previous, current = current, ahead
        before = value
        if step == steps:
            best.update(current, _finite(objective, current), gradient, step)
            break
        value, gradient = _value_and_gradient(objective, current)
        rises += value > before
        best.update(current, value, gradient, step)

        if step in checkpoints:
            few_rises = rises <= 0.75 * (step - last_checkpoint)
            no_gain = ~halved & (best.value <= value_at_checkpoint)
            halved = few_rises | no_gain
            image = halved[:, None, None, None]
            step_size = torch.where(image, step_size / 2, step_size)
            current = torch.where(image, best.x, current)
            previous = torch.where(image, best.x, previous)
            gradient = torch.where(image, best.gradient, gradient)
            value = torch.where(halved, best.value, value)
            value_at_checkpoint = best.value
            rises = torch.zeros_like(rises)
            last_checkpoint = step
    return best.ascent(steps)


def annealed(
    objective: Objective, x: Tensor, start: Tensor, threat: ThreatModel, steps: int
) -> Ascent:
    """APGD's step with momentum; its size falls from 2 eps to 0 along half a cosine.

    In a few dozen steps APGD's rule, which waits until an image stops improving, halves too late
    for representations with many local maxima. Arguments and errors as for :func:`apgd`.
    """
    previous = current = start
    value, gradient = _value_and_gradient(objective, current)
    best = _Best(current, value, gradient)
    for step in range(1, steps + 1):
        step_size = threat.eps * (1 + math.cos(math.pi * (step - 1) / steps))
        ahead = threat.project(current + step_size * threat.steepest_step(gradient), x)
        if step > 1:
            ahead = threat.project(
                current + 0.75 * (ahead - current) + 0.25 * (current - previous), x
            )
        previous, current = current, ahead
        if step == steps:
            best.update(current, _finite(objective, current), gradient, step)
            break
        value, gradient = _value_and_gradient(objective, current)
        best.update(current, value, gradient, step)
    return best.ascent(steps)


def pgd(objective: Objective, x: Tensor, start: Tensor, threat: ThreatModel, steps: int) -> Ascent:
    """Projected gradient ascent with the fixed step 2.5 eps / steps, keeping the best iterate.

    Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks".
    Arguments and errors as for :func:`apgd`.
    """
    step_size = 2.5 * threat.eps / steps
    current = start
    value, gradient = _value_and_gradient(objective, current)
    best = _Best(current, value, gradient)
    for step in range(1, steps + 1):
        current = threat.project(current + step_size * threat.steepest_step(gradient), x)
        if step == steps:
            best.update(current, _finite(objective, current), gradient, step)
            break
        value, gradient = _value_and_gradient(objective, current)
        best.update(current, value, gradient, step)
    return best.ascent(steps)


class _Best:
    """The best iterate per image, with what the diagnostics need."""

    def __init__(self, x: Tensor, value: Tensor, gradient: Tensor) -> None:
        self.x, self.value, self.gradient = x, value, gradient
        self._stuck = _is_zero(gradient)
        self._history = [value]

    def update(self, x: Tensor, value: Tensor, gradient: Tensor, step: int) -> None:
        better = value > self.value
        image = better[:, None, None, None]
        self.x = torch.where(image, x, self.x)
        self.gradient = torch.where(image, gradient, self.gradient)
        self.value = torch.where(better, value, self.value)
        self._stuck |= _is_zero(gradient)
        self._history.append(self.value)

    def ascent(self, steps: int) -> Ascent:
        earlier = self._history[steps - max(1, steps // 4)]
        scale = (self.value - self._history[0]).abs().clamp_min(torch.finfo(earlier.dtype).tiny)
        rising = (self.value - earlier) / scale > RISING
        return Ascent(self.x.detach(), self.value, rising, self._stuck)


def _value_and_gradient(objective: Objective, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.detach().requires_grad_(True)
    value = _finite(objective, x)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient


def _finite(objective: Objective, x: Tensor) -> Tensor:
    # Inside the search a NaN would lose every comparison and the failure would pass unseen.
    with torch.set_grad_enabled(x.requires_grad):
        value = objective(x)
    if not torch.isfinite(value).all():
        raise FloatingPointError("the objective of the attack is not finite")
    return value


def _is_zero(gradient: Tensor) -> Tensor:
    return gradient.abs().amax(dim=(1, 2, 3)) == 0


def _checkpoints(steps: int) -> set[int]:
    """The steps at which APGD reconsiders its step size (section 3.1 of the paper)."""
    # In whole percent: as binary fractions some of them would round up one step too far.
    percents = [0, 22]
    while percents[-1] < 100:
        percents.append(percents[-1] + max(percents[-1] - percents[-2] - 3, 6))
    return {math.ceil(percent * steps / 100) for percent in percents[1:] if percent < 100}


ATTACKS: dict[str, Attack] = {"annealed": annealed, "apgd": apgd, "pgd": pgd}
