"""What this process holds: memory, files, threads, connections, tensors."""

from __future__ import annotations

import gc
import sqlite3
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

# Threads of a ranking that has returned still run to their end.
_SETTLING = 5.0


@dataclass(frozen=True)
class Sample:
    """The process after a ranking.

    Attributes:
        resident: bytes in memory.
        peak: the most that were.
        files: open file descriptors.
        threads: of the process, those of libraries included.
        temporary: entries of the folder of temporary files.
    """

    resident: int
    peak: int
    files: int
    threads: int
    temporary: int


@dataclass(frozen=True)
class Objects:
    """What is alive in Python after a garbage collection: tensors, connections, all objects."""

    tensors: int
    connections: int
    objects: int


def sample() -> Sample:
    """Of now; Linux only."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return Sample(
        resident=_bytes(status["VmRSS"]),
        peak=_bytes(status["VmHWM"]),
        files=_entries("/proc/self/fd") - 1,  # the listing's own
        threads=_threads(),
        temporary=_entries(tempfile.gettempdir()),
    )


def objects() -> Objects:
    """Of now."""
    gc.collect()
    found = gc.get_objects()
    return Objects(
        tensors=sum(issubclass(type(one), Tensor) for one in found),
        connections=sum(issubclass(type(one), sqlite3.Connection) for one in found),
        objects=len(found),
    )


def settle(python: frozenset[threading.Thread], threads: int) -> None:
    """Wait until no other threads of Python run than these, and so many of the process at most.

    Raises:
        AssertionError: some do not end.
    """
    until = time.monotonic() + _SETTLING
    while (left := frozenset(threading.enumerate()) - python) or _threads() > threads:
        names = sorted(one.name for one in left)
        assert time.monotonic() < until, f"{_threads()} threads still run, of ours: {names}"
        time.sleep(0.001)


def _threads() -> int:
    return _entries("/proc/self/task")


def _bytes(kilobytes: str) -> int:
    return int(kilobytes.split()[0]) * 1024


def _entries(folder: str) -> int:
    return sum(1 for _ in Path(folder).iterdir())
