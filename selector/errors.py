"""Everything that selector raises on purpose.

::

    SelectorError                 has a message and, where there is one, a way out
    ├── UsageError                an argument, a file or a task of the user is wrong: exit code 2
    ├── OutputError               what was made could not be written: exit code 74
    └── CandidateError            one candidate cannot be measured: a row with the reason
        └── HubError              the Hub did not give what was asked for
            └── HubUnavailable    the Hub or the network is down: trying again may help
"""

from __future__ import annotations

_LONGEST = 2000


class SelectorError(Exception):
    """A failure that a person can act on.

    Args:
        message: what was required and what was found, in one sentence.
        hint: the way out; empty where there is none.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        # What was found may be of any length.
        super().__init__(_cut(message))
        self.message = _cut(message)
        self.hint = _cut(hint)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


class UsageError(SelectorError):
    """An argument, a file or a task of the user is wrong."""


class OutputError(SelectorError):
    """What was made could not be written."""


class CandidateError(SelectorError):
    """One candidate cannot be measured; the others can.

    Args:
        code: a stable word for scripts, such as ``keys_mismatch``.
        message: what was required and what was found.
        hint: the way out.
    """

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code


class HubError(CandidateError):
    """The Hub did not give what was asked for: unknown, gated, altered."""


class HubUnavailable(HubError):  # noqa: N818 - a state of the Hub, said as one
    """The Hub or the network is down; the same command may succeed later."""


def printable(text: str) -> str:
    """``text`` without what a terminal or a document would stumble over.

    Names come from the Hub and from other people's disks: control characters, and bytes of file
    names that are no UTF-8, become question marks.

    >>> printable("a\\x1b[31mb")
    'a?[31mb'
    """
    return "".join(c if c.isprintable() else "?" for c in text)


def first_line(error: BaseException) -> str:
    """What an exception of a library says, cut to one short line without its full stop.

    >>> first_line(ValueError("no such thing.\\nSee the manual."))
    'no such thing'
    """
    return shorten((str(error).strip() or type(error).__name__).splitlines()[0].rstrip("."))


def shorten(text: str, width: int = 240) -> str:
    """``text`` fit to be shown, cut where it is longer than ``width``."""
    text = printable(text)
    return text if len(text) <= width else text[: width - 1] + "…"
