"""Jobs over the workers of a cluster: Ray places them, and those whose worker dies begin again."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import ray
from ray.exceptions import (
    LocalRayletDiedError,
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayTaskError,
    WorkerCrashedError,
)

from selector.cluster.connection import size
from selector.cluster.office import Line, Question, Report, Sealed, aside, open_office, opened, seal
from selector.errors import SelectorError, UsageError, first_line

# A job is begun again so often after a worker has died of it. Counted here and not by Ray, which
# tells nobody that it tries again, and does so without end where memory was short.
RETRIES = 3
# Jobs that Ray is given beyond those that run, in shares of these: a worker that is free has its
# next one at once, and an autoscaler sees that there is more. Not all, as Ray keeps no order
# between jobs of different needs, and the longest are to come first.
_AHEAD = 1.0
# Seconds that the office has to end by itself; Ray tells people of one that is killed before.
_FAREWELL = 5.0
# Seconds between two looks at who has finished: that costs more than a letter, and no worker waits
# for it, as each has its next job already.
_GLANCE = 0.05
# Seconds until the listener is called again.
_EVERY = 1.0
# Seconds after which the cluster may have become another.
_LOOK_AGAIN = 5.0
# A worker does many jobs, each perhaps on another GPU. CUDA looks only once at which it may see, so
# it sees all, and a job is told which is its own: :func:`device_index`.
_ALL_VISIBLE = {"RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}
_GONE = (WorkerCrashedError, OutOfMemoryError, NodeDiedError, LocalRayletDiedError, ObjectLostError)


@dataclass(frozen=True)
class Needs:
    """What a job must have to itself.

    Attributes:
        cpus: threads.
        gpus: devices.
        memory: bytes of the machine.
    """

    cpus: float
    gpus: float
    memory: int

    def larger(self, most_memory: int) -> Needs:
        """With twice the memory, or all that a node has."""
        return replace(self, memory=min(2 * self.memory, most_memory))


@dataclass(frozen=True)
class Job:
    """One thing to do.

    Attributes:
        what: given to the work.
        needs: told to Ray.
    """

    what: Any
    needs: Needs


class Listener(Protocol):
    """Who answers workers, and hears what comes of their jobs; called from one thread."""

    def together(self) -> AbstractContextManager[None]:
        """A block of several answers; they are sent when it has ended."""
        ...

    def answer(self, method: str, arguments: Sequence[Any]) -> object:
        """What a worker asked for; a question may come twice."""
        ...

    def progress(self, job: int, totals: Mapping[str, int]) -> None:
        """A worker has counted so much since it began the job, or began it again."""
        ...

    def still(self) -> None:
        """Called every second, whatever happens; what it raises ends everything."""
        ...

    def done(self, job: int, value: Any, totals: Mapping[str, int]) -> None:
        """The work returned this."""
        ...

    def again(self, job: int, reason: str) -> None:
        """Its worker died; the job is begun again."""
        ...

    def lost(self, job: int, reason: str) -> None:
        """Its worker died once more, and that is enough."""
        ...


Work = Callable[[Any, Line], Any]
"""Does one job; on a worker."""


def spread(
    jobs: Sequence[Job], work: Work, listener: Listener, environment: Mapping[str, str]
) -> None:
    """Do every job once; those that come first are begun first.

    Args:
        jobs: numbered as they come.
        work: the same for all; it comes to each worker once.
        listener: called from this thread.
        environment: variables that workers set before they read ``work``.

    Raises:
        SelectorError: ``work`` raised it, or a node cannot run selector.
    """
    _Spread(jobs, work, listener, environment).run()


class _Spread:
    def __init__(
        self, jobs: Sequence[Job], work: Work, listener: Listener, environment: Mapping[str, str]
    ) -> None:
        self._jobs, self._listener = list(jobs), listener
        self._waiting = deque(range(len(jobs)))
        self._deaths = [0] * len(jobs)
        self._running: dict[Any, int] = {}
        self._capacity = 0.0
        self._looked = self._glanced = self._told = float("-inf")
        self._perform, self._office = ray.remote(_perform), open_office()
        # In a list: the workers fetch it themselves, once each, and not with every job.
        self._work, self._environment = [ray.put(work)], dict(environment)

    def run(self) -> None:
        """Until nothing is left."""
        letters = self._office.collect.remote({})
        try:
            while self._waiting or self._running:
                if ray.wait([letters], timeout=_GLANCE)[0]:
                    answers = self._read(ray.get(letters))
                    letters = self._office.collect.remote(answers)
                self._look_up()
        finally:
            for task in self._running:
                ray.cancel(task, force=True)
            self._office.close.remote()
            ray.wait([letters], timeout=_FAREWELL)
            ray.kill(self._office)

    def _look_up(self) -> None:
        """From the letters, now and then."""
        now = time.monotonic()
        if now - self._glanced > _GLANCE:
            self._glanced = now
            for task in _finished(list(self._running)):
                self._finish(task)
            self._fill()
        if now - self._told > _EVERY:
            self._told = now
            self._listener.still()

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._window():
            self._begin(self._waiting.popleft())

    def _window(self) -> int:
        """Jobs that Ray is given at once."""
        if time.monotonic() - self._looked > _LOOK_AGAIN:
            now, needs = size(), self._jobs[self._waiting[0]].needs
            self._capacity = now.gpus / needs.gpus if needs.gpus else now.cpus / needs.cpus
            self._looked = time.monotonic()
        return max(2, round(self._capacity * (1 + _AHEAD)))

    def _begin(self, job: int) -> None:
        needs = self._jobs[job].needs
        told = self._perform.options(
            num_cpus=needs.cpus,
            num_gpus=needs.gpus,
            memory=needs.memory,
            max_retries=0,
            runtime_env={"env_vars": _ALL_VISIBLE} if needs.gpus else None,
        )
        what = self._jobs[job].what
        task = told.remote(job, what, self._work, self._office, self._environment)
        self._running[task] = job

    def _read(self, letters: Sequence[Question | Report]) -> dict[str, Sealed]:
        """Answers, by the number of the question, for when what they say holds."""
        answers = {}
        with self._listener.together():
            for letter in letters:
                if isinstance(letter, Report):
                    if letter.job in self._running.values():
                        self._listener.progress(letter.job, letter.totals)
                    continue
                try:
                    method, arguments = opened(letter.asked)
                except _GONE:
                    continue  # so is who asked
                answers[letter.number] = seal(self._listener.answer(method, arguments))
        # Not before: who is told that something is kept must be able to die.
        return answers

    def _finish(self, task: Any) -> None:
        job = self._running.pop(task)
        try:
            value, totals = ray.get(task)
        except _GONE as error:
            self._bury(job, error)
        except RayTaskError as error:
            cause = error.cause
            if isinstance(cause, SelectorError):
                raise cause from None
            raise UsageError(
                "--engine must be a cluster whose nodes can run selector as this machine can,"
                f" found one that cannot: {first_line(cause or error)}.",
                hint="Install the same selector[ray], torch and timm on every node.",
            ) from error
        else:
            self._listener.done(job, value, totals)

    def _bury(self, job: int, error: Exception) -> None:
        self._deaths[job] += 1
        reason = first_line(error)
        if self._deaths[job] > RETRIES:
            self._listener.lost(job, reason)
            return
        if isinstance(error, OutOfMemoryError):
            before = self._jobs[job]
            self._jobs[job] = replace(before, needs=before.needs.larger(size().most_memory))
        self._listener.again(job, reason)
        self._waiting.appendleft(job)


def _finished(tasks: list[Any]) -> list[Any]:
    found = ray.wait(tasks, num_returns=len(tasks), timeout=0)[0] if tasks else ()
    return list(found)


def device_index() -> int:
    """On a worker: which of the GPUs that it sees is that of its job."""
    (own,) = ray.get_runtime_context().get_accelerator_ids()["GPU"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",").index(own) if visible else int(own)


_opened_before: dict[Any, Work] = {}


def _perform(
    job: int, what: Any, work: list[Any], office: Any, environment: Mapping[str, str]
) -> tuple[Any, Mapping[str, int]]:
    """On a worker: do one job; returns what came of it and what was counted."""
    os.environ.update(environment)
    (reference,) = work
    if reference not in _opened_before:
        _opened_before.clear()
        found: Any = aside(ray.get, reference)
        _opened_before[reference] = found
    line = Line(office, job)
    line.count()
    value = _opened_before[reference](what, line)
    line.settle()
    return value, dict(line.totals)
