"""Kills and signals at random moments of every phase, and what the same command makes of it."""

from __future__ import annotations

import random
import shutil
import signal
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fakehub.server import FakeHub

from crash.place import CANDIDATES, Ended, Place, Rows, read_output, read_store

PHASES = ("starting", "fetching", "measuring", "storing", "writing")
# Of a hundred kills, so many aim at each.
_SHARES = {"starting": 6, "fetching": 24, "measuring": 40, "storing": 20, "writing": 10}
_EXIT = {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}
_OLD = '{"an": "earlier ranking"}\n'


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


def undisturbed(folder: Path, hub: FakeHub) -> tuple[Reference, Ended]:
    """Run the command twice, each in a place of its own: they must agree."""
    places = [Place(folder / name, hub) for name in ("first", "second")]
    runs = []
    for place in places:
        hub.fault("cdn", body="pause")
        runs.append(place.run())
        if runs[-1].code:
            raise RuntimeError(f"exit code {runs[-1].code}: {runs[-1].stderr}")
    documents = [read_output(place.output) for place in places]
    if documents[0] != documents[1]:
        raise RuntimeError("two runs that nobody disturbs differ")
    # Candidates are measured in the order in which they are given.
    seen = list(dict.fromkeys(one["of"] for one in runs[0].events if one["event"] == "pass"))
    weights = {found: f"acme/{name}" for found, name in zip(seen, CANDIDATES, strict=True)}
    reference = Reference(
        documents[0], by_candidate(runs[0], weights), weights, moments(runs[0].events)
    )
    return reference, runs[0]


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
        "starting": [Moment("begin", 1, at["fetch+"][0] - at["begin"][0])],
        "fetching": [Moment("fetch+", 1, at["fetch-"][-1] - at["fetch+"][0])],
        "measuring": [Moment("pass", 1, at["pass"][-1] - at["pass"][0])],
        "storing": [Moment("store+", n, 1.2 * (b - a)) for n, (a, b) in enumerate(commits, 1)],
        "writing": [Moment("out+", 1, 1.2 * (at["out-"][0] - at["out+"][0]))],
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
    folder: Path, hub: FakeHub, reference: Reference, phase: str, number: int, draw: random.Random
) -> Struck:
    """Let a run be hit in a phase, look at what it left, and run the same command again."""
    place = Place(folder, hub)
    had_output = draw.random() < 0.5
    while True:
        hub.faults.clear()
        hub.fault("cdn", body="pause")
        if had_output:
            place.output.write_text(_OLD, encoding="utf-8")
        moment = draw.choice(reference.windows[phase])
        hit: list[float] = []
        ended = place.run(_at(moment, draw.uniform(0, moment.longest), number, hit))
        if ended.code:
            break
        # It had ended before it was hit: no kill. Once more, from nothing.
        shutil.rmtree(place.folder)
        place = Place(folder, hub)
    fell = phase_at(ended.events, hit[0])
    before, wrong = read_store(place.store), list(_left(place, ended, number, reference))
    hub.faults.clear()
    again = place.run()
    wrong += _resumed(place, again, before, reference)
    passes = by_candidate(ended, reference.weights) + by_candidate(again, reference.weights)
    repeated = sum((passes - Counter(reference.passes)).values())
    return Struck(phase, fell, repeated, len(before.names), tuple(wrong))


def _at(moment: Moment, delay: float, number: int, hit: list[float]) -> Callable[[Any], None]:
    def kill(running: Any) -> None:
        event = running.wait_for(moment.event, moment.times)
        if event is not None:
            running.wait_until(event["at"] + delay)
        hit.append(running.kill(number))

    return kill


def _left(place: Place, ended: Ended, number: int, reference: Reference) -> Iterator[str]:
    """What a run that was hit may not leave."""
    if ended.code != _EXIT[signal.Signals(number)]:
        yield f"exit code {ended.code}"
    if number != signal.SIGKILL and "the same command continues" not in ended.stderr:
        yield f"no word on how to go on: {ended.stderr[-200:]!r}"
    if "Traceback" in ended.stderr:
        yield "a traceback"
    if place.output.exists():
        text = place.output.read_text(encoding="utf-8")
        if text != _OLD and read_output(place.output) != reference.document:
            yield "half a ranking"
    if place.altered():
        yield f"the Hub cache has other bytes: {place.altered()}"


def _resumed(place: Place, again: Ended, before: Rows, reference: Reference) -> Iterator[str]:
    """What the same command must make of it."""
    if again.code:
        yield f"the same command ends with {again.code}: {again.stderr[-300:]!r}"
    if not place.output.exists() or read_output(place.output) != reference.document:
        yield "another ranking than undisturbed"
    after = read_store(place.store)
    if (before.sound, after.sound) != ("ok", "ok"):
        yield f"the store is damaged: {before.sound}, {after.sound}"
    if changed := [key for key, row in before.rows.items() if after.rows.get(key) != row]:
        yield f"what was kept has changed: {changed}"
    if len(after.names) != len(CANDIDATES):
        yield f"kept of {sorted(after.names)} only"
    passes = by_candidate(again, reference.weights)
    for name in before.names:
        if passes[name]:
            yield f"{name} was measured, and {passes[name]} images went forward again"
    for name, known in before.passes.items():
        if passes[name] + known > reference.passes[name] and name not in before.names:
            yield f"{name}: {known} of its passes were kept, and some were made again"
    if place.strays():
        yield f"left behind: {place.strays()}"
    if place.altered():
        yield f"the Hub cache has other bytes: {place.altered()}"
    told = again.stderr.count("kept from an earlier run")
    if told != len(before.names):
        yield f"{told} are said to be kept, {len(before.names)} were"


def summary(struck: Sequence[Struck]) -> str:
    """What came of some kills, in words."""
    good = sum(not one.wrong for one in struck)
    lost = [one.repeated for one in struck]
    return (
        f"{good} of {len(struck)} continued to the same ranking;"
        f" {sum(one.finished for one in struck)} finished measurements kept, none made again;"
        f" images passed again: median {statistics.median(lost):.0f}, at most {max(lost)}"
    )
