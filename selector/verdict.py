"""What a race has shown: who is out and by which numbers, and what was not settled."""

from __future__ import annotations

from dataclasses import dataclass

from selector.racing import Goal, Standing
from selector.records import Eliminated, RaceRecord, Unsettled

_NAMED = 5


@dataclass(frozen=True)
class Runner:
    """A candidate that was not measured in full.

    Attributes:
        name: what tables call it.
        model: what it is.
        standing: how good it can at most be; None: it was not looked at.
        passes: images forward and back that were spent on it.
    """

    name: str
    model: str
    standing: Standing | None
    passes: int


@dataclass(frozen=True)
class Finish:
    """How a race ended.

    Attributes:
        goal: what it was for.
        candidates: how many started.
        settled: how many were measured in full.
        bar: the last of the wanted among them; None where these are fewer.
        remaining: who was not measured in full.
        seconds: that it took.
        passes: that it took.
        exhaustive_passes: that measuring everyone in full takes.
    """

    goal: Goal
    candidates: int
    settled: int
    bar: Standing | None
    remaining: tuple[Runner, ...]
    seconds: float
    passes: int
    exhaustive_passes: int


def verdict(finish: Finish) -> RaceRecord:
    """The record of a race."""
    eliminated, unsettled = [], []
    for runner in finish.remaining:
        if finish.bar and runner.standing and runner.standing.below(finish.bar):
            eliminated.append(_eliminated(runner, runner.standing, finish.bar, finish.goal))
        else:
            unsettled.append(_unsettled(runner, finish))
    return RaceRecord(
        top=finish.goal.top,
        confidence=finish.goal.confidence,
        budget_seconds=finish.goal.budget,
        seconds=finish.seconds,
        passes=finish.passes,
        exhaustive_passes=finish.exhaustive_passes,
        settled=not unsettled,
        eliminated=tuple(eliminated),
        unsettled=tuple(unsettled),
        sentence=_sentence(finish, [one.name for one in unsettled], len(eliminated)),
    )


def _eliminated(runner: Runner, standing: Standing, bar: Standing, goal: Goal) -> Eliminated:
    last = f"number {goal.top} of the best {_attains(bar)}"
    return Eliminated(
        name=runner.name,
        model=runner.model,
        images=standing.images,
        passes=runner.passes,
        vacuous=bool(standing.tier),
        upper=standing.share,
        bar=bar.share,
        bar_vacuous=bool(bar.tier),
        reason=f"{_at_most(standing)}, {last}",
    )


def _unsettled(runner: Runner, finish: Finish) -> Unsettled:
    standing = runner.standing
    seen = "not looked at" if standing is None else _at_most(standing)
    return Unsettled(
        name=runner.name,
        model=runner.model,
        images=standing.images if standing else 0,
        passes=runner.passes,
        vacuous=bool(standing.tier) if standing else None,
        upper=standing.share if standing else None,
        reason=f"{seen}, no time to measure it in full",
    )


def _at_most(standing: Standing) -> str:
    """What a look has shown."""
    share, images = f"at most {100 * standing.share:.0f} %", f"{standing.images} images looked at"
    if standing.tier:
        return f"vacuous, tolerates {share} ({images})"
    return f"{share} robust ({images})"


def _attains(bar: Standing) -> str:
    """What a full measurement has shown."""
    share = f"{100 * bar.share:.0f} %"
    return f"tolerates {share}" if bar.tier else f"attains {share}"


def _sentence(finish: Finish, unsettled: list[str], eliminated: int) -> str:
    goal = finish.goal
    share = finish.passes / max(1, finish.exhaustive_passes)
    cost = f"{100 * share:.0f} % of the passes that measuring all in full takes"
    of = f"{finish.settled} of {finish.candidates} candidates were measured in full"
    if not unsettled:
        sure = "" if goal.top is None else f" The best {goal.top} are among them"
        sure = sure and f"{sure}, with {100 * goal.confidence:g} % confidence."
        return f"{of}, {eliminated} eliminated early; {cost}.{sure}"
    named = ", ".join(unsettled[:_NAMED])
    more = f" and {len(unsettled) - _NAMED} more" if len(unsettled) > _NAMED else ""
    what = f"may be among the best {goal.top}" if goal.top else "have no place in the ranking"
    return (
        f"Not settled within {goal.budget:g} s: {named}{more} {what}. {of}, {eliminated}"
        f" eliminated early; {cost}."
    )
