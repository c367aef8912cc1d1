"""A look at one candidate: a short attack on a part of the test images, all heads' images used.

Fewer training or validation images would give another head, better or worse; measured on the
built-in zoo, halving them moved the estimate by up to 14 points in either direction. A shorter
attack finds less displacement, which flatters. It also gives another bound-optimal head, which
mostly costs less than the flattery is worth: :data:`selector.racing.ALLOWANCE`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from selector import bounds
from selector.batches import AT_ONCE
from selector.devices import full_precision
from selector.evaluation import (
    Prepared,
    Run,
    as_candidate_errors,
    cost,
    fit,
    load,
    prior_loss,
)
from selector.heads import Heads
from selector.records import Screened
from selector.rows import Picked
from selector.search import search
from selector.sensitivity import displacement, displacement_aim
from selector.summary import is_vacuous
from selector.tasks.decoding import Split
from selector.workload import PassCount, Setting, full_budget

# 12 passes an image, where standard takes 46 on a CPU and 212 on a GPU; this attains 0.93 of what
# the former does on the built-in zoo. Three steps would flatter twice as much and save little.
_RESTARTS, _STEPS = 1, 5


@dataclass(frozen=True)
class Look:
    """Which test images: from ``start`` up to ``stop``, in the random order of the seed."""

    start: int
    stop: int


def shortened(setting: Setting) -> Setting:
    """The same with the attack of a look."""
    protocol = setting.protocol
    short = replace(protocol, restarts=_RESTARTS, steps=min(_STEPS, protocol.steps))
    return replace(setting, protocol=short)


def look_passes(setting: Setting, images: int) -> PassCount:
    """What looking at so many test images takes, with heads that are known."""
    budget = full_budget(shortened(setting).protocol)
    return PassCount(images * (1 + budget.forward_passes), images * budget.backward_passes)


def fit_passes(setting: Setting) -> PassCount:
    """What the heads of a first look take."""
    attacked = look_passes(setting, len(setting.task.validation))
    return PassCount(len(setting.task.train) + attacked.forward, attacked.backward)


def screen(
    prepared: Prepared,
    setting: Setting,
    look: Look,
    heads: Heads | None = None,
    on_pass: Callable[[int], None] = lambda images: None,
) -> tuple[Screened, Heads]:
    """Look at a candidate.

    Args:
        prepared: its files.
        setting: of the full measurement.
        look: which test images.
        heads: from an earlier look, so that they need not be fitted again.
        on_pass: called with the number of images after each pass through the backbone.

    Raises:
        CandidateError: it cannot be loaded, attacked or trusted.
    """
    with full_precision(), as_candidate_errors():
        run = load(prepared, shortened(setting))
        run.backbone.passes.on_pass = on_pass
        heads = heads or fit(run)
        robust, tolerance = _attack(run, _part(setting, look), heads)
        return Screened(
            name=prepared.name,
            model=prepared.model,
            vacuous=is_vacuous(heads.bound_optimal.validation_loss, prior_loss(setting.task)),
            robust_correct=tuple(robust.tolist()),
            tolerance=tuple(tolerance.tolist()),
            cost=cost(run),
        ), heads


def places(setting: Setting, look: Look) -> Tensor:
    """Which test images a look is at (stop - start,), drawn by the seed; the same for all."""
    generator = torch.Generator().manual_seed(setting.protocol.seed)
    return torch.randperm(len(setting.task.test), generator=generator)[look.start : look.stop]


def _part(setting: Setting, look: Look) -> Split:
    test, chosen = setting.task.test, places(setting, look)
    return Split(Picked(test.pixels, chosen), test.labels[chosen])


def _attack(run: Run, part: Split, heads: Heads) -> tuple[Tensor, Tensor]:
    """Per image: whether the criterion holds (n,) bool, and the usual probe's tolerance (n,)."""
    with run.watch.stage("features"):
        clean = run.clean(part)
    robust, probe = heads.bound_optimal.head, heads.probe.head
    images = run.images(part).chunks(AT_ONCE)
    holds, tolerances = [], []
    with run.watch.stage("attack"):
        for some, (features, labels, _) in zip(images, clean.chunks(AT_ONCE), strict=True):
            aim = displacement_aim(features, heads.projection)
            found = search(some, aim, run.setting.threat, run.budget)
            moved = displacement(found.features, features, heads.projection)
            holds.append(bounds.criterion_holds(robust(features), robust.weight, labels, moved))
            tolerances.append(bounds.tolerances(probe(features), probe.weight, labels, moved))
    return torch.cat(holds), torch.cat(tolerances)
