"""What a run measures every candidate with, and how many passes through a backbone that takes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from selector.attacks import ATTACKS
from selector.controls import NOISE_DRAWS, SEARCH_STEPS
from selector.protocol import Protocol
from selector.search import Budget
from selector.tasks import Task
from selector.threat import ThreatModel

# A head is attacked with two aims; there are two heads.
HEAD_SEARCHES = 4


@dataclass(frozen=True)
class Setting:
    """What is the same for every candidate of a run."""

    task: Task
    threat: ThreatModel
    protocol: Protocol
    device: torch.device


@dataclass(frozen=True)
class PassCount:
    """Images that go through a backbone.

    Attributes:
        forward: to features.
        backward: from features to the gradient with respect to the image.
    """

    forward: int
    backward: int

    @property
    def total(self) -> int:
        """Both."""
        return self.forward + self.backward


def full_budget(protocol: Protocol) -> Budget:
    """How hard the protocol searches for displacement."""
    return Budget(ATTACKS[protocol.attack], protocol.restarts, protocol.steps, protocol.seed)


def half_budget(protocol: Protocol) -> Budget:
    """How hard it attacks a head with one of two aims; each gets half of the restarts."""
    return replace(full_budget(protocol), restarts=max(1, protocol.restarts // 2))


def planned_passes(setting: Setting) -> PassCount:
    """What one candidate takes: features of all images, searches and controls of the attacked."""
    task, protocol = setting.task, setting.protocol
    full, half = full_budget(protocol), half_budget(protocol)
    validation, test = len(task.validation), len(task.test)

    def per_attacked(passes_of_full: int, passes_of_half: int) -> int:
        """Validation images are searched once; test images on g, on A∘g and for the heads."""
        searched_on_test = 2 * passes_of_full + HEAD_SEARCHES * passes_of_half
        return validation * passes_of_full + test * searched_on_test

    plain = len(task.train) + validation + test + (NOISE_DRAWS + SEARCH_STEPS) * test
    return PassCount(
        forward=plain + per_attacked(full.forward_passes, half.forward_passes),
        backward=per_attacked(full.backward_passes, half.backward_passes),
    )
