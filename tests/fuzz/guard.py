"""What no case may do: take too long or too much memory, write anywhere else, run a program."""

from __future__ import annotations

import faulthandler
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from selector.errors import printable

SECONDS = 10.0
"""A case takes less, by the clock of the CPU and by that on the wall."""

KILLED = 30.0
"""Seconds after which a case that does not end takes its process with it."""

MEMORY = 2**30
"""Bytes that the process may come to hold beyond what it held at the start."""

MESSAGE = 4000
"""Characters of an error's message, at most."""

# Events of the interpreter that change files: where in their arguments a path is, and where the
# descriptor of the folder that it begins at.
_CHANGES: dict[str, tuple[tuple[int, int | None], ...]] = {
    "os.mkdir": ((0, 2),),
    "os.rmdir": ((0, 1),),
    "os.remove": ((0, 1),),
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((0, 2), (1, 3)),
    "os.symlink": ((1, 2),),
    "os.truncate": ((0, None),),
    "os.chmod": ((0, 2),),
    "os.utime": ((0, 3),),
}
_PROGRAMS = frozenset(
    {
        "subprocess.Popen",
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "os.spawn",
        "os.fork",
        "pty.spawn",
    }
)
_NETWORK = frozenset({"socket.connect", "socket.bind", "socket.getaddrinfo"})
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Broken(Exception):  # noqa: N818 - what a case has shown, not what went wrong with it
    """A case has done what none may do."""


@dataclass(frozen=True)
class Sandbox:
    """Folders of one target: ``given`` holds its input, ``kept`` caches; the others stay empty.

    Attributes:
        root: holds all of them.
    """

    root: Path

    @property
    def given(self) -> Path:
        """Files of a case, and those that go with it."""
        return self.root / "given"

    @property
    def kept(self) -> Path:
        """Where libraries may keep what they have converted."""
        return self.root / "kept"

    @property
    def temporary(self) -> Path:
        """Empty after every case."""
        return self.root / "temporary"

    @property
    def elsewhere(self) -> Path:
        """The current folder and the home folder; always empty."""
        return self.root / "elsewhere"

    def make(self) -> None:
        """Create the folders."""
        for folder in (self.given, self.kept, self.temporary, self.elsewhere):
            folder.mkdir(parents=True, exist_ok=True)

    def environment(self) -> dict[str, str]:
        """Variables under which a process stays in here."""
        return {
            "HOME": str(self.elsewhere),
            "TMPDIR": str(self.temporary),
            "HF_HOME": str(self.kept / "hf"),
            "HF_DATASETS_CACHE": str(self.kept / "datasets"),
            "SELECTOR_CACHE": str(self.kept / "selector"),
            "HF_HUB_OFFLINE": "1",
        }


@dataclass
class Tally:
    """What the cases of a target have taken.

    Attributes:
        cases: that ran.
        refused: of them, those that ended with a documented error.
        slowest: seconds of the longest.
        most: bytes held beyond the start, the largest.
    """

    cases: int = 0
    refused: int = 0
    slowest: float = 0.0
    most: int = 0


