"""What people read in a terminal or in the log of a workflow: lines of text that do nothing there.

GitHub's runner takes a line of a log that begins with ``::`` for a command, and ``##[`` anywhere in
it. What is shown has words of the Hub in it, and where a line is broken any of them may be first.
"""

from __future__ import annotations

import logging
import re
from typing import IO, Any

from rich.console import Console

from selector.errors import printable

_COMMAND = re.compile(r"^([ \t]*:)(?=:)|(##)(?=\[)", re.MULTILINE)


def inert(text: str) -> str:
    """Lines in which a workflow finds no command.

    >>> inert("  ::error::x")
    '  : :error::x'
    """
    return _COMMAND.sub(lambda found: f"{found[0]} ", text)


class PlainConsole(Console):
    """A console of rich whose lines are no commands."""

    @property
    def file(self) -> IO[str]:
        """Where it writes."""
        return _Inert(super().file)  # type: ignore[return-value]

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        """Write there from now on."""
        Console.file.fset(self, new_file)  # type: ignore[attr-defined]


class _Inert:
    """A stream that writes lines which are no commands; all else is the stream's own."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(inert(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class PlainFormatter(logging.Formatter):
    """Warnings and tracebacks without control characters: names and values are in them."""

    def format(self, record: logging.LogRecord) -> str:
        """As usual, line by line."""
        return inert("\n".join(map(printable, super().format(record).split("\n"))))


def write_plainly() -> None:
    """Let what libraries and selector log, where nobody has set up logging, be plain."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(PlainFormatter())
