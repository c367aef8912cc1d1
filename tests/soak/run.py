"""Rank a thousand times in one process; fails if anything grows. ``make soak`` runs it.

What must hold after a warm-up of a fifth of the rankings:

- file descriptors, threads, temporary files: the same least number in every ten rankings;
- tensors and connections that are alive: none, counted every 50 rankings;
- resident memory: the 95 % interval of its growth ends below 4 KB per ranking.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fakehub.server import FakeHub

REPO, NETWORK = "acme/tiny", "tiny_vit.cifar10_linf_8"
MOST_GROWTH = 4096
OBJECTS_EVERY = 50
LEAST = 250
WINDOW = 10


def main() -> None:
    """Run, tell and write."""
    arguments = _parse()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("temporary", "cache"):
            (folder / part).mkdir()
        hub = _start_hub(folder)
        os.environ |= {"SELECTOR_CACHE": str(folder / "cache"), "TMPDIR": str(folder / "temporary")}
        tempfile.tempdir = None
        found = soak(folder, arguments.rankings, arguments.rankings // 5)
        hub.terminate()
        hub.join()
    faults = found.faults()
    document = found.document() | {"faults": faults}
    if arguments.output is not None:
        from soak.figure import Panel, svg

        samples = found.samples
        panels = (
            Panel("resident memory, MB", [one.resident / 1e6 for one in samples]),
            Panel("open file descriptors", [one.files for one in samples]),
            Panel("threads", [one.threads for one in samples]),
        )
        arguments.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        arguments.output.with_suffix(".svg").write_text(
            svg(panels, found.warm_up), encoding="utf-8"
        )
    print(json.dumps({name: document[name] for name in ("growth", "flat", "faults")}, indent=1))
    raise SystemExit(1 if faults else 0)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rankings", type=int, default=1000, help=f"at least {LEAST}; 1000")
    parser.add_argument("-o", "--output", type=Path, help="JSON; the figure goes beside it")
    found = parser.parse_args()
    if found.rankings < LEAST:
        parser.error(f"--rankings must be at least {LEAST}, found {found.rankings}.")
    return found


@dataclass(frozen=True)
class Soaked:
    """What was seen.

    Attributes:
        samples: one for each ranking.
        objects: after every 50 rankings.
        warm_up: rankings that do not count.
        seconds: that all took.
    """

    samples: list[Any]
    objects: list[Any]
    warm_up: int
    seconds: float

    def growth(self) -> Any:
        """Bytes of resident memory per ranking, after the warm-up."""
        from soak.verdict import slope

        return slope([one.resident for one in self.samples[self.warm_up :]])

    def flat(self) -> dict[str, list[int]]:
        """Least and most of what must not change."""
        after = self.samples[self.warm_up :]
        counted = self.objects[self.warm_up // OBJECTS_EVERY :]
        # Of a ranking that failed files stay open until Python collects its traceback.
        windows = [after[place : place + WINDOW] for place in range(0, len(after), WINDOW)]
        values = {
            name: [min(getattr(one, name) for one in window) for window in windows]
            for name in ("files", "threads", "temporary")
        } | {name: [getattr(one, name) for one in counted] for name in ("tensors", "connections")}
        return {name: [min(each), max(each)] for name, each in values.items()}

    def faults(self) -> list[str]:
        """What must hold and does not."""
        growth = self.growth()
        found = [
            f"{name} changed: {least} to {most}"
            for name, (least, most) in self.flat().items()
            if least != most
        ]
        if growth.high >= MOST_GROWTH:
            found.append(f"memory grows by up to {growth.high:.0f} bytes per ranking")
        return found

    def document(self) -> dict[str, Any]:
        """All of it."""
        return {
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
            "versions": {
                name: version(name) for name in ("selector", "torch", "timm", "huggingface-hub")
            },
            "rankings": len(self.samples),
            "warm_up": self.warm_up,
            "seconds": round(self.seconds),
            "growth": {name: round(value) for name, value in asdict(self.growth()).items()},
            "most_growth": MOST_GROWTH,
            "flat": self.flat(),
            "peak": self.samples[-1].peak,
            "samples": {
                name: [getattr(one, name) for one in self.samples]
                for name in ("resident", "files", "threads")
            },
            "objects": [one.objects for one in self.objects],
        }


def soak(folder: Path, rankings: int, warm_up: int) -> Soaked:
    """Rank so often; of Python's threads only those of now may be left after each."""
    import torch

    from soak.watch import objects, sample, settle
    from soak.workload import workload

    torch.set_num_threads(1)
    # Made before threads are counted: datasets starts one that shows progress, and lasts.
    work, began = workload(folder, REPO), time.monotonic()
    python, threads = frozenset(threading.enumerate()), 2**31
    samples, counted = [], []
    for number in range(rankings):
        work.rank(number)
        settle(python, threads)
        samples.append(sample())
        if number + 1 == warm_up:
            time.sleep(1)
            threads = sample().threads
        if (number + 1) % OBJECTS_EVERY == 0:
            counted.append(objects())
            print(number + 1, samples[-1], counted[-1], flush=True)
    return Soaked(samples, counted, warm_up, time.monotonic() - began)


def _start_hub(folder: Path) -> multiprocessing.process.BaseProcess:
    """A Hub in a process of its own, and this process's client directed to it."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe(duplex=False)
    process = spawn.Process(target=serve, args=(there, folder / "hub"), daemon=True)
    process.start()
    os.environ |= here.recv()
    here.close()
    return process


def serve(pipe: Any, home: Path) -> None:
    """Be a Hub with one network; tell the environment of its clients, who cache in ``home``."""
    import selector

    zoo = Path(selector.__file__).parent / "demo" / "zoo" / NETWORK
    files = {path.name: path.read_bytes() for path in zoo.iterdir()}
    with FakeHub() as hub:
        hub.add(REPO, files)
        pipe.send(hub.environment(home))
        threading.Event().wait()


if __name__ == "__main__":
    main()
