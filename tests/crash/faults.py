"""Every fault that can be injected, by name."""

from __future__ import annotations

import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator

from crash.bench import Bench, Outcome
from crash.kills import Struck, aims, strike, summary
from crash.misleading import MISLEADING
from crash.starving import STARVING


def kills(bench: Bench, count: int, seed: int) -> Iterator[Outcome]:
    """SIGKILL, over all phases."""
    yield from _struck(bench, "kill", signal.SIGKILL, count, seed)


def interrupts(bench: Bench, count: int, seed: int) -> Iterator[Outcome]:
    """Ctrl-C."""
    yield from _struck(bench, "sigint", signal.SIGINT, max(3, count // 10), seed)


def terminations(bench: Bench, count: int, seed: int) -> Iterator[Outcome]:
    """What a scheduler sends before it kills."""
    yield from _struck(bench, "sigterm", signal.SIGTERM, max(3, count // 10), seed)


def _struck(bench: Bench, fault: str, number: int, count: int, seed: int) -> Iterator[Outcome]:
    draw = random.Random(f"{fault} {seed}")
    by_phase: dict[str, list[Struck]] = {}
    for place, phase in enumerate(aims(count, draw), start=1):
        folder = bench.place().folder
        one = strike(folder, bench.hub, bench.reference, phase, number, draw)
        by_phase.setdefault(one.fell, []).append(one)
        said = "; ".join(one.wrong) or "well"
        print(f"{fault} {place}/{count} {one.fell}: {said}", file=sys.stderr, flush=True)
        if not one.wrong:
            shutil.rmtree(folder)
    for fell, struck in sorted(by_phase.items()):
        wrong = tuple(text for one in struck for text in one.wrong)
        yield Outcome(fault, f"{len(struck)} while {fell}", summary(struck), wrong)


FAULTS: dict[str, Callable[[Bench, int, int], Iterator[Outcome]]] = {
    "kill": kills,
    "sigint": interrupts,
    "sigterm": terminations,
    **STARVING,
    **MISLEADING,
}
