"""How a command ends: exit codes, errors of the user as one line, interruptions."""

from __future__ import annotations

import errno
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import typer
from rich.text import Text

from selector.cli.plain import PlainConsole
from selector.configuration import configured
from selector.errors import HubUnavailable, OutputError, SelectorError, printable

EXIT_OK, EXIT_NONE_RANKED, EXIT_USAGE, EXIT_SOME_FAILED, EXIT_NOT_MET = 0, 1, 2, 3, 4
EXIT_NOT_WRITTEN, EXIT_TRY_AGAIN = 74, 75
EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 143
# What the system says of a place that takes no more.
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EBADF}
# Seconds for threads that are about to end.
_GRACE = 0.5
_OPTION = re.compile(r"--[a-z][a-z-]*")

stderr = PlainConsole(stderr=True)


class Terminated(BaseException):
    """SIGTERM arrived."""


@contextmanager
def exit_codes() -> Iterator[None]:
    """Errors of the user as one line, an interruption as its own code; the rest is a bug."""
    try:
        yield
    except SelectorError as error:
        show(error)
        raise typer.Exit(_code(error)) from None
    except KeyboardInterrupt:
        _leave(EXIT_INTERRUPTED, "interrupted")
    except Terminated:
        _leave(EXIT_TERMINATED, "terminated")


@contextmanager
def signals() -> Iterator[None]:
    """SIGTERM has its own code to the end of the process, whatever a command is doing by then."""
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except Terminated:
        _leave(EXIT_TERMINATED, "terminated")
    finally:
        # What follows takes a second, has nothing to keep, and is no place for exceptions.
        _end_at_once_when_told()


def _code(error: SelectorError) -> int:
    if isinstance(error, HubUnavailable):
        return EXIT_TRY_AGAIN
    return EXIT_NOT_WRITTEN if isinstance(error, OutputError) else EXIT_USAGE


class _Stdout(io.FileIO):
    """Stdout that goes on into nothing when its reader has read enough: that is no fault."""

    def write(self, data: Any) -> int:
        """As usual."""
        try:
            return super().write(data)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            return len(data)


@contextmanager
def written() -> Iterator[None]:
    """What is printed meanwhile arrives, or the process ends with the reason and a code for it."""
    usual = sys.stdout
    if usual is None:
        show(OutputError("stdout must be open, found it closed.", hint="> /dev/null discards it."))
        sys.exit(EXIT_NOT_WRITTEN)
    raw = _Stdout(usual.fileno(), "w", closefd=False)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=usual.encoding,
        errors=usual.errors,
        line_buffering=usual.isatty(),
    )
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        show(OutputError(f"stdout could not be written: {error.strerror}."))
        # Or the interpreter would try again to write what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), raw.fileno())
        sys.exit(EXIT_NOT_WRITTEN)


def show(error: SelectorError) -> None:
    """Print what was required, what was found and the way out."""
    said = Text.assemble(("error:", "bold red"), f" {printable(error.message)}")
    stderr.print(said, highlight=False, soft_wrap=True)
    for line in (_origin(error.message), error.hint):
        if line:
            stderr.print(Text(f"  {printable(line)}"), highlight=False, soft_wrap=True)


def _origin(message: str) -> str:
    """Where the option that a message begins with comes from, if it was not typed."""
    named = _OPTION.match(message)
    origins = {one.option: one.origin for one in configured()}
    return f"It is from {origins[named[0]]}." if named and named[0] in origins else ""


def terminate(number: int, frame: FrameType | None) -> None:
    """Handle SIGTERM: end like an interruption, with what was measured kept."""
    raise Terminated


def end(code: int) -> NoReturn:
    """End the process, without waiting for a download that a race had no time for."""
    others = [one for one in threading.enumerate() if one is not threading.main_thread()]
    waited_for = [one for one in others if not one.daemon]
    for one in waited_for:
        one.join(_GRACE)
    if any(one.is_alive() for one in waited_for):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _leave(code: int, why: str) -> NoReturn:
    """End now: a measurement or a download may be running in a thread that cannot be stopped."""
    _end_at_once_when_told()
    stderr.print(f"{why}: what was measured is kept; the same command continues from there.")
    # Stdout is left as it is: its reader may be why somebody has lost patience.
    os._exit(code)


def _end_at_once_when_told() -> None:
    """A signal that comes now ends the process, without a word and with its usual code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as behind nohup, or a shell's &
            signal.signal(number, signal.SIG_DFL)
