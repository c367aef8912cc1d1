"""Many candidates, one after the other: the next are fetched while this one is measured."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from selector.backbones import first_line
from selector.batches import bf16_is_fast
from selector.candidates import Candidate, Pinned
from selector.errors import CandidateError, HubUnavailable
from selector.evaluation import evaluate
from selector.fetching import Ahead, FetchEvent, FetchRules
from selector.protocol import PROTOCOL_VERSION
from selector.records import Evaluation, Outcome, RegressionEvaluation, Skipped, Sweep
from selector.run import Prepared
from selector.screening import Look
from selector.store import Store, content_key
from selector.sweeping import sweep
from selector.workload import Setting

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Started:
    """A candidate's measurement begins."""

    name: str


@dataclass(frozen=True)
class Entered:
    """A stage of a candidate's measurement begins: load, features, attack, heads or votes."""

    stage: str


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


@dataclass(frozen=True)
class Looked:
    """A candidate of a race was looked at.

    Attributes:
        name: which.
        images: it was looked at so far.
        share: of all test images, on which it can at most withstand.
    """

    name: str
    images: int
    share: float


Event = Started | Entered | Passed | Looked | Finished | FetchEvent


class OutOfTime(Exception):  # noqa: N818 - no fault of the candidate that it comes to
    """The time that the user gave is up."""


@dataclass(frozen=True)
class Kept:
    """Where results are kept.

    Attributes:
        path: of the store.
        fresh: measure again what an earlier run has measured.
    """

    path: Path
    fresh: bool = False


@dataclass(frozen=True)
class Measuring:
    """How a candidate is measured, and found where an earlier run has measured it.

    Attributes:
        evaluate: files, setting, and whom to tell of passes -> the record.
        kept: what the store has under a key.
    """

    evaluate: Callable[
        [Prepared, Setting, Callable[[int], None]], Evaluation | Sweep | RegressionEvaluation
    ]
    kept: Callable[[Store, str | None], Evaluation | Sweep | RegressionEvaluation | None]


def evaluate_all(
    candidates: Sequence[Pinned],
    setting: Setting,
    kept: Kept,
    rules: FetchRules,
    emit: Callable[[Event], None],
    measuring: Measuring | None = None,
) -> None:
    """Measure every candidate, keep each result at once, and tell ``emit`` what happens.

    Args:
        candidates: in the order in which they are measured.
        setting: the same for all.
        kept: where results are kept and looked up.
        rules: what may be fetched.
        emit: called from this thread, and with a FetchEvent from others.
        measuring: how; None for a task of classes.
    """
    how = measuring or measuring_classes(setting)
    store = Store(kept.path)
    with Ahead(candidates, rules, emit) as ahead:
        for pinned in candidates:
            emit(Started(pinned.candidate.name))
            lookup = None if kept.fresh else store
            emit(_measure(pinned.candidate, ahead.next(), setting, lookup, store, emit, how))
            ahead.done()
    store.close()


def measuring_classes(setting: Setting) -> Measuring:
    """How candidates are measured on a task of classes: under one threat, or under several."""
    return Measuring(sweep, Store.get_sweep) if setting.others else Measuring(evaluate, Store.get)


def followed(prepared: Prepared, emit: Callable[[Event], None]) -> Prepared:
    """The same candidate, of whose stages ``emit`` is told."""
    return replace(prepared, on_stage=lambda stage: emit(Entered(stage)))


def measurement_key(
    candidate: Candidate, prepared: Prepared, setting: Setting, look: Look | None = None
) -> str | None:
    """What a measurement depends on; anything here that changes means measuring again.

    None for a candidate that no hash tells apart from another: it is measured every time.

    Args:
        candidate: which.
        prepared: its files.
        setting: task, threat, protocol, device.
        look: the part of a race that this is; None for a full measurement.
    """
    if prepared.hashes is None:
        return None
    parts: dict[str, Any] = {
        "candidate": candidate.model_dump(mode="json"),
        "files": prepared.hashes,
        "task": setting.task.fingerprint,
        "threat": asdict(setting.threat),
        "protocol": asdict(setting.protocol) | {"version": PROTOCOL_VERSION},
        "device": setting.device.type,
        "bf16": bf16_is_fast(setting.device),
        "versions": {name: version(name) for name in ("selector", "torch", "timm")},
    }
    if setting.others:
        parts["others"] = [asdict(threat) for threat in setting.others]
    if look is not None:
        parts["look"] = asdict(look)
    return content_key(parts)


def telling(
    on_outcome: Callable[[Outcome], None] | None, events: Iterable[Event]
) -> Iterator[Event]:
    """The same events; outcomes among them are told to ``on_outcome`` first."""
    for event in events:
        if on_outcome is not None and isinstance(event, Finished):
            on_outcome(event.outcome)
        yield event


def _measure(
    candidate: Candidate,
    fetched: Future[Prepared],
    setting: Setting,
    lookup: Store | None,
    store: Store,
    emit: Callable[[Event], None],
    how: Measuring,
) -> Finished:
    def measure() -> Finished:
        prepared = followed(fetched.result(), emit)
        key = measurement_key(candidate, prepared, setting)
        known = how.kept(lookup, key) if lookup else None
        if known is not None:
            return Finished(known, reused=True)
        evaluation = how.evaluate(prepared, setting, lambda images: emit(Passed(images)))
        store.put(key, evaluation)
        return Finished(evaluation, reused=False)

    done = attempt(candidate, measure)
    return Finished(done, reused=False) if isinstance(done, Skipped) else done


def attempt(candidate: Candidate, measure: Callable[[], _T]) -> _T | Skipped:
    """What ``measure`` returns, or the row that says why it could not.

    Raises:
        OutOfTime: ``measure`` did.
    """
    try:
        return measure()
    except OutOfTime:
        raise
    except CandidateError as error:
        return _skipped(candidate, error)
    except Exception as error:  # noqa: BLE001 - hours of others must not end with an unforeseen one
        _log.exception("unforeseen failure of %s", candidate.name)
        unforeseen = CandidateError(
            "unforeseen",
            f"{type(error).__name__}: {first_line(error)}.",
            hint="Please report this, with the messages above.",
        )
        return _skipped(candidate, unforeseen)


def _skipped(candidate: Candidate, error: CandidateError) -> Skipped:
    return Skipped(
        name=candidate.name,
        model=candidate.model,
        code=error.code,
        reason=error.message,
        hint=error.hint,
        retryable=isinstance(error, HubUnavailable),
    )