class Guard:
    """Runs cases in a sandbox, and says what each of them has done wrong."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox, self._offences = sandbox, list[str]()
        self._allowed = tuple(
            os.path.realpath(folder) + os.sep for folder in (sandbox.kept, sandbox.temporary)
        )
        # What this process has held before is no case's doing.
        Path("/proc/self/clear_refs").write_text("5")
        self._start = _status("VmRSS")
        self._high = _status("VmHWM")
        self.tally = Tally()

    def run(self, act: Callable[[], None], documented: tuple[type[Exception], ...]) -> None:
        """Run one case.

        Args:
            act: the case; its input lies in the sandbox.
            documented: what it may raise.

        Raises:
            Broken: it has done what none may do, with the reason and its traceback.
        """
        self._offences.clear()
        before = _listing(self._sandbox.given)
        began = _elapsed()
        try:
            with _watched(self._notice):
                act()
        except documented as error:
            self.tally.refused += 1
            _check_message(error)
        except Exception as error:
            raise Broken(f"{type(error).__name__} at {_place(error)}") from error
        finally:
            self.tally.cases += 1
        seconds = _elapsed() - began
        self.tally.slowest = max(self.tally.slowest, seconds)
        self._check_memory()
        if seconds > SECONDS:
            raise Broken(f"took more than {SECONDS:g} seconds")
        if self._offences:
            raise Broken(self._offences[0])
        if _listing(self._sandbox.given) != before:
            raise Broken("changed its input")
        for empty in (self._sandbox.temporary, self._sandbox.elsewhere):
            if left := sorted(_listing(empty)):
                raise Broken(f"left a file: {empty.name}/{left[0]}")

    def _check_memory(self) -> None:
        high = _status("VmHWM")
        self.tally.most = max(self.tally.most, high - self._start)
        # Only the case that raises the high-water mark is to blame for it.
        if high > self._high and high - self._start > MEMORY:
            self._high = high
            raise Broken(f"took more than {MEMORY / 2**20:g} MiB of memory")
        self._high = high

    def _notice(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in _PROGRAMS:
            self._offences.append(f"ran a program: {event} {arguments[0]!r}"[:200])
        elif event in _NETWORK:
            self._offences.append(f"used the network: {event}")
        elif event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITING and not isinstance(path, int):
                self._check_path(path)
        for place, beginning in _CHANGES.get(event, ()):
            folder = -1 if beginning is None else arguments[beginning]
            if not isinstance(arguments[place], int):
                self._check_path(arguments[place], folder)

    def _check_path(self, path: object, folder: object = -1) -> None:
        beginning = "" if folder == -1 else f"/proc/self/fd/{folder}"
        found = os.path.realpath(os.path.join(beginning, os.fsdecode(path)))  # type: ignore[arg-type]  # noqa: PTH118
        if found != os.devnull and not (found + os.sep).startswith(self._allowed):
            self._offences.append(f"wrote elsewhere: {found}"[:200])


def _check_message(error: Exception) -> None:
    """An error of the user can be printed, and read."""
    text = str(error)
    if printable(text) != text:
        raise Broken(f"error with control characters, raised at {_place(error)}") from error
    if len(text) > MESSAGE:
        raise Broken(f"error of {len(text)} characters, raised at {_place(error)}") from error


def _place(error: BaseException) -> str:
    """The innermost function of selector that an error has passed, which tells errors apart."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if f"{os.sep}selector{os.sep}" in f.filename] or list(frames)
    if not ours:
        return "nowhere"
    return f"{os.path.basename(ours[-1].filename)}:{ours[-1].name}"  # noqa: PTH119


def _elapsed() -> float:
    """Seconds by the clock, without those that this thread waited for a processor.

    Of a machine that others use as well a case is not to blame.
    """
    try:
        waited = int(Path("/proc/thread-self/schedstat").read_text().split()[1])
    except OSError:  # of Linux alone
        waited = 0
    return time.monotonic() - waited / 1e9


def _status(field: str) -> int:
    """Bytes that this process holds, or has held."""
    with open("/proc/self/status", encoding="ascii") as file:  # noqa: PTH123 - as fast as can be
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Paths below a folder, with size and time of change."""
    found, waiting = {}, [str(folder)]
    while waiting:
        for entry in os.scandir(waiting.pop()):
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            stat = entry.stat(follow_symlinks=False)
            found[os.path.relpath(entry.path, folder)] = (
                (0, 0) if entry.is_dir(follow_symlinks=False) else (stat.st_size, stat.st_mtime_ns)
            )
    return found


_noticing: list[Callable[[str, tuple[object, ...]], None]] = []
_installed: list[bool] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    # An audit hook stays for good: between cases it does nothing.
    if _noticing:
        _noticing[-1](event, arguments)


@contextmanager
def _watched(notice: Callable[[str, tuple[object, ...]], None]) -> Iterator[None]:
    """Tell of events of the interpreter; where nothing ends any more the process does."""
    if not _installed:
        sys.addaudithook(_hook)
        _installed.append(True)
    faulthandler.dump_traceback_later(KILLED, exit=True, file=sys.__stderr__)
    _noticing.append(notice)
    try:
        yield
    finally:
        _noticing.pop()
        faulthandler.cancel_dump_traceback_later()
