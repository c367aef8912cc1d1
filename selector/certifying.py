"""Candidates on one task, from their files to certificates of a smoothed head each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from functools import partial
from importlib.metadata import version

from torch import Tensor

from selector import intervals
from selector.candidates import Candidate, Pinned
from selector.choosing import ChosenHead, choose_probe
from selector.devices import full_precision
from selector.fetching import Ahead, FetchRules
from selector.heads import Labelled
from selector.peaks import device_peak, process_peak
from selector.radii import Smoothing
from selector.records import (
    CertificationCost,
    CertifiedAccuracy,
    CertifiedCandidate,
    CertifiedPerImage,
    Skipped,
    SmoothingRecord,
)
from selector.run import Prepared, Run, as_candidate_errors, load
from selector.scheduling import Event, Finished, Kept, Passed, Started, attempt, followed
from selector.smoothing import Noise, Part, certify, count_votes, noisy_features
from selector.spool import collect
from selector.store import Store, content_key
from selector.tasks.decoding import Split
from selector.workload import Setting

# Raised whenever the same command may give other certificates; part of every stored result's key.
_VERSION = 1


def certify_all(
    candidates: Sequence[Pinned],
    setting: Setting,
    smoothing: Smoothing,
    kept: Kept,
    rules: FetchRules,
    emit: Callable[[Event], None],
) -> None:
    """Certify every candidate, keep each result at once, and tell ``emit`` what happens.

    Args:
        candidates: in the order in which they are measured.
        setting: the same for all; its threat is for the checks before a backbone is run.
        smoothing: noise, draws, radii.
        kept: where results are kept and looked up.
        rules: what may be fetched.
        emit: called from this thread, and with a FetchEvent from others.
    """
    store = Store(kept.path)

    def certified(candidate: Candidate, fetched: Future[Prepared]) -> Finished:
        prepared = followed(fetched.result(), emit)
        key = certification_key(candidate, prepared, setting, smoothing)
        known = None if kept.fresh else store.get_certified(key)
        if known is not None:
            return Finished(known, reused=True)
        found = certify_candidate(prepared, setting, smoothing, lambda images: emit(Passed(images)))
        store.put(key, found)
        return Finished(found, reused=False)

    with Ahead(candidates, rules, emit) as ahead:
        for pinned in candidates:
            candidate = pinned.candidate
            emit(Started(candidate.name))
            done = attempt(candidate, partial(certified, candidate, ahead.next()))
            emit(Finished(done, reused=False) if isinstance(done, Skipped) else done)
            ahead.done()
    store.close()


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


def certification_key(
    candidate: Candidate, prepared: Prepared, setting: Setting, smoothing: Smoothing
) -> str | None:
    """What certificates depend on, as :func:`selector.scheduling.measurement_key` does."""
    if prepared.hashes is None:
        return None
    return content_key(
        {
            "certified": _VERSION,
            "candidate": candidate.model_dump(mode="json"),
            "files": prepared.hashes,
            "task": setting.task.fingerprint,
            "smoothing": asdict(smoothing),
            "seed": setting.protocol.seed,
            "device": setting.device.type,
            "versions": {name: version(name) for name in ("selector", "torch", "timm")},
        }
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
    )
