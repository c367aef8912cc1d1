"""Maximise an objective of the image within a threat model.

An attack here is a deterministic ascent from a given start; where to start, and how often, is the
business of :mod:`selector.search`. Arguments and errors of all are those of
:data:`selector.ascent.Climb`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from selector.ascent import Ascent, Best, Climb, Objective, value_and_gradient, value_of
from selector.threat import ThreatModel, ThreatSet

_Move = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""(points (n,3,h,w), objective (n,) and gradient there, the step's number from 1) -> new points."""


@dataclass(frozen=True)
class Attack:
    """How a search climbs; see :func:`selector.search.search`.

    Attributes:
        short: from random starts and their mirror images, and to go on from half of them.
        long: at last from the best point, and all remaining steps where short ascents end far from
            a maximum.
    """

    short: Climb
    long: Climb


def annealed(
    objective: Objective, x: Tensor, start: Tensor, threat: ThreatModel, steps: int
) -> Ascent:
    """Steps along gradients that remember three tenths of those before, from 2.5 eps to 0 evenly.

    An image takes steps three tenths smaller from each fall of its objective on, since how far a
    step should go differs between representations. For a few to a few dozen steps: there APGD's
    rule, which waits until an image stops improving, halves too late where there are many local
    maxima, and its momentum, a quarter of the step before, attains less than memory of gradients.
    """
    first = torch.full_like(x[:, :1, :1, :1], 2.5 * threat.eps)
    before = torch.full_like(x[:, 0, 0, 0], -torch.inf)

    def size(value: Tensor, step: int) -> Tensor:
        nonlocal first, before
        fell = value < before
        first = torch.where(fell[:, None, None, None], 0.7 * first, first)
        before = value
        return first * (1 - (step - 1) / steps)

    return _climb(objective, start, steps, _remembering(threat.around(x), 0.3, size))


def momentum(
    objective: Objective, x: Tensor, start: Tensor, threat: ThreatModel, steps: int
) -> Ascent:
    """Steps along gradients that remember three quarters of those before, from eps to 0.

    They fall along half a cosine. What single gradients of a rugged objective do not agree on
    cancels, so a long ascent gets farther there than by any single gradient.
    """

    def size(value: Tensor, step: int) -> float:
        return threat.eps * (1 + math.cos(math.pi * (step - 1) / steps)) / 2

    return _climb(objective, start, steps, _remembering(threat.around(x), 0.75, size))


def pgd(objective: Objective, x: Tensor, start: Tensor, threat: ThreatModel, steps: int) -> Ascent:
    """Projected gradient ascent with the fixed step 2.5 eps / steps, keeping the best iterate.

    Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks".
    """
    allowed = threat.around(x)

    def move(current: Tensor, value: Tensor, gradient: Tensor, step: int) -> Tensor:
        return allowed.step(current, gradient, 2.5 * threat.eps / steps)

    return _climb(objective, start, steps, move)


def apgd(objective: Objective, x: Tensor, start: Tensor, threat: ThreatModel, steps: int) -> Ascent:
    """Auto-PGD: momentum, and a step size that halves where an image stops improving.

    Algorithm 1 of Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an
    ensemble of diverse parameter-free attacks" (rho = 0.75, alpha = 0.75, first step 2 eps).
    """
    allowed = threat.around(x)
    step_size = torch.full_like(x[:, :1, :1, :1], 2 * threat.eps)
    previous = current = start
    value, gradient = value_and_gradient(objective, current)
    best = Best(current, value, gradient)
    best_gradient = gradient
    rises = torch.zeros_like(value)
    halved = torch.ones_like(value, dtype=torch.bool)
    value_at_checkpoint = value
    checkpoints = _checkpoints(steps)
    last_checkpoint = 0

    for step in range(1, steps + 1):
        ahead = allowed.step(current, gradient, step_size)
        if step > 1:
            ahead = allowed.project_(_carry_on(ahead, current, previous))
        previous, current = current, ahead
        before = value
        if step == steps:
            best.update(current, value_of(objective, current))
            break
        value, gradient = value_and_gradient(objective, current)
        rises += value > before
        better = best.update(current, value, gradient)
        best_gradient = torch.where(better[:, None, None, None], gradient, best_gradient)

        if step in checkpoints:
            few_rises = rises <= 0.75 * (step - last_checkpoint)
            no_gain = ~halved & (best.value <= value_at_checkpoint)
            halved = few_rises | no_gain
            image = halved[:, None, None, None]
            step_size = torch.where(image, step_size / 2, step_size)
            current = torch.where(image, best.x, current)
            previous = torch.where(image, best.x, previous)
            gradient = torch.where(image, best_gradient, gradient)
            value = torch.where(halved, best.value, value)
            value_at_checkpoint = best.value
            rises = torch.zeros_like(rises)
            last_checkpoint = step
    return best.ascent()


def _climb(objective: Objective, start: Tensor, steps: int, move: _Move) -> Ascent:
    """Ask, move, and keep the best; after the last move only the value is asked for."""
    current = start
    value, gradient = value_and_gradient(objective, current)
    best = Best(current, value, gradient)
    for step in range(1, steps):
        current = move(current, value, gradient, step)
        value, gradient = value_and_gradient(objective, current)
        best.update(current, value, gradient)
    current = move(current, value, gradient, steps)
    best.update(current, value_of(objective, current))
    return best.ascent()


def _remembering(
    allowed: ThreatSet, share: float, size: Callable[[Tensor, int], float | Tensor]
) -> _Move:
    """Move along gradients of unit mean absolute value that add up, ``share`` of the sum kept.

    As in Dong et al. 2018, "Boosting adversarial attacks with momentum". ``size`` is that of the
    step, of the objective (n,) where it begins and its number.
    """
    memory = torch.zeros_like(allowed.x)
    limits = torch.finfo(memory.dtype)
    # A sum that leaves fp32 has a mean of at least this.
    largest = limits.max / memory[0].numel()

    def move(current: Tensor, value: Tensor, gradient: Tensor, step: int) -> Tensor:
        mean = gradient.abs().mean(dim=(1, 2, 3), keepdim=True)
        memory.mul_(share).addcdiv_(gradient, mean.clamp(limits.tiny, largest))
        return allowed.step(current, memory, size(value, step))

    return move


def _carry_on(ahead: Tensor, current: Tensor, previous: Tensor) -> Tensor:
    """APGD's momentum, in place: current + 0.75 (ahead - current) + 0.25 (current - previous)."""
    return ahead.mul_(0.75).add_(current, alpha=0.5).add_(previous, alpha=-0.25)


def _checkpoints(steps: int) -> set[int]:
    """The steps at which APGD reconsiders its step size (section 3.1 of the paper)."""
    # In whole percent: as binary fractions some of them would round up one step too far.
    percents = [0, 22]
    while percents[-1] < 100:
        percents.append(percents[-1] + max(percents[-1] - percents[-2] - 3, 6))
    return {math.ceil(percent * steps / 100) for percent in percents[1:] if percent < 100}


CLIMBS: dict[str, Climb] = {"annealed": annealed, "momentum": momentum, "apgd": apgd, "pgd": pgd}

ATTACKS: dict[str, Attack] = {
    "annealed": Attack(short=annealed, long=momentum),
    "apgd": Attack(short=apgd, long=apgd),
    "pgd": Attack(short=pgd, long=pgd),
}
