"""One thing that was looked at, and how it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Facts = Mapping[str, str | float | None]
State = Literal["ok", "warning", "problem"]

_UNITS = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))


@dataclass(frozen=True)
class Check:
    """How one thing is on this machine.

    Attributes:
        name: what was looked at, in one or two words.
        state: ``problem`` where selector cannot work so, ``warning`` where a part of it cannot.
        finding: what was found.
        way_out: what to do; empty where nothing has to be done.
        facts: the finding for scripts.
    """

    name: str
    state: State
    finding: str
    way_out: str = ""
    facts: Facts = field(default_factory=dict)


def size_in_words(size: int) -> str:
    """A size in bytes, for people.

    >>> size_in_words(1_234_567), size_in_words(17)
    ('1.2 MB', '17 bytes')
    """
    for unit, name in _UNITS:
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} bytes"
