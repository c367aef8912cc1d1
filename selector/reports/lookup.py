"""One candidate of a ranking by name, or why it is not in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from selector.errors import UsageError, printable
from selector.records import AnyRanked, Skipped
from selector.records.run import LeftOut

Ranked_co = TypeVar("Ranked_co", bound=AnyRanked, covariant=True)


class _Ranking(Protocol[Ranked_co]):
    """Of classes or of numbers."""

    @property
    def ranking(self) -> Sequence[Ranked_co]: ...

    @property
    def skipped(self) -> Sequence[Skipped]: ...

    @property
    def left_out(self) -> Sequence[LeftOut]: ...


def find(ranking: _Ranking[Ranked_co], model: str) -> Ranked_co:
    """The candidate of that name.

    Args:
        ranking: it is in.
        model: its name, or what it was loaded from.

    Raises:
        UsageError: there is no such candidate, or it could not be ranked; with the reason.
    """
    for e in ranking.ranking:
        if model in (e.name, e.model):
            return e
    for one in ranking.skipped:
        if model in (one.name, one.model):
            reason = printable(f"{one.name} was not ranked: {one.reason}")
            raise UsageError(reason, hint=printable(one.hint))
    for left in ranking.left_out:
        if model in (left.name, left.model):
            raise UsageError(
                printable(f"{left.name} was not measured in full: {left.reason}"),
                hint="Rank without --top and --budget to measure every candidate.",
            )
    names = ", ".join(printable(e.name) for e in ranking.ranking)
    raise UsageError(
        f"MODEL must be one of the ranking, found {model!r}.",
        hint=f"It has: {names}" if names else "Nothing was ranked.",
    )
