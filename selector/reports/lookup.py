"""One candidate of a ranking by name, or why it is not in it."""

from __future__ import annotations

from typing import overload

from selector.errors import UsageError, printable
from selector.records import (
    AnyRanked,
    AnyRanking,
    RankedEvaluation,
    RankedRegression,
    Ranking,
    RegressionRanking,
)


@overload
def find(ranking: Ranking, model: str) -> RankedEvaluation: ...


@overload
def find(ranking: RegressionRanking, model: str) -> RankedRegression: ...


def find(ranking: AnyRanking, model: str) -> AnyRanked:
    """The candidate of that name.

    Args:
        ranking: it is in.
        model: its name, or what it was loaded from.

    Raises:
        UsageError: there is no such candidate, or it could not be ranked; with the reason.
    """
    ranked: tuple[AnyRanked, ...] = ranking.ranking
    for e in ranked:
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
    names = ", ".join(printable(e.name) for e in ranked)
    raise UsageError(f"MODEL must be one of the ranking, found {model!r}.", hint=f"It has: {names}")
