"""What `--engine ray` adds to the passes: 1,000 candidates on 4 to 64 simulated GPUs.

Everything is real but the passes: the cluster, its worker processes, the letters, the store. In
place of passes a worker sleeps. First one built-in candidate is measured for real: each
simulated one then asks what there is and puts as many parts, of as many bytes, and a document like
its.

How long candidates take is drawn, with a seed, from the parameters of those in registry.yaml (0.4
to 632 million, half of them below 26 million, 66 in the mean), to which passes are about in
proportion: a heavy tail. They are begun as the engine begins them, the largest first. Starting Ray
and its processes is timed apart, since on one machine all of them share its cores; then the clock
runs from the first job to the last.

    python benchmarks/scaling.py --workers 4 8 --full 8 --candidates 100 --mean 5
    python benchmarks/scaling.py -o benchmarks/results/scaling.simulated.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sqlite3
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ray
import torch
from provenance import commit

from selector.candidates import Pinned, builtin_zoo, default_registry, read_registry
from selector.cluster.connection import Cluster
from selector.cluster.office import Line
from selector.cluster.spread import Job, Needs, spread
from selector.fetching import FetchRules
from selector.protocol import Overrides, choose_protocol
from selector.records import Evaluation
from selector.scheduling import measure_all, measuring_classes
from selector.store import Content, Label, Part, Store
from selector.tasks import load_task
from selector.threat import ThreatModel
from selector.workload import Setting

SEED = 0
# Of the simulated candidates, told to Ray as the engine tells them.
ONE_GPU = Needs(cpus=1, gpus=1, memory=0)


@dataclass(frozen=True)
class Model:
    """What a real measurement asked of the store.

    Attributes:
        parts: bytes of each.
        document: the record, as JSON.
    """

    parts: tuple[int, ...]
    document: str


@dataclass(frozen=True)
class Simulated:
    """A candidate whose passes are slept.

    Attributes:
        name: of it.
        seconds: that they take.
        parts: bytes of what they give.
        document_bytes: of the record.
    """

    name: str
    seconds: float
    parts: tuple[int, ...]
    document_bytes: int


@dataclass(frozen=True)
class Row:
    """One run.

    Attributes:
        workers: simulated GPUs.
        candidates: how many there were.
        slept: seconds of all candidates together.
        ideal: these, divided by the workers.
        seconds: that it took.
        overhead: the share by which that is more.
        cluster: seconds until Ray was there.
        processes: seconds more until all workers were.
        letters_per_second: that the run answered.
        driver_cpu: cores that the run itself used.
        worker_mb: memory that a worker had to itself, the mean of all.
    """

    workers: int
    candidates: int
    slept: float
    ideal: float
    seconds: float
    overhead: float
    cluster: float
    processes: float
    letters_per_second: float
    driver_cpu: float
    worker_mb: float


def main() -> None:
    """Run, print, write."""
    options = parse()
    # Else workers stand back for whatever else runs here, the letters they wait for as well.
    os.environ.setdefault("RAY_worker_niceness", "0")
    model = measure_one()
    print(
        f"a real candidate: {len(model.parts)} parts, {sum(model.parts):,} bytes, a document of"
        f" {len(model.document):,}"
    )
    rows: list[Row] = []
    for workers in options.workers:
        count = round(options.candidates * workers / options.full)
        rows.append(run(workers, simulate(count, options.mean, model), model))
        print(rows[-1], flush=True)
        if options.output is not None:
            write(options.output, options.mean, model, rows)


def write(path: Path, mean: float, model: Model, rows: Sequence[Row]) -> None:
    """What was found so far, as JSON."""
    document = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, which the"
        " run and all of its workers share",
        "versions": {one: version(one) for one in ("selector", "ray", "torch")},
        "seed": SEED,
        "mean_seconds": mean,
        "parts_each": len(model.parts),
        "part_bytes_each": sum(model.parts),
        "document_bytes_each": len(model.document),
        "rows": [asdict(row) for row in sorted(rows, key=lambda row: row.workers)],
    }
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[4, 8, 16, 32, 64])
    parser.add_argument("--candidates", type=int, default=1000, help="of --full workers")
    parser.add_argument("--full", type=int, default=64, help="workers; fewer get as many each")
    parser.add_argument("--mean", type=float, default=45.0, help="seconds of a candidate")
    parser.add_argument("-o", "--output", type=Path)
    return parser.parse_args()


def measure_one() -> Model:
    """A built-in candidate, measured for real."""
    protocol = choose_protocol("standard", "cpu", Overrides(), SEED)
    task = load_task("builtin:digits", image_size=32, sizes=protocol.sizes, seed=SEED)
    setting = Setting(task, ThreatModel("linf", 4 / 255), protocol, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite"
        one = Pinned(builtin_zoo()[0])
        measure_all([one], measuring_classes(setting), path, FetchRules(), lambda event: None)
        with closing(sqlite3.connect(path)) as connection:
            parts = connection.execute("SELECT bytes FROM parts ORDER BY rowid").fetchall()
            (document,) = connection.execute("SELECT document FROM measurements").fetchone()
    return Model(tuple(count for (count,) in parts), document)


def simulate(count: int, mean: float, model: Model) -> list[Simulated]:
    """So many candidates, the largest first."""
    known = [one.parameters for one in read_registry(default_registry()) if one.parameters]
    drawn = random.Random(SEED).choices(known, k=count)
    scale = mean * count / sum(drawn)
    seconds = sorted((scale * parameters for parameters in drawn), reverse=True)
    return [
        Simulated(f"candidate {place}", one, model.parts, len(model.document))
        for place, one in enumerate(seconds)
    ]


def work(one: Simulated, line: Line) -> str:
    """What a worker does for a candidate, as :class:`selector.measuring.Measuring` does it.

    Through :class:`selector.cluster.work.FarStore`, that is, which would bring torch to each.
    """
    line.ask("get", one.name)
    line.ask("part_keys", one.name)
    for place, count in enumerate(one.parts):
        time.sleep(one.seconds / len(one.parts))
        line.count(passed=1)
        line.tell("put_part", f"{one.name} {place}", os.urandom(count))
    line.ask("put", one.name)
    return one.name


def warm_up(folder: Path, workers: int) -> Any:
    """Work that ends when all workers are there; returns how much memory each has to itself."""

    def wait(number: int, line: Line) -> float:
        (folder / str(number)).touch()
        while len(list(folder.iterdir())) < workers:
            time.sleep(0.2)
        text = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
        private = [row.split()[1] for row in text.splitlines() if row.startswith("Private_")]
        return sum(map(int, private)) / 1000

    return wait


class Driver:
    """What the engine's desk does, with a store that is real."""

    def __init__(self, store: Store, model: Model) -> None:
        self._store, self.together = store, store.together
        self._record = Evaluation.model_validate_json(model.document)
        self.values: list[Any] = []
        self.letters = 0

    def answer(self, method: str, arguments: Sequence[Any]) -> object:
        """Look it up, or keep it."""
        self.letters += 1
        name, *data = arguments
        if method == "get":
            return self._store.get(Content({"candidate": name}), Evaluation)
        if method == "part_keys":
            return self._store.part_keys(name)
        if method == "put_part":
            tensor = torch.frombuffer(bytearray(data[0]), dtype=torch.uint8)
            part = Part({"value": tensor}, forward=1, backward=1, seconds=1.0, batch_size=1)
            self._store.put_part(name, Label(name, "search"), part)
            return None
        self._store.put(Content({"candidate": name}), self._record)
        return None

    def progress(self, job: int, totals: Mapping[str, int]) -> None:
        """Nobody looks."""

    def still(self) -> None:
        """Nobody waits."""

    def done(self, job: int, value: Any, totals: Mapping[str, int]) -> None:
        """One more."""
        self.values.append(value)

    def again(self, job: int, reason: str) -> None:
        """Nothing is killed here."""
        raise RuntimeError(reason)

    def lost(self, job: int, reason: str) -> None:
        """Nothing is killed here."""
        raise RuntimeError(reason)


