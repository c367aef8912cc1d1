"""One candidate on one task, from its files to its numbers."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from selector import bounds
from selector.attacking import attack_pairs, attack_test
from selector.baselines import baselines
from selector.batches import AT_ONCE, Images
from selector.choosing import Heads
from selector.devices import full_precision
from selector.fitting import Fitted, fit
from selector.outcomes import HeadOutcomes, Outcomes, joined, outcomes
from selector.records import Evaluation
from selector.run import Prepared, Run, as_candidate_errors, cost, load
from selector.sensitivity import loss_aim
from selector.summary import Measured, summarise
from selector.tasks import Task
from selector.workload import Setting


def evaluate(
    prepared: Prepared, setting: Setting, on_pass: Callable[[int], None] = lambda images: None
) -> Evaluation:
    """Measure one candidate.

    Args:
        prepared: its files.
        setting: task, threat, protocol, device.
        on_pass: called with the number of images after each pass through the backbone.

    Raises:
        CandidateError: it cannot be loaded, attacked or trusted.
    """
    with full_precision(), as_candidate_errors():
        run = load(prepared, setting)
        run.backbone.passes.on_pass = on_pass
        measured = measure(run, fit(run))
        findings = summarise(measured, prior_loss(setting.task))
        return Evaluation(
            name=prepared.name,
            model=prepared.model,
            provenance=prepared.describe(run.backbone, measured.test.features.shape[1]),
            cost=cost(run),
            **dict(findings),
        )


def measure(run: Run, fitted: Fitted) -> Measured:
    """Attack the test images, with the heads of the candidate."""
    heads = fitted.heads
    with run.watch.stage("features"):
        test = run.clean(run.setting.task.test)
    with run.watch.stage("attack"):
        images = run.images(run.setting.task.test).chunks(AT_ONCE)
        found = [
            _attack(run, part, clean, labels, heads)
            for part, (clean, labels, _) in zip(images, test.chunks(AT_ONCE), strict=True)
        ]
    with run.watch.stage("heads"):
        others = baselines(fitted.train, test, len(run.setting.task.classes))
    return Measured(test, joined(found), heads, heads.picked(run.setting.protocol.head), others)


def _attack(
    run: Run, images: Images, clean: Tensor, labels: Tensor, heads: Heads
) -> Outcomes[HeadOutcomes]:
    """Attack some test images with every aim, and keep the numbers."""
    choice, projection = run.setting.protocol.head, heads.projection
    aims = (loss_aim(head, labels) for head in heads.reported(choice))
    pool, how = attack_test(run, images, clean, projection, aims)
    for head in heads.ranked_and_probe(choice):
        pool = attack_pairs(run, images, pool, head, labels, projection)
    return outcomes(pool, heads, heads.picked(choice).head, labels, how)


def prior_entropy(task: Task) -> float:
    """The loss, in nats, that a head reaches which knows only the class frequencies of train."""
    return bounds.prior_entropy(task.train.labels, len(task.classes))


def prior_loss(task: Task) -> float:
    """That head's loss on validation images, where other heads have to be better."""
    return bounds.prior_loss(task.train.labels, task.validation.labels, len(task.classes))


def constant_accuracy(task: Task) -> float:
    """Share of test images on which naming the most frequent class of train is right."""
    most = task.train.labels.bincount().argmax()
    return (task.test.labels == most).double().mean().item()
