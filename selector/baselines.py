"""What others rank backbones by, as pure functions of clean features and labels.

Nothing is attacked, so these say how well classes can be told apart and nothing of robustness: a
ranking by robustness has to be worth more than they are. Shapes: features (n,d), labels (n,) int64
in 0..K-1. Everything is computed in float64 on the CPU. Features that are not finite are refused
with FloatingPointError.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits
from torch import Tensor

from selector.batches import AT_ONCE
from selector.discriminants import FELT, Array, as_array, h_score, lda_correct
from selector.heads import Labelled

# Of more training images so many are drawn: 80 MB of 2,048 features each.
TRAIN_IMAGES = 5_000
NEIGHBOURS = 5

# LogME's: most iterations, the change of alpha / beta that ends them, and what keeps both finite.
_ITERATIONS, _SETTLED, _TINY = 11, 1e-3, 1e-5
# A product of fewer multiplications is faster on one thread.
_WORTH_THREADS = 20_000_000


@dataclass(frozen=True)
class Baselines:
    """Of one backbone on one task.

    Attributes:
        knn_correct: (n,) bool, test images that :func:`knn_correct` gets right.
        lda_correct: (n,) bool, those that :func:`lda_correct` gets right; None as there.
        log_me: :func:`log_me` of training images; None as there.
        h_score: :func:`h_score` of training images; None as there.
    """

    knn_correct: Tensor
    lda_correct: Tensor | None
    log_me: float | None
    h_score: float | None


def baselines(train: Labelled, test: Labelled, classes: int) -> Baselines:
    """All of them, from at most ``TRAIN_IMAGES`` of the training images.

    Which these are depends on the labels alone, so it is the same for all backbones: the same
    share of every class, and two of each where there are as many.

    Args:
        train: at least one image.
        test: at least one image.
        classes: K.

    Raises:
        FloatingPointError: some feature is NaN or infinite.
    """
    places = _drawn(train.labels.cpu(), classes)
    features, labels = train.features[places].double().cpu(), train.labels.cpu()[places]
    few = Labelled.clean(features, labels)
    small = features.numel() * min(features.shape) < _WORTH_THREADS
    with threadpool_limits(1 if small else None):
        return Baselines(
            knn_correct=knn_correct(few, test, classes),
            lda_correct=lda_correct(few, test),
            log_me=log_me(features, labels, classes),
            h_score=h_score(features, labels),
        )


def knn_correct(train: Labelled, test: Labelled, classes: int) -> Tensor:
    """Whether the nearest training images name the class of each test image: (n,) bool.

    The five nearest by cosine vote, each with one over its distance. Cosine is how features are
    usually compared where nothing is fitted (DINO: Caron et al., ICCV 2021), and needs no scale to
    be chosen for each backbone: the unit of the features and a rotation change nothing. The weights
    leave hardly a tie, which the order of the classes would have to break. Where classes have fewer
    than five images on average, only so many vote, as others would outvote an image's own class.
    Where all features are equal the answer is arbitrary.
    """
    voters = min(NEIGHBOURS, max(1, len(train.labels) // classes))
    model = KNeighborsClassifier(voters, metric="cosine", weights="distance")
    known = as_array(train.features[:])
    # scikit-learn takes norms near 1e-15 for zero. A power of two rounds nothing.
    unit = 2.0 ** -np.frexp(np.abs(known).max())[1]
    model.fit(unit * known, train.labels.cpu().numpy())
    found = [
        model.predict(unit * as_array(features)) == labels.cpu().numpy()
        for features, labels, _ in test.chunks(AT_ONCE)
    ]
    return torch.from_numpy(np.concatenate(found))


def log_me(features: Tensor, labels: Tensor, classes: int) -> float | None:
    """LogME: log evidence per image of Bayesian linear regression on the indicators of classes.

    Mean over the classes that have an image; larger is better. You, Liu, Wang and Long, ICML 2021,
    by the fixed-point iteration of arXiv 2110.10545. With fewer images than features, or dead ones,
    their code takes a determinant over too few directions (issue 23 of thuml/LogME); here it is
    over all d, so that adding dead features changes nothing. A rotation changes nothing either, but
    the unit of the features and the number of images do.

    Args:
        features: (n,d).
        labels: (n,).
        classes: K.

    Returns:
        nats; None where all features are zero.
    """
    z = as_array(features)
    wide = len(z) <= z.shape[1]
    energies, axes = np.linalg.eigh(z @ z.T if wide else z.T @ z)
    felt = energies > energies[-1] * FELT
    energies, axes = energies[felt], axes[:, felt]
    if not len(energies):
        return None
    targets = torch.nn.functional.one_hot(labels.cpu(), classes).double().numpy()
    targets = targets[:, targets.any(axis=0)]
    along = axes.T @ targets if wide else axes.T @ (z.T @ targets) / np.sqrt(energies)[:, None]
    evidences = [
        _evidence(energies, explained, len(z), members)
        for explained, members in zip(along.T**2, targets.sum(axis=0), strict=True)
    ]
    return float(np.mean(evidences)) / len(z)


def _evidence(energies: Array, explained: Array, images: int, members: float) -> float:
    """The log evidence of one target in nats, at the precisions alpha and beta it is largest at.

    Args:
        energies: (r,) > 0, squared singular values of the features.
        explained: (r,) squared coordinates of the target along their directions.
        images: n, at least r.
        members: squared norm of the target.
    """
    unexplained = max(0.0, members - explained.sum())
    alpha = beta = 1.0
    for _ in range(_ITERATIONS):
        ratio = alpha / beta
        kept, lost = energies / (energies + ratio), ratio / (energies + ratio)
        norm = (kept**2 / energies * explained).sum()
        residual = (lost**2 * explained).sum() + unexplained
        alpha = kept.sum() / (norm + _TINY)
        # Not n - sum(kept), which may round to zero.
        beta = (images - len(energies) + lost.sum()) / (residual + _TINY)
        if abs(alpha / beta - ratio) <= _SETTLED * ratio:
            break
    fit = images * np.log(beta / (2 * np.pi)) - beta * residual
    return float(fit - alpha * norm - np.log1p(beta / alpha * energies).sum()) / 2


def _drawn(labels: Tensor, classes: int) -> Tensor:
    """Which of the training images (n,) are used: index, rising."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    order = order[labels[order].argsort(stable=True)]
    counts = torch.bincount(labels, minlength=classes)
    first = counts.cumsum(0) - counts
    rank = torch.arange(len(labels)) - first[labels[order]]
    # The same share of each class, but before that one of each, and a second.
    turn = torch.where(rank < 2, rank - 2.0, (rank + 0.5) / counts[labels[order]])
    return order[turn.argsort(stable=True)[:TRAIN_IMAGES]].sort().values
