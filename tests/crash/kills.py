"""Kills and signals at random moments of every phase, and what the same command makes of it."""

from __future__ import annotations

import random
import shutil
import signal
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fakehub.server import FakeHub

from crash.evidence import Rows, read_output, read_store
from crash.place import CANDIDATES, PATIENCE, Ended, Place, Running

PHASES = ("starting", "fetching", "measuring", "storing", "writing")
# Of a hundred kills, so many aim at each.
_SHARES = {"starting": 6, "fetching": 24, "measuring": 40, "storing": 20, "writing": 10}
_EXIT = {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}
OLD = '{"an": "earlier ranking"}\n'
# Seconds that a run may take to end once it is told to; mostly less than one.
_AT_ONCE = 10


@dataclass(frozen=True)
class Reference:
    """What a run that nobody disturbs gives.

    Attributes:
        document: its ranking, without what may differ.
        passes: images forward, by candidate.
        weights: which candidate has which weights.
        windows: when each phase begins and how long it lasts, seconds; see :func:`moments`.
    """

    document: Any
    passes: Mapping[str, int]
    weights: Mapping[str, str]
    windows: Mapping[str, Sequence[Moment]]


@dataclass(frozen=True)
class Moment:
    """After the n-th event of a kind, within so many seconds."""

    event: str
    times: int
    longest: float


@dataclass(frozen=True)
class Struck:
    """One kill, and what came of it.

    Attributes:
        aimed: at which phase.
        fell: where it fell, as the events say.
        repeated: images that went forward twice, as the work under way was lost.
        finished: measurements that were whole at the kill.
        wrong: what is not as it must be; empty where all is well.
    """

    aimed: str
    fell: str
    repeated: int
    finished: int
    wrong: tuple[str, ...]


def undisturbed(place: Place) -> Reference:
    """Run the command where nobody disturbs it."""
    place.hub.fault("cdn", body="pause")
    ended = place.run()
    if ended.code:
        raise RuntimeError(f"exit code {ended.code}: {ended.stderr}")
    # Candidates are measured in the order in which they are given.
    seen = list(dict.fromkeys(one["of"] for one in ended.events if one["event"] == "pass"))
    weights = {found: f"acme/{name}" for found, name in zip(seen, CANDIDATES, strict=True)}
    document = read_output(place.output)
    return Reference(document, by_candidate(ended, weights), weights, moments(ended.events))


def by_candidate(ended: Ended, weights: Mapping[str, str]) -> Counter[str]:
    """Images that really went forward."""
    return Counter({weights[one]: count for one, count in ended.passes().items()})


def moments(events: Sequence[dict[str, Any]]) -> dict[str, list[Moment]]:
    """When a kill hits each phase; commits and the rename last milliseconds: they are aimed at."""
    at: dict[str, list[float]] = {}
    for one in events:
        at.setdefault(one["event"], []).append(one["at"])
    commits = zip(at["store+"], at["store-"], strict=True)
    return {
        "starting": [Moment("ready", 1, at["fetch+"][0] - at["ready"][0])],
        "fetching": [Moment("fetch+", 1, at["fetch-"][-1] - at["fetch+"][0])],
        "measuring": [Moment("pass", 1, at["pass"][-1] - at["pass"][0])],
        "storing": [Moment("store+", n, 0.8 * (b - a)) for n, (a, b) in enumerate(commits, 1)],
        "writing": [Moment("out+", 1, 0.8 * (at["out-"][0] - at["out+"][0]))],
    }


