"""Many candidates: here one after the other, the next fetched meanwhile, or by another engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from selector.candidates import Pinned
from selector.devices import choose_device, describe_device, keep_freed_memory
from selector.evaluation import evaluate
from selector.events import Emit, Event, Finished, Started
from selector.fetching import Ahead, FetchRules
from selector.measuring import Measuring
from selector.records import DeviceRecord, Evaluation, Outcome, Sweep
from selector.store import Store
from selector.sweeping import sweep
from selector.workload import Setting


@dataclass(frozen=True)
class Kept:
    """Where results are kept.

    Attributes:
        path: of the store.
        fresh: measure again what an earlier run has measured.
    """

    path: Path
    fresh: bool = False


class Engine(Protocol):
    """What measures candidates: this process, or others that it hands them to."""

    @property
    def in_process(self) -> bool:
        """Whether candidates are measured in this process, on one device."""
        ...

    @property
    def farewell(self) -> float:
        """Seconds that it takes to end, at most, once nobody waits for what it measures."""
        ...

    def choose_device(self, name: str) -> torch.device:
        """The device that ``--device`` names, where candidates are measured.

        Raises:
            UsageError: there is none of this name.
        """
        ...

    def describe(self, device: torch.device) -> DeviceRecord:
        """What candidates were measured on."""
        ...

    def measure_all(
        self,
        candidates: Sequence[Pinned],
        how: Measuring,
        path: Path,
        rules: FetchRules,
        emit: Emit,
    ) -> None:
        """See :func:`measure_all`; in whatever order, and with an outcome of each."""
        ...


class Local:
    """This process, on one device."""

    in_process = True
    # It ends with the process: what runs natively cannot be interrupted.
    farewell = 0.0

    def choose_device(self, name: str) -> torch.device:
        """A device of this machine; a CPU keeps the memory that it frees from now on."""
        device = choose_device(name)
        if device.type == "cpu":
            keep_freed_memory()
        return device

    def describe(self, device: torch.device) -> DeviceRecord:
        """That device."""
        return describe_device(device)

    def measure_all(
        self,
        candidates: Sequence[Pinned],
        how: Measuring,
        path: Path,
        rules: FetchRules,
        emit: Emit,
    ) -> None:
        """See :func:`measure_all`."""
        measure_all(candidates, how, path, rules, emit)


LOCAL = Local()


@dataclass(frozen=True)
class Means:
    """What a run measures its candidates by.

    Attributes:
        kept: where results are.
        rules: what may be fetched.
        engine: that measures.
    """

    kept: Kept
    rules: FetchRules
    engine: Engine = LOCAL

    def measure(self, candidates: Sequence[Pinned], how: Measuring, emit: Emit) -> None:
        """Measure every candidate, keep each result at once, and tell ``emit`` what happens."""
        self.engine.measure_all(candidates, how, self.kept.path, self.rules, emit)


def measure_all(
    candidates: Sequence[Pinned], how: Measuring, path: Path, rules: FetchRules, emit: Emit
) -> None:
    """Measure every candidate, keep each result at once, and tell ``emit`` what happens.

    Args:
        candidates: in the order in which they are measured.
        how: the same for all.
        path: of the store.
        rules: what may be fetched.
        emit: called from this thread, and with a FetchEvent from others.
    """
    with closing(Store(path)) as store, Ahead(candidates, rules, emit) as ahead:
        for pinned in candidates:
            emit(Started(pinned.candidate.name))
            emit(how.measure(pinned.candidate, ahead.next(), store, emit))
            ahead.done()


def measuring_classes(setting: Setting, *, fresh: bool = False) -> Measuring:
    """How candidates are measured on a task of classes: under one threat, or under several."""
    if setting.others:
        return Measuring(setting, sweep, Sweep, fresh=fresh)
    return Measuring(setting, evaluate, Evaluation, fresh=fresh)


def telling(
    on_outcome: Callable[[Outcome], None] | None, events: Iterable[Event]
) -> Iterator[Event]:
    """The same events; outcomes among them are told to ``on_outcome`` first."""
    for event in events:
        if on_outcome is not None and isinstance(event, Finished):
            on_outcome(event.outcome)
        yield event
