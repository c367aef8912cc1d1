"""The choice in a sentence or two, and what choosing by clean accuracy would have cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selector.objectives import DEFAULT_OBJECTIVE, OBJECTIVES, Objective
from selector.ranking import tier
from selector.records import Choice, Evaluation, RankedEvaluation


def choose(
    ranking: Sequence[RankedEvaluation],
    threat: str,
    constant: float,
    objective: str = DEFAULT_OBJECTIVE,
    unsettled: int = 0,
) -> Choice | None:
    """Name the first of a ranking, and what choosing by clean accuracy would have cost.

    Args:
        ranking: best first.
        threat: in words.
        constant: accuracy of always naming the most frequent class, 0..1.
        objective: a name of OBJECTIVES, by which it was ranked.
        unsettled: how many further candidates a race had no time to measure.
    """
    if not ranking:
        return None
    best = ranking[0]
    cleanest = max(ranking, key=lambda e: e.probe.clean_accuracy.value)
    sentence = _sentence if objective == DEFAULT_OBJECTIVE else _by_another
    return Choice(
        name=best.name,
        estimated_robust_accuracy=_robust(best),
        attacked_accuracy=_attacked(best),
        clean_accuracy=best.head.clean_accuracy.value,
        by_clean_accuracy=cleanest.name,
        clean_accuracy_gained=_clean(cleanest) - _clean(best),
        estimated_robust_accuracy_lost=_robust(best) - _robust(cleanest),
        attacked_accuracy_lost=_attacked(best) - _attacked(cleanest),
        sentence=sentence(
            _Advice(best, cleanest, ranking, threat, constant, OBJECTIVES[objective], unsettled)
        ),
    )


@dataclass(frozen=True)
class _Advice:
    """What the sentences are about; see :func:`choose`."""

    best: RankedEvaluation
    cleanest: RankedEvaluation
    ranking: Sequence[RankedEvaluation]
    threat: str
    constant: float
    by: Objective
    unsettled: int


def _sentence(a: _Advice) -> str:
    best, cleanest = a.best, a.cleanest
    if tier(best):
        return f"{_none(a)} could be measured soundly: every attack was blind (masked gradients)."
    if best.head.attacked_accuracy.low <= a.constant:
        tolerance = best.probe.attacked_tolerance.value
        return (
            f"{_none(a)} clearly withstands more at {a.threat} than a constant answer, which is"
            f" right on {_percent(a.constant)} % of the test images. Nearest to it is {best.name},"
            f" whose usual probe survives {_percent(tolerance)} % of what the attacks attain."
            f" {_instead(a)}"
        )
    advice = (
        f"Choose {best.name}: {_percent(_attacked(best))} % of {best.head.attacked_accuracy.n} test"
        f" images withstood every attack at {a.threat} (an upper estimate; the criterion holds for"
        f" an estimated {_percent(_robust(best))} %).{_equals(a)}"
    )
    if cleanest.model == best.model:
        return advice + " It also has the best clean accuracy of these."
    if tier(cleanest):
        return (
            advice + f" {cleanest.name} has the best clean accuracy, but was not measured soundly."
        )
    return advice + (
        f" Choosing among these by clean accuracy would have taken {cleanest.name}:"
        f" {_points(_clean(cleanest) - _clean(best))} clean,"
        f" {_points(_attacked(cleanest) - _attacked(best))} under attack."
    )


def _none(a: _Advice) -> str:
    return f"None of the {len(a.ranking)} measured" if a.unsettled else "No candidate"


def _instead(a: _Advice) -> str:
    """What to do where the best is no better than a constant answer."""
    if a.unsettled:
        more = "one more was" if a.unsettled == 1 else f"{a.unsettled} more were"
        return f"There was no time for all, {more} not settled: give a longer --budget."
    return "Try a smaller --eps, or candidates pretrained to be robust."


def _by_another(a: _Advice) -> str:
    """Where the user ranks by something else, what our own numbers say of that choice."""
    robust = max(a.ranking, key=lambda e: (-tier(e), _attacked(e)))
    said = f"By {a.by.what}: {a.best.name}.{_equals(a)}"
    if tier(a.best):
        return said + " What it withstands was not measured soundly: the attack was blind."
    if a.best.screened:
        return said + (
            f" It holds for an estimated {_percent(_robust(a.best))} % of"
            f" {a.best.head.attacked_accuracy.n} test images at {a.threat}. This is a screening, in"
            " which no head was attacked: measure the first few with --preset standard."
        )
    said += (
        f" {_percent(_attacked(a.best))} % of {a.best.head.attacked_accuracy.n} test images"
        f" withstood every attack at {a.threat}"
    )
    if robust.model == a.best.model:
        return said + ", the most of these."
    return said + f"; of {robust.name} {_percent(_attacked(robust))} %."


def _equals(a: _Advice) -> str:
    equals = [e.name for e in a.ranking[1:] if e.group == a.best.group]
    return f" Cannot be told apart from it: {', '.join(equals)}." if equals else ""


def _percent(share: float) -> str:
    return f"{100 * share:.0f}"


def _points(difference: float) -> str:
    return f"{round(100 * difference, 1) + 0.0:+.1f} points"


def _robust(e: Evaluation) -> float:
    return e.head.on_task.estimated_robust_accuracy.value


def _attacked(e: Evaluation) -> float:
    return e.head.attacked_accuracy.value


def _clean(e: Evaluation) -> float:
    return e.probe.clean_accuracy.value
