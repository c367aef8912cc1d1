"""One candidate on one regression task, from its files to its numbers."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from selector.attacking import attack_test
from selector.batches import AT_ONCE, Images
from selector.choosing import Heads
from selector.outcomes import Outcomes, joined
from selector.precision import full_precision
from selector.records import RegressionEvaluation
from selector.regression.fitting import examples, fit
from selector.regression.outcomes import HeadOutcomes, outcomes
from selector.regression.pool import squared_aim
from selector.regression.summary import Measured, summarise
from selector.regression.task import Targets
from selector.run import Prepared, Run, as_candidate_errors, cost, load
from selector.sensitivity import Pool
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


def _attack(
    run: Run, images: Images, clean: Tensor, targets: Tensor, heads: Heads
) -> Outcomes[HeadOutcomes]:
    """Attack some test images with every aim, and keep the numbers."""
    choice = run.setting.protocol.head
    aims = (squared_aim(head, targets) for head in heads.reported(choice))
    pool, how = attack_test(run, images, Pool(clean, ()), heads.projection, aims)
    return outcomes(pool, heads, heads.picked(choice).head, targets, how)
