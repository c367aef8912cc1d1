"""One candidate of a ranking in words: why it stands where it stands, and what the doubts are."""

from __future__ import annotations

from selector.errors import printable
from selector.records import AnyRanking, Ranking
from selector.reports.explain import classification, regression
from selector.reports.lookup import find


def explain(ranking: AnyRanking, model: str) -> str:
    """Paragraphs about a candidate, one trailing newline included.

    Args:
        ranking: it is in.
        model: its name, or what it was loaded from.

    Raises:
        UsageError: there is no such candidate, or it could not be ranked.
    """
    if isinstance(ranking, Ranking):
        said = classification.paragraphs(ranking, find(ranking, model))
    else:
        said = regression.paragraphs(ranking, find(ranking, model))
    return "\n\n".join(map(printable, said)) + "\n"
