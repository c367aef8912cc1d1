"""Many candidates, one after the other: the next is fetched while this one is measured."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from selector import hub
from selector.backbones import Backbone, check_files, first_line
from selector.candidates import CONFIG_FILE, HUB_PREFIX, WEIGHTS_FILE, Candidate
from selector.errors import CandidateError, HubUnavailable
from selector.evaluation import Prepared, Setting, evaluate
from selector.protocol import PROTOCOL_VERSION
from selector.records import Evaluation, FileRecord, Outcome, Provenance, Skipped
from selector.store import Store, content_key

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Started:
    """A candidate's measurement begins."""

    name: str


@dataclass(frozen=True)
class Passed:
    """Images went through the backbone that is being measured."""

    images: int


@dataclass(frozen=True)
class Finished:
    """A candidate is done.

    Attributes:
        outcome: what came of it.
        reused: it was measured by an earlier run.
    """

    outcome: Outcome
    reused: bool


Event = Started | Passed | Finished


def evaluate_all(
    candidates: Sequence[Candidate],
    setting: Setting,
    store_path: Path,
    *,
    fresh: bool,
    emit: Callable[[Event], None],
) -> None:
    """Measure every candidate, keep each result at once, and tell ``emit`` what happens.

    Args:
        candidates: in the order in which they are measured.
        setting: the same for all.
        store_path: where results are kept and, unless ``fresh``, looked up.
        fresh: measure again what an earlier run has measured.
        emit: called from this thread.
    """
    store = Store(store_path)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="fetch") as pool:
        ahead: Future[Prepared] = pool.submit(prepare, candidates[0])
        for place, candidate in enumerate(candidates):
            fetched = ahead
            if place + 1 < len(candidates):
                ahead = pool.submit(prepare, candidates[place + 1])
            emit(Started(candidate.name))
            emit(_measure(candidate, fetched, setting, None if fresh else store, store, emit))
    store.close()


def prepare(candidate: Candidate) -> Prepared:
    """Bring a candidate's files onto this machine and hash them.

    Raises:
        CandidateError: it is unknown, gated, altered, or has no safetensors.
        HubUnavailable: the Hub is down.
    """
    if candidate.source == "hub":
        commit = hub.resolve(candidate.repo_id, candidate.revision)
        snapshot = hub.fetch(candidate.repo_id, commit)
        directory, files = snapshot.directory, snapshot.files
        model, repo = f"{HUB_PREFIX}{candidate.repo_id}@{commit}", candidate.repo_id
    else:
        directory, commit, repo, model = candidate.directory, None, None, candidate.model
        check_files(directory)
        files = hub.hash_files(directory, (CONFIG_FILE, WEIGHTS_FILE))

    def describe(backbone: Backbone, feature_dim: int) -> Provenance:
        declared = backbone.pretrained_license
        return Provenance(
            source=candidate.source,
            repo=repo,
            commit=commit,
            files=tuple(FileRecord(name=f.name, size=f.size, sha256=f.sha256) for f in files),
            license=candidate.license or declared,
            pretraining=candidate.pretraining,
            tags=candidate.tags,
            architecture=backbone.architecture,
            parameters=sum(p.numel() for p in backbone.network.parameters()),
            input_size=backbone.input_size,
            feature_dim=feature_dim,
            mean=tuple(backbone.mean.flatten().tolist()),
            std=tuple(backbone.std.flatten().tolist()),
            interpolation=backbone.interpolation,
        )

    hashes = {f.name: f.sha256 for f in files}
    return Prepared(candidate.name, model, directory, hashes, describe)


def measurement_key(candidate: Candidate, prepared: Prepared, setting: Setting) -> str:
    """What a measurement depends on; anything here that changes means measuring again."""
    parts: dict[str, Any] = {
        "candidate": candidate.model_dump(mode="json"),
        "files": prepared.hashes,
        "task": setting.task.fingerprint,
        "threat": asdict(setting.threat),
        "protocol": asdict(setting.protocol) | {"version": PROTOCOL_VERSION},
        "device": setting.device.type,
        "versions": {name: version(name) for name in ("selector", "torch", "timm")},
    }
    return content_key(parts)


def in_background(work: Callable[[Callable[[_T], None]], None]) -> Iterator[_T]:
    """Run ``work(emit)`` in a thread of its own and yield what it emits.

    The main thread then only waits, so Ctrl-C takes effect at once and not after the native call
    that happens to be running.
    """
    items: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def run() -> None:
        try:
            work(lambda item: items.put((True, item)))
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
            items.put((False, error))
        else:
            items.put((False, None))

    threading.Thread(target=run, name="measure", daemon=True).start()
    while True:
        more, item = items.get()
        if more:
            yield item
        elif item is None:
            return
        else:
            raise item


def _measure(
    candidate: Candidate,
    fetched: Future[Prepared],
    setting: Setting,
    lookup: Store | None,
    store: Store,
    emit: Callable[[Event], None],
) -> Finished:
    try:
        prepared = fetched.result()
        key = measurement_key(candidate, prepared, setting)
        kept = lookup.get(key) if lookup else None
        if kept is not None:
            return Finished(kept, reused=True)
        evaluation: Evaluation = evaluate(prepared, setting, lambda images: emit(Passed(images)))
    except CandidateError as error:
        return Finished(_skipped(candidate, error), reused=False)
    except Exception as error:  # noqa: BLE001 - hours of others must not end with an unforeseen one
        _log.exception("unforeseen failure of %s", candidate.name)
        unforeseen = CandidateError(
            "unforeseen",
            f"{type(error).__name__}: {first_line(error)}.",
            hint="Please report this, with the messages above.",
        )
        return Finished(_skipped(candidate, unforeseen), reused=False)
    store.put(key, evaluation)
    return Finished(evaluation, reused=False)


def _skipped(candidate: Candidate, error: CandidateError) -> Skipped:
    return Skipped(
        name=candidate.name,
        model=candidate.model,
        code=error.code,
        reason=error.message,
        hint=error.hint,
        retryable=isinstance(error, HubUnavailable),
    )
