"""One candidate on one task, from its files to its numbers."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from selector import bounds
from selector.baselines import baselines
from selector.batches import AT_ONCE, Images
from selector.choosing import Heads
from selector.controls import gradient_free
from selector.devices import full_precision
from selector.diagnostics import signs
from selector.fitting import Fitted, fit
from selector.heads import LinearHead
from selector.outcomes import Outcomes, joined, outcomes
from selector.records import Evaluation
from selector.run import Prepared, Run, as_candidate_errors, cost, load, lost_to_rivals
from selector.search import search
from selector.sensitivity import Pool, displacement_aim, loss_aim
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


def _attack(run: Run, images: Images, clean: Tensor, labels: Tensor, heads: Heads) -> Outcomes:
    """Attack some test images with every aim, pool what was attained, and keep the numbers."""
    threat = run.setting.threat
    picked = heads.picked(run.setting.protocol.head).head
    on_g = search(images, displacement_aim(clean), threat, run.budget)
    on_task = search(images, displacement_aim(clean, heads.projection), threat, run.budget)
    controls = gradient_free(images, clean, threat, run.setting.protocol.seed)
    on_losses = [
        search(images, loss_aim(head, labels), threat, run.half_budget)
        for head in _distinct(picked, heads.probe.head, heads.bound_optimal.head)
    ]
    attained = (on_g, on_task, *on_losses)
    points = (*(found.features for found in attained), controls.noise, controls.searched)
    pool = Pool(clean, points)
    for head in _distinct(picked, heads.probe.head):
        pool = pool.with_points(lost_to_rivals(run, images, pool, head, labels, heads.projection))
    return outcomes(pool, heads, picked, labels, signs(on_g, clean, controls))


def _distinct(*heads: LinearHead) -> list[LinearHead]:
    """Each head once, in their order."""
    found: list[LinearHead] = []
    for head in heads:
        if not any(head is other for other in found):
            found.append(head)
    return found


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
