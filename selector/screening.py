"""A look at one candidate: a short attack on a part of the test images, all heads' images used.

Of the heads only those are attacked that may turn out to be the recommended one.

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

from selector.attacking import attack_pairs
from selector.batches import AT_ONCE
from selector.choosing import RADIUS_SCALES, Heads
from selector.fitting import find_probe, fit_for_look
from selector.precision import PrecisionName, full_precision
from selector.records import Screened
from selector.run import Prepared, Run, as_candidate_errors, cost, load
from selector.sensitivity import Pool, displacement_aim
from selector.tasks.decoding import Split
from selector.workload import PassCount, Setting, fit_passes, full_budget, pair_passes

# 12 passes an image, where standard takes 47 on a CPU and 218 on a GPU; this attains 0.93 of what
# the former does on the built-in zoo. Three steps would flatter twice as much and save little.
_RESTARTS, _STEPS = 1, 5


@dataclass(frozen=True)
class Look:
    """Which test images: from ``start`` up to ``stop``, in the random order of the seed."""

    start: int
    stop: int


@dataclass(frozen=True)
class Fitting:
    """What the first look at a candidate leaves for later ones.

    Attributes:
        heads: of the candidate.
        precision: that its searches take.
    """

    heads: Heads
    precision: PrecisionName


def shortened(setting: Setting) -> Setting:
    """The same with the attack of a look."""
    protocol = setting.protocol
    short = replace(protocol, restarts=_RESTARTS, steps=min(_STEPS, protocol.steps))
    return replace(setting, protocol=short)


def look_passes(setting: Setting, images: int) -> PassCount:
    """About what looking at so many test images takes, with heads that are known."""
    protocol = shortened(setting).protocol
    budget, pairs = full_budget(protocol), pair_passes(protocol)
    return PassCount(
        images * (1 + budget.forward_passes + pairs.forward),
        images * (budget.backward_passes + pairs.backward),
    )


def first_passes(setting: Setting, heads: int = len(RADIUS_SCALES)) -> PassCount:
    """About what the heads of a first look take, of which so many are attacked: one to all."""
    return fit_passes(shortened(setting), heads=heads)


def screen(
    prepared: Prepared,
    setting: Setting,
    look: Look,
    fitting: Fitting | None = None,
    on_pass: Callable[[int], None] = lambda images: None,
) -> tuple[Screened, Fitting]:
    """Look at a candidate.

    Args:
        prepared: its files.
        setting: of the full measurement.
        look: which test images.
        fitting: from an earlier look, so that heads need not be fitted again.
        on_pass: called with the number of images after each pass through the backbone.

    Raises:
        CandidateError: it cannot be loaded, attacked or trusted.
    """
    with full_precision(), as_candidate_errors():
        run = load(prepared, shortened(setting))
        run.backbone.passes.on_pass = on_pass
        fitting = fitting or _fitting_for(run, look)
        run.precision.search = fitting.precision
        withstood = _attack(run, setting.task.test.at(places(setting, look)), fitting.heads)
        return Screened(
            name=prepared.name,
            model=prepared.model,
            withstood=tuple(withstood.tolist()),
            cost=cost(run),
        ), fitting


def _fitting_for(run: Run, look: Look) -> Fitting:
    """Fitted here; what that takes belongs to the first look, from which a later one has them.

    A later one has to fit them where the run was interrupted, of which its cost does not tell.
    """
    passes = run.backbone.passes
    before = passes.forward, passes.backward
    heads = fit_for_look(run, find_probe(run)).heads
    if look.start > 0:
        passes.forward, passes.backward = before
    return Fitting(heads, run.precision.search)


def places(setting: Setting, look: Look) -> Tensor:
    """Which test images a look is at (stop - start,), drawn by the seed; the same for all."""
    generator = torch.Generator().manual_seed(setting.protocol.seed)
    return torch.randperm(len(setting.task.test), generator=generator)[look.start : look.stop]


def _attack(run: Run, part: Split, heads: Heads) -> Tensor:
    """Whether the head that is ranked by withstands, per image (n,) bool."""
    with run.watch.stage("features"):
        clean = run.clean(part)
    head, rounded = heads.picked(run.setting.protocol.head).head, heads.rounded
    images = run.images(part).chunks(AT_ONCE)
    withstood = []
    with run.watch.stage("attack"):
        for some, (features, labels, _) in zip(images, clean.chunks(AT_ONCE), strict=True):
            aim = displacement_aim(features, rounded)
            found = run.search(some, aim, run.budget)
            pool = Pool(features, (found.features,))
            pool = attack_pairs(run, some, pool, head, labels, rounded)
            withstood.append(pool.scores(head).always_correct(labels))
    return torch.cat(withstood)