def run(workers: int, candidates: Sequence[Simulated], model: Model) -> Row:
    """All candidates on so many workers of a cluster of their own."""
    options = {
        "num_cpus": workers,
        "num_gpus": workers,
        "object_store_memory": 200_000_000,
        "_memory": 10**12,
    }
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, Cluster("local", options).connected():
        there = time.perf_counter()
        (Path(folder) / "workers").mkdir()
        with closing(Store(Path(folder) / "store.sqlite")) as store:
            waited = Driver(store, model)
            ready = warm_up(Path(folder) / "workers", workers)
            spread([Job(n, ONE_GPU) for n in range(workers)], ready, waited, {})
            driver, started = Driver(store, model), time.perf_counter()
            cpu = time.process_time()
            spread([Job(one, ONE_GPU) for one in candidates], work, driver, {})
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        assert sorted(driver.values) == sorted(one.name for one in candidates)
        with closing(sqlite3.connect(Path(folder) / "store.sqlite")) as connection:
            kept = connection.execute("SELECT count(*) FROM measurements").fetchone()[0]
            parts = connection.execute("SELECT count(*) FROM parts").fetchone()[0]
        assert (kept, parts) == (len(candidates), len(candidates) * len(model.parts))
    assert not ray.is_initialized()
    slept = sum(one.seconds for one in candidates)
    ideal = slept / workers
    return Row(
        workers=workers,
        candidates=len(candidates),
        slept=round(slept, 1),
        ideal=round(ideal, 2),
        seconds=round(seconds, 2),
        overhead=round(seconds / ideal - 1, 4),
        cluster=round(there - began, 1),
        processes=round(started - there, 1),
        letters_per_second=round(driver.letters / seconds, 1),
        driver_cpu=round(cpu / seconds, 3),
        worker_mb=round(sum(waited.values) / workers, 1),
    )


if __name__ == "__main__":
    main()
