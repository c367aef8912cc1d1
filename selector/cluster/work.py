"""What a worker does: the same as this process would, with a store that is elsewhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import torch

from selector.candidates import Pinned
from selector.cluster.office import Line
from selector.cluster.spread import device_index
from selector.devices import describe_device, keep_freed_memory
from selector.errors import UsageError
from selector.events import Event, Fetched, FetchStarted, Finished, Passed, Recalled
from selector.fetching import Ahead, FetchRules
from selector.measuring import Measuring
from selector.records import DeviceRecord, Record
from selector.store import OWNED, Content, Label, Measured, Part

_R = TypeVar("_R", bound=Record)
# What must be the same everywhere: keys of the store name them, and numbers depend on them.
_SAME = ("selector", "torch", "timm")
# What is counted of events: the name of the count, and of the attribute.
COUNTED: Mapping[type[Event], str] = {
    Passed: "passed",
    Recalled: "recalled",
    FetchStarted: "to_fetch",
    Fetched: "fetched",
}


def versions() -> dict[str, str]:
    """Of what numbers depend on, here."""
    return {name: version(name) for name in _SAME}


@dataclass(frozen=True)
class FarStore:
    """The store of the run, from a worker; see :class:`selector.measuring.Library`.

    Attributes:
        line: to the run.
        known: keys of the parts that each backbone has, as the run knows them; they are asked for
            once, and then only what is there, since nobody else measures the same.
    """

    line: Line
    known: dict[str, frozenset[str]] = field(default_factory=dict)

    def get(self, content: Content | None, form: type[_R]) -> _R | None:
        """A whole measurement."""
        found: _R | None = self.line.ask("get", content, form)
        return found

    def put(self, content: Content | None, measured: Measured) -> None:
        """Keep one; it is kept when this returns."""
        self.line.ask("put", content, measured)

    def get_part(self, key: str) -> Part | None:
        """What passes gave."""
        owned = key[-OWNED:]
        if owned not in self.known:
            self.known[owned] = self.line.ask("part_keys", owned)
        found: Part | None = self.line.ask("get_part", key) if key in self.known[owned] else None
        return found

    def put_part(self, key: str, label: Label, part: Part) -> None:
        """Keep it; it is kept when the next is sent, and passes go on meanwhile."""
        self.line.tell("put_part", key, label, part)
        if (owned := key[-OWNED:]) in self.known:
            self.known[owned] |= {key}


@dataclass(frozen=True)
class MeasureOne:
    """How any of the candidates is measured on a worker.

    Attributes:
        how: the same for all.
        rules: what may be fetched.
        threads: of a CPU, as many as the needs of each candidate say.
        folder: that relative paths start from, where there is one of this name.
        versions: that the worker must have.
    """

    how: Measuring
    rules: FetchRules
    threads: int
    folder: str
    versions: Mapping[str, str]

    def __call__(self, pinned: Pinned, line: Line) -> tuple[Finished, DeviceRecord]:
        """Measure one, and say on what.

        Raises:
            UsageError: this node has other versions.
            StoreError: the store could not be read, or believed.
        """
        self._settle_in()
        device = self.how.setting.device

        def emit(event: Event) -> None:
            name = COUNTED.get(type(event))
            if name is not None:
                line.count(**{name: next(iter(vars(event).values()))})

        with Ahead([pinned], self.rules, emit) as ahead:
            done = self.how.measure(pinned.candidate, ahead.next(), FarStore(line), emit)
        return done, describe_device(device)

    def _settle_in(self) -> None:
        if versions() != self.versions:
            raise UsageError(
                f"--engine must be a cluster whose nodes have {_said(self.versions)},"
                f" found one with {_said(versions())}.",
                hint="Install the same versions on every node.",
            )
        if Path(self.folder).is_dir():
            os.chdir(self.folder)
        torch.set_num_threads(self.threads)
        if self.how.setting.device.type == "cpu":
            keep_freed_memory()
        else:
            # What the last candidate left belongs to another GPU, perhaps, and to others on it.
            torch.cuda.empty_cache()
            torch.cuda.set_device(device_index())


def _said(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in found.items())
