"""One candidate on one task, from its files to its numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from selector import bounds
from selector.backbones import Backbone, load_backbone
from selector.batches import AT_ONCE, PRECISION_NAMES, BatchSize, Images, Precision, extract
from selector.candidates import Checkpoint
from selector.controls import gradient_free
from selector.devices import Stopwatch, full_precision
from selector.diagnostics import signs
from selector.errors import CandidateError, UsageError
from selector.heads import (
    ChosenHead,
    Heads,
    Labelled,
    choose_head,
    choose_probe,
    task_projection,
)
from selector.outcomes import Outcomes, joined, outcomes
from selector.peaks import device_peak, process_peak, reset_device_peak
from selector.preflight import check_backbone
from selector.records import Cost, Evaluation, Provenance
from selector.search import Budget, search
from selector.sensitivity import Pool, displacement, displacement_aim, loss_aim, margin_aim
from selector.spool import collect
from selector.summary import Measured, summarise
from selector.tasks import Task
from selector.tasks.decoding import Split
from selector.workload import Setting, full_budget, half_budget

# Images of the pre-flight batch.
PREFLIGHT_IMAGES = 4

# Images per pass start from this many input pixels, and shrink when memory runs out.
_PIXELS_PER_BATCH = {"cpu": 32 * 224 * 224, "cuda": 256 * 224 * 224}
_LARGEST_BATCH = 256


@dataclass(frozen=True)
class Prepared:
    """A candidate's files on disk, with what is known about them."""

    name: str
    model: str
    directory: Path
    hashes: dict[str, str]
    describe: Callable[[Backbone, int], Provenance]
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True)
class Run:
    """One candidate, loaded and checked, ready to be measured."""

    backbone: Backbone
    setting: Setting
    batch: BatchSize
    watch: Stopwatch
    precision: Precision = field(default_factory=Precision)

    @property
    def budget(self) -> Budget:
        """How hard the protocol searches."""
        return full_budget(self.setting.protocol)

    @property
    def half_budget(self) -> Budget:
        """How hard it attacks a head with one aim."""
        return half_budget(self.setting.protocol)

    def images(self, split: Split) -> Images:
        """A part of the task, ready for this backbone."""
        device = self.setting.device
        return Images(split.pixels, self.backbone, device, self.batch, self.precision)

    def clean(self, split: Split) -> Labelled:
        """Features and labels of a part of the task; the labels are on the device."""
        parts = (extract(part) for part in self.images(split).chunks(AT_ONCE))
        return Labelled.clean(collect(parts, len(split)), split.labels.to(self.setting.device))


