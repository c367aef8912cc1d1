"""What moved between two rankings of the same question, and whether it is more than noise.

Works on records alone. Equal fingerprints mean the same test images in the same order, so every
candidate is compared with itself image by image.
"""

from __future__ import annotations

from collections.abc import Iterator

from selector import __version__
from selector.comparing.by import By, ranked_by
from selector.comparing.candidates import LEVEL, compared_accuracies, compared_errors, holm
from selector.comparing.question import require_same_question, surroundings
from selector.comparing.sentence import NOT_LISTED, conclusion
from selector.records import (
    AnyComparison,
    AnyRanked,
    AnyRanking,
    ChangeOfChoice,
    Compared,
    Comparison,
    ComparisonRecord,
    Ranking,
    RegressionComparison,
    RegressionRanking,
    Unpaired,
)

__all__ = ["LEVEL", "compare", "holm"]


def compare(before: AnyRanking, after: AnyRanking) -> AnyComparison:
    """Compare two rankings, of classes or of numbers, candidate by candidate.

    Raises:
        UsageError: they do not answer the same question; with every field in which they differ.
    """
    require_same_question(before, after)
    by, images = ranked_by(after), after.task.test_images
    if isinstance(before, Ranking) and isinstance(after, Ranking):
        accuracies = compared_accuracies(before.ranking, after.ranking, by, images)
        record = _record(before, after, by, accuracies)
        return Comparison(**dict(record), candidates=accuracies)
    assert isinstance(before, RegressionRanking)
    assert isinstance(after, RegressionRanking)
    errors = compared_errors(before.ranking, after.ranking, by, images)
    record = _record(before, after, by, errors)
    return RegressionComparison(**dict(record), candidates=errors)


def _record(
    before: AnyRanking, after: AnyRanking, by: By, candidates: tuple[Compared, ...]
) -> ComparisonRecord:
    """What is said of classes and of numbers alike."""
    entered = tuple(_entered(before, after))
    left = tuple(_left(before, after))
    choice = _choice(before, after, by)
    return ComparisonRecord(
        selector_version=__version__,
        created_before=before.created,
        created_after=after.created,
        task=after.task.name,
        test_images=after.task.test_images,
        threat=after.threat,
        objective=after.objective,
        objective_kind=after.objective_kind,
        surroundings=tuple(surroundings(before, after)),
        level=LEVEL,
        entered=entered,
        left=left,
        choice=choice,
        sentence=conclusion(by, candidates, entered, left, choice),
    )


def _entered(before: AnyRanking, after: AnyRanking) -> Iterator[Unpaired]:
    known = {e.name for e in before.ranking}
    for e in after.ranking:
        if e.name not in known:
            code, reason = _absence(before, e.name)
            yield Unpaired(name=e.name, rank=e.rank, code=code, reason=reason)


def _left(before: AnyRanking, after: AnyRanking) -> Iterator[Unpaired]:
    """Who lost a place, in the order before; then who was skipped anew without having had one."""
    still = {e.name for e in after.ranking}
    for e in before.ranking:
        if e.name not in still:
            code, reason = _absence(after, e.name)
            yield Unpaired(name=e.name, rank=e.rank, code=code, reason=reason)
    known = {e.name for e in before.ranking} | {one.name for one in before.skipped}
    for one in after.skipped:
        if one.name not in known:
            yield Unpaired(name=one.name, rank=None, code=one.code, reason=one.reason)


def _absence(ranking: AnyRanking, name: str) -> tuple[str, str]:
    """Code and reason of why a name has no place in a ranking."""
    found = ((one.code, one.reason) for one in ranking.left_out if one.name == name)
    return next(found, (NOT_LISTED, ""))


def _first(ranking: AnyRanking) -> AnyRanked | None:
    return ranking.ranking[0] if ranking.ranking else None


def _choice(before: AnyRanking, after: AnyRanking, by: By) -> ChangeOfChoice:
    first, second = _first(before), _first(after)
    apart = None
    if first is not None and second is not None and first.name != second.name:
        for again in after.ranking:
            if again.name == first.name:
                apart = by.told_apart(again, second, after.task.test_images)
    return ChangeOfChoice(
        before=None if first is None else first.name,
        after=None if second is None else second.name,
        told_apart=apart,
    )
