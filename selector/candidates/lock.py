"""The lock file: which commit and which bytes each candidate of a registry means."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, model_validator

from selector.candidates.entry import HUB_PREFIX, LOCAL_PREFIX, Candidate, Entry
from selector.candidates.yamlfile import read_yaml
from selector.errors import UsageError, printable

LOCK_SUFFIX = ".lock.yaml"
_HEADER = """\
# Written by `selector lock`: what the candidates of a registry meant when they were looked up.
# `selector rank` measures these commits and bytes; `selector rank --locked` refuses any other.
"""


class LockedFile(Entry):
    """The bytes of one file."""

    name: str
    size: Annotated[int, Field(ge=0, strict=True, description="bytes")]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Pin(Entry):
    """What one candidate means."""

    model: Annotated[str, Field(description="as the registry says it")]
    commit: Annotated[
        str | None, Field(pattern="^[0-9a-f]{40}$", description="on the Hub; null: a local folder")
    ]
    files: Annotated[tuple[LockedFile, ...], Field(min_length=1)]

    @property
    def key(self) -> tuple[str, ...]:
        """What it is of: the model and its files, in any order."""
        return _key(self.model, (file.name for file in self.files))

    @model_validator(mode="after")
    def _complete(self) -> Pin:
        if self.model.startswith(HUB_PREFIX) != (self.commit is not None):
            raise ValueError(
                f"commit must be 40 hex digits for {HUB_PREFIX}... and null for {LOCAL_PREFIX}...,"
                f" found {self.commit} for {self.model}"
            )
        if len({file.name for file in self.files}) < len(self.files):
            raise ValueError(f"files must name each file once, found one twice for {self.model}")
        return self


class Lock(Entry):
    """A lock file."""

    version: Literal[1] = 1
    candidates: Annotated[tuple[Pin, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Pinned:
    """A candidate and, where a lock has it, what it must be.

    Attributes:
        candidate: as the registry or the command line names it.
        pin: its commit and bytes; None: as it is now.
    """

    candidate: Candidate
    pin: Pin | None = None


@dataclass(frozen=True)
class Chosen:
    """The candidates of a run.

    Attributes:
        candidates: in the order in which they are measured.
        lock: the lock file that was honoured; None: there is none.
        lock_sha256: of its content; empty without one.
    """

    candidates: tuple[Pinned, ...]
    lock: Path | None = None
    lock_sha256: str = ""

    @property
    def pinned(self) -> tuple[str, ...]:
        """Names of the candidates that the lock has."""
        return tuple(one.candidate.name for one in self.candidates if one.pin is not None)


def lock_path(registry: Path) -> Path:
    """Where the lock of a registry lies: beside it, ``zoo.yaml`` and ``zoo.lock.yaml``.

    That of the registry that comes with selector lies in the current folder.
    """
    folder = Path() if _is_shipped(registry) else registry.parent
    return folder / (registry.stem + LOCK_SUFFIX)


def read_lock(path: Path) -> Lock:
    """A lock file.

    Raises:
        UsageError: it is missing or is not a lock; with the line where that shows.
    """
    file = read_yaml(path, "lock")
    lock = file.validate(Lock)
    seen: dict[tuple[str, ...], int] = {}
    for place, found in enumerate(lock.candidates):
        line = file.line(("candidates", place))
        if found.key in seen:
            raise UsageError(
                f"{file.where}, line {line}: {printable(found.model)} is there already, at line"
                f" {seen[found.key]}.",
                hint="Delete the file, and run `selector lock` again.",
            )
        seen[found.key] = line
    return lock


def pin(candidates: Iterable[Candidate], lock: Lock, path: Path) -> tuple[Pinned, ...]:
    """Give every candidate that a lock has its pin; ``path`` is the lock's own."""
    pins = {found.key: found for found in lock.candidates}
    return tuple(Pinned(candidate, pins.get(key_in(candidate, path))) for candidate in candidates)


def pin_all(candidates: Iterable[Candidate], registry: Path, *, locked: bool) -> Chosen:
    """Pin candidates by the lock of a registry, if there is one.

    Args:
        candidates: those of a run.
        registry: beside which the lock lies.
        locked: there must be a lock, and every candidate in it.

    Raises:
        UsageError: the lock is none, or lacks what ``locked`` asks for.
    """
    path = lock_path(registry)
    if path.exists():
        chosen = pin_by(candidates, path)
        if locked:
            require_pins(chosen.candidates, path)
        return chosen
    if locked:
        raise UsageError(
            f"--locked needs the lock file {path}, found none.",
            hint="`selector lock` with the same --registry writes it.",
        )
    return Chosen(tuple(map(Pinned, candidates)))


def pin_by(candidates: Iterable[Candidate], path: Path) -> Chosen:
    """Pin candidates by the lock file at ``path``, wherever that lies.

    Raises:
        UsageError: there is none, or it is no lock.
    """
    chosen = pin(candidates, read_lock(path), path)
    return Chosen(chosen, path, hashlib.sha256(path.read_bytes()).hexdigest())


def require_pins(candidates: Sequence[Pinned], path: Path) -> None:
    """Raise a UsageError that names the candidates which the lock at ``path`` lacks."""
    loose = [pinned.candidate.name for pinned in candidates if pinned.pin is None]
    if loose:
        more = f" and {len(loose) - 5} more" if len(loose) > 5 else ""
        raise UsageError(
            f"--locked needs every candidate in {path}, found none for"
            f" {', '.join(loose[:5])}{more}.",
            hint="`selector lock` adds them, with the same `--registry` and `--model`.",
        )


def model_in(candidate: Candidate, path: Path) -> str:
    """How the lock at ``path`` names a candidate: local folders relative to the lock."""
    if candidate.source == "hub":
        return candidate.model
    folder = os.path.relpath(candidate.directory.resolve(), path.parent.resolve())
    return LOCAL_PREFIX + Path(folder).as_posix()


def key_in(candidate: Candidate, path: Path) -> tuple[str, ...]:
    """The :attr:`Pin.key` that a candidate has in the lock at ``path``."""
    return _key(model_in(candidate, path), candidate.files)


def _key(model: str, files: Iterable[str]) -> tuple[str, ...]:
    return (model, *sorted(files))


def lock_yaml(lock: Lock) -> str:
    """The text of a lock file."""
    body = yaml.safe_dump(lock.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return _HEADER + body


def _is_shipped(registry: Path) -> bool:
    return registry.resolve().parent in {Path(__file__).resolve().parents[n] for n in (1, 2)}
