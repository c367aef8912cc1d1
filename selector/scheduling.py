"""Many candidates, one after the other: the next are fetched while this one is measured."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from selector.backbones import first_line
from selector.candidates import Candidate, Pinned
from selector.errors import CandidateError, HubUnavailable
from selector.evaluation import Prepared, Setting, evaluate
from selector.fetching import Ahead, FetchEvent, FetchRules
from selector.protocol import PROTOCOL_VERSION
from selector.records import Evaluation, Outcome, Skipped
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


Event = Started | Passed | Finished | FetchEvent


@dataclass(frozen=True)
class Kept:
    """Where results are kept.

    Attributes:
        path: of the store.
        fresh: measure again what an earlier run has measured.
    """

    path: Path
    fresh: bool = False


def evaluate_all(
    candidates: Sequence[Pinned],
    setting: Setting,
    kept: Kept,
    rules: FetchRules,
    emit: Callable[[Event], None],
) -> None:
    """Measure every candidate, keep each result at once, and tell ``emit`` what happens.

    Args:
        candidates: in the order in which they are measured.
        setting: the same for all.
        kept: where results are kept and looked up.
        rules: what may be fetched.
        emit: called from this thread, and with a FetchEvent from others.
    """
    store = Store(kept.path)
    with Ahead(candidates, rules, emit) as ahead:
        for pinned in candidates:
            emit(Started(pinned.candidate.name))
            lookup = None if kept.fresh else store
            emit(_measure(pinned.candidate, ahead.next(), setting, lookup, store, emit))
            ahead.done()
    store.close()


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