def aims(count: int, draw: random.Random) -> list[str]:
    """Phases to aim at, each as often as its share of ``count`` says, at least once."""
    wanted = [phase for phase in PHASES for _ in range(max(1, count * _SHARES[phase] // 100))]
    wanted += draw.choices(PHASES[1:3], k=max(0, count - len(wanted)))
    draw.shuffle(wanted)
    return wanted[:count]


def phase_at(events: Sequence[dict[str, Any]], at: float) -> str:
    """The phase in which a moment falls."""
    before = Counter(one["event"] for one in events if one["at"] <= at)
    if before["out+"]:
        return "written" if before["out-"] else "writing"
    if before["store+"] > before["store-"]:
        return "storing"
    if before["pass"]:
        return "measuring"
    return "fetching" if before["fetch+"] else "starting"


def strike(
    folder: Path,
    hub: FakeHub,
    reference: Reference,
    phase: str,
    number: int,
    draw: random.Random,
    extra: Mapping[str, str] = MappingProxyType({}),
) -> Struck:
    """Let a run be hit in a phase, look at what it left, and run the same command again.

    Args:
        folder: for it.
        hub: where candidates come from.
        reference: what the ranking must be.
        phase: one of PHASES.
        number: of the signal.
        draw: the moment.
        extra: variables for the processes.
    """
    had_output = draw.random() < 0.5
    while True:
        place = Place(folder, hub, extra=dict(extra))
        if had_output:
            place.output.write_text(OLD, encoding="utf-8")
        moment = draw.choice(reference.windows[phase])
        hit = strike_at(place, moment, draw.uniform(0, moment.longest), number)
        if hit.ended.code:
            break
        # It had ended before it was hit: no kill. Once more, from nothing.
        shutil.rmtree(place.folder)
    before, wrong = read_store(place.store), list(left(place, hit, number, reference))
    hub.faults.clear()
    again = place.run()
    wrong += unrepeated(place, again, before, reference)
    wrong += completed(place, again, before, reference)
    passes = by_candidate(hit.ended, reference.weights) + by_candidate(again, reference.weights)
    repeated = sum((passes - Counter(reference.passes)).values())
    return Struck(phase, hit.fell, repeated, len(before.names), tuple(wrong))


@dataclass(frozen=True)
class Hit:
    """A run that was hit.

    Attributes:
        ended: what came of it.
        fell: the phase that it was in.
        seconds: from the signal to its end.
    """

    ended: Ended
    fell: str
    seconds: float


def strike_at(place: Place, moment: Moment, delay: float, number: int) -> Hit:
    """Start the command and send it a signal, so many seconds after a moment."""
    struck: list[float] = []

    def kill(running: Running) -> None:
        event = running.wait_for(moment.event, moment.times)
        if event is not None:
            running.wait_until(event["at"] + delay)
        struck.append(running.kill(number))
        running.process.wait(PATIENCE)
        struck.append(time.monotonic() - struck[0])

    # Slow enough that kills fall between the first byte and the last.
    place.hub.fault("cdn", body="pause")
    ended = place.run(kill)
    return Hit(ended, phase_at(ended.events, struck[0]), struck[1])


def left(place: Place, hit: Hit, number: int, reference: Reference) -> Iterator[str]:
    """What is wrong with what a run that was hit has left."""
    ended, done = hit.ended, hit.fell == "written"
    # Once everything is written a signal just ends the process.
    if ended.code not in (_EXIT[signal.Signals(number)], *([-number] if done else [])):
        yield f"exit code {ended.code} after {hit.fell}"
    told = "the same command continues" in ended.stderr
    if number != signal.SIGKILL and not told and not done:
        yield f"no word on how to go on: {ended.stderr[-200:]!r}"
    if ended.stdout and not done:
        yield f"printed as if it had ended: {ended.stdout[:200]!r}"
    if hit.seconds > _AT_ONCE:
        yield f"ended {hit.seconds:.0f} s after the signal"
    if "Traceback" in ended.stderr:
        yield f"a traceback: {ended.stderr[-300:]!r}"
    if place.output.exists():
        text = place.output.read_text(encoding="utf-8")
        if text != OLD and read_output(place.output) != reference.document:
            yield "half a ranking"
    if place.altered():
        yield f"the Hub cache has other bytes: {place.altered()}"
    if (sound := read_store(place.store).sound) != "ok":
        yield f"the store is damaged: {sound}"


def unrepeated(place: Place, again: Ended, before: Rows, reference: Reference) -> Iterator[str]:
    """What the next run has changed, or done once more, of what was finished ``before`` it."""
    after = read_store(place.store)
    if changed := [key for key, row in before.rows.items() if after.rows.get(key) != row]:
        yield f"what was kept has changed: {changed}"
    passes = by_candidate(again, reference.weights)
    for name in before.names:
        if passes[name]:
            yield f"{name} was measured, and {passes[name]} images went forward again"
    for name, known in before.passes.items():
        if passes[name] + known > reference.passes[name] and name not in before.names:
            yield f"{name}: {known} of its passes were kept, and some were made again"


def completed(place: Place, again: Ended, before: Rows, reference: Reference) -> Iterator[str]:
    """What is wrong with a run that nobody hit, after one that was."""
    if again.code:
        yield f"the same command ends with {again.code}: {again.stderr[-300:]!r}"
    if not place.output.exists() or read_output(place.output) != reference.document:
        yield "another ranking than undisturbed"
    after = read_store(place.store)
    if after.sound != "ok":
        yield f"the store is damaged: {after.sound}"
    if after.names != set(reference.passes):
        yield f"kept of {sorted(after.names)} only"
    told = again.stderr.count("kept from an earlier run")
    if told != len(before.names):
        yield f"{told} are said to be kept, {len(before.names)} were"
    if place.strays():
        yield f"left behind: {place.strays()}"
    if place.altered():
        yield f"the Hub cache has other bytes: {place.altered()}"


def summary(struck: Sequence[Struck]) -> str:
    """What came of some kills, in words."""
    good = sum(not one.wrong for one in struck)
    lost = [one.repeated for one in struck]
    return (
        f"{good} of {len(struck)} continued to the same ranking;"
        f" {sum(one.finished for one in struck)} finished measurements kept, none made again;"
        f" images passed again: median {statistics.median(lost):.0f}, at most {max(lost)}"
    )
