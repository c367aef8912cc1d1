"""A place for runs: task, fake Hub, caches and output of its own; and what a run left there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import warm
from fakehub.server import FakeHub
from PIL import Image

from selector.demo.digits import load_digits

ROOT = Path(__file__).parents[2]
INJECT = Path(__file__).parent / "inject"
ZOO = Path(str(files("selector.demo") / "zoo"))
PROGRAM = Path(sys.executable).parent / "selector"
OUTPUT, STORE = "out/ranking.json", "measurements.sqlite"

CANDIDATES = ("tiny_vit.cifar10_linf_8", "tiny_vit.cifar10_linf_4", "tiny_resnet.cifar10_linf_8")
CLASSES = (3, 5, 8)
SHORT = ("--image-size", "32", "--eps", "2/255", "--preset", "quick", "--steps", "3")
PATIENCE = 180.0
# What torch up to 2.6 writes into a temporary folder when it is imported, and leaves when killed.
_OF_TORCH = "_remote_module_non_scriptable.py"


@dataclass(frozen=True)
class Ended:
    """What came of a process.

    Attributes:
        code: its exit code; negative: the signal that ended it.
        stdout, stderr: what it printed.
        events: what it did, as noted from inside.
        seconds: from its start to its end.
    """

    code: int
    stdout: str
    stderr: str
    events: tuple[dict[str, Any], ...]
    seconds: float

    def passes(self) -> Counter[str]:
        """Images that really went forward, by the weights of the network."""
        counted: Counter[str] = Counter()
        for event in self.events:
            if event["event"] == "pass":
                counted[event["of"]] += event["images"]
        return counted


def make_task(folder: Path, train: int = 20, test: int = 8) -> Path:
    """A task of handwritten digits in a folder; so many images of each class."""
    images, labels = load_digits()
    for digit in CLASSES:
        for place, pixels in enumerate(images[labels == digit][: train + test]):
            part = folder / ("train" if place < train else "test") / str(digit)
            part.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).resize((32, 32)).save(part / f"{place:03}.png")
    return folder


def fill(hub: FakeHub) -> None:
    """Put the candidates on a Hub."""
    for name in CANDIDATES:
        content = {path.name: path.read_bytes() for path in (ZOO / name).iterdir()}
        hub.add(f"acme/{name}", content)


Started = subprocess.Popen[Any] | warm.Process
Start = Callable[..., Started]
"""Of a command, in a folder, with an environment, three open files and what to do before it."""


def cold(
    command: Sequence[str], *, prepare: Callable[[], None], **given: Any
) -> subprocess.Popen[Any]:
    """As anybody starts it."""

    def ready() -> None:
        # A shell that starts this in the background makes its children deaf to Ctrl-C.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        prepare()

    return subprocess.Popen(command, preexec_fn=ready, **given)


def warmed(command: Sequence[str], *, prepare: Callable[[], None], **given: Any) -> warm.Process:
    """Without waiting for the heavy libraries; ``prepare`` is not called."""
    assert command[0] == str(PROGRAM), "nothing may come before it"
    return warm.Process(command[1:], **given)


@dataclass
class Place:
    """Where the same command runs again and again.

    Attributes:
        folder: of its own, with everything in it.
        hub: where candidates come from.
        arguments: of ``selector rank`` beside task, candidates and output.
        wrapper: what starts the command, where that is not this process.
        extra: variables for the processes.
        start: how they are started.
    """

    folder: Path
    hub: FakeHub
    arguments: tuple[str, ...] = SHORT
    wrapper: tuple[str, ...] = ()
    extra: dict[str, str] = field(default_factory=dict)
    start: Start = cold

    def __post_init__(self) -> None:
        for name in ("cache", "hf", "tmp", "log", "out"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        if not (self.folder / "task").exists():
            make_task(self.folder / "task")
        self.hub.faults.clear()
        self.hub.requests.clear()

    @property
    def output(self) -> Path:
        """The ranking, where there is one."""
        return self.folder / OUTPUT

    @property
    def store(self) -> Path:
        """What was measured."""
        return self.folder / "cache" / STORE

    def command(self, arguments: Sequence[str] = ()) -> list[str]:
        """What is typed; the same each time, so that documents hold the same."""
        models = [word for name in CANDIDATES for word in ("--model", f"acme/{name}")]
        given = ("rank", "--task", "task", *models, *self.arguments, *arguments, "-o", OUTPUT)
        return [*self.wrapper, str(PROGRAM), *given]

    def environment(self, log: Path) -> dict[str, str]:
        """A machine of its own: no other cache, no other Hub, no colours."""
        mine = {
            "PYTHONPATH": os.pathsep.join((str(INJECT), str(ROOT))),
            "CRASH_LOG": str(log),
            "SELECTOR_CACHE": str(self.folder / "cache"),
            "TMPDIR": str(self.folder / "tmp"),
            "OMP_NUM_THREADS": "1",
            "NO_COLOR": "1",
            "TERM": "dumb",
        }
        return os.environ | self.hub.environment(self.folder / "hf") | mine | self.extra

    def run(
        self,
        strike: Callable[[Running], None] = lambda running: None,
        arguments: Sequence[str] = (),
        prepare: Callable[[], None] = lambda: None,
        stdout: int | None = None,
    ) -> Ended:
        """Run the command to its end, whoever brings that about.

        Args:
            strike: called while it runs, with what it does.
            arguments: more of them.
            prepare: called in the new process before the program starts.
            stdout: an open file that takes what it prints, instead of the answer.
        """
        log = self.folder / "log" / f"{len(list((self.folder / 'log').iterdir()))}.jsonl"
        log.touch()
        begun = time.monotonic()
        with (
            tempfile.TemporaryFile("w+") as out,
            tempfile.TemporaryFile("w+") as err,
            Path(os.devnull).open() as nothing,
            self.start(
                self.command(arguments),
                prepare=prepare,
                cwd=self.folder,
                env=self.environment(log),
                stdin=nothing.fileno(),
                stdout=out.fileno() if stdout is None else stdout,
                stderr=err.fileno(),
            ) as process,
        ):
            try:
                running = Running(process, log)
                strike(running)
                process.wait(PATIENCE)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
            ended = time.monotonic() - begun
            said = []
            for stream in (out, err):
                stream.seek(0)
                said.append(stream.read())
        return Ended(process.returncode, said[0], said[1], tuple(running.events()), ended)

    def strays(self) -> list[str]:
        """Files that no undisturbed run leaves."""
        expected = {OUTPUT, f"cache/{STORE}"}
        found = [path for path in self.folder.rglob("*") if path.is_file()]
        names = [path.relative_to(self.folder).as_posix() for path in found]
        kept = [
            one
            for one in names
            if not one.startswith(("log/", "task/", "hf/")) and not one.endswith(_OF_TORCH)
        ]
        downloads = [one for one in names if one.startswith("hf/") and one.endswith(".incomplete")]
        return sorted(set(kept) - expected) + downloads

    def altered(self) -> list[str]:
        """Files of the Hub cache, under their final names, that are not what the Hub has."""
        wrong = []
        for path in (self.folder / "hf").glob("hub/models--*/snapshots/*/*"):
            repo = path.parts[-4].removeprefix("models--").replace("--", "/")
            promised = self.hub.repos[repo].commits[path.parts[-2]][path.name]
            if not path.exists() or path.read_bytes() != promised:
                wrong.append(f"{repo}/{path.name}")
        return wrong


@dataclass
class Running:
    """A run that has been started."""

    process: Started
    log: Path
    _events: list[dict[str, Any]] = field(default_factory=list)
    _read: int = 0

    def wait_for(self, event: str, times: int = 1) -> dict[str, Any] | None:
        """An event, the n-th of its kind, as soon as it is noted; None where the run has ended."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            ended = self.process.poll() is not None
            found = [one for one in self.events() if one["event"] == event]
            if len(found) >= times:
                return found[times - 1]
            if ended:
                return None
            time.sleep(0.001)
        raise TimeoutError(f"no {event}")

    def wait_until(self, moment: float) -> None:
        """Sleep until then, by the clock of the events, or to the end of the run."""
        while self.process.poll() is None and (left := moment - time.monotonic()) > 0:
            time.sleep(min(left, 0.05))

    def kill(self, number: int) -> float:
        """Send a signal; returns when, by the clock of the events."""
        at = time.monotonic()
        self.process.send_signal(number)
        return at

    def events(self) -> list[dict[str, Any]]:
        """What was noted so far; a line that is being written is left for later."""
        with self.log.open("rb") as file:
            file.seek(self._read)
            whole, end, _ = file.read().rpartition(b"\n")
        self._read += len(whole) + len(end)
        self._events += map(json.loads, whole.splitlines())
        return self._events
