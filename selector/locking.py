"""Look up what candidates mean now, and write it down: the work of ``selector lock``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from selector import hub
from selector.candidates import Candidate, Lock, LockedFile, Pin, key_in, model_in, read_lock
from selector.errors import CandidateError, HubUnavailable

# Candidates that are looked up at once.
CONNECTIONS = 4


@dataclass(frozen=True)
class LookedUp:
    """What came of looking up one candidate.

    Attributes:
        candidate: as the registry has it.
        pin: its commit, and its files' sizes and hashes; None if it has none.
        error: why.
    """

    candidate: Candidate
    pin: Pin | None
    error: CandidateError | None = None


def look_up_all(
    candidates: Sequence[Candidate], path: Path, tell: Callable[[LookedUp], None]
) -> list[LookedUp]:
    """Look up every candidate for the lock at ``path``; ``tell`` hears of each, in order.

    Raises:
        HubUnavailable: the Hub is down, so that nothing is known about some of them.
    """

    def one(candidate: Candidate) -> LookedUp:
        try:
            return LookedUp(candidate, look_up(candidate, path))
        except HubUnavailable:
            raise
        except CandidateError as error:
            return LookedUp(candidate, None, error)

    found = []
    pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="lock")
    try:
        for looked_up in pool.map(one, candidates):
            tell(looked_up)
            found.append(looked_up)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return found


def look_up(candidate: Candidate, path: Path) -> Pin:
    """The pin of a candidate, for the lock at ``path``.

    Weights are not fetched: of large files the Hub knows the sha256. Small ones are fetched, since
    it knows only git's hash of them.

    Raises:
        CandidateError: it is unknown or gated, or lacks a file.
        HubUnavailable: the Hub is down.
    """
    commit: str | None = None
    if candidate.source == "local":
        files = hub.hash_files(candidate.directory, candidate.files)
    else:
        commit, remote = hub.survey(candidate.repo_id, candidate.revision, candidate.files)
        small = [file.name for file in remote if file.sha256 is None]
        fetched = hub.fetch(candidate.repo_id, commit, small).files if small else ()
        known = {file.name: file for file in fetched}
        known |= {
            file.name: hub.FileHash(file.name, file.size, file.sha256)
            for file in remote
            if file.sha256 is not None
        }
        files = tuple(known[name] for name in candidate.files)
    return Pin(
        model=model_in(candidate, path),
        commit=commit,
        files=tuple(LockedFile(name=f.name, size=f.size, sha256=f.sha256) for f in files),
    )


def merge(found: Sequence[LookedUp], registry: Sequence[Candidate], path: Path) -> Lock | None:
    """The lock to write; None if it would be empty.

    What was looked up replaces what the lock at ``path`` had. The rest of the registry keeps its
    pins, so that a part can be brought up to date and nothing comes loose unseen.
    """
    pins = {pin.key: pin for pin in read_lock(path).candidates} if path.exists() else {}
    fresh = {looked_up.candidate.identity: looked_up.pin for looked_up in found}
    # Those that were looked up and are not in the registry were named on the command line.
    extra = [f.candidate for f in found if f.candidate.identity not in _identities(registry)]
    kept = []
    for candidate in (*registry, *extra):
        old = pins.get(key_in(candidate, path))
        # One that cannot be looked up just now keeps what it meant before.
        pin = fresh.get(candidate.identity) or old
        if pin is not None:
            kept.append(pin)
    return Lock(candidates=tuple(kept)) if kept else None


def _identities(candidates: Sequence[Candidate]) -> set[tuple[str, ...]]:
    return {candidate.identity for candidate in candidates}
