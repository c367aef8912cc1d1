"""Features of images around the centres of their classes, and what heads on them lose."""

from __future__ import annotations

import numpy as np
import torch
from conftest import normal

from selector.heads import Labelled, LinearHead

CLASSES = 3


def clusters(
    images: int = 60, dimensions: int = 4, spread: float = 1.0, seed: int = 0, reach: float = 0.0
) -> Labelled:
    """Features around one centre per class, far from the origin and not of unit scale.

    Args:
        spread: of the features around their centres.
        reach: mean displacement; images differ.
    """
    labels = torch.arange(images) % CLASSES
    # The centres do not depend on the seed, so that data sets of other seeds are of the same task.
    centres = 2 * normal(CLASSES, dimensions, seed=100)
    features = 5 + 3 * (centres[labels] + spread * normal(images, dimensions, seed=seed))
    displacement = reach * normal(images, seed=seed + 1).abs()
    return Labelled(features, labels, displacement)


def scale_of(data: Labelled) -> float:
    """Root mean square norm of the centred features."""
    centred = data.features.numpy() - data.features.numpy().mean(axis=0)
    return float(np.sqrt((centred**2).sum(axis=1).mean()))


def worst_case(weight: np.ndarray, bias: np.ndarray, data: Labelled) -> np.ndarray:
    """log(1 + sum_{j != y} exp(m_j + s c_j)) per image, by numpy."""
    logits, labels = data.features.numpy() @ weight.T + bias, data.labels.numpy()
    margins = logits - np.take_along_axis(logits, labels[:, None], axis=1)
    c = np.linalg.norm(weight[:, None] - weight[None], axis=2)[labels]
    return np.logaddexp.reduce(margins + data.displacement.numpy()[:, None] * c, axis=1)


def mean_worst_case(head: LinearHead, data: Labelled) -> float:
    return worst_case(head.weight.numpy(), head.bias.numpy(), data).mean()


def head_of(classes: int, dimensions: int, seed: int = 0) -> LinearHead:
    return LinearHead(normal(classes, dimensions, seed=seed), normal(classes, seed=seed + 1))
