"""One candidate on one task, from its files to its numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from selector import bounds
from selector.attacking import attack_pairs, attack_test, find_shapes
from selector.baselines import baselines
from selector.batches import AT_ONCE, Images
from selector.choosing import Heads
from selector.diagnostics import protocol_flags
from selector.fitting import Fitted, Probed, find_probe, fit
from selector.outcomes import HeadOutcomes, Outcomes, joined, outcomes
from selector.precision import full_precision
from selector.records import Evaluation
from selector.run import Prepared, Run, as_candidate_errors, cost, load
from selector.sensitivity import Pool, loss_aim
from selector.shapes import Shapes
from selector.summary import Measured, summarise
from selector.tasks import Task
from selector.workload import Setting


def evaluate(
    prepared: Prepared, setting: Setting, on_pass: Callable[[int], None] = lambda images: None
) -> Evaluation:
    """Measure one candidate under one threat.

    Args:
        prepared: its files.
        setting: task, threat, protocol, device; no other threats.
        on_pass: called with the number of images after each pass through the backbone.

    Raises:
        CandidateError: it cannot be loaded, attacked or trusted.
    """
    return evaluate_each(prepared, [setting], on_pass)[0]


def evaluate_each(
    prepared: Prepared,
    settings: Sequence[Setting],
    on_pass: Callable[[int], None] = lambda images: None,
) -> tuple[Evaluation, ...]:
    """Measure one candidate under several threats, in their order.

    What does not depend on the threat is done once. What an attack attains under one threat counts
    under every later one that contains it. The cost of each is that of all.

    Args:
        prepared: its files.
        settings: at least one; they differ in the threat, and a threat comes after those that it
            contains.
        on_pass: called with the number of images after each pass through the backbone.

    Raises:
        CandidateError: it cannot be loaded, attacked or trusted.
    """
    with full_precision(), as_candidate_errors():
        first = load(prepared, settings[0])
        first.backbone.passes.on_pass = on_pass
        probed, runs = find_probe(first), [first.under(setting) for setting in settings]
        heads = _fit_each(runs, probed)
        measured = measure(list(zip(runs, heads, strict=True)), probed)
        return tuple(
            Evaluation(
                name=prepared.name,
                model=prepared.model,
                provenance=prepared.describe(run.backbone, one.test.features.shape[1]),
                cost=cost(run),
                **dict(summarise(one, prior_loss(run.setting.task))),
            )
            for run, one in zip(runs, measured, strict=True)
        )


def _fit_each(runs: Sequence[Run], probed: Probed) -> list[Heads]:
    fitted: list[Fitted] = []
    for run in runs:
        earlier = zip(runs, fitted, strict=False)
        inside = [one.attained for other, one in earlier if _contains(run, other)]
        fitted.append(fit(run, probed, inside[-1] if inside else ()))
    return [one.heads for one in fitted]


def measure(each: Sequence[tuple[Run, Heads]], probed: Probed) -> list[Measured]:
    """Attack the test images under each threat, with the heads of the candidate under it."""
    run, _ = each[0]
    task, watch = run.setting.task, run.watch
    with watch.stage("features"):
        test = run.clean(task.test)
    with watch.stage("attack"):
        images = run.images(task.test).chunks(AT_ONCE)
        found = [
            _attack_each(each, part, clean, labels)
            for part, (clean, labels, _) in zip(images, test.chunks(AT_ONCE), strict=True)
        ]
    with watch.stage("heads"):
        others = baselines(probed.train, test, len(task.classes))
    return [
        Measured(
            test,
            joined(parts),
            heads,
            heads.picked(run.setting.protocol.head),
            others,
            protocol_flags(run.setting.protocol),
        )
        for (run, heads), parts in zip(each, zip(*found, strict=True), strict=True)
    ]


def _attack_each(
    each: Sequence[tuple[Run, Heads]], images: Images, clean: Tensor, labels: Tensor
) -> list[Outcomes[HeadOutcomes]]:
    """Attack some test images under each threat with every aim, and keep the numbers."""
    runs = [run for run, _ in each]
    run, heads = each[0]
    # Of the probe and its directions, which no threat changes.
    shapes = find_shapes(run, images, clean, labels, heads.probe.head, heads.projection)
    pools: list[Pool] = []
    found = []
    for run, heads in each:
        earlier = zip(runs, pools, strict=False)
        inside = [pool for other, pool in earlier if _contains(run, other)]
        known = inside[-1] if inside else Pool(clean, ())
        pool, numbers = _attack(
            run, replace(images, precision=run.precision), known, labels, heads, shapes
        )
        pools.append(pool)
        found.append(numbers)
    return found


def _attack(
    run: Run, images: Images, known: Pool, labels: Tensor, heads: Heads, shapes: Shapes | None
) -> tuple[Pool, Outcomes[HeadOutcomes]]:
    choice, projection = run.setting.protocol.head, heads.projection
    aims = (loss_aim(head, labels) for head in heads.reported(choice))
    pool, how = attack_test(run, images, known, projection, aims, shapes)
    for head in heads.ranked_and_probe(choice):
        pool = attack_pairs(run, images, pool, head, labels, projection, shapes)
    return pool, outcomes(pool, heads, heads.picked(choice).head, labels, how, shapes)


def _contains(run: Run, other: Run) -> bool:
    return run.setting.threat.contains(other.setting.threat)


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
