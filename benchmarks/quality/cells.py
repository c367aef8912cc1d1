"""One cell: a backbone on a task at a threat, measured as selector does, and attacked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from quality import truth
from quality.autoattack import ATTACKS, Composed, Target
from quality.scores import SCORES, recommended, report
from quality.truth import Key, Truth
from selector.candidates import Candidate, Pinned
from selector.errors import CandidateError
from selector.evaluation import measure, prior_loss
from selector.fetching import prepare
from selector.fitting import find_probe, fit
from selector.precision import full_precision
from selector.protocol import Overrides, Protocol, choose_protocol
from selector.records import Evaluation
from selector.run import Prepared, Run, as_candidate_errors, cost, load
from selector.summary import Measured, summarise
from selector.tasks import Task, load_task
from selector.threat import ThreatModel
from selector.workload import Setting

SIDE = 32


@dataclass(frozen=True)
class Cell:
    """What is measured.

    Attributes:
        backbone: its folder.
        task: as ``selector rank --task`` takes it.
        threat: norm and eps.
        seed: of the draw of the task's images, of selector's protocol, and of the ground truth.
    """

    backbone: Path
    task: str
    threat: ThreatModel
    seed: int


@dataclass(frozen=True)
class Terms:
    """How.

    Attributes:
        images: test images of each task.
        device: to compute on.
        attack: a name of ATTACKS.
        known: files of ground truths that need not be found again.
    """

    images: int
    device: str
    attack: str
    known: tuple[Path, ...]


@dataclass(frozen=True)
class Found:
    """What came of a cell.

    Attributes:
        cell: which.
        backbone, task: names.
        scores: of every kind, a value for each test image (n,) or a single one (1,).
        criterion: estimated robust accuracy of the head.
        bound: estimated worst-case loss of the head, nats.
        attacked: selector's own attacked accuracy of the head.
        passes: images through the backbone, forward and backward, that selector took.
        seconds: that selector took.
        majority: share of the most frequent class among the test images.
        truth: of the same head on the same images.
        reused: the truth was known.
        held: images that the criterion holds for.
        broken: those of them that AutoAttack took all the same.
    """

    cell: Cell
    backbone: str
    task: str
    scores: dict[str, np.ndarray]
    criterion: float
    bound: float
    attacked: float
    passes: int
    seconds: float
    majority: float
    truth: Truth
    reused: bool
    held: int
    broken: int

    @property
    def threat(self) -> ThreatModel:
        """Norm and eps."""
        return self.cell.threat

    @property
    def seed(self) -> int:
        """Of the cell."""
        return self.cell.seed

    @property
    def robust(self) -> np.ndarray:
        """Which test images (n,) withstand AutoAttack."""
        return truth.as_flags(self.truth.robust)


def find(cell: Cell, terms: Terms) -> Found | str:
    """What comes of a cell, or why the backbone cannot be measured."""
    try:
        return _find(cell, terms)
    except CandidateError as error:
        return error.message


def _find(cell: Cell, terms: Terms) -> Found:
    protocol = _protocol(terms.images, cell.seed)
    task = _task(cell.task, terms.images, cell.seed)
    device = torch.device(terms.device)
    folder = f"local-dir:{cell.backbone.resolve()}"
    prepared = prepare(Pinned(Candidate(model=folder)), None, lambda count: None)
    with full_precision(), as_candidate_errors():
        record, measured, run = evaluate(prepared, Setting(task, cell.threat, protocol, device))
        found, reused = _truth(cell, prepared, run, measured, terms)
    robust = truth.as_flags(found.robust)
    return Found(
        cell=cell,
        backbone=prepared.name,
        task=task.name,
        scores={name: score.values(record) for name, score in SCORES.items()},
        criterion=report(record).on_task.estimated_robust_accuracy.value,
        bound=report(record).on_task.estimated_worst_case_loss.value,
        attacked=report(record).attacked_accuracy.value,
        passes=record.cost.forward_passes + record.cost.backward_passes,
        seconds=sum(run.watch.seconds.values()),
        majority=task.test.labels.bincount().max().item() / len(task.test),
        truth=found,
        reused=reused,
        held=sum(record.per_image.robust_correct),
        broken=int((np.array(record.per_image.robust_correct) & ~robust).sum()),
    )


def evaluate(prepared: Prepared, setting: Setting) -> tuple[Evaluation, Measured, Run]:
    """What ``selector.evaluation.evaluate`` does, with the head that the record leaves out."""
    run = load(prepared, setting)
    probed = find_probe(run)
    measured = measure([(run, fit(run, probed).heads)], probed)[0]
    record = Evaluation(
        name=prepared.name,
        model=prepared.model,
        provenance=prepared.describe(run.backbone, measured.test.features.shape[1]),
        cost=cost(run),
        **dict(summarise(measured, prior_loss(setting.task))),
    )
    return record, measured, run


def _protocol(images: int, seed: int) -> Protocol:
    """The preset as it is, heads included, with another number of test images."""
    protocol = choose_protocol("standard", "cpu", Overrides(), seed)
    return replace(protocol, sizes=replace(protocol.sizes, test=images))


@cache
def _task(spec: str, images: int, seed: int) -> Task:
    return load_task(spec, image_size=SIDE, sizes=_protocol(images, seed).sizes, seed=seed)


@cache
def _known(paths: tuple[Path, ...]) -> Sequence[Truth]:
    return [row for path in paths for row in truth.read(path)]


def _truth(
    cell: Cell, prepared: Prepared, run: Run, measured: Measured, terms: Terms
) -> tuple[Truth, bool]:
    """The ground truth of the recommended head, and whether it was known."""
    files = "".join(f"{name} {sha256}\n" for name, sha256 in sorted(prepared.hashes.items()))
    backbone = hashlib.sha256(files.encode()).hexdigest()
    task, device = run.setting.task, run.setting.device
    x = task.test.pixels.to(device, torch.float32) / 255
    target = Target(x, task.test.labels.to(device), cell.threat, cell.seed)
    return truth.settle(
        Key(backbone, task.fingerprint, str(cell.threat), cell.seed, ""),
        (prepared.name, task.name),
        (Composed(run.backbone, recommended(measured)), target),
        ATTACKS[terms.attack],
        _known(terms.known),
    )
