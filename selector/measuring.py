"""One candidate of a run: found in the store, or measured and kept."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from selector import keys
from selector.backbones import first_line
from selector.candidates import Candidate
from selector.errors import CandidateError, HubUnavailable
from selector.events import Emit, Entered, Finished, Passed, Recalled
from selector.memo import Memo
from selector.records import (
    CertifiedCandidate,
    Evaluation,
    Record,
    RegressionEvaluation,
    Skipped,
    Sweep,
)
from selector.run import Prepared
from selector.store import Content, Measured, Shelf, StoreError
from selector.workload import Setting

Complete = Evaluation | Sweep | RegressionEvaluation | CertifiedCandidate

_T = TypeVar("_T")
_R = TypeVar("_R", bound=Record)
_log = logging.getLogger(__name__)


class OutOfTime(Exception):  # noqa: N818 - no fault of the candidate that it comes to
    """The time that the user gave is up."""


class Library(Shelf, Protocol):
    """Where measurements and their parts are kept: a store, or what speaks to one elsewhere."""

    def get(self, content: Content | None, form: type[_R]) -> _R | None:
        """See :meth:`selector.store.Store.get`."""
        ...

    def put(self, content: Content | None, measured: Measured) -> None:
        """See :meth:`selector.store.Store.put`."""
        ...


@dataclass(frozen=True)
class Measuring:
    """How every candidate of a run is measured, and found where an earlier run has done so.

    Attributes:
        setting: task, threat, protocol, device.
        evaluate: files, setting, and whom to tell of passes -> the record.
        form: of the record.
        content: what it depends on; None: it is not kept.
        fresh: measure again what an earlier run has measured.
    """

    setting: Setting
    evaluate: Callable[[Prepared, Setting, Callable[[int], None]], Complete]
    form: type[Complete]
    content: Callable[[Candidate, Prepared, Setting], Content | None] = keys.measurement
    fresh: bool = False

    def find(self, candidate: Candidate, prepared: Prepared, library: Library) -> Complete | None:
        """The record of an earlier run."""
        if self.fresh:
            return None
        return library.get(self.content(candidate, prepared, self.setting), self.form)

    def measure(
        self, candidate: Candidate, fetched: Future[Prepared], library: Library, emit: Emit
    ) -> Finished:
        """Find a candidate or measure it; what it fails of is a row."""

        def finish() -> Finished:
            prepared = fetched.result()
            known = self.find(candidate, prepared, library)
            if known is not None:
                return Finished(known, reused=True)
            ready = remembering(candidate, prepared, self, library, emit)
            found = self.evaluate(ready, self.setting, lambda images: emit(Passed(images)))
            library.put(self.content(candidate, prepared, self.setting), found)
            return Finished(found, reused=False)

        done = attempt(candidate, finish)
        return Finished(done, reused=False) if isinstance(done, Skipped) else done


def remembering(
    candidate: Candidate, prepared: Prepared, how: Measuring, shelf: Shelf, emit: Emit
) -> Prepared:
    """The same candidate, whose parts are kept, and of whose stages ``emit`` is told."""
    owner = keys.backbone(candidate, prepared, how.setting)
    memo = None
    if owner is not None:
        told = prepared.model, shelf, how.fresh, lambda images: emit(Recalled(images))
        memo = Memo(owner.key, *told)
    return replace(prepared, on_stage=lambda stage: emit(Entered(stage)), memo=memo)


def attempt(candidate: Candidate, measure: Callable[[], _T]) -> _T | Skipped:
    """What ``measure`` returns, or the row that says why it could not.

    Raises:
        OutOfTime: ``measure`` did.
        StoreError: no number of the run could be kept, or believed.
    """
    try:
        return measure()
    except (OutOfTime, StoreError):
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
