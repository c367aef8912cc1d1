"""Which head: ordinary ridge, the bound-optimal one, and the recommended one between them.

As for classes, heads lie along a path of the *radius scale*, the share of the displacement that
they are fitted against: 0 is ordinary ridge on g, the others are heads on A∘g. Recommended is the
one of the lowest attacked squared error on validation images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from selector.choosing import RADIUS_SCALES, ChosenHead
from selector.heads import LinearHead
from selector.regression.bounds import squared_errors, worst_squared
from selector.regression.heads import RIDGE_GRID, Examples, fit_bounded, residuals, ridge_path

# A∘g has no more dimensions than there are columns; the displacement regularises.
_L2 = 1e-6


def choose_ridge(fit: Examples, validation: Examples) -> ChosenHead:
    """Ordinary ridge, l2 chosen by squared error on validation images, where nothing moves."""
    still = replace(validation, displacement=validation.displacement * 0)
    path = zip(RIDGE_GRID, ridge_path(fit), strict=True)
    found = [ChosenHead(head, l2, 0.0, mean_bound(head, still)) for l2, head in path]
    return min(found, key=lambda one: one.validation_loss)


def choose_path(
    fit: Examples, validation: Examples, scales: Sequence[float] = RADIUS_SCALES[1:]
) -> tuple[ChosenHead, ...]:
    """The head of each radius scale, above 0, with its bound on validation images.

    Args:
        fit: images to fit on, few dimensions, with how far they may move.
        validation: the same of other images.
        scales: shares of the displacement to fit against.
    """
    heads = (
        (scale, fit_bounded(replace(fit, displacement=fit.displacement * scale), _L2))
        for scale in scales
    )
    return tuple(
        ChosenHead(head, _L2, scale, mean_bound(head, validation)) for scale, head in heads
    )


def mean_bound(head: LinearHead, data: Examples) -> float:
    """Mean worst-case squared error; where nothing moves, the mean squared error."""
    total = 0.0
    for features, targets, displacement in data.chunks():
        residual = residuals(head, features, targets)
        total += worst_squared(residual, head.weight, displacement).sum().item()
    return total / len(data.targets)


def knowing_only_the_mean(targets: Tensor) -> float:
    """Mean squared error, on standardised targets (n,q), of naming the mean of train, which is 0.

    1.0 on the training images, and so about 1.0 on others.
    """
    return squared_errors(targets).mean().item()
