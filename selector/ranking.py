"""Order of candidates: objective, paired rank intervals, and groups.

Works on records alone. All candidates of a ranking were measured on the same images, so every
comparison is paired, image by image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats

from selector.objectives import DEFAULT_OBJECTIVE, OBJECTIVES, Objective
from selector.records import Evaluation, RankedEvaluation

_DEFAULT = OBJECTIVES[DEFAULT_OBJECTIVE]

_RESAMPLES = 2000
_COUNTS_AT_ONCE = 2_000_000
_LEVEL = 0.95
# Below the mean of any scores.
_LAST = -1e100


def rank(
    evaluations: Sequence[Evaluation], *, seed: int, objective: str = DEFAULT_OBJECTIVE
) -> tuple[RankedEvaluation, ...]:
    """Best first, with rank intervals and groups.

    Args:
        evaluations: at least none; all on the same test images.
        seed: of the bootstrap.
        objective: a name of OBJECTIVES. Where masked gradients flatter a candidate it is last,
            unless the objective knows nothing of attacks.

    Raises:
        ValueError: the evaluations are not on equally many images.
    """
    if not evaluations:
        return ()
    if len({len(e.per_image.attacked_correct) for e in evaluations}) != 1:
        raise ValueError("candidates can only be ranked on the same test images")
    by, images = OBJECTIVES[objective], len(evaluations[0].per_image.attacked_correct)
    ordered = sorted(evaluations, key=lambda e: order_key(e, by))
    scores, tiers = [by.scores(e) for e in ordered], [tier(e, by) for e in ordered]
    intervals = rank_intervals(scores, tiers, seed)
    return tuple(
        RankedEvaluation(
            **{name: getattr(e, name) for name in Evaluation.model_fields},
            rank=place,
            score=by.score(e) if math.isfinite(by.score(e)) else None,
            rank_interval=interval,
            group=group,
        )
        for place, (e, interval, group) in enumerate(
            zip(ordered, intervals, groups(scores, tiers, images), strict=True), start=1
        )
    )


def tier(evaluation: Evaluation, by: Objective = _DEFAULT) -> int:
    """0: sound; 1: the attack was blind, so numbers that rest on it flatter."""
    return int(evaluation.masked and by.kind != "clean")


def order_key(e: Evaluation, by: Objective = _DEFAULT) -> tuple[int, float, float, str]:
    """What rankings are sorted by: tier, minus the score, and what decides between equals.

    Of equals that one is better whose ordinary probe survives a larger share of the attacks: it
    still tells where no head withstands them on any image.
    """
    return (tier(e, by), -round(by.score(e), 9), -e.probe.attacked_tolerance.value, e.model)


def rank_intervals(
    ordered: Sequence[np.ndarray], tier_of: Sequence[int], seed: int
) -> list[tuple[int, int]]:
    """Percentiles of each rank when the test images are resampled, the same for all candidates.

    Of scores that are one number for all images, the places of equals: no more is known of them.

    Args:
        ordered: scores (n,) of each, higher is better, best candidate first.
        tier_of: each of them; a lower tier is always before a higher one.
        seed: of the bootstrap.
    """
    scores = np.stack(ordered)
    n = scores.shape[1]
    if n == 1:
        return _places_of_equals(list(zip(tier_of, scores[:, 0].round(9), strict=True)))
    # What could not be computed stays last, whatever is drawn.
    scores = np.nan_to_num(scores, neginf=_LAST)
    # Rounded, since equal rows may leave a matrix product with other last bits.
    means = np.concatenate([scores @ weights.T for weights in _resamples(n, seed)], axis=1).round(9)
    # Within a resample, ties keep the order of the ranking itself.
    places = np.arange(1, len(ordered) + 1)[:, None]
    tiers = np.array(tier_of)[:, None]
    keys = (np.broadcast_to(places, means.shape), -means, np.broadcast_to(tiers, means.shape))
    ranks = np.argsort(np.lexsort(keys, axis=0), axis=0) + 1
    tail = (1 - _LEVEL) / 2
    low = np.quantile(ranks, tail, axis=1, method="lower").astype(int)
    high = np.quantile(ranks, 1 - tail, axis=1, method="higher").astype(int)
    # Among many equals the rank itself, decided by the tie break, can lie in a tail.
    return [
        (min(int(a), place), max(int(b), place))
        for place, (a, b) in enumerate(zip(low, high, strict=True), start=1)
    ]


def _places_of_equals(keys: Sequence[tuple[int, float]]) -> list[tuple[int, int]]:
    """First and last place of those that are like each, in order.

    >>> _places_of_equals([(0, 3.0), (0, 2.0), (0, 2.0), (1, 2.0)])
    [(1, 1), (2, 3), (2, 3), (4, 4)]
    """
    first = [keys.index(key) + 1 for key in keys]
    return [(place, place + keys.count(key) - 1) for place, key in zip(first, keys, strict=True)]


def _resamples(n: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of n images is drawn (b,n), for some of _RESAMPLES resamples at a time."""
    draws = np.random.default_rng(seed)
    at_once = max(1, _COUNTS_AT_ONCE // n)
    for start in range(0, _RESAMPLES, at_once):
        size = min(at_once, _RESAMPLES - start)
        yield draws.multinomial(n, np.full(n, 1 / n), size=size)


def groups(ordered: Sequence[np.ndarray], tier_of: Sequence[int], images: int) -> list[int]:
    """A new group begins where a candidate is told apart from the first of the current one.

    Of each candidate its scores (n,) and its tier, as :func:`rank_intervals` takes them; all were
    measured on so many ``images``.
    """
    found, leader = [1], 0
    for place in range(1, len(ordered)):
        if tier_of[place] != tier_of[leader] or differ(ordered[leader], ordered[place], images):
            leader = place
            found.append(found[-1] + 1)
        else:
            found.append(found[-1])
    return found


def told_apart(a: Evaluation, b: Evaluation, by: Objective = _DEFAULT) -> bool:
    """Whether two candidates of one tier differ at the 5 % level; see :func:`differ`."""
    return differ(by.scores(a), by.scores(b), len(a.per_image.attacked_correct))


def differ(first: np.ndarray, second: np.ndarray, images: int) -> bool:
    """Whether scores (n,) of the same test images differ in the mean, at the 5 % level.

    A single score of many images says nothing of its error: any difference counts. So does it
    whether a score could be computed.
    """
    computed = np.isfinite(first).all() == np.isfinite(second).all()
    if (len(first) == 1 or not computed) and not _equal(first, second):
        return images > 1
    return p_value(first, second) < 1 - _LEVEL


def p_value(first: np.ndarray, second: np.ndarray) -> float:
    """Of a difference in the mean of scores (n,), each pair of the same test image.

    McNemar's exact test for counts, Student's paired test for other scores. One image tells
    nothing.
    """
    if len(first) == 1 or _equal(first, second):
        return 1.0
    if set(np.unique(np.concatenate([first, second]))) <= {0.0, 1.0}:
        only_first, only_second = int((first > second).sum()), int((second > first).sum())
        return float(stats.binomtest(only_first, only_first + only_second).pvalue)
    difference = first - second
    if np.ptp(difference) < 1e-9:
        return 0.0
    return float(stats.ttest_1samp(difference, 0).pvalue)


def _equal(first: np.ndarray, second: np.ndarray) -> bool:
    return np.array_equal(first, second) or np.allclose(first, second)
