"""Order of candidates by error, lowest first: objectives, rank intervals, groups, the advice.

Works on records alone. All candidates of a ranking were measured on the same images, so every
comparison is paired, image by image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selector.ranking import groups, rank_intervals
from selector.records import ObjectiveKind, RankedRegression, RegressionChoice, RegressionEvaluation

_SAID_EQUAL = 9  # digits


@dataclass(frozen=True)
class Objective:
    """What candidates may be ranked by.

    Attributes:
        kind: what it promises.
        what: in words.
        per_image: field of RegressionPerImage whose mean, a squared error, ranks.
    """

    kind: ObjectiveKind
    what: str
    per_image: str

    def errors(self, evaluation: RegressionEvaluation) -> np.ndarray:
        """Of each test image (n,)."""
        return np.array(getattr(evaluation.per_image, self.per_image), dtype=float)

    def error(self, evaluation: RegressionEvaluation) -> float:
        """What it ranks by."""
        return float(self.errors(evaluation).mean())

    def tier(self, evaluation: RegressionEvaluation) -> int:
        """0: sound; 1: the attack was blind, so numbers that rest on it flatter."""
        return int(evaluation.masked and self.kind != "clean")


OBJECTIVES: dict[str, Objective] = {
    "attacked": Objective("attacked", "squared error of the head under attack", "attacked"),
    "bound": Objective("estimated", "estimated worst squared error of the head on A∘g", "bound"),
    "clean": Objective("clean", "clean squared error of ordinary ridge", "probe_clean"),
}


def rank(
    evaluations: Sequence[RegressionEvaluation], *, seed: int, objective: str
) -> tuple[RankedRegression, ...]:
    """Lowest error first, equals by their bound, with rank intervals and groups.

    Args:
        evaluations: at least none; all on the same test images.
        seed: of the bootstrap.
        objective: a name of OBJECTIVES.

    Raises:
        ValueError: the evaluations are not on equally many images.
    """
    if not evaluations:
        return ()
    if len({len(e.per_image.attacked) for e in evaluations}) != 1:
        raise ValueError("candidates can only be ranked on the same test images")
    by = OBJECTIVES[objective]

    def key(e: RegressionEvaluation) -> tuple[int, float, float, str]:
        bound = e.head.on_task.estimated_squared_error.value
        return by.tier(e), round(by.error(e), _SAID_EQUAL), bound, e.model

    ordered = sorted(evaluations, key=key)
    scores, tiers = [-by.errors(e) for e in ordered], [by.tier(e) for e in ordered]
    intervals = rank_intervals(scores, tiers, seed)
    same = groups(scores, tiers, len(scores[0]))
    places = zip(ordered, intervals, same, strict=True)
    return tuple(
        RankedRegression(
            **{name: getattr(e, name) for name in RegressionEvaluation.model_fields},
            rank=place,
            score=by.error(e),
            rank_interval=interval,
            group=group,
        )
        for place, (e, interval, group) in enumerate(places, start=1)
    )


def choose(
    ranking: Sequence[RankedRegression], threat: str, mean_error: float, objective: str
) -> RegressionChoice | None:
    """Name the first of a ranking, and what choosing by clean error would have cost.

    Args:
        ranking: best first.
        threat: in words.
        mean_error: squared error on test images of knowing only the mean.
        objective: a name of OBJECTIVES, by which it was ranked.
    """
    if not ranking:
        return None
    best = ranking[0]
    cleanest = min(ranking, key=lambda e: e.probe.clean_squared_error.value)
    return RegressionChoice(
        name=best.name,
        attacked_error=_attacked(best),
        estimated_error=best.head.on_task.estimated_squared_error.value,
        clean_error=_clean(best),
        by_clean_error=cleanest.name,
        clean_error_saved=_clean(best) - _clean(cleanest),
        attacked_error_added=_attacked(cleanest) - _attacked(best),
        sentence=_sentence(best, cleanest, ranking, threat, mean_error, OBJECTIVES[objective]),
    )


def _sentence(
    best: RankedRegression,
    cleanest: RankedRegression,
    ranking: Sequence[RankedRegression],
    threat: str,
    mean_error: float,
    by: Objective,
) -> str:
    if by.tier(best):
        return "No candidate could be measured soundly: every attack was blind (masked gradients)."
    if by.kind == "attacked" and best.head.attacked_squared_error.high >= mean_error:
        return (
            f"No candidate is clearly better at {threat} than knowing only the mean, which has a"
            f" squared error of {mean_error:.2f}. Nearest to it is {best.name},"
            f" {_attacked(best):.2f} under attack. Try a smaller --eps, or candidates pretrained to"
            " be robust."
        )
    start = "Choose" if by.kind == "attacked" else f"By {by.what}:"
    advice = (
        f"{start} {best.name}: under attack at {threat} its mean squared error is"
        f" {_attacked(best):.2f} (a lower estimate; by the bound an estimated"
        f" {best.head.on_task.estimated_squared_error.value:.2f}), where knowing only the mean has"
        f" {mean_error:.2f}."
    )
    equals = [e.name for e in ranking[1:] if e.group == best.group]
    if equals:
        advice += f" Cannot be told apart from it: {', '.join(equals)}."
    if cleanest.model == best.model:
        return advice + " It also has the lowest clean error of these."
    return advice + (
        f" Choosing among these by clean error would have taken {cleanest.name}:"
        f" {_clean(cleanest) - _clean(best):+.2f} clean,"
        f" {_attacked(cleanest) - _attacked(best):+.2f} under attack."
    )


def _attacked(e: RegressionEvaluation) -> float:
    return e.head.attacked_squared_error.value


def _clean(e: RegressionEvaluation) -> float:
    return e.head.clean_squared_error.value
