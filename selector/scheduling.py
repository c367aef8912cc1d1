"""Many candidates, one after the other: the next are fetched while this one is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from selector.candidates import Pinned
from selector.evaluation import evaluate
from selector.events import Emit, Event, Finished, Started
from selector.fetching import Ahead, FetchRules
from selector.measuring import Measuring
from selector.records import Evaluation, Outcome, Sweep
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
