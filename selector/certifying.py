"""Candidates on one task, from their files to certificates of a smoothed head each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from torch import Tensor

from selector import intervals, keys
from selector.candidates import Candidate
from selector.choosing import ChosenHead, choose_probe
from selector.devices import describe_device
from selector.heads import Labelled
from selector.measuring import Measuring
from selector.peaks import device_peak, process_peak
from selector.precision import full_precision
from selector.radii import Smoothing
from selector.records import (
    CertificationCost,
    CertifiedAccuracy,
    CertifiedCandidate,
    CertifiedPerImage,
    SmoothingRecord,
)
from selector.run import Prepared, Run, as_candidate_errors, load
from selector.smoothing import Noise, Part, certify, count_votes, noisy_features
from selector.spool import collect
from selector.store import Content
from selector.tasks.decoding import Split
from selector.workload import Setting


def certifying(setting: Setting, smoothing: Smoothing, *, fresh: bool = False) -> Measuring:
    """How candidates are certified.

    Args:
        setting: the same for all; its threat is for the checks before a backbone is run.
        smoothing: noise, draws, radii.
        fresh: certify again what an earlier run has certified.
    """

    def certified(
        prepared: Prepared, setting: Setting, on_pass: Callable[[int], None]
    ) -> CertifiedCandidate:
        return certify_candidate(prepared, setting, smoothing, on_pass)

    def content(candidate: Candidate, prepared: Prepared, setting: Setting) -> Content | None:
        return keys.certification(candidate, prepared, setting, smoothing)

    return Measuring(setting, certified, CertifiedCandidate, content, fresh)


def certify_candidate(
    prepared: Prepared,
    setting: Setting,
    smoothing: Smoothing,
    on_pass: Callable[[int], None] = lambda images: None,
) -> CertifiedCandidate:
    """Fit a head on noisy features of one candidate, and certify its decisions on test images.

    Raises:
        CandidateError: it cannot be loaded, run or trusted.
    """
    with full_precision(), as_candidate_errors():
        run = load(prepared, setting)
        run.backbone.passes.on_pass = on_pass
        chosen = _fit(run, smoothing)
        selection, count = _vote(run, smoothing, chosen)
        certificates = certify(selection, count, smoothing.sigma, smoothing.alpha)
        labels = setting.task.test.labels
        shares = count.gather(1, labels[:, None]).squeeze(1) / smoothing.draws
        return CertifiedCandidate(
            name=prepared.name,
            model=prepared.model,
            provenance=prepared.describe(run.backbone, chosen.head.weight.shape[1]),
            smoothing=smoothing_record(smoothing, setting.protocol.seed),
            l2=chosen.l2,
            validation_loss=chosen.validation_loss,
            noisy_accuracy=intervals.mean(shares),
            smoothed_accuracy=intervals.proportion(certificates.right(labels)),
            abstained=intervals.proportion(certificates.abstained),
            certified_accuracy=tuple(
                CertifiedAccuracy(
                    radius=radius,
                    **dict(intervals.proportion(certificates.right(labels, radius))),
                )
                for radius in smoothing.radii
            ),
            per_image=CertifiedPerImage(
                radius=tuple(certificates.radii.tolist()),
                correct=tuple((certificates.classes == labels).tolist()),
            ),
            cost=_cost(run),
        )


def planned_certification(setting: Setting, smoothing: Smoothing) -> int:
    """Images that go forward through a backbone to certify it."""
    task = setting.task
    fitting = (len(task.train) + len(task.validation)) * smoothing.training_draws
    return fitting + len(task.test) * (smoothing.selection_draws + smoothing.draws)


def smoothing_record(smoothing: Smoothing, seed: int) -> SmoothingRecord:
    """What documents say of it; radii stand beside their accuracies."""
    stated = {name: value for name, value in asdict(smoothing).items() if name != "radii"}
    return SmoothingRecord(**stated, largest_radius=smoothing.largest_radius, seed=seed)


def _fit(run: Run, smoothing: Smoothing) -> ChosenHead:
    """The ordinary probe of noisy features, l2 chosen on noisy validation images."""
    task = run.setting.task
    with run.watch.stage("features"):
        train = _noisy(run, smoothing, task.train, "train")
        validation = _noisy(run, smoothing, task.validation, "validation")
    with run.watch.stage("heads"):
        return choose_probe(train, validation, len(task.classes))


def _noisy(run: Run, smoothing: Smoothing, split: Split, part: Part) -> Labelled:
    """Features of some draws of each image, with the label of the clean one."""
    draws = smoothing.training_draws
    noise = Noise(smoothing.sigma, run.setting.protocol.seed, part, range(draws))
    features = collect(noisy_features(run.images(split), noise), len(split) * draws)
    labels = split.labels.to(run.setting.device).repeat_interleave(draws)
    return Labelled.clean(features, labels)


def _vote(run: Run, smoothing: Smoothing, chosen: ChosenHead) -> tuple[Tensor, Tensor]:
    """Votes (n,K) on test images, of the draws that choose a class and of those that count it."""
    first = smoothing.selection_draws
    images = run.images(run.setting.task.test)
    with run.watch.stage("votes"):
        selection, count = (
            count_votes(
                images,
                Noise(smoothing.sigma, run.setting.protocol.seed, "test", draws),
                (chosen.head,),
            )[0].cpu()
            for draws in (range(first), range(first, first + smoothing.draws))
        )
    return selection, count


def _cost(run: Run) -> CertificationCost:
    seconds = run.watch.seconds
    return CertificationCost(
        forward_passes=run.backbone.passes.forward,
        seconds_load=seconds.get("load", 0.0),
        seconds_features=seconds.get("features", 0.0),
        seconds_heads=seconds.get("heads", 0.0),
        seconds_votes=seconds.get("votes", 0.0),
        batch_size=run.batch.value,
        peak_process_bytes=process_peak(),
        peak_device_bytes=device_peak(run.setting.device),
        device=describe_device(run.setting.device),
    )
