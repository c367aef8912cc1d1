"""Candidates' files onto this machine: some ahead of the measuring, and not too many bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from selector import hub
from selector.backbones import check_files, load_backbone
from selector.candidates import HUB_PREFIX, Candidate, Pin, Pinned
from selector.errors import CandidateError
from selector.events import Fetched, FetchEvent, FetchStarted
from selector.modules import ModuleCandidate, prepare_module
from selector.origin import provenance
from selector.records import FileRecord
from selector.run import Prepared

# Candidates that are fetched at once, each by a thread of its own.
CONNECTIONS = 3
# Candidates that may wait, fetched, for their turn to be measured.
CANDIDATES_AHEAD = 6


@dataclass(frozen=True)
class FetchRules:
    """What may be fetched.

    Attributes:
        allow_pickle: formats that can hold code may be loaded; the code is never run.
        bytes_ahead: fetched and not yet measured, at most; one candidate may always come.
    """

    allow_pickle: bool = False
    bytes_ahead: int = 10 * 10**9


class Ahead:
    """Fetches candidates in threads of its own, in order, while earlier ones are measured.

    Use as a context manager; call :meth:`next` once per candidate, in order, and :meth:`done` when
    it is measured.
    """

    def __init__(
        self,
        candidates: Sequence[Pinned],
        rules: FetchRules,
        emit: Callable[[FetchEvent], None],
    ) -> None:
        self._rules, self._emit = rules, emit
        self._room = threading.Condition()
        self._turn = 0  # the candidate that may reserve room next: in order, or it could deadlock
        self._reserved: dict[int, int] = {}
        self._waiting = list(enumerate(candidates))
        self._pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="fetch")
        self._fetches: list[Future[Prepared]] = []
        self._asked = 0
        self._left = False

    def __enter__(self) -> Ahead:
        self._submit(CANDIDATES_AHEAD)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._room:
            self._left = True
            self._room.notify_all()

    def next(self) -> Future[Prepared]:
        """The next candidate's files, or the CandidateError that kept them away."""
        self._submit(1)
        self._asked += 1
        return self._fetches[self._asked - 1]

    def done(self) -> None:
        """The candidate that came last from :meth:`next` is measured: its room is free."""
        with self._room:
            self._reserved.pop(self._asked - 1, None)
            self._room.notify_all()

    def _submit(self, count: int) -> None:
        for place, candidate in self._waiting[:count]:
            self._fetches.append(self._pool.submit(self._fetch, place, candidate))
        del self._waiting[:count]

    def _fetch(self, place: int, pinned: Pinned) -> Prepared:
        try:
            wanted = look_up(pinned, self._rules)
        except BaseException:
            self._reserve(place, 0)
            raise
        self._reserve(place, wanted.bytes)
        if wanted.bytes:
            hub.require_space(pinned.candidate.repo_id, wanted.bytes)
            self._emit(FetchStarted(wanted.bytes))
        return prepare(pinned, wanted.commit, lambda count: self._emit(Fetched(count)))

    def _reserve(self, place: int, count: int) -> None:
        """Wait for this candidate's turn, and until its bytes fit beside those not measured."""

        def fits() -> bool:
            taken = sum(self._reserved.values())
            return not (count and taken) or taken + count <= self._rules.bytes_ahead

        with self._room:
            self._room.wait_for(lambda: self._left or (self._turn == place and fits()))
            if self._left:
                raise CancelledError
            self._turn += 1
            if count:
                self._reserved[place] = count
            self._room.notify_all()


@dataclass(frozen=True)
class Wanted:
    """What fetching a candidate means.

    Attributes:
        commit: on the Hub; None for what is local.
        bytes: that are not on this machine yet.
    """

    commit: str | None
    bytes: int


def look_up(pinned: Pinned, rules: FetchRules) -> Wanted:
    """Resolve a candidate to a commit, and see what is missing here.

    Raises:
        CandidateError: it is unknown or gated, lacks a file, or is a pickle and may not be.
        HubUnavailable: the Hub is down.
    """
    candidate, pin = pinned.candidate, pinned.pin
    if isinstance(candidate, ModuleCandidate):
        return Wanted(None, 0)
    refuse_pickle(candidate, rules)
    if candidate.source == "local":
        check_files(candidate.directory, candidate.checkpoint)
        return Wanted(None, 0)
    commit = find_commit(candidate, pin)
    files = hub.look_up(candidate.repo_id, commit, candidate.files)
    return Wanted(commit, sum(file.size for file in files if not file.cached))


def refuse_pickle(candidate: Candidate, rules: FetchRules) -> None:
    """Raise a CandidateError if the candidate is a pickle and those are not allowed."""
    if candidate.checkpoint and candidate.checkpoint.pickled and not rules.allow_pickle:
        raise CandidateError(
            "needs_allow_pickle",
            f"{candidate.checkpoint.file} is a pickle, a format that can hold code.",
            hint="--allow-pickle loads it without running any code of it.",
        )


def prepare(pinned: Pinned, commit: str | None, on_bytes: Callable[[int], None]) -> Prepared:
    """Bring a candidate's files onto this machine, verify and describe them.

    Raises:
        CandidateError: they are gone, gated, altered or not what the lock says.
        HubUnavailable: the Hub is down.
    """
    candidate, pin = pinned.candidate, pinned.pin
    if isinstance(candidate, ModuleCandidate):
        return prepare_module(candidate)
    locked = {file.name: file.sha256 for file in pin.files} if pin else {}
    if commit is not None:
        delivery = hub.Delivery(locked, on_bytes)
        snapshot = hub.fetch(candidate.repo_id, commit, candidate.files, delivery)
        directory, files = snapshot.directory, snapshot.files
        model = f"{HUB_PREFIX}{candidate.repo_id}@{commit}"
    else:
        directory, model = candidate.directory, candidate.model
        files = hub.hash_files(directory, candidate.files)
        _check_local(files, locked, directory)

    return Prepared(
        candidate.name,
        model,
        load=partial(load_backbone, directory, checkpoint=candidate.checkpoint),
        hashes={f.name: f.sha256 for f in files},
        describe=partial(
            provenance,
            candidate,
            commit,
            tuple(FileRecord(name=f.name, size=f.size, sha256=f.sha256) for f in files),
        ),
    )


def find_commit(candidate: Candidate, pin: Pin | None) -> str:
    """The commit that a candidate of the Hub is measured at.

    Raises:
        CandidateError: it is unknown.
        HubUnavailable: the Hub is down.
    """
    if pin is not None and pin.commit is not None:
        return pin.commit
    return hub.resolve(candidate.repo_id, candidate.revision)


def _check_local(files: Sequence[hub.FileHash], locked: dict[str, str], folder: Path) -> None:
    for file in files:
        if locked.get(file.name, file.sha256) != file.sha256:
            raise CandidateError(
                "altered",
                f"{file.name} in {folder} must have the hash {locked[file.name]} that the lock"
                f" gives, found {file.sha256}.",
                hint="Restore the file, or run `selector lock` again.",
            )
