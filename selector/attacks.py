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
from selector.threat import ThreatModel

_Move = Callable[[Tensor, Tensor, int], Tensor]


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
    """APGD's step with momentum; its size falls from 2 eps to 0 along half a cosine.

    In a few dozen steps APGD's rule, which waits until an image stops improving, halves too late
    for representations with many local maxima.
    """
    allowed = threat.around(x)
    previous = start

    def move(current: Tensor, gradient: Tensor, step: int) -> Tensor:
        nonlocal previous
        ahead = allowed.step(current, gradient, 2 * threat.eps * _cosine(step, steps))
        if step > 1:
            ahead = allowed.project_(_carry_on(ahead, current, previous))
        previous = current
        return ahead

    return _climb(objective, start, steps, move)


def momentum(
    objective: Objective, x: Tensor, start: Tensor, threat: ThreatModel, steps: int
) -> Ascent:
    """Steps along accumulated gradients, from eps to 0 along half a cosine.

    Gradients of unit mean absolute value add up and decay by a quarter per step, as in Dong et al.
    2018, "Boosting adversarial attacks with momentum". What single gradients of a rugged objective
    do not agree on cancels, so a long ascent gets farther there than by any single gradient.
    """
    allowed = threat.around(x)
    accumulated = torch.zeros_like(x)

    def move(current: Tensor, gradient: Tensor, step: int) -> Tensor:
        size = gradient.abs().mean(dim=(1, 2, 3), keepdim=True)
        accumulated.mul_(0.75).addcdiv_(gradient, size.clamp_min(torch.finfo(size.dtype).tiny))
        return allowed.step(current, accumulated, threat.eps * _cosine(step, steps))

    return _climb(objective, start, steps, move)


def pgd(objective: Objective, x: Tensor, start: Tensor, threat: ThreatModel, steps: int) -> Ascent:
    """Projected gradient ascent with the fixed step 2.5 eps / steps, keeping the best iterate.

    Madry et al. 2018, "Towards deep learning models resistant to adversarial attacks".
    """
    allowed = threat.around(x)

    def move(current: Tensor, gradient: Tensor, step: int) -> Tensor:
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
        current = move(current, gradient, step)
        value, gradient = value_and_gradient(objective, current)
        best.update(current, value, gradient)
    current = move(current, gradient, steps)
    best.update(current, value_of(objective, current))
    return best.ascent()


def _carry_on(ahead: Tensor, current: Tensor, previous: Tensor) -> Tensor:
    """APGD's momentum, in place: current + 0.75 (ahead - current) + 0.25 (current - previous)."""
    return ahead.mul_(0.75).add_(current, alpha=0.5).add_(previous, alpha=-0.25)


def _cosine(step: int, steps: int) -> float:
    """From 1 at the first step towards 0 after the last."""
    return (1 + math.cos(math.pi * (step - 1) / steps)) / 2


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
