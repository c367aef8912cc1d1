"""Every fault that can be injected, by name."""

from __future__ import annotations

import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator

from crash.bench import Bench, Outcome
from crash.forms import forms
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
    struck: list[Struck] = []
    stopped = None
    try:
        for phase in aims(count, draw):
            struck.append(_one(bench, fault, phase, number, draw))
            said = "; ".join(struck[-1].wrong) or "well"
            progress = f"{fault} {len(struck)}/{count} {struck[-1].fell}: {said}"
            print(progress, file=sys.stderr, flush=True)
    except KeyboardInterrupt as enough:
        stopped = enough
    for fell in sorted({one.fell for one in struck}):
        these = [one for one in struck if one.fell == fell]
        wrong = tuple(text for one in these for text in one.wrong)
        yield Outcome(fault, f"{len(these)} while {fell}", summary(these), wrong)
    if stopped:
        raise stopped


def _one(bench: Bench, fault: str, phase: str, number: int, draw: random.Random) -> Struck:
    folder = bench.place().folder
    one = strike(folder, bench.hub, bench.reference, phase, number, draw)
    if not one.wrong:
        shutil.rmtree(folder)
    return one


FAULTS: dict[str, Callable[[Bench, int, int], Iterator[Outcome]]] = {
    "kill": kills,
    "sigint": interrupts,
    "sigterm": terminations,
    "forms": forms,
    **STARVING,
    **MISLEADING,
}
