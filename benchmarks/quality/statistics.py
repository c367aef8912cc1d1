"""How well a score orders candidates: weighted Kendall tau, tau-b, top-1 regret.

Everything takes batches: the last axis counts candidates, the axes before it whatever there is
more of, such as resamples.
"""

from __future__ import annotations

import math

import numpy as np

# Means of equal images in another order may differ in their last bits.
_DECIMALS = 9
LEVEL = 0.95


def weighted_tau(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Weighted Kendall tau (...) of scores (...,c) with the truth (...,c), in [-1, 1].

    A pair of candidates weighs 1/(1+r) + 1/(1+q) for their ranks r and q from 0, best first, by
    the truth alone, its ties broken by the score: ``scipy.stats.weightedtau(truth, scores,
    rank=None)``. What is mistaken among the truly best costs most, whatever the score says of
    them. A constant score orders nothing and gets 0.
    """
    truth, scores = _broadcast(truth, scores)
    return _tau(truth, scores, 1 / (1 + _ranks(truth, scores)))


def weighted_tau_both(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The same (...) as scipy's default: the mean over ranks by the truth and by the score."""
    truth, scores = _broadcast(truth, scores)
    return (weighted_tau(truth, scores) + weighted_tau(scores, truth)) / 2


def tau_b(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Kendall tau-b (...), every pair weighs the same; 0 for a constant score."""
    truth, scores = _broadcast(truth, scores)
    return _tau(truth, scores, np.ones_like(truth))


def regret(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Best truth minus that of the candidate with the best score (...), in points.

    Of candidates that share the best score each is as likely to be taken.
    """
    truth, scores = _broadcast(truth, scores)
    first = scores == scores.max(axis=-1, keepdims=True)
    taken = (truth * first).sum(axis=-1) / first.sum(axis=-1)
    return 100 * (truth.max(axis=-1) - taken)


def degenerate(robust: np.ndarray, majority: float) -> str | None:
    """Why no order of candidates is to be found in such a truth; None: there is one.

    Args:
        robust: (c,n) bool, which of n images each of c candidates keeps.
        majority: share of the most frequent class.
    """
    accuracies = robust.mean(axis=1).round(_DECIMALS)
    best, worst = robust[accuracies.argmax()], robust[accuracies.argmin()]
    images = robust.shape[1]
    if len(np.unique(accuracies)) < 3:
        return "fewer than three different robust accuracies"
    difference = best.astype(float) - worst
    if difference.mean() <= 2 * difference.std() / math.sqrt(images):
        return "best and worst within two standard errors"
    if best.mean() <= majority + 2 * math.sqrt(majority * (1 - majority) / images):
        return "the best is no better than naming the most frequent class"
    return None


def resamples(images: int, draws: int, seed: int) -> np.ndarray:
    """Weights (b,n) of n images in b bootstrap samples, each summing to 1."""
    counts = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), draws)
    return counts / images


def interval(values: np.ndarray) -> tuple[float, float]:
    """Where the middle 95 % of resampled values (b,) lie."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _broadcast(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pair = np.broadcast_arrays(np.asarray(truth, dtype=float), np.asarray(scores, dtype=float))
    return pair[0].round(_DECIMALS), pair[1].round(_DECIMALS)


def _ranks(first: np.ndarray, then: np.ndarray) -> np.ndarray:
    """Rank (...,c) from 0, the largest ``first``, and of equal ones the largest ``then``."""
    order = np.lexsort((-then, -first), axis=-1)
    return np.argsort(order, axis=-1)


def _tau(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Tau-b (...) where a pair weighs the sum of its two weights (...,c)."""

    def signs(values: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):  # inf - inf: equally last
            return np.nan_to_num(np.sign(values[..., :, None] - values[..., None, :]))

    pairs = weights[..., :, None] + weights[..., None, :]
    x, y = signs(truth), signs(scores)

    def total(values: np.ndarray) -> np.ndarray:
        return (pairs * values).sum(axis=(-2, -1))

    scale = np.sqrt(total(x * x) * total(y * y))
    return np.divide(total(x * y), scale, out=np.zeros_like(scale), where=scale > 0)
