"""One candidate on one task, from its files to its numbers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selector import bounds, intervals
from selector.attacks import ATTACKS
from selector.backbones import Backbone, load_backbone
from selector.errors import CandidateError
from selector.heads import (
    ChosenHead,
    Labelled,
    LinearHead,
    choose_head,
    choose_probe,
    task_projection,
)
from selector.preflight import check_backbone
from selector.protocol import CLIP_IN_LOG_K, RHO, Protocol
from selector.records import (
    Cost,
    Diagnostics,
    EstimatedRobustness,
    Evaluation,
    Flag,
    HeadReport,
    PerImage,
    Provenance,
    Sensitivity,
)
from selector.sensitivity import (
    BatchSize,
    Budget,
    Images,
    Pool,
    Search,
    displacement,
    displacement_aim,
    extract,
    loss_aim,
    margin_aim,
    noise_control,
    search,
)
from selector.tasks import Split, Task
from selector.threat import ThreatModel

# After-flags: shares of the test images beyond which a row carries a warning.
MASKING_SHARE = 0.05
RISING_SHARE = 0.25
COLLAPSED_RANK = 2.0
NOISE_MARGIN = 1.01
MASKED = "masked_gradients"

# Images per pass start from this many input pixels, and shrink when memory runs out.
_PIXELS_PER_BATCH = {"cpu": 32 * 224 * 224, "cuda": 256 * 224 * 224, "mps": 64 * 224 * 224}
_LARGEST_BATCH = 256


@dataclass(frozen=True)
class Setting:
    """What is the same for every candidate of a run."""

    task: Task
    threat: ThreatModel
    protocol: Protocol
    device: torch.device


@dataclass(frozen=True)
class Prepared:
    """A candidate's files on disk, with what is known about them."""

    name: str
    model: str
    directory: Path
    hashes: dict[str, str]
    describe: Callable[[Backbone, int], Provenance]


class Stopwatch:
    """Seconds spent per stage."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = {}
        self._device = device

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to ``name``, the device's queue emptied first."""
        started = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started


