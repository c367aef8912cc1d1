"""Letters between workers and the run: questions, which are answered, and how far a job is.

The office is an actor that keeps letters until they are collected, and reads none: what is in one
is sealed, and where it is large Ray's object store has it. An office that dies is opened again, and
Ray sends again what was not answered, so that a question may come twice: answers must not mind.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import uuid4

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

Sealed = list[Any]
"""The bytes of an object, or a reference to them; in a list, or Ray would deliver what is meant."""

_T = TypeVar("_T")
# Questions that may wait at once: each worker has one.
_AT_ONCE = 100_000
# Seconds between two reports of how far a job is: a thousand workers then send 500 in a second.
_PACE = 2.0
# Seconds that reports may lie at the office.
_GATHER = 1.0
# Bytes of a letter that the office keeps itself; an actor's call is quicker than the object store.
_LETTER = 64 * 1024


def seal(value: object) -> Sealed:
    """An object in a letter."""
    data: bytes = ray.cloudpickle.dumps(value)  # type: ignore[no-untyped-call]
    return [data if len(data) <= _LETTER else ray.put(data)]


def opened(sealed: Sealed) -> Any:
    """The object."""
    (data,) = sealed
    return ray.cloudpickle.loads(data if isinstance(data, bytes) else _fetched(data))


def _fetched(reference: Any) -> bytes:
    data: bytes = ray.get(reference)
    return data


@dataclass(frozen=True)
class Question:
    """What a worker asks.

    Attributes:
        number: of this question and no other.
        asked: a method and its arguments.
    """

    number: str
    asked: Sealed


@dataclass(frozen=True)
class Report:
    """How far a job is.

    Attributes:
        job: its number.
        totals: of what it counts, since it began.
    """

    job: int
    totals: dict[str, int]


class Office:
    """Keeps letters until they are collected; an actor of Ray."""

    def __init__(self) -> None:
        self._letters: list[Question | Report] = []
        self._arrived = asyncio.Event()
        self._asking: dict[str, asyncio.Future[Sealed]] = {}

    async def ask(self, question: Question) -> Sealed:
        """The answer, once somebody has given it."""
        self._asking[question.number] = asyncio.get_running_loop().create_future()
        self._letters.append(question)
        self._arrived.set()
        return await self._asking[question.number]

    @ray.method(max_task_retries=0)  # the next one says as much  # type: ignore[untyped-decorator]
    async def report(self, report: Report) -> None:
        """Tell how far a job is; nobody waits for that, so it goes with the next question."""
        self._letters.append(report)

    async def collect(self, answers: Mapping[str, Sealed]) -> list[Question | Report]:
        """All letters since the last time; without a question, those of a second.

        Args:
            answers: by the number of the question; one whose asker is gone goes to nobody.
        """
        for number, answer in answers.items():
            waiting = self._asking.pop(number, None)
            if waiting is not None and not waiting.done():  # nor cancelled with who asked
                waiting.set_result(answer)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._arrived.wait(), _GATHER)
        self._arrived.clear()
        letters, self._letters = self._letters, []
        return letters

    async def close(self) -> None:
        """Let nobody wait for letters."""
        self._arrived.set()


def open_office() -> Any:
    """An office on the node of this process, as long as that lives."""
    here = ray.get_runtime_context().get_node_id()
    return (
        ray.remote(Office)
        .options(
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=-1,
            max_concurrency=_AT_ONCE,
            scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=True),
        )
        .remote()
    )


_other_thread = ThreadPoolExecutor(1, thread_name_prefix="aside")


def aside(wait: Callable[..., _T], *arguments: object) -> _T:
    """What a call gives that waits for Ray, from another thread.

    When the thread of a job waits, Ray takes the job for blocked and gives its CPU to another.
    """
    return _other_thread.submit(wait, *arguments).result()


@dataclass
class Line:
    """What a worker speaks to the run through, while it does one job.

    Any thread may count; one asks and tells.

    Attributes:
        office: between them.
        job: its number.
        totals: of what was counted so far.
    """

    office: Any
    job: int
    totals: Counter[str] = field(default_factory=Counter)
    _told: Any = None
    _reported: float = float("-inf")
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, method: str, *arguments: object) -> Any:
        """What the run answers, when it has answered all that it was told before."""
        answer = self._send(method, arguments)
        self.settle()
        return aside(_read, answer)

    def tell(self, method: str, *arguments: object) -> None:
        """Ask, and wait for the answer only with that of the next question.

        So few letters are on their way at once: what a worker's death can lose has a bound, and
        so has the memory that they take.
        """
        self.settle()
        self._told = self._send(method, arguments)

    def settle(self) -> None:
        """Wait until the run has answered all that it was told."""
        if self._told is not None:
            aside(_read, self._told)
            self._told = None

    def count(self, **amounts: int) -> None:
        """Add to what is counted, and report it from time to time."""
        with self._lock:
            self.totals.update(amounts)
            if time.monotonic() - self._reported < _PACE:
                return
            self._reported = time.monotonic()
            self.office.report.remote(Report(self.job, dict(self.totals)))

    def _send(self, method: str, arguments: Sequence[object]) -> Any:
        return self.office.ask.remote(Question(uuid4().hex, seal((method, arguments))))


def _read(answer: Any) -> Any:
    return opened(ray.get(answer))
