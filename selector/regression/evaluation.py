"""One candidate on one regression task, from its files to its numbers."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from selector.batches import AT_ONCE, Images
from selector.controls import gradient_free
from selector.devices import full_precision
from selector.diagnostics import signs
from selector.heads import LinearHead
from selector.outcomes import joined
from selector.records import RegressionEvaluation
from selector.regression.choosing import Heads
from selector.regression.fitting import examples, fit
from selector.regression.outcomes import Outcomes, outcomes
from selector.regression.pool import squared_aim
from selector.regression.summary import Measured, summarise
from selector.regression.task import Targets
from selector.run import Prepared, Run, as_candidate_errors, cost, load
from selector.search import search
from selector.sensitivity import Pool, displacement_aim
from selector.workload import Setting


def evaluate(
    prepared: Prepared,
    setting: Setting,
    targets: Targets,
    on_pass: Callable[[int], None] = lambda images: None,
) -> RegressionEvaluation:
    """Measure one candidate.

    Args:
        prepared: its files.
        setting: images, threat, protocol, device.
        targets: of these images.
        on_pass: called with the number of images after each pass through the backbone.

    Raises:
        CandidateError: it cannot be loaded, attacked or trusted.
    """
    with full_precision(), as_candidate_errors():
        run = load(prepared, setting)
        run.backbone.passes.on_pass = on_pass
        measured = measure(run, fit(run, targets), targets)
        findings = summarise(measured, targets)
        return RegressionEvaluation(
            name=prepared.name,
            model=prepared.model,
            provenance=prepared.describe(run.backbone, measured.test.features.shape[1]),
            cost=cost(run),
            **dict(findings),
        )


def measure(run: Run, heads: Heads, targets: Targets) -> Measured:
    """Attack the test images, with the heads of the candidate."""
    with run.watch.stage("features"):
        test = examples(run, run.setting.task.test, targets.test)
    with run.watch.stage("attack"):
        images = run.images(run.setting.task.test).chunks(AT_ONCE)
        found = [
            _attack(run, part, clean.float(), values, heads)
            for part, (clean, values, _) in zip(images, test.chunks(), strict=True)
        ]
    return Measured(test, joined(found), heads, heads.picked(run.setting.protocol.head))


def _attack(run: Run, images: Images, clean: Tensor, targets: Tensor, heads: Heads) -> Outcomes:
    """Attack some test images with every aim, pool what was attained, and keep the numbers."""
    threat, picked = run.setting.threat, heads.picked(run.setting.protocol.head).head
    on_g = search(images, displacement_aim(clean), threat, run.budget)
    on_task = search(images, displacement_aim(clean, heads.projection), threat, run.budget)
    controls = gradient_free(images, clean, threat, run.setting.protocol.seed)
    on_errors = [
        search(images, squared_aim(head, targets), threat, run.half_budget)
        for head in _distinct(picked, heads.probe.head, heads.bound_optimal.head)
    ]
    attained = (on_g, on_task, *on_errors)
    points = (*(found.features for found in attained), controls.noise, controls.searched)
    return outcomes(Pool(clean, points), heads, picked, targets, signs(on_g, clean, controls))


def _distinct(*heads: LinearHead) -> list[LinearHead]:
    """Each head once, in their order."""
    return list({id(head): head for head in heads}.values())