def first_batch_size(input_size: tuple[int, int], device: torch.device) -> int:
    """Images per pass to begin with, for a network that takes images of this height and width."""
    height, width = input_size
    pixels = _PIXELS_PER_BATCH["cpu" if device.type == "cpu" else "cuda"]
    return min(_LARGEST_BATCH, max(1, pixels // (height * width)))


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
        measured = _measure(run)
        findings = summarise(measured, prior_loss(setting.task))
        return Evaluation(
            name=prepared.name,
            model=prepared.model,
            provenance=prepared.describe(run.backbone, measured.test.features.shape[1]),
            cost=cost(run),
            **dict(findings),
        )


def load(prepared: Prepared, setting: Setting) -> Run:
    """A candidate, checked and ready.

    Raises:
        CandidateError: it cannot be loaded, or fails a check.
    """
    watch = Stopwatch(setting.device)
    reset_device_peak(setting.device)
    with watch.stage("load"):
        backbone = load_backbone(prepared.directory, setting.device, prepared.checkpoint)
        few = setting.task.test.pixels[:PREFLIGHT_IMAGES].to(setting.device, torch.float32) / 255
        check_backbone(backbone, few, setting.threat)
    batch = BatchSize(first_batch_size(backbone.input_size, setting.device))
    return Run(backbone, setting, batch, watch)


def fit(run: Run) -> Heads:
    """The heads of a candidate, from training and validation images."""
    task, classes = run.setting.task, len(run.setting.task.classes)
    with run.watch.stage("features"):
        train, validation = map(run.clean, (task.train, task.validation))
    with run.watch.stage("heads"):
        probe = choose_probe(train, validation, classes)
        projection = task_projection(probe.head)
    with run.watch.stage("attack"):
        reach = _reach(run, validation, projection)
    with run.watch.stage("heads"):
        bound_optimal = _bound_optimal(train, validation, reach, projection, classes)
    return Heads(probe, bound_optimal, projection)


def _measure(run: Run) -> Measured:
    heads = fit(run)
    with run.watch.stage("features"):
        test = run.clean(run.setting.task.test)
    with run.watch.stage("attack"):
        images = run.images(run.setting.task.test).chunks(AT_ONCE)
        found = [
            _attack(run, part, clean, labels, heads)
            for part, (clean, labels, _) in zip(images, test.chunks(AT_ONCE), strict=True)
        ]
    return Measured(test, joined(found), heads)


def _reach(run: Run, validation: Labelled, projection: Tensor) -> Tensor:
    """Attained displacement on A∘g of the validation images (n,), searched for in fp32.

    It also tells whether later searches may do with less precision.
    """
    images = run.images(run.setting.task.validation).chunks(AT_ONCE)
    on_task, on_g, norms = [], [], []
    for part, (clean, _, _) in zip(images, validation.chunks(AT_ONCE), strict=True):
        aim = displacement_aim(clean, projection)
        found = search(part, aim, run.setting.threat, run.budget)
        on_task.append(displacement(found.features, clean, projection))
        on_g.append(displacement(found.features, clean))
        norms.append(torch.linalg.vector_norm(clean.double(), dim=1))
    run.precision.choose(torch.cat(on_g), torch.cat(norms), run.setting.device)
    return torch.cat(on_task)


def _bound_optimal(
    train: Labelled, validation: Labelled, reach: Tensor, projection: Tensor, classes: int
) -> ChosenHead:
    """The head on g that is bound-optimal on A∘g.

    Training images are not attacked: each counts as moved by what validation images attained on
    average. How the head was found changes no promise about it, since every number is computed
    from test images.
    """
    chosen = choose_head(
        _projected(train, projection, reach.mean().expand(len(train.labels))),
        _projected(validation, projection, reach),
        classes,
    )
    return replace(chosen, head=chosen.head.before(projection))


def _projected(data: Labelled, projection: Tensor, reach: Tensor) -> Labelled:
    """The same images on A∘g, movable by ``reach`` (n,)."""
    parts = (features @ projection.to(features).T for features, _, _ in data.chunks(AT_ONCE))
    return Labelled(collect(parts, len(data.labels)), data.labels, reach)


def _attack(run: Run, images: Images, clean: Tensor, labels: Tensor, heads: Heads) -> Outcomes:
    """Attack some test images with every aim, pool what was attained, and keep the numbers."""
    threat = run.setting.threat
    on_g = search(images, displacement_aim(clean), threat, run.budget)
    on_task = search(images, displacement_aim(clean, heads.projection), threat, run.budget)
    on_heads = [
        search(images, aim(head, labels), threat, run.half_budget)
        for head in (heads.probe.head, heads.bound_optimal.head)
        for aim in (loss_aim, margin_aim)
    ]
    controls = gradient_free(images, clean, threat, run.setting.protocol.seed)
    attained = (on_g, on_task, *on_heads)
    points = (*(found.features for found in attained), controls.noise, controls.searched)
    return outcomes(Pool(clean, points), heads, labels, signs(on_g, clean, controls))


def prior_entropy(task: Task) -> float:
    """The loss, in nats, that a head reaches which knows only the class frequencies of train."""
    return bounds.prior_entropy(task.train.labels, len(task.classes))


def prior_loss(task: Task) -> float:
    """That head's loss on validation images, where other heads have to be better."""
    return bounds.prior_loss(task.train.labels, task.validation.labels, len(task.classes))


def cost(run: Run) -> Cost:
    """What measuring a candidate has taken."""
    passes, seconds = run.backbone.passes, run.watch.seconds
    return Cost(
        forward_passes=passes.forward,
        backward_passes=passes.backward,
        batch_size=run.batch.value,
        search_precision=PRECISION_NAMES[run.precision.search],
        seconds_load=seconds.get("load", 0.0),
        seconds_features=seconds.get("features", 0.0),
        seconds_attack=seconds.get("attack", 0.0),
        seconds_heads=seconds.get("heads", 0.0),
        peak_process_bytes=process_peak(),
        peak_device_bytes=device_peak(run.setting.device),
    )


@contextmanager
def as_candidate_errors() -> Iterator[None]:
    """What can go wrong inside a network is that candidate's row, not the end of the run."""
    try:
        yield
    except FloatingPointError as error:
        raise CandidateError(
            "non_finite_features", f"features under attack are not finite: {error}."
        ) from error
    except UsageError as error:
        # The user's disk has no room for this one's features; others may have fewer.
        raise CandidateError("no_disk_space", error.message, hint=error.hint) from error
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise CandidateError(
            "out_of_memory",
            "one image does not fit into this device's memory.",
            hint="Use another --device or a smaller --image-size.",
        ) from error
