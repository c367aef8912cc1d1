"""A race as it is run: a look at all, then the most promising first, until settled or too late."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from statistics import mean
from threading import TIMEOUT_MAX
from typing import TypeVar

from selector import keys
from selector.candidates import Candidate, Pinned
from selector.entrants import Entrant, Unseen, passes_of, seconds_of
from selector.evaluation import evaluate
from selector.events import Emit, Finished, Looked, Passed, Started
from selector.fetching import Ahead, FetchRules
from selector.measuring import OutOfTime, attempt, remembering
from selector.racing import Field, Goal
from selector.ranking import order_key
from selector.records import Evaluation, RaceRecord, Screened, Skipped
from selector.scheduling import Kept, measuring_classes
from selector.screening import Look, screen, shortened
from selector.store import Store
from selector.verdict import Finish, Runner, verdict
from selector.workload import Setting, planned_passes

_T = TypeVar("_T")


@dataclass(frozen=True)
class Terms:
    """What a race is for, and the clock it runs against.

    Attributes:
        goal: what is to be found, and in which time.
        started: when that time began, by ``now``.
        now: seconds.
    """

    goal: Goal
    started: float
    now: Callable[[], float] = time.monotonic

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self.now() - self.started

    @property
    def left(self) -> float | None:
        """Seconds until the time is up, at least 0; None: there is no limit."""
        return None if self.goal.budget is None else max(0.0, self.goal.budget - self.elapsed)

    def allow(self, seconds: float) -> bool:
        """Whether there is more time left than this."""
        return self.left is None or seconds < self.left


class Contest:
    """One race.

    Args:
        setting: of the full measurement.
        kept: where results are kept and looked up.
        terms: goal and clock.
        emit: called with what happens, from this thread and from those that fetch.
    """

    def __init__(self, setting: Setting, kept: Kept, terms: Terms, emit: Emit) -> None:
        self._setting, self._terms, self._emit = setting, terms, emit
        self._store, self._fresh = Store(kept.path), kept.fresh
        self._full = measuring_classes(setting, fresh=kept.fresh)
        self._entrants: list[Entrant] = []
        self._settled: list[Evaluation] = []
        self._skipped = self._passes = 0
        self._estimated = self._took = 0.0

    def run(self, candidates: Sequence[Pinned], rules: FetchRules) -> RaceRecord:
        """Race; full measurements and failures go to ``emit``, the verdict is returned."""
        goal = self._terms.goal
        wanted = goal.wanted(len(candidates))
        self._field = Field(len(self._setting.task.test), wanted, goal.confidence)
        self._all_wanted = wanted == len(candidates)
        with Ahead(candidates, rules, self._emit) as ahead:
            unseen = Unseen(deque(candidates), ahead)
            self._measure_best_first(unseen)
        self._store.close()
        remaining = [one.runner() for one in self._entrants if one.open]
        return verdict(
            Finish(
                goal=goal,
                candidates=len(candidates),
                settled=tuple(sorted(self._settled, key=order_key)),
                bar=self._field.bar(self._settled),
                remaining=(*remaining, *(_unseen(one.candidate) for one in unseen.candidates)),
                seconds=self._terms.elapsed,
                quickest=self._quickest(),
                passes=self._passes,
                exhaustive_passes=round(self._mean_passes() * (len(candidates) - self._skipped)),
            )
        )

    def _mean_passes(self) -> float:
        """Of a full measurement: of those that were made, else of the plan."""
        made = [passes_of(one.cost) for one in self._settled]
        return mean(made) if made else planned_passes(self._setting).total

    def _measure_best_first(self, unseen: Unseen) -> None:
        """Until nobody is left who can be among the best, or the time is over."""
        while True:
            self._look_at_all(unseen)
            best = self._best()
            if best is None:
                return
            if self._is_worth_a_look(best):
                self._look(best)
            else:
                self._settle(best)

    def _look_at_all(self, unseen: Unseen) -> None:
        """A first look, at as many as there is time for."""
        while unseen.candidates:
            files = unseen.files()
            spare = self._spare()
            wait([files], timeout=None if spare is None else min(spare, TIMEOUT_MAX))
            if not files.done() or self._spare() == 0:
                return
            candidate = unseen.take()
            prepared = attempt(candidate, files.result)
            if isinstance(prepared, Skipped):
                self._skip(prepared)
            else:
                content = keys.measurement(candidate, prepared, self._setting)
                kept = None if self._fresh else self._store.get(content, Evaluation)
                ready = remembering(candidate, prepared, self._full, self._store, self._emit)
                self._entrants.append(Entrant(candidate, ready, kept))
                self._look(self._entrants[-1])
            unseen.ahead.done()

    def _spare(self) -> float | None:
        """Seconds beyond one more first look and measuring the most promising so far in full.

        At least 0; None: there is no limit. Of the latter only those count that there is time for:
        where there are none, the next may be quicker.
        """
        left = self._terms.left
        if left is None:
            return None
        first = min(self._fitting(self._contenders()), key=lambda one: one.order, default=None)
        full = self._seconds_in_full(first) if first else 0.0
        looks = [seconds_of(one.seen[0].cost) for one in self._entrants if one.seen]
        return max(0.0, left - full - max(looks, default=0.0))

    def _quickest(self) -> float | None:
        """About how many seconds the quickest full measurement takes; None: unknown."""
        seen = [one for one in self._entrants if one.seen]
        return min((self._seconds_in_full(one) for one in seen), default=None)

    def _best(self) -> Entrant | None:
        """Who comes next; None where nobody can be among the best, or the time is over."""
        contenders = self._contenders()
        fitting = self._fitting(contenders)
        if not fitting and not self._terms.allow(0.0):
            return None
        # Where no estimate fits: estimates err, and what is begun is kept for another run.
        return min(fitting or contenders, key=lambda one: one.order, default=None)

    def _seconds_in_full(self, entrant: Entrant) -> float:
        """About how long the full measurement takes, corrected by how long others took."""
        correction = self._took / self._estimated if self._estimated else 1.0
        return correction * entrant.seconds_in_full(self._setting)

    def _contenders(self) -> list[Entrant]:
        """Who can still be among the best."""
        bar = self._field.bar(self._settled)
        return [
            one
            for one in self._entrants
            if one.running and not (bar and one.standing and one.standing.below(bar))
        ]

    def _fitting(self, entrants: Sequence[Entrant]) -> list[Entrant]:
        """Those whom there is time to measure in full, by estimate; what is kept takes none."""
        return [
            one for one in entrants if one.kept or self._terms.allow(self._seconds_in_full(one))
        ]

    def _is_worth_a_look(self, entrant: Entrant) -> bool:
        """Whether a closer look can spare a full measurement, and leaves the time for it.

        It is taken of what is kept in full, too: whatever earlier runs have left, a race is the
        same.
        """
        if self._all_wanted or self._field.next_look(entrant.images) is None:
            return False
        full = self._seconds_in_full(entrant)
        return self._terms.allow(seconds_of(entrant.seen[0].cost) + full)

    def _look(self, entrant: Entrant) -> None:
        """See more of one."""
        stop = self._field.next_look(entrant.images)
        assert stop is not None
        look, prepared, setting = Look(entrant.images, stop), entrant.prepared, self._setting
        content = keys.measurement(entrant.candidate, prepared, shortened(setting), look)
        known = None if self._fresh else self._store.get(content, Screened)
        if known is None:
            found = self._in_time(
                entrant,
                lambda: screen(prepared, setting, look, entrant.fitting, self._on_pass),
            )
            if found is None:
                return
            known, entrant.fitting = found
            self._store.put(content, known)
        entrant.seen.append(known)
        self._passes += passes_of(known.cost)
        entrant.standing = standing = self._field.standing(entrant.seen)
        name = entrant.candidate.name
        self._emit(Looked(name, standing.images, standing.share))

    def _settle(self, entrant: Entrant) -> None:
        """Measure one in full."""
        prepared, setting = entrant.prepared, self._setting
        found = entrant.kept or self._in_time(
            entrant, lambda: evaluate(prepared, setting, self._on_pass)
        )
        if found is None:
            return
        if not entrant.kept:
            self._estimated += entrant.seconds_in_full(setting)
            self._took += seconds_of(found.cost)
            self._store.put(keys.measurement(entrant.candidate, prepared, setting), found)
        entrant.open = False
        self._settled.append(found)
        self._passes += passes_of(found.cost)
        self._emit(Finished(found, reused=entrant.kept is not None))

    def _in_time(self, entrant: Entrant, measure: Callable[[], _T]) -> _T | None:
        """What ``measure`` finds; None where it fails or the time is over before."""
        self._emit(Started(entrant.candidate.name))
        try:
            found = attempt(entrant.candidate, measure)
        except OutOfTime:
            return None
        if isinstance(found, Skipped):
            entrant.open = False
            self._skip(found)
            return None
        return found

    def _on_pass(self, images: int) -> None:
        self._emit(Passed(images))
        if not self._terms.allow(0.0):
            raise OutOfTime

    def _skip(self, skipped: Skipped) -> None:
        self._skipped += 1
        self._emit(Finished(skipped, reused=False))


def _unseen(candidate: Candidate) -> Runner:
    return Runner(candidate.name, candidate.model, None, 0)
