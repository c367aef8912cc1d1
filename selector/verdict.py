"""What a race has shown: who is best, who is out by which numbers, and what was not settled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from selector.racing import Goal, Standing
from selector.ranking import tier, told_apart
from selector.records import Eliminated, Evaluation, RaceRecord, Unsettled

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
        settled: who was measured in full, best first.
        bar: the last of the wanted among them; None where these are fewer.
        remaining: who was neither measured in full nor failed.
        seconds: that it took.
        quickest: seconds that the quickest full measurement takes, about; None: unknown.
        passes: that it took.
        exhaustive_passes: about how many measuring everyone in full takes.
    """

    goal: Goal
    candidates: int
    settled: tuple[Evaluation, ...]
    bar: Standing | None
    remaining: tuple[Runner, ...]
    seconds: float
    quickest: float | None
    passes: int
    exhaustive_passes: int


def verdict(finish: Finish) -> RaceRecord:
    """The record of a race."""
    eliminated: list[Eliminated] = []
    unsettled: list[Unsettled] = []
    for runner in sorted(finish.remaining, key=_promise):
        if finish.bar and runner.standing and runner.standing.below(finish.bar):
            eliminated.append(_eliminated(runner, runner.standing, finish.bar, finish.goal))
        else:
            unsettled.append(_unsettled(runner))
    said = _of_the_unsettled(finish, unsettled) if unsettled else _of_the_best(finish, eliminated)
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
        sentence=" ".join([*said, _of_the_cost(finish, len(eliminated))]),
    )


def _promise(runner: Runner) -> tuple[float, ...]:
    """The most promising first, those not looked at last."""
    return runner.standing.order if runner.standing else (math.inf,)


def _eliminated(runner: Runner, standing: Standing, bar: Standing, goal: Goal) -> Eliminated:
    return Eliminated(
        name=runner.name,
        model=runner.model,
        images=standing.images,
        passes=runner.passes,
        upper=standing.share,
        bar=bar.share,
        reason=_why(standing, bar, goal),
    )


def _unsettled(runner: Runner) -> Unsettled:
    standing = runner.standing
    seen = "not looked at" if standing is None else _at_most(standing)
    return Unsettled(
        name=runner.name,
        model=runner.model,
        images=standing.images if standing else 0,
        passes=runner.passes,
        upper=standing.share if standing else None,
        reason=f"{seen}, no time to measure it in full",
    )


def _at_most(standing: Standing) -> str:
    """What looks have shown."""
    return f"withstands on at most {100 * standing.share:.0f} % by {standing.images} images"


def _why(standing: Standing, bar: Standing, goal: Goal) -> str:
    return f"{_at_most(standing)}; number {goal.top} attains {100 * bar.share:.0f} %"


def _of_the_best(finish: Finish, eliminated: Sequence[Eliminated]) -> list[str]:
    """Who the best are, and who may be as good; sentences."""
    goal, settled = finish.goal, finish.settled
    if goal.top is None or not settled:
        return []
    best, others = settled[: goal.top], settled[goal.top :]
    sure = f", with {100 * goal.confidence:g} % confidence" if eliminated else ""
    title = "The best" if goal.top == 1 else f"The best {goal.top}"
    if len(best) < goal.top:
        title = f"Fewer than {goal.top} could be measured"
    said = [f"{title}: {_listed([one.name for one in best], len(best))}{sure}."]
    blind = [one.name for one in best if tier(one)]
    if blind:
        said.append(f"Not measured soundly, since attacks were blind: {_listed(blind)}.")
    last = best[-1]
    equals = [e.name for e in others if tier(e) == tier(last) and not told_apart(last, e)]
    if equals and not tier(last):
        said.append(f"Cannot be told apart from {last.name}: {_listed(equals)}.")
    low = last.head.attacked_accuracy.low
    near = [e.name for e in eliminated if e.upper >= low]
    if near:
        said.append(
            f"On other test images some that were eliminated may be as good: {_listed(near)}."
        )
    return said


def _of_the_unsettled(finish: Finish, unsettled: Sequence[Unsettled]) -> list[str]:
    """Who may yet be among the best; sentences."""
    goal = finish.goal
    within = f"within {goal.budget:g} s"
    if not finish.settled:
        took = f", the quickest takes about {finish.quickest:.0f} s" if finish.quickest else ""
        return [
            f"No candidate could be measured in full {within}{took}: give a longer --budget or a"
            " smaller --preset. What was looked at is kept.",
        ]
    what = f"may be among the best {goal.top}" if goal.top else "have no place in the ranking"
    return [f"Not settled {within}: {_listed([one.name for one in unsettled])} {what}."]


def _of_the_cost(finish: Finish, eliminated: int) -> str:
    share = finish.passes / max(1, finish.exhaustive_passes)
    return (
        f"Measured in full: {len(finish.settled)} of {finish.candidates} candidates; eliminated"
        f" early: {eliminated}; about {100 * share:.0f} % of the passes that measuring all in full"
        " takes."
    )


def _listed(names: Sequence[str], at_most: int = _NAMED) -> str:
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(names[:at_most]) + more
