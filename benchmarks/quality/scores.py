"""What candidates are ordered by: selector's objectives, what they are made of, and baselines.

A score is read off the record of an evaluation. To add one, add a line to SCORES.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from selector.heads import LinearHead
from selector.objectives import DEFAULT_OBJECTIVE, OBJECTIVES, Objective
from selector.ranking import tier
from selector.records import Evaluation, HeadReport
from selector.summary import Measured

DEFAULT = "selector"
# Less than one image of ten thousand: decides between equals and nothing else.
_TIE_BREAK = 1e-5


@dataclass(frozen=True)
class Score:
    """One of them.

    Attributes:
        baseline: it knows nothing of the threat; what others rank by.
        values: of a candidate, higher is better: one for each test image (n,), whose mean is the
            score, or a single one (1,).
    """

    baseline: bool
    values: Callable[[Evaluation], np.ndarray]


def recommended(measured: Measured) -> LinearHead:
    """The head whose robust accuracy is predicted, and attacked for the ground truth."""
    return measured.picked.head


def report(evaluation: Evaluation) -> HeadReport:
    """What the record says of that head."""
    return evaluation.head


def _default(e: Evaluation) -> np.ndarray:
    """The order of a ranking as a number: masked gradients last, ties by tolerance."""
    by = OBJECTIVES[DEFAULT_OBJECTIVE]
    return by.scores(e) - 2 * tier(e) + _TIE_BREAK * e.probe.attacked_tolerance.value


def _of(objective: Objective) -> Score:
    return Score(objective.kind == "clean", objective.scores)


def _ours(value: Callable[[Evaluation], float]) -> Score:
    return Score(False, lambda e: np.array([value(e)]))


SCORES: dict[str, Score] = {
    DEFAULT: Score(False, _default),
    **{name: _of(objective) for name, objective in OBJECTIVES.items()},
    "criterion_on_g": _ours(lambda e: report(e).on_representation.estimated_robust_accuracy.value),
    "tolerance": _ours(lambda e: report(e).on_task.estimated_tolerance.value),
    "attacked_tolerance": Score(False, lambda e: np.array(e.per_image.attacked_tolerance)),
    "worst_case_loss": _ours(lambda e: -report(e).on_task.estimated_worst_case_loss.value),
    "margin_loss": _ours(lambda e: -report(e).on_task.estimated_margin_loss.value),
    "theorem1_loss": _ours(lambda e: -report(e).on_task.estimated_theorem1_loss),
    "sensitivity_on_g": _ours(lambda e: -e.sensitivity.relative),
}
