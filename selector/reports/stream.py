"""A ranking as lines of JSON while it is made: a line for each candidate, and one at the end.

Every line is an object with a ``kind``:

- ``evaluation``: a candidate that was measured, with all its numbers, of several perturbations
  those under the first; of a task with target columns ``regression_evaluation``;
- ``skipped``: one that could not be measured, and why;
- ``ranking``, of a task with target columns ``regression``: the last line. It is the document that
  ``--json`` prints, but of each ranked candidate only the place: rank, rank interval, group and
  score, with the name and model by which its line is found.
"""

from __future__ import annotations

import json
from typing import Any

from selector.records import (
    AnyRanking,
    Evaluation,
    RankedEvaluation,
    RankedRegression,
    Ranking,
    RegressionEvaluation,
    Skipped,
    Sweep,
)
from selector.reports.document import escaped

_PLACE = ("name", "model", "rank", "rank_interval", "group", "score")


def candidate_line(outcome: Evaluation | Sweep | RegressionEvaluation | Skipped) -> str:
    """What came of one candidate, as soon as it is known."""
    if isinstance(outcome, Sweep):
        outcome = outcome.evaluations[0]
    return _line(_kind(outcome), outcome.model_dump(mode="json"))


def ranking_line(ranking: AnyRanking) -> str:
    """What came of all: the last line."""
    ranked = RankedEvaluation if isinstance(ranking, Ranking) else RankedRegression
    told = set(ranked.model_fields) - set(_PLACE)
    document = ranking.model_dump(mode="json", exclude={"ranking": {"__all__": told}})
    return _line("ranking", document)


def _kind(outcome: Evaluation | RegressionEvaluation | Skipped) -> str:
    if isinstance(outcome, Skipped):
        return "skipped"
    return "evaluation" if isinstance(outcome, Evaluation) else "regression_evaluation"


def _line(kind: str, document: dict[str, Any]) -> str:
    """One line; a kind that the document has itself stands."""
    told = {"kind": kind} | document
    return escaped(json.dumps(told, ensure_ascii=False, allow_nan=False)) + "\n"
