"""The engine that hands candidates to Ray, and keeps what its workers find."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from selector.candidates import Candidate, Pinned
from selector.cluster.connection import Cluster, Size, forwarded, size
from selector.cluster.needs import memory, sizes
from selector.cluster.spread import RETRIES, Job, Needs, spread
from selector.cluster.work import COUNTED, MeasureOne, versions
from selector.devices import choose_device
from selector.errors import UsageError
from selector.events import Emit, Event, Finished, Retried, Underway
from selector.fetching import FetchRules
from selector.measuring import Measuring
from selector.records import DeviceRecord, Skipped
from selector.store import Store

_EVENTS: Mapping[str, Callable[[int], Event]] = {name: kind for kind, name in COUNTED.items()}


class RayEngine:
    """Candidates at once on the devices of a cluster of Ray.

    Args:
        cluster: or the address of one, as :class:`Cluster` has it.
    """

    in_process = False
    farewell = 10.0

    def __init__(self, cluster: Cluster | str | None = None) -> None:
        self._cluster = cluster if isinstance(cluster, Cluster) else Cluster(cluster)
        self._seen: set[str] = set()

    def choose_device(self, name: str) -> torch.device:
        """A kind of device: which one of it a candidate gets, Ray says.

        Raises:
            UsageError: one device is named, or the cluster has none of this kind.
        """
        if name not in ("auto", "cpu", "cuda"):
            raise UsageError(
                f"--device must be auto, cpu or cuda with --engine ray, found {name!r}.",
                hint="Ray gives each candidate a device of its own.",
            )
        with self._cluster.joined() as is_there:
            if name == "cpu" or not is_there:
                return choose_device(name)
            gpus = size().gpus
        if name == "cuda" and not gpus:
            raise UsageError(
                "--device cuda needs a cluster with GPUs, found none in it now.",
                hint="Try --device auto or --device cpu.",
            )
        return torch.device("cuda" if gpus else "cpu")

    def describe(self, device: torch.device) -> DeviceRecord:
        """All devices that candidates were measured on."""
        return DeviceRecord(type=device.type, name=", ".join(sorted(self._seen)) or "none")

    def measure_all(
        self,
        candidates: Sequence[Pinned],
        how: Measuring,
        path: Path,
        rules: FetchRules,
        emit: Emit,
    ) -> None:
        """Measure every candidate, the largest first, and keep what workers find in ``path``.

        Raises:
            UsageError: the cluster cannot be reached or used.
            StoreError: the store cannot be read, written or believed.
        """
        found = sizes(candidates, rules)
        # Of the last to begin the smallest: a long one then would keep all others waiting.
        order = sorted(range(len(candidates)), key=lambda place: -found[place])
        with closing(Store(path)) as store, self._cluster.connected():
            now, device = size(), how.setting.device
            threads = _threads(device, now)
            jobs = []
            for place in order:
                room = min(
                    memory(candidates[place].candidate, found[place], device), now.most_memory
                )
                gpus = 1 if device.type == "cuda" else 0
                jobs.append(Job(candidates[place], Needs(threads, gpus, room)))
            work = MeasureOne(how, rules, threads, str(Path.cwd()), versions())
            desk = Desk([job.what.candidate for job in jobs], store, emit)
            spread(jobs, work, desk, forwarded())
            self._seen |= desk.devices


class Desk:
    """Where workers' questions are answered, and what they report becomes events.

    Args:
        candidates: as jobs are numbered.
        store: that has and gets what they find.
        emit: told what happens.
    """

    def __init__(self, candidates: Sequence[Candidate], store: Store, emit: Emit) -> None:
        self._candidates, self._emit = candidates, emit
        self._answers: Mapping[str, Callable[..., object]] = {
            "get": store.get,
            "put": store.put,
            "part_keys": store.part_keys,
            "get_part": store.get_part,
            "put_part": store.put_part,
        }
        self.together = store.together
        self._told: dict[int, Counter[str]] = {}
        self.devices: set[str] = set()

    def answer(self, method: str, arguments: Sequence[Any]) -> object:
        """What the store says."""
        return self._answers[method](*arguments)

    def progress(self, job: int, totals: Mapping[str, int]) -> None:
        """Tell what is new: one that began again counts only where it is further than it was."""
        if job not in self._told:
            self._told[job] = Counter()
            self._tell_who()
        told = self._told[job]
        for name, total in totals.items():
            # How much was recalled is said with the outcome, of this candidate alone.
            if total > told[name] and name != "recalled":
                self._emit(_EVENTS[name](total - told[name]))
                told[name] = total

    def done(
        self, job: int, value: tuple[Finished, DeviceRecord], totals: Mapping[str, int]
    ) -> None:
        """A candidate is measured, or could not be."""
        finished, device = value
        self.devices.add(device.name)
        self.progress(job, totals)
        if totals.get("recalled"):
            self._emit(_EVENTS["recalled"](totals["recalled"]))
        self._finish(job, finished)

    def still(self) -> None:
        """Nothing new: whoever has stopped listening is noticed all the same."""
        self._tell_who()

    def again(self, job: int, reason: str) -> None:
        """A worker died."""
        self._emit(Retried(self._candidates[job].name, reason))

    def lost(self, job: int, reason: str) -> None:
        """A candidate of which every worker died."""
        candidate = self._candidates[job]
        skipped = Skipped(
            name=candidate.name,
            model=candidate.model,
            code="worker_died",
            reason=f"{RETRIES + 1} workers died while they measured it, the last so: {reason}",
            hint="Try it alone with --engine local, which says more; or on nodes with more memory.",
            retryable=True,
        )
        self._finish(job, Finished(skipped, reused=False))

    def _finish(self, job: int, finished: Finished) -> None:
        self._told.pop(job, None)
        self._emit(finished)
        self._tell_who()

    def _tell_who(self) -> None:
        self._emit(Underway(tuple(self._candidates[job].name for job in self._told)))


def _threads(device: torch.device, now: Size) -> int:
    """Threads of a CPU for each candidate: numbers depend on them in their last bits.

    On a CPU as many as this process would use; beside a GPU an equal share of its node's.

    Raises:
        UsageError: no node has so many.
    """
    if device.type == "cuda":
        return max(1, int(now.cpus_per_gpu or 1))
    threads = torch.get_num_threads()
    if threads > now.most_cpus:
        raise UsageError(
            f"--engine must be a cluster that has a node with {threads} CPUs, as many as this"
            f" process uses threads, found at most {now.most_cpus:g}.",
            hint="OMP_NUM_THREADS=1 selector ... uses one for each candidate.",
        )
    return threads
