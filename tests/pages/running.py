"""One command of a page, typed in its place, and what came of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pages.agreed import BEFORE, CODES, KEY, MORE, STANDS_FOR, WRITES
from pages.place import Place

PATIENCE = 1200.0

Kind = Literal["run", "pasted", "not run"]


@dataclass(frozen=True)
class Outcome:
    """A command, and what came of it.

    Attributes:
        page: where it stands.
        command: as it stands there.
        kind: run with cheap options; run as it stands, its output compared; or not run.
        came: the exit code and files, or why it is not run.
        seconds: how long it took.
        wrong: what is not as the page says; empty where all is well.
    """

    page: str
    command: str
    kind: Kind
    came: str
    seconds: float = 0.0
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ended:
    """What came of a process."""

    code: int
    stdout: str
    stderr: str
    seconds: float


def start(words: Sequence[str], place: Place, more: dict[str, str] | None = None) -> Ended:
    """Run a program in a place, to its end; all that it started ends with it."""
    begun = time.monotonic()
    with (
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
        subprocess.Popen(
            words,
            cwd=place.folder,
            env=place.environment | (more or {}),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        ) as process,
    ):
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        said = []
        for stream in (out, err):
            stream.seek(0)
            said.append(stream.read())
    return Ended(process.returncode, said[0], said[1], time.monotonic() - begun)


def substituted(command: str, place: Place) -> str:
    """A command with what its words stand for."""
    for word, meant in STANDS_FOR.items():
        if word in command:
            text = place.key() if meant == KEY else meant
            command = re.sub(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text, command)
    return command


def written_by(command: str, place: Place) -> dict[Path, int]:
    """The files that a command says it writes, and when each was written last; 0 is never."""
    names = re.findall(r"(?:-o|--output|>) (\S+)", command) + list(WRITES.get(command, ()))
    paths = [place.folder / substituted(name, place) for name in names]
    return {path: path.stat().st_mtime_ns if path.exists() else 0 for path in paths}


def typed_in(command: str, place: Place) -> tuple[Ended, tuple[str, ...]]:
    """Type a command in a place; how it ended, and what is not as its page says."""
    more = dict(MORE.get(command, {}))
    if command in BEFORE:
        before = start(["bash", "-c", BEFORE[command]], place, more)
        if before.code:
            return before, (f"before it: {BEFORE[command]}: {last_of(before)}",)
    files = written_by(command, place)
    requests, proposals = len(place.hub.requests), len(place.hub.proposals)
    ended = start(["bash", "-o", "pipefail", "-c", substituted(command, place)], place, more)
    with (place.folder / ".home" / "typed.txt").open("a", encoding="utf-8") as log:
        log.write(f"$ {command}\n{ended.stdout}{ended.stderr}[{ended.code}]\n\n")
    expected, _ = CODES.get(command, ((0,), ""))
    wrong = []
    if ended.code not in expected:
        told = " or ".join(map(str, expected))
        wrong.append(f"exit code {ended.code}, not {told}: {last_of(ended)}")
    if "Traceback" in ended.stdout + ended.stderr:
        wrong.append(f"a traceback: {last_of(ended)}")
    wrong += [
        f"did not write {path.relative_to(place.folder)}"
        for path, when in files.items()
        if not path.exists() or path.stat().st_mtime_ns == when
    ]
    if "--offline" in command and len(place.hub.requests) > requests:
        wrong.append("asked the Hub, though it is --offline")
    if "--create-pr" in command and len(place.hub.proposals) != proposals + 1:
        wrong.append("no pull request arrived")
    return ended, tuple(wrong)


def last_of(ended: Ended) -> str:
    """The end of what was said, on one line."""
    return " ".join((ended.stdout[-300:] + " | " + ended.stderr[-600:]).split())


def run(page: str, command: str, place: Place) -> Outcome:
    """A command of a page, with the cheap options of its place."""
    files = ", ".join(path.name for path in written_by(command, place))
    ended, wrong = typed_in(command, place)
    came = f"exit code {ended.code}" + (f", {files}" if files else "")
    return Outcome(page, command, "run", came, ended.seconds, wrong)
