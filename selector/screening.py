"""A look at one candidate: a short attack on a part of the test images, all heads' images used.

Fewer training or validation images would give another head, better or worse; measured on the
built-in zoo, halving them moved the estimate by up to 14 points in either direction. A shorter
attack on fewer test images only ever flatters: it finds less displacement.
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
from selector.workload import Setting, full_budget

# One restart of five steps attains nearly what the presets do on A∘g, at a fraction of the passes.
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


def look_passes(setting: Setting, look: Look, *, heads_known: bool) -> int:
    """Images through the network, forward and back, that a look takes."""
    budget = full_budget(shortened(setting).protocol)
    per_attacked = 1 + budget.forward_passes + budget.backward_passes
    fitted = len(setting.task.train) + len(setting.task.validation) * per_attacked
    return (look.stop - look.start) * per_attacked + (0 if heads_known else fitted)


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


def _part(setting: Setting, look: Look) -> Split:
    """Test images in an order that the seed draws, the same for every candidate."""
    test = setting.task.test
    generator = torch.Generator().manual_seed(setting.protocol.seed)
    places = torch.randperm(len(test), generator=generator)[look.start : look.stop]
    return Split(Picked(test.pixels, places), test.labels[places])


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
