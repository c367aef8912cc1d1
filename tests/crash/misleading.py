"""Images that cannot be read, a Hub that fails in every way, a clock that jumps."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from crash.bench import Bench, Outcome
from crash.evidence import read_output
from crash.kills import strike
from crash.place import INJECT, Place, Running, make_task

_SAME = "afterwards the same command gives the same ranking"


def images(bench: Bench, count: int, seed: int) -> Iterator[Outcome]:
    """Among the images of a task some that are none."""
    place = bench.place()
    _break_images(place)
    ended = place.run()
    bench.expect(ended, 2, "cannot be read, at most 5% may be")
    if ended.passes():
        bench.wrong.append("measured all the same")
    came = "exit code 2 before anything is measured, naming the first"
    yield bench.outcome("images", f"{_BROKEN}, among 60 training images", came)

    place = bench.place()
    shutil.rmtree(place.folder / "task")
    make_task(place.folder / "task", train=100)
    lost = _break_images(place)
    bench.expect(place.run(), 0, f"{len(lost)} images cannot be read and are left out")
    document = read_output(place.output)
    if document is None or len(document["task"]["unreadable"]) != len(lost):
        bench.wrong.append("not all of them are named")
    again = place.run()
    bench.expect(again, 0)
    if again.passes():
        bench.wrong.append("measured again")
    if read_output(place.output) != document:
        bench.wrong.append("the same command gives another ranking")
    bench.expect_clean(place)
    came = (
        f"exit code 0, a warning, all {len(lost)} named in the JSON; the same command gives the"
        " same ranking without a pass"
    )
    yield bench.outcome("images", "the same, among 300", came)


_BROKEN = "five that are cut off, empty, text, a pipe and a link to nowhere"


def _break_images(place: Place) -> tuple[str, ...]:
    """Spoil training images; returns which."""
    folder = place.folder / "task" / "train"
    whole = (folder / "3" / "000.png").read_bytes()
    broken = {"3/000.png": whole[: len(whole) // 2], "5/000.png": b"", "8/000.png": b"no image"}
    for name, content in broken.items():
        (folder / name).write_bytes(content)
    (folder / "3" / "001.png").unlink()
    os.mkfifo(folder / "3" / "001.png")
    (folder / "5" / "001.png").unlink()
    (folder / "5" / "001.png").symlink_to("nowhere.png")
    return (*broken, "3/001.png", "5/001.png")


@dataclass(frozen=True)
class Trouble:
    """A way in which a Hub fails.

    Attributes:
        words: of it.
        faults: of the fake Hub.
        code: the exit code.
        row: the code of the rows of skipped candidates; empty where all are ranked.
    """

    words: str
    faults: tuple[dict[str, Any], ...]
    code: int = 0
    row: str = ""


TROUBLES = (
    Trouble("never answers", ({"step": "info", "status": 0},), 75, "hub_unavailable"),
    Trouble(
        "stops in the middle of a download, once each",
        ({"step": "cdn", "body": "stall", "times": 3},),
    ),
    Trouble(
        "cuts the connection in the middle of a download, once each",
        ({"step": "cdn", "body": "reset", "times": 3},),
    ),
    Trouble(
        "closes the connection in the middle, always",
        ({"step": "cdn", "body": "close"},),
        75,
        "hub_unavailable",
    ),
    Trouble("answers 503, always", ({"step": "info", "status": 503},), 75, "hub_unavailable"),
    Trouble("answers 500 to downloads, always", ({"step": "cdn", "status": 500},), 75, "hub_un"),
    Trouble(
        "answers 502 to the first six requests",
        ({"step": "info", "status": 502, "times": 3}, {"step": "cdn", "status": 502, "times": 3}),
    ),
    Trouble(
        "answers 429 and asks to wait a second, three times",
        ({"step": "info", "status": 429, "headers": {"Retry-After": "1"}, "times": 3},),
    ),
    Trouble("sends other bytes, once each", ({"step": "cdn", "body": "flip", "times": 3},)),
    Trouble("sends other bytes, always", ({"step": "cdn", "body": "flip"},), 1, "altered"),
)


def hub(bench: Bench, count: int, seed: int) -> Iterator[Outcome]:
    """A Hub that hangs, cuts, lies and answers 5xx; then it is well, and the same command runs."""
    for trouble in TROUBLES:
        place = bench.place()
        for fault in trouble.faults:
            bench.hub.fault(**fault)
        ended = place.run()
        bench.expect(ended, trouble.code, *([trouble.row] if trouble.row else []))
        came = f"exit code {ended.code}"
        if trouble.code:
            bench.hub.faults.clear()
            bench.expect(place.run(), 0)
            came += f", rows `{_code(ended.stdout)}`; {_SAME}"
        else:
            came += ", the same ranking"
        bench.expect_same(place)
        yield bench.outcome("hub", trouble.words, came)
    yield _interrupted(bench)


def _code(stdout: str) -> str:
    known = ("hub_unavailable", "altered")
    return next((one for one in known if one in stdout), "?")


def _interrupted(bench: Bench) -> Outcome:
    place = bench.place()
    bench.hub.fault("info", status=0)
    struck: list[float] = []

    def interrupt(running: Running) -> None:
        while not bench.hub.asked("info"):
            running.wait_until(running.kill(0) + 0.05)
        struck.append(running.kill(signal.SIGINT))
        running.process.wait(30)
        struck.append(running.kill(0) - struck[0])

    bench.expect(place.run(interrupt), 130, "the same command continues")
    if struck[1] > 10:
        bench.wrong.append(f"Ctrl-C took {struck[1]:.0f} s")
    bench.hub.faults.clear()
    bench.expect(place.run(), 0)
    bench.expect_same(place)
    return bench.outcome("hub", "never answers, and Ctrl-C", f"exit code 130 at once; {_SAME}")


def clock(bench: Bench, count: int, seed: int) -> Iterator[Outcome]:
    """The time of day jumps while it runs, by up to ten years in both directions."""
    jumping = {"LD_PRELOAD": str(_jumping_clock(bench.folder)), "CRASH_CLOCK": str(seed)}
    place = bench.place()
    place.extra |= jumping
    ended = place.run()
    bench.expect(ended, 0)
    offsets = [round(one["wall"] - one["at"]) for one in ended.events]
    jumps = sum(abs(a - b) > 1 for a, b in pairwise(offsets))
    if jumps < 10 or max(offsets) - min(offsets) < 10 * _YEAR:
        bench.wrong.append(f"the clock hardly jumped: {jumps} times")
    again = place.run()
    bench.expect(again, 0)
    if again.passes():
        bench.wrong.append("measured again")
    bench.expect_same(place)
    came = "exit code 0, the same ranking; the same command makes no pass"
    yield bench.outcome("clock", f"{jumps} jumps of up to ten years, back and forth", came)

    draw = random.Random(seed)
    wrong: list[str] = []
    for phase in ("fetching", "measuring", "storing"):
        folder = bench.place().folder
        one = strike(folder, bench.hub, bench.reference, phase, signal.SIGKILL, draw, jumping)
        wrong += one.wrong
    came = "the same command, under a clock that jumps as well, gives the same ranking"
    where = "the same, and a kill while fetching, while measuring and while storing"
    yield Outcome("clock", where, came, tuple(wrong))


_YEAR = 365 * 86400


def _jumping_clock(folder: Path) -> Path:
    """The library that is loaded before the C library; needs a C compiler."""
    library = folder / "clock.so"
    source = INJECT / "clock.c"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True
    )
    return library


MISLEADING = {"images": images, "hub": hub, "clock": clock}