@dataclass(frozen=True)
class _Run:
    """One candidate, loaded and checked, ready to be measured."""

    backbone: Backbone
    setting: Setting
    batch: BatchSize
    watch: Stopwatch

    @property
    def budget(self) -> Budget:
        protocol = self.setting.protocol
        return Budget(ATTACKS[protocol.attack], protocol.restarts, protocol.steps, protocol.seed)

    @property
    def half_budget(self) -> Budget:
        """A head is attacked with two aims; each gets half of the restarts."""
        return replace(self.budget, restarts=max(1, self.budget.restarts // 2))

    def images(self, split: Split) -> Images:
        return Images(split.pixels, self.backbone, self.setting.device, self.batch)

    def clean(self, split: Split) -> Labelled:
        """Features and labels of a part of the task, on the device."""
        return Labelled.clean(extract(self.images(split)), split.labels.to(self.setting.device))


@dataclass(frozen=True)
class _Measured:
    """Everything the reports are computed from; tensors on the device."""

    test: Labelled
    pool: Pool
    projection: Tensor
    probe: ChosenHead
    bound_optimal: ChosenHead
    diagnostics: Diagnostics


def planned_passes(setting: Setting) -> int:
    """Forward passes that one candidate takes, in images, for progress displays."""
    protocol, task = setting.protocol, setting.task
    half = max(1, protocol.restarts // 2)
    starts = protocol.restarts * (len(task.validation) + 2 * len(task.test))
    starts += 4 * half * len(task.test)
    plain = len(task.train) + len(task.validation) + 3 * len(task.test)
    return plain + starts * (protocol.steps + 2)


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
    with _full_precision(), _as_candidate_errors():
        watch = Stopwatch(setting.device)
        with watch.stage("load"):
            run = _load(prepared, setting, watch)
        run.backbone.passes.on_pass = on_pass
        measured = _measure(run)
        return _report(prepared, run, measured)


def _load(prepared: Prepared, setting: Setting, watch: Stopwatch) -> _Run:
    backbone = load_backbone(prepared.directory, setting.device)
    few = setting.task.test.pixels[:4].to(setting.device, torch.float32) / 255
    check_backbone(backbone, few, setting.threat)
    height, width = backbone.input_size
    pixels = _PIXELS_PER_BATCH[setting.device.type]
    batch = BatchSize(min(_LARGEST_BATCH, max(1, pixels // (height * width))))
    return _Run(backbone, setting, batch, watch)


def _measure(run: _Run) -> _Measured:
    task, classes = run.setting.task, len(run.setting.task.classes)
    with run.watch.stage("features"):
        train, validation, test = map(run.clean, (task.train, task.validation, task.test))
    with run.watch.stage("heads"):
        probe = choose_probe(train, validation, classes)
        projection = task_projection(probe.head)
    with run.watch.stage("attack"):
        reach = _reach(run, validation, projection)
    with run.watch.stage("heads"):
        bound_optimal = _bound_optimal(train, validation, reach, projection, classes)
    with run.watch.stage("attack"):
        pool, diagnostics = _attack(run, test, projection, (probe.head, bound_optimal.head))
    return _Measured(test, pool, projection, probe, bound_optimal, diagnostics)


def _reach(run: _Run, validation: Labelled, projection: Tensor) -> Tensor:
    """Attained displacement on A∘g of the validation images (n,)."""
    aim = displacement_aim(validation.features, projection)
    found = search(run.images(run.setting.task.validation), aim, run.setting.threat, run.budget)
    return displacement(found.features, validation.features, projection)


def _bound_optimal(
    train: Labelled, validation: Labelled, reach: Tensor, projection: Tensor, classes: int
) -> ChosenHead:
    """The head on g that is bound-optimal on A∘g.

    Training images are not attacked: each counts as moved by what validation images attained on
    average. How the head was found changes no promise about it, since every number is computed
    from test images.
    """
    a = projection.to(train.features.dtype)
    chosen = choose_head(
        Labelled(train.features @ a.T, train.labels, reach.mean().expand(len(train.labels))),
        Labelled(validation.features @ a.T, validation.labels, reach),
        classes,
    )
    return replace(chosen, head=chosen.head.before(projection))


def _attack(
    run: _Run, test: Labelled, projection: Tensor, heads: tuple[LinearHead, LinearHead]
) -> tuple[Pool, Diagnostics]:
    """Attack the test images with every aim and pool what was attained."""
    images, threat = run.images(run.setting.task.test), run.setting.threat
    on_g = search(images, displacement_aim(test.features), threat, run.budget)
    on_task = search(images, displacement_aim(test.features, projection), threat, run.budget)
    on_heads = [
        search(images, aim(head, test.labels), threat, run.half_budget)
        for head in heads
        for aim in (loss_aim, margin_aim)
    ]
    noise = noise_control(images, test.features, threat, run.setting.protocol.seed)
    pool = Pool(
        test.features, (on_g.features, on_task.features, *(s.features for s in on_heads), noise)
    )
    return pool, _diagnose(on_g, test.features, noise)


def _diagnose(on_g: Search, clean: Tensor, noise: Tensor) -> Diagnostics:
    attained = displacement(on_g.features, clean)
    by_noise = displacement(noise, clean)
    restarts = on_g.restart_values.double().sqrt()
    best = restarts.amax(dim=0).clamp_min(torch.finfo(torch.float64).tiny)
    return Diagnostics(
        restart_spread=((best - restarts.mean(dim=0)) / best).mean().item(),
        still_rising=on_g.rising.double().mean().item(),
        zero_gradient=on_g.stuck.double().mean().item(),
        noise_ratio=(by_noise.mean() / attained.mean().clamp_min(1e-300)).item(),
        noise_wins=(by_noise > attained * NOISE_MARGIN).double().mean().item(),
        effective_rank=_effective_rank(clean),
    )


def _report(prepared: Prepared, run: _Run, measured: _Measured) -> Evaluation:
    test, head = measured.test, measured.bound_optimal.head
    s_g = measured.pool.displacement()
    s_task = measured.pool.displacement(measured.projection)
    logits = head(test.features)
    probe = _report_head(measured, measured.probe, s_g, s_task)
    bound_optimal = _report_head(measured, measured.bound_optimal, s_g, s_task)
    robust = bounds.criterion_holds(logits, head.weight, test.labels, s_task)
    losses = bounds.worst_case_losses(logits, head.weight, test.labels, s_task)
    passes, seconds = run.backbone.passes, run.watch.seconds
    return Evaluation(
        name=prepared.name,
        model=prepared.model,
        provenance=prepared.describe(run.backbone, test.features.shape[1]),
        probe=probe,
        bound_optimal=bound_optimal,
        vacuous=bound_optimal.validation_loss >= prior_entropy(run.setting.task),
        sensitivity=_sensitivity(s_g, test.features),
        task_sensitivity=_sensitivity(s_task, test.features @ measured.projection.float().T),
        diagnostics=measured.diagnostics,
        warnings=flags(measured.diagnostics, probe, test.labels),
        cost=Cost(
            forward_passes=passes.forward,
            backward_passes=passes.backward,
            batch_size=run.batch.value,
            seconds_load=seconds["load"],
            seconds_features=seconds["features"],
            seconds_attack=seconds["attack"],
            seconds_heads=seconds["heads"],
        ),
        per_image=PerImage(
            clean_correct=_as_tuple(measured.probe.head(test.features).argmax(1) == test.labels),
            robust_correct=_as_tuple(robust),
            attacked_correct=_as_tuple(measured.pool.always_correct(head, test.labels)),
            worst_case_loss=_as_tuple(losses),
        ),
    )


def _report_head(
    measured: _Measured, chosen: ChosenHead, s_g: Tensor, s_task: Tensor
) -> HeadReport:
    head, labels, features = chosen.head, measured.test.labels, measured.test.features
    logits = head(features)
    return HeadReport(
        l2=chosen.l2,
        radius_scale=chosen.radius_scale,
        validation_loss=chosen.validation_loss,
        clean_accuracy=intervals.proportion(logits.argmax(dim=1) == labels),
        clean_loss=intervals.mean(bounds.cross_entropy(logits, labels)),
        attacked_accuracy=intervals.proportion(measured.pool.always_correct(head, labels)),
        attacked_loss=intervals.mean(measured.pool.worst_losses(head, labels)),
        on_representation=_estimate(logits, head, labels, s_g),
        on_task=_estimate(logits, head, labels, s_task),
    )


def _estimate(logits: Tensor, head: LinearHead, labels: Tensor, s: Tensor) -> EstimatedRobustness:
    """The theorems, fed with attained displacements ``s`` (n,)."""
    weight = head.weight
    return EstimatedRobustness(
        estimated_robust_accuracy=intervals.proportion(
            bounds.criterion_holds(logits, weight, labels, s)
        ),
        estimated_theorem1_loss=bounds.theorem1_loss(
            bounds.cross_entropy(logits, labels),
            weight,
            s,
            clip=loss_clip(logits.shape[1]),
            rho=RHO,
        ),
        estimated_margin_loss=intervals.mean(bounds.margin_losses(logits, weight, labels, s)),
        estimated_worst_case_loss=intervals.mean(
            bounds.worst_case_losses(logits, weight, labels, s)
        ),
    )


def prior_entropy(task: Task) -> float:
    """The loss, in nats, that a head reaches which knows only the class frequencies of train."""
    return bounds.prior_entropy(task.train.labels, len(task.classes))


def flags(diagnostics: Diagnostics, probe: HeadReport, labels: Tensor) -> tuple[Flag, ...]:
    """Reasons to read a row with care, from what was measured."""
    chance = torch.bincount(labels).max().item() / len(labels)
    found = []
    if diagnostics.noise_wins > MASKING_SHARE or diagnostics.zero_gradient > MASKING_SHARE:
        found.append(
            Flag(
                code=MASKED,
                message=f"random noise moved {diagnostics.noise_wins:.0%} of the images farther than"
                f" the attack and the gradient vanished for {diagnostics.zero_gradient:.0%}: the"
                " estimates flatter this backbone, so it ranks below all others",
            )
        )
    if diagnostics.still_rising > RISING_SHARE:
        found.append(
            Flag(
                code="still_rising",
                message=f"the attack was still gaining on {diagnostics.still_rising:.0%} of the"
                " images; more --steps would lower the estimates",
            )
        )
    if diagnostics.effective_rank < COLLAPSED_RANK:
        found.append(
            Flag(
                code="collapsed_features",
                message=f"features vary in {diagnostics.effective_rank:.1f} directions only",
            )
        )
    if probe.clean_accuracy.low <= chance:
        found.append(
            Flag(
                code="at_chance",
                message=f"the probe's accuracy, {probe.clean_accuracy.value:.3f}, cannot be told from"
                f" always naming the most frequent class, {chance:.3f}",
            )
        )
    return tuple(found)


def _sensitivity(s: Tensor, features: Tensor) -> Sensitivity:
    # Mean pairwise distance over a fixed thousand images at most: n^2 memory otherwise.
    spread = torch.nn.functional.pdist(features[:1000].double()).mean().clamp_min(1e-300)
    return Sensitivity(mean=intervals.mean(s), relative=(s.mean() / spread).item())


def _effective_rank(features: Tensor) -> float:
    """exp of the entropy of the normalised covariance spectrum (Roy and Vetterli 2007)."""
    centred = features.double() - features.double().mean(dim=0)
    energy = torch.linalg.svdvals(centred).square()
    return float(torch.special.entr(energy / energy.sum()).sum().exp())


def loss_clip(classes: int) -> float:
    """What the loss is clipped at for Theorem 1, in nats."""
    return CLIP_IN_LOG_K * math.log(classes)


def _as_tuple(values: Tensor) -> tuple[Any, ...]:
    return tuple(values.tolist())


@contextmanager
def _full_precision() -> Iterator[None]:
    """No TF32 in what is scored: a displacement is a small difference of large features."""
    matmul, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = cudnn


@contextmanager
def _as_candidate_errors() -> Iterator[None]:
    """What can go wrong inside a network is that candidate's row, not the end of the run."""
    try:
        yield
    except FloatingPointError as error:
        raise CandidateError(
            "non_finite_features", f"features under attack are not finite: {error}."
        ) from error
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise CandidateError(
            "out_of_memory",
            "one image does not fit into this device's memory.",
            hint="Use another --device or a smaller --image-size.",
        ) from error
