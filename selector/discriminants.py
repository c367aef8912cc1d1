"""What a shrunk covariance says of classes: discriminant analysis and the H-score.

Shapes: features (n,d), labels (n,) int64. Everything is computed in float64 on the CPU. Features
that are not finite are refused with FloatingPointError.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from torch import Tensor

from selector.batches import AT_ONCE
from selector.heads import Labelled

# Variance below this share of the largest is rounding.
FELT = 1e-12

Array = NDArray[np.float64]


def lda_correct(train: Labelled, test: Labelled) -> Tensor | None:
    """Whether linear discriminant analysis names the class of each test image: (n,) bool.

    The covariance of each class is shrunk as by Ledoit and Wolf (2004) after features are
    standardised in it. That is LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto") of
    scikit-learn on features of mean variance 1, at one product of matrices instead of several for
    each class. As there, a feature that is constant in a class counts as of variance 1 in what its
    covariance is shrunk to, and a class of a single image adds nothing to the covariance.

    Returns:
        None where the covariance cannot be inverted even so: all features are constant, or each
        class is a single point, or has at most two images and there are many features.
    """
    points, labels = as_array(train.features[:]), train.labels.cpu().numpy()
    origin, unit = points[0], centred(points).std()
    if unit == 0:
        return None
    points = (points - origin) / unit
    present, counts = np.unique(labels, return_counts=True)
    members = [points[labels == label] for label in present]
    roots, targets = zip(*map(_shrunk_scatter, members), strict=True)
    # One product for all classes, as a matrix (d,d) for each takes far longer.
    stacked = np.concatenate(roots)
    within = (stacked.T @ stacked + np.diag(sum(targets))) / len(points)
    means = np.stack([part.mean(axis=0) for part in members])
    weight = _solved(within, means.T)
    if weight is None:
        return None
    bias = np.log(counts / len(points)) - 0.5 * (means.T * weight).sum(axis=0)
    found = [
        present[((as_array(features) - origin) / unit @ weight + bias).argmax(axis=1)]
        == of_part.cpu().numpy()
        for features, of_part, _ in test.chunks(AT_ONCE)
    ]
    return torch.from_numpy(np.concatenate(found))


def h_score(features: Tensor, labels: Tensor) -> float | None:
    """H-score: variance between classes as a share of all variance, summed over directions.

    Bao et al., ICIP 2019, with the covariance shrunk by Ledoit and Wolf's estimate (Ibrahim,
    Ponomareva and Mazumder, ECML PKDD 2022); without that, fewer images than features score K-1
    whatever their labels. From 0 to about min(d, K-1), larger is better. The unit of the features,
    a rotation and a shift change nothing.

    Returns:
        None where the covariance cannot be inverted even so: all images lie in one point, or half
        of them in each of two.
    """
    z, names = centred(as_array(features)), labels.cpu().numpy()
    images, dimensions = z.shape
    covariance = z.T @ z / images
    share, level = shrinkage(z), covariance.trace() / dimensions
    shrunk = (1 - share) * covariance + share * level * np.eye(dimensions)
    present, counts = np.unique(names, return_counts=True)
    sums = np.stack([z[names == label].sum(axis=0) for label in present])
    between = sums.T / np.sqrt(counts)
    weight = _solved(shrunk, between)
    if weight is None:
        return None
    return float((1 - share) * (between * weight).sum() / (images - 1))


def shrinkage(z: Array) -> float:
    """Share, 0 to 1, of a multiple of the identity in the covariance of z (n,d) of mean 0.

    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices",
    Journal of Multivariate Analysis 88 (2004). The same as ``ledoit_wolf_shrinkage`` of
    scikit-learn, which takes products (d,d) also of few images.
    """
    images, dimensions = z.shape
    if dimensions == 1:
        return 0.0
    gram = z @ z.T if images < dimensions else z.T @ z
    square = (gram**2).sum() / images**2 / dimensions
    apart = square - (gram.trace() / images / dimensions) ** 2
    fourth = ((z**2).sum(axis=1) ** 2).mean() / dimensions
    noise = min((fourth - square) / images, apart)
    return float(noise / apart) if noise > 0 else 0.0


def centred(values: Array) -> Array:
    """Values (n,d) less their mean (d,): exactly zero where they are constant."""
    apart: Array = values - values[0]
    apart -= apart.mean(axis=0)
    return apart


def as_array(features: Tensor) -> Array:
    """Features (n,d) in float64.

    Raises:
        FloatingPointError: some are NaN or infinite.
    """
    values: Array = features.double().cpu().numpy()
    if not np.isfinite(values).all():
        raise FloatingPointError("features are not finite")
    return values


def _shrunk_scatter(members: Array) -> tuple[Array, Array]:
    """R (n,d) and t (d,): R^T R + diag(t) is n times the shrunk covariance of a class.

    Args:
        members: (n,d), the class's images.
    """
    z = centred(members)
    scale = z.std(axis=0)
    scale[scale == 0] = 1
    standard = z / scale
    share = shrinkage(standard)
    level = (standard**2).sum() / len(scale)
    return np.sqrt(1 - share) * z, share * level * scale**2


def _solved(matrix: Array, right: Array) -> Array | None:
    """The solution (d,k) for a symmetric positive definite matrix (d,d), None where it is not."""
    try:
        factor, lower = cho_factor(matrix, lower=True)
    except np.linalg.LinAlgError:
        return None
    # What the features before it leave of each one.
    if (factor.diagonal() ** 2 <= FELT * matrix.diagonal()).any():
        return None
    solution: Array = cho_solve((factor, lower), right)
    return solution
