"""The columns of a comparison: what stands in them for each candidate, and what they mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from selector.errors import printable
from selector.objectives import DEFAULT_OBJECTIVE, OBJECTIVES
from selector.records import (
    AnyComparison,
    Change,
    Compared,
    ComparedCandidate,
    ComparedRegression,
    Comparison,
    RegressionComparison,
)
from selector.regression.ranking import OBJECTIVES as ERRORS


@dataclass(frozen=True)
class Columns:
    """Of a table of candidates.

    Attributes:
        titles: one for each; a line end where it may be broken.
        cells: of a candidate, one for each.
        legend: what they mean.
    """

    titles: tuple[str, ...]
    cells: Callable[[Any], tuple[str, ...]]
    legend: str


def columns(comparison: AnyComparison) -> Columns:
    """Those of its kind."""
    if isinstance(comparison, Comparison):
        return _accuracies(comparison)
    return _errors(comparison)


def _accuracies(comparison: Comparison) -> Columns:
    by = OBJECTIVES[comparison.objective]

    def score(one: ComparedCandidate) -> tuple[str, ...]:
        withstood = one.attacked_accuracy
        if comparison.objective == DEFAULT_OBJECTIVE:
            return (_percents(withstood),)
        return (_percents(one.score) if by.share else _numbers(one.score), _points(withstood))

    def cells(one: ComparedCandidate) -> tuple[str, ...]:
        return (
            *_place(one),
            *score(one),
            _points(one.clean_accuracy),
            "masked" if one.masked_after else _points(one.estimated_robust_accuracy),
            _difference(one.estimated_worst_case_loss),
            *_verdict(one),
        )

    by_default = comparison.objective == DEFAULT_OBJECTIVE
    scored = ("withstood %",) if by_default else (f"by\n{comparison.objective}", "with-\nstood")
    return Columns(
        ("#", "backbone", *scored, "clean", "robust\nest.", "loss\nbound", "p", "noise?"),
        cells,
        f"Rank and numbers before → after, or their difference; =: not a bit. By {by.what}"
        f" ({by.kind}). withstood: attacked accuracy of the head, an upper estimate, in points;"
        " robust est.: estimated, in points; clean, in points; loss bound: estimated, in nats, of"
        f" the bound-optimal head. {_of_tests(comparison)}",
    )


def _errors(comparison: RegressionComparison) -> Columns:
    by = ERRORS[comparison.objective]

    def score(one: ComparedRegression) -> tuple[str, ...]:
        attacked = one.attacked_squared_error
        if comparison.objective == DEFAULT_OBJECTIVE:
            return (_numbers(attacked),)
        return (_numbers(one.score), _difference(attacked))

    def cells(one: ComparedRegression) -> tuple[str, ...]:
        return (
            *_place(one),
            *score(one),
            _difference(one.clean_squared_error),
            "masked" if one.masked_after else _difference(one.estimated_squared_error),
            *_verdict(one),
        )

    by_default = comparison.objective == DEFAULT_OBJECTIVE
    scored = ("attacked error",) if by_default else (f"by\n{comparison.objective}", "attacked")
    return Columns(
        ("#", "backbone", *scored, "clean", "error\nbound", "p", "noise?"),
        cells,
        f"Rank and numbers before → after, or their difference; =: not a bit. By {by.what}"
        f" ({by.kind}), lower is better. Errors are squared, mean over target columns, in standard"
        " deviations of train. attacked: of the head, a lower estimate; clean: of the same; error"
        f" bound: estimated, of the same. {_of_tests(comparison)}",
    )


def _of_tests(comparison: AnyComparison) -> str:
    return (
        "p: of no difference, by a paired test over test images, with Holm's correction for all"
        f" rows. moved: p is below {comparison.level:g}; noise: other test images might show none."
    )


def _place(one: Compared) -> tuple[str, str]:
    rank = f"{one.rank.before:.0f}" + ("" if _same(one.rank) else f" → {one.rank.after:.0f}")
    return rank, printable(one.name)


def _verdict(one: Compared) -> tuple[str, str]:
    """Holm's p, and whether its score moved, in a word."""
    if one.adjusted_p_value is None:
        return "–", "untested"
    p = "<0.001" if one.adjusted_p_value < 0.001 else f"{one.adjusted_p_value:.3f}"
    if one.score is not None and _same(one.score):
        return p, "equal"
    return p, "moved" if one.moved else "noise"


def _percents(change: Change | None) -> str:
    return _before_after(change, lambda value: f"{100 * value:.1f}")


def _numbers(change: Change | None) -> str:
    return _before_after(change, lambda value: f"{value:.4g}")


def _before_after(change: Change | None, written: Callable[[float], str]) -> str:
    return "–" if change is None else f"{written(change.before)} → {written(change.after)}"


def _same(change: Change) -> bool:
    return change.before == change.after


def _points(change: Change) -> str:
    return "=" if _same(change) else f"{100 * change.difference:+.1f}"


def _difference(change: Change) -> str:
    return "=" if _same(change) else f"{change.difference:+.2f}"
