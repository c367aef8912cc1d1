"""What happens during a run, as those are told who follow it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from selector.records import Outcome


@dataclass(frozen=True)
class FetchStarted:
    """A candidate's files are on their way.

    Attributes:
        bytes: that will come.
    """

    bytes: int


@dataclass(frozen=True)
class Fetched:
    """Some bytes of them have come."""

    bytes: int


FetchEvent = FetchStarted | Fetched


@dataclass(frozen=True)
class Started:
    """A candidate's measurement begins."""

    name: str


@dataclass(frozen=True)
class Entered:
    """A stage of a candidate's measurement begins: load, features, attack, heads or votes."""

    stage: str


@dataclass(frozen=True)
class Passed:
    """Images went through the backbone that is being measured."""

    images: int


@dataclass(frozen=True)
class Recalled:
    """What images give was in the store already; they are among those of Passed."""

    images: int


@dataclass(frozen=True)
class Finished:
    """A candidate is done.

    Attributes:
        outcome: what came of it.
        reused: it was measured by an earlier run.
    """

    outcome: Outcome
    reused: bool


@dataclass(frozen=True)
class Underway:
    """Several candidates are measured at once.

    Attributes:
        names: of those, in the order in which they began.
    """

    names: tuple[str, ...]


@dataclass(frozen=True)
class Retried:
    """What measured a candidate is gone, and the candidate is begun again elsewhere.

    Attributes:
        name: which.
        reason: what became of it.
    """

    name: str
    reason: str


@dataclass(frozen=True)
class Looked:
    """A candidate of a race was looked at.

    Attributes:
        name: which.
        images: it was looked at so far.
        share: of all test images, on which it can at most withstand.
    """

    name: str
    images: int
    share: float


Event = Started | Entered | Passed | Recalled | Underway | Retried | Looked | Finished | FetchEvent
Emit = Callable[[Event], None]
