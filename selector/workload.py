"""What a run measures every candidate with, and how many passes through a backbone that takes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from selector.attacks import ATTACKS
from selector.budget import Budget
from selector.choosing import RADIUS_SCALES
from selector.controls import NOISE_DRAWS, SEARCH_STEPS
from selector.precision import PROBE_STEPS, PROBED, has_tensor_cores
from selector.protocol import Protocol
from selector.shapes import DIRECTIONS, SHAPED
from selector.tasks import Task
from selector.threat import ThreatModel

# The loss of each head is attacked; where two are the same, there is one search less.
HEAD_SEARCHES = 3
# Heads whose class pairs are attacked on test images, and on validation images.
_TESTED, _VALIDATED = 2, len(RADIUS_SCALES)
# Pairs in doubt per image and head, about: 0 to 0.7 on the built-in zoo, pairs.RIVALS at most. More
# classes leave more.
_PAIRS_EXPECTED = 1


@dataclass(frozen=True)
class Setting:
    """What is the same for every candidate of a run.

    Attributes:
        task: of the user.
        threat: that candidates are ranked under.
        protocol: how much to measure.
        device: where.
        others: threats that candidates are measured under as well, for curves.
    """

    task: Task
    threat: ThreatModel
    protocol: Protocol
    device: torch.device
    others: tuple[ThreatModel, ...] = ()

    @property
    def threats(self) -> tuple[ThreatModel, ...]:
        """All of them, the one that ranks first."""
        return (self.threat, *self.others)

    def under(self, threat: ThreatModel) -> Setting:
        """The same with this one alone."""
        return replace(self, threat=threat, others=())


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

    def plus(self, other: PassCount) -> PassCount:
        """Those of two."""
        return PassCount(self.forward + other.forward, self.backward + other.backward)


def full_budget(protocol: Protocol) -> Budget:
    """How hard the protocol searches for displacement."""
    return Budget(ATTACKS[protocol.attack], protocol.restarts, protocol.steps, protocol.seed)


def half_budget(protocol: Protocol) -> Budget:
    """How hard it attacks the loss of a head."""
    return replace(full_budget(protocol), restarts=max(1, protocol.restarts // 2))


def pair_budget(protocol: Protocol) -> Budget:
    """How hard it attacks one class pair of a head on one image."""
    return replace(full_budget(protocol), restarts=1)


def pair_passes(protocol: Protocol, pairs: int = _PAIRS_EXPECTED) -> PassCount:
    """Per image and head, for so many pairs in doubt."""
    budget = pair_budget(protocol)
    return PassCount(pairs * budget.forward_passes, pairs * budget.backward_passes)


def probe_budget(protocol: Protocol) -> Budget:
    """How hard it searches to learn which precision will do."""
    return replace(full_budget(protocol), restarts=1, steps=PROBE_STEPS)


def probe_passes(setting: Setting) -> PassCount:
    """What it takes to choose the precision of searches, where there is a choice.

    Whether a network computes in bf16 takes a step of a few images more.
    """
    images = min(PROBED, len(setting.task.validation)) if has_tensor_cores(setting.device) else 0
    budget = probe_budget(setting.protocol)
    return PassCount(images * budget.forward_passes, images * budget.backward_passes)


def shape_passes(setting: Setting, images: int) -> PassCount:
    """What the shapes of so many images take, where A has as many directions as it can have."""
    directions = len(setting.task.classes) - 1
    if setting.protocol.screens or directions < 2:
        return PassCount(0, 0)
    rows = directions if directions <= DIRECTIONS else DIRECTIONS + 1
    return PassCount(images, images * rows)


def _once(setting: Setting) -> PassCount:
    """What no threat changes, of training and validation images: features and shapes."""
    validation = len(setting.task.validation)
    shapes = shape_passes(setting, min(SHAPED, validation))
    return PassCount(len(setting.task.train) + validation, 0).plus(shapes)


def _fit_under_one(setting: Setting, pairs: int, heads: int) -> PassCount:
    """What fitting takes under each threat."""
    protocol, validation = setting.protocol, len(setting.task.validation)
    full, pair = full_budget(protocol), pair_passes(protocol, pairs)
    searches = PassCount(
        validation * (full.forward_passes + heads * pair.forward),
        validation * (full.backward_passes + heads * pair.backward),
    )
    return probe_passes(setting).plus(searches)


def fit_passes(
    setting: Setting, pairs: int = _PAIRS_EXPECTED, heads: int = _VALIDATED
) -> PassCount:
    """What the heads of a candidate take, for so many pairs in doubt per image and head tried."""
    return _once(setting).plus(_fit_under_one(setting, pairs, heads))


def planned_passes(setting: Setting, pairs: int = _PAIRS_EXPECTED) -> PassCount:
    """About what one candidate takes; at most, for RIVALS ``pairs`` in doubt per image and head.

    How many are is not known before.
    """
    if setting.protocol.screens:
        return _screening_passes(setting)
    return _passes(setting, pairs)


def _screening_passes(setting: Setting) -> PassCount:
    """Features; of validation and test images searches on g; of the latter controls."""
    task, full = setting.task, full_budget(setting.protocol)
    attacked, threats = len(task.validation) + len(task.test), len(setting.threats)
    probe = probe_passes(setting)
    controls = len(task.test) * (NOISE_DRAWS + SEARCH_STEPS)
    return PassCount(
        len(task.train)
        + attacked
        + threats * (probe.forward + attacked * full.forward_passes + controls),
        threats * (probe.backward + attacked * full.backward_passes),
    )


def _passes(setting: Setting, pairs: int) -> PassCount:
    """Of fitting heads, and of test images: features and shapes, then controls and searches."""
    protocol, test = setting.protocol, len(setting.task.test)
    full, half, pair = full_budget(protocol), half_budget(protocol), pair_passes(protocol, pairs)
    shapes = shape_passes(setting, test)
    # On g and on A∘g, and in the shapes where there are any.
    of_displacement = 3 if shapes.total else 2

    def searched(of_full: int, of_half: int, of_pair: int) -> int:
        return test * (of_displacement * of_full + HEAD_SEARCHES * of_half + _TESTED * of_pair)

    under_one = _fit_under_one(setting, pairs, _VALIDATED).plus(
        PassCount(
            test * (NOISE_DRAWS + SEARCH_STEPS)
            + searched(full.forward_passes, half.forward_passes, pair.forward),
            searched(full.backward_passes, half.backward_passes, pair.backward),
        )
    )
    threats = len(setting.threats)
    each = PassCount(threats * under_one.forward, threats * under_one.backward)
    return _once(setting).plus(PassCount(test, 0)).plus(shapes).plus(each)
