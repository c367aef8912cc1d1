"""What candidates of two rankings are compared by: accuracies of classes, errors of numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from selector.objectives import OBJECTIVES
from selector.ranking import differ, tier
from selector.records import AnyRanked, AnyRanking, Ranking
from selector.regression.ranking import OBJECTIVES as ERRORS


@dataclass(frozen=True)
class By:
    """An objective.

    Attributes:
        what: in words.
        share: whether the mean is a share of test images, 0..1.
        scores: of a candidate for each test image (n,), whose mean ranks, or a single one (1,).
        tier: of a candidate; 1 is below all of 0, whatever the scores.
    """

    what: str
    share: bool
    scores: Callable[[Any], np.ndarray]
    tier: Callable[[Any], int]

    def score(self, e: AnyRanked) -> float:
        """What it is ranked by."""
        return float(np.mean(self.scores(e)))

    def told_apart(self, a: AnyRanked, b: AnyRanked, images: int) -> bool:
        """Whether a ranking on so many images tells two of its candidates apart."""
        differs = differ(self.scores(a), self.scores(b), images)
        return differs or self.tier(a) != self.tier(b)


def ranked_by(ranking: AnyRanking) -> By:
    """The objective of a ranking."""
    if isinstance(ranking, Ranking):
        accuracy = OBJECTIVES[ranking.objective]
        return By(accuracy.what, accuracy.share, accuracy.scores, lambda e: tier(e, accuracy))
    error = ERRORS[ranking.objective]
    return By(error.what, share=False, scores=error.errors, tier=error.tier)
