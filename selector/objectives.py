"""What candidates may be ranked by.

Works on records alone. Each objective says what kind of number it is: *attacked* (an upper estimate
of robust accuracy), *estimated* (rests on an attack's displacement), or *clean*, which knows
nothing of the threat and is what others rank by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from selector.errors import UsageError
from selector.protocol import SCREEN, Preset
from selector.records import Evaluation, ObjectiveKind

DEFAULT_OBJECTIVE = "attacked"
SCREENING_OBJECTIVE = "criterion"


@dataclass(frozen=True)
class Objective:
    """One of them.

    Attributes:
        kind: what it promises.
        what: in words, for tables and documents.
        scores: of a candidate, higher is better: one for each test image (n,), whose mean ranks,
            or a single one (1,).
        share: whether the mean is a share of test images, or of what they survive, 0..1.
        single: it is one number for all images, of which no error is known.
    """

    kind: ObjectiveKind
    what: str
    scores: Callable[[Evaluation], np.ndarray]
    share: bool = False
    single: bool = False

    def score(self, evaluation: Evaluation) -> float:
        """What it ranks by."""
        return float(np.mean(self.scores(evaluation)))


def _each(name: str) -> Callable[[Evaluation], np.ndarray]:
    return lambda e: np.array(getattr(e.per_image, name), dtype=float)


def _single(
    kind: ObjectiveKind, what: str, value: Callable[[Evaluation], float | None]
) -> Objective:
    """One number for all images; what could not be computed ranks last."""

    def scores(evaluation: Evaluation) -> np.ndarray:
        found = value(evaluation)
        return np.array([-np.inf if found is None else found])

    return Objective(kind, what, scores, single=True)


def _lda(evaluation: Evaluation) -> np.ndarray:
    """Of each test image; what could not be computed ranks last."""
    found, images = evaluation.per_image.lda_correct, len(evaluation.per_image.probe_correct)
    return np.full(images, -np.inf) if found is None else np.array(found, dtype=float)


OBJECTIVES: dict[str, Objective] = {
    "attacked": Objective(
        "attacked",
        "attacked accuracy of the head, class pairs included",
        _each("attacked_correct"),
        share=True,
    ),
    "criterion": Objective(
        "estimated",
        "estimated robust accuracy of the head, criterion on A∘g",
        _each("robust_correct"),
        share=True,
    ),
    "smooth": Objective(
        "estimated",
        "a smooth count in place of the criterion on A∘g: mean of margin / (margin + reach)",
        _each("smooth"),
        share=True,
    ),
    "bound": Objective(
        "estimated",
        "minus the estimated worst-case loss of the bound-optimal head on A∘g",
        lambda e: -_each("worst_case_loss")(e),
    ),
    "sensitivity": _single(
        "estimated",
        "minus the mean displacement on A∘g relative to the distance between features",
        lambda e: -e.task_sensitivity.relative,
    ),
    "clean": Objective(
        "clean", "clean accuracy of the ordinary probe", _each("probe_correct"), share=True
    ),
    "knn": Objective(
        "clean", "clean accuracy of nearest neighbours", _each("knn_correct"), share=True
    ),
    "lda": Objective("clean", "clean accuracy of discriminant analysis", _lda, share=True),
    "log_me": _single("clean", "LogME", lambda e: e.baselines.log_me),
    "h_score": _single("clean", "regularised H-score", lambda e: e.baselines.h_score),
    "parameters": _single("clean", "number of parameters", lambda e: e.provenance.parameters),
}


def choose_objective(given: str | None, preset: Preset) -> str:
    """The objective that was asked for, or what candidates are ranked by if none was.

    Args:
        given: a name of OBJECTIVES; None: none.
        preset: that measures.

    Raises:
        UsageError: it rests on attacks that a screening does not make.
    """
    screens = preset == SCREEN
    default = SCREENING_OBJECTIVE if screens else DEFAULT_OBJECTIVE
    if screens and given == DEFAULT_OBJECTIVE:
        raise UsageError(
            f"--objective must not be {given} with --preset screen, which attacks no head.",
            hint=f"Leave it out to rank by {default}; --preset standard attacks heads, too.",
        )
    return default if given is None else given
