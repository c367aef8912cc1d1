"""Order of candidates: objective, paired rank intervals, groups, and the choice in one sentence.

Works on records alone. All candidates of a ranking were measured on the same images, so every
comparison is paired, image by image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats

from selector.records import Choice, Evaluation, RankedEvaluation

OBJECTIVE = (
    "estimated robust accuracy of the bound-optimal head, criterion on A∘g; ties by its estimated"
    " worst-case loss on validation images; vacuous heads below all others, by the estimated"
    " tolerance of the ordinary probe on A∘g; masked gradients last"
)
MASKED = "masked_gradients"
_RESAMPLES = 2000
_COUNTS_AT_ONCE = 2_000_000
_LEVEL = 0.95


def rank(evaluations: Sequence[Evaluation], *, seed: int) -> tuple[RankedEvaluation, ...]:
    """Best first, with rank intervals and groups.

    Args:
        evaluations: at least none; all on the same test images.
        seed: of the bootstrap.

    Raises:
        ValueError: the evaluations are not on equally many images.
    """
    if not evaluations:
        return ()
    if len({len(e.per_image.robust_correct) for e in evaluations}) != 1:
        raise ValueError("candidates can only be ranked on the same test images")
    ordered = sorted(evaluations, key=order_key)
    intervals = _rank_intervals(ordered, seed)
    return tuple(
        RankedEvaluation(
            **{name: getattr(e, name) for name in Evaluation.model_fields},
            rank=place,
            rank_interval=interval,
            group=group,
        )
        for place, (e, interval, group) in enumerate(
            zip(ordered, intervals, _groups(ordered), strict=True), start=1
        )
    )


def tier(evaluation: Evaluation) -> int:
    """0: sound; 1: vacuous; 2: the attack was blind, so its numbers flatter."""
    if any(flag.code == MASKED for flag in evaluation.warnings):
        return 2
    return int(evaluation.vacuous)


def choose(ranking: Sequence[RankedEvaluation], threat: str) -> Choice | None:
    """Name the first of a ranking, and what choosing by clean accuracy would have cost."""
    if not ranking:
        return None
    best = ranking[0]
    cleanest = max(ranking, key=lambda e: e.probe.clean_accuracy.value)
    lost = _robust(best) - _robust(cleanest)
    attacked_lost = _attacked(best) - _attacked(cleanest)
    gained = cleanest.probe.clean_accuracy.value - best.probe.clean_accuracy.value
    return Choice(
        name=best.name,
        estimated_robust_accuracy=_robust(best),
        attacked_accuracy=_attacked(best),
        clean_accuracy=best.bound_optimal.clean_accuracy.value,
        by_clean_accuracy=cleanest.name,
        clean_accuracy_gained=gained,
        estimated_robust_accuracy_lost=lost,
        attacked_accuracy_lost=attacked_lost,
        sentence=_sentence(best, cleanest, ranking, threat),
    )


def order_key(e: Evaluation) -> tuple[int, float, float, str]:
    """What rankings are sorted by: tier, minus the mean score of it, and what decides ties."""
    return (tier(e), -float(np.mean(_scores(e))), e.bound_optimal.validation_loss, e.model)


def _scores(e: Evaluation) -> np.ndarray:
    """What is averaged to rank: where no bound says anything, what the usual probe tolerates."""
    images = e.per_image
    return np.array(images.tolerance if tier(e) else images.robust_correct, dtype=float)


def _robust(e: Evaluation) -> float:
    return e.bound_optimal.on_task.estimated_robust_accuracy.value


def _attacked(e: Evaluation) -> float:
    return e.bound_optimal.attacked_accuracy.value


def _rank_intervals(ordered: Sequence[Evaluation], seed: int) -> list[tuple[int, int]]:
    """Percentiles of each rank when the test images are resampled, the same for all candidates."""
    scores = np.stack([_scores(e) for e in ordered])
    n = scores.shape[1]
    # Rounded, since equal rows may leave a matrix product with other last bits.
    means = np.concatenate([scores @ weights.T for weights in _resamples(n, seed)], axis=1).round(9)
    # Within a resample, ties keep the order of the validated loss, as the ranking itself does.
    tie_break = np.array([e.bound_optimal.validation_loss for e in ordered])[:, None]
    tiers = np.array([tier(e) for e in ordered])[:, None]
    keys = (np.broadcast_to(tie_break, means.shape), -means, np.broadcast_to(tiers, means.shape))
    ranks = np.argsort(np.lexsort(keys, axis=0), axis=0) + 1
    tail = (1 - _LEVEL) / 2
    low = np.quantile(ranks, tail, axis=1, method="lower").astype(int)
    high = np.quantile(ranks, 1 - tail, axis=1, method="higher").astype(int)
    # Among many equals the rank itself, decided by the tie break, can lie in a tail.
    places = range(1, len(ordered) + 1)
    return [
        (min(int(a), place), max(int(b), place))
        for a, b, place in zip(low, high, places, strict=True)
    ]


def _resamples(n: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of n images is drawn (b,n), for some of _RESAMPLES resamples at a time."""
    draws = np.random.default_rng(seed)
    at_once = max(1, _COUNTS_AT_ONCE // n)
    for start in range(0, _RESAMPLES, at_once):
        size = min(at_once, _RESAMPLES - start)
        yield draws.multinomial(n, np.full(n, 1 / n), size=size)


def _groups(ordered: Sequence[Evaluation]) -> list[int]:
    """A new group begins where a candidate is told apart from the first of the current one."""
    groups, leader = [1], ordered[0]
    for e in ordered[1:]:
        if tier(e) != tier(leader) or told_apart(leader, e):
            leader = e
            groups.append(groups[-1] + 1)
        else:
            groups.append(groups[-1])
    return groups


def told_apart(a: Evaluation, b: Evaluation) -> bool:
    """Whether two candidates of one tier differ at the 5 % level, paired over test images.

    McNemar's exact test where they are ranked by robust accuracy, Student's paired test where
    they are ranked by tolerance.
    """
    first, second = _scores(a), _scores(b)
    if np.allclose(first, second):
        return False
    if tier(a):
        difference = first - second
        if len(difference) == 1 or np.ptp(difference) < 1e-9:
            return len(difference) > 1
        return bool(stats.ttest_1samp(difference, 0).pvalue < 1 - _LEVEL)
    only_first, only_second = int((first > second).sum()), int((second > first).sum())
    return bool(stats.binomtest(only_first, only_first + only_second).pvalue < 1 - _LEVEL)


def _sentence(
    best: RankedEvaluation,
    cleanest: RankedEvaluation,
    ranking: Sequence[RankedEvaluation],
    threat: str,
) -> str:
    if tier(best) == 2:
        return "No candidate could be measured soundly: every attack was blind (masked gradients)."
    if tier(best) == 1:
        tolerance = best.probe.on_task.estimated_tolerance.value
        return (
            f"No candidate's bound says anything at {threat}: none is better than knowing the class"
            f" frequencies. Nearest to it is {best.name}, whose usual probe tolerates an estimated"
            f" {_percent(tolerance)} % of what the attack attains. Try a smaller --eps, or"
            " candidates pretrained to be robust."
        )
    advice = (
        f"Choose {best.name}: of 100 test images an estimated {_percent(_robust(best))} stay right"
        f" at {threat} ({_percent(_attacked(best))} withstood the attacks)."
    )
    if equals := [e.name for e in ranking[1:] if e.group == best.group]:
        advice += f" Cannot be told apart from it: {', '.join(equals)}."
    if cleanest.model == best.model:
        return advice + " It also has the best clean accuracy of these."
    if tier(cleanest) == 2:
        return (
            advice + f" {cleanest.name} has the best clean accuracy, but was not measured soundly."
        )
    gained = cleanest.probe.clean_accuracy.value - best.probe.clean_accuracy.value
    lost = _robust(best) - _robust(cleanest)
    return advice + (
        f" Choosing among these by clean accuracy would have taken {cleanest.name}:"
        f" {_points(gained)} clean, {_points(-lost)} estimated robust accuracy."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f}"


def _points(difference: float) -> str:
    return f"{round(100 * difference, 1) + 0.0:+.1f} points"
