"""The command ``selector rank`` as functions, for objects of the caller's."""

from selector.api.planning import plan
from selector.api.ranking import rank
from selector.api.regression import rank_regression

__all__ = ["plan", "rank", "rank_regression"]
