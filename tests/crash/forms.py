"""Kills of ``rank`` in its other forms: a race, several eps, a screening, certificates."""

from __future__ import annotations

import random
import signal
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from crash.bench import Bench, Outcome
from crash.evidence import read_output, read_store
from crash.kills import Hit, Reference, by_candidate, left, strike_at, undisturbed
from crash.place import SHORT, Place

_KILLS = 3
_SMALL = ("--image-size", "32", "--steps", "3")
_FORMS: Mapping[str, tuple[str, ...]] = {
    "`--top 1`": (*SHORT, "--top", "1"),
    "`--eps 2/255,4/255`": (*_SMALL, "--preset", "quick", "--eps", "2/255,4/255"),
    "`--preset screen`": (*_SMALL, "--preset", "screen", "--eps", "2/255"),
    "`--certify 1`": (
        *(*_SMALL, "--preset", "quick", "--norm", "l2"),
        *("--eps", "0.25", "--certify", "1"),
    ),
}


@dataclass(frozen=True)
class _Survived:
    """A kill, and the run after it.

    Attributes:
        kept: images forward that the second run did not need again.
        repeated: images that went forward twice.
        wrong: what is not as it must be.
    """

    kept: int
    repeated: int
    wrong: tuple[str, ...]


def forms(bench: Bench, count: int, seed: int) -> Iterator[Outcome]:
    """SIGKILL while networks are at work, in every form."""
    draw = random.Random(f"forms {seed}")
    for name, arguments in _FORMS.items():
        reference = undisturbed(bench.place(arguments))
        survived = [_kill(bench, arguments, reference, draw) for _ in range(_KILLS)]
        bench.wrong += [text for one in survived for text in one.wrong]
        good = sum(not one.wrong for one in survived)
        repeated = [one.repeated for one in survived]
        came = (
            f"{good} of {_KILLS} continued to the same ranking; {sum(one.kept for one in survived)}"
            f" of {_KILLS * sum(reference.passes.values())} images not passed again; passed again:"
            f" median {statistics.median(repeated):.0f}, at most {max(repeated)}"
        )
        yield bench.outcome("forms", f"{_KILLS} kills while measuring, {name}", came)


def _kill(
    bench: Bench, arguments: tuple[str, ...], reference: Reference, draw: random.Random
) -> _Survived:
    (window,) = reference.windows["measuring"]
    while True:
        place = bench.place(arguments)
        hit = strike_at(place, window, draw.uniform(0, window.longest), signal.SIGKILL)
        if hit.ended.code:
            return _survive(place, hit, reference)


def _survive(place: Place, hit: Hit, reference: Reference) -> _Survived:
    before, wrong = read_store(place.store), list(left(place, hit, signal.SIGKILL, reference))
    place.hub.faults.clear()
    again = place.run()
    after, passes = read_store(place.store), by_candidate(again, reference.weights)
    if again.code:
        wrong.append(f"the same command ends with {again.code}: {again.stderr[-300:]!r}")
    if read_output(place.output) != reference.document:
        wrong.append("another ranking than undisturbed")
    if changed := [key for key, row in before.rows.items() if after.rows.get(key) != row]:
        wrong.append(f"what was kept has changed: {changed}")
    for name, known in before.passes.items():
        if passes[name] + known > reference.passes[name]:
            wrong.append(f"{name}: {known} of its passes were kept, and some were made again")
    wrong += [f"left behind: {one}" for one in (*place.strays(), *place.altered())]
    whole, made = sum(reference.passes.values()), sum(passes.values())
    lost = sum(by_candidate(hit.ended, reference.weights).values()) + made - whole
    return _Survived(whole - made, lost, tuple(wrong))
