"""Which head: the ordinary probe, the bound-optimal one, and the recommended one between them.

Heads are fitted along a path of the *radius scale*, the share of the displacement that they are
fitted against. Scale 0 is the ordinary probe, scale 1 the bound-optimal head of the theory; between
them lies what one backbone offers of clean against robust accuracy. Which l2 is best at a scale is
decided by what the head was fitted for, the validated worst-case loss at this scale. Which scale is
best, by what heads withstand: displacement allows class pairs more than attacks attain for them,
and would prefer heads that are too stiff.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from selector.bounds import worst_case_losses
from selector.heads import L2_GRID, Labelled, LinearHead, fit_path, rows_at_once

RADIUS_SCALES = (0.0, 0.25, 0.5, 0.75, 1.0)
HEADS = ("recommended", "probe", "bound-optimal", *(f"{scale:g}" for scale in RADIUS_SCALES))


@dataclass(frozen=True)
class ChosenHead:
    """A head, and what validation images say of it.

    Attributes:
        head: the head itself.
        l2: regularisation it was fitted with.
        radius_scale: share of the displacement it was fitted against; 0 for an ordinary probe.
        validation_loss: mean worst-case loss on the validation images, at their full displacement
            where it was fitted; of the ordinary probe the clean loss.
    """

    head: LinearHead
    l2: float
    radius_scale: float
    validation_loss: float

    def before(self, projection: Tensor) -> ChosenHead:
        """The same as a head on g, for a head on ``projection`` of it (r,d), such as A."""
        return replace(self, head=self.head.before(projection))


@dataclass(frozen=True)
class Heads:
    """The heads of a candidate, all on g; of a task of classes, or of numbers.

    Attributes:
        frontier: one for each radius scale, rising; the first is the ordinary probe.
        validated: what attacks on validation images left of each of them: the share of images that
            it kept, 0..1, or its mean squared error.
        recommended: the one of the frontier that came off best.
        bound_optimal: of the lowest validated loss bound.
        projection: A (r,d), orthonormal rows; all but the probe are heads on A∘g.
        rounded: T (r,d), coordinates of A∘g in which they were fitted; mostly other than A.
    """

    frontier: tuple[ChosenHead, ...]
    validated: tuple[float, ...]
    recommended: ChosenHead
    bound_optimal: ChosenHead
    projection: Tensor
    rounded: Tensor

    @property
    def probe(self) -> ChosenHead:
        """The ordinary linear probe on g."""
        return self.frontier[0]

    def picked(self, choice: str) -> ChosenHead:
        """The head that ``--head`` names: one of HEADS."""
        named = {
            "recommended": self.recommended,
            "probe": self.probe,
            "bound-optimal": self.bound_optimal,
        }
        of_scales = {f"{one.radius_scale:g}": one for one in self.frontier}
        return (named | of_scales)[choice]

    def ranked_and_probe(self, choice: str) -> list[LinearHead]:
        """Each once: the one that ``--head`` names, and the ordinary probe."""
        return _each_once(self.picked(choice).head, self.probe.head)

    def reported(self, choice: str) -> list[LinearHead]:
        """Each once: these two and the bound-optimal one."""
        return _each_once(*self.ranked_and_probe(choice), self.bound_optimal.head)


def _each_once(*heads: LinearHead) -> list[LinearHead]:
    """In their order; told apart by identity, as tensors have no equality."""
    return list({id(head): head for head in heads}.values())


def choose_probe(fit: Labelled, validation: Labelled, classes: int) -> ChosenHead:
    """The ordinary linear probe: multinomial logistic regression, l2 chosen by validation loss."""
    clean = Labelled.clean(fit.features, fit.labels)
    still = Labelled.clean(validation.features, validation.labels)
    return min((one for _, one in _compared(clean, still, classes, 0.0)), key=_bound)


def choose_path(
    fit: Labelled, validation: Labelled, classes: int, radius_scales: Sequence[float]
) -> tuple[tuple[ChosenHead, ...], ChosenHead]:
    """The best head of each radius scale, and of all the one of the lowest loss bound.

    "Best" is the smallest mean worst-case loss on validation images, at the share of their
    displacement that the head was fitted against.

    Args:
        fit: images to fit on, with how far they may move.
        validation: the same of other images.
        classes: K.
        radius_scales: above 0, at most 1.
    """
    grids = [_compared(fit, validation, classes, scale) for scale in radius_scales]
    path = tuple(min(grid, key=lambda one: one[0])[1] for grid in grids)
    return path, min((one for grid in grids for _, one in grid), key=_bound)


def _bound(chosen: ChosenHead) -> float:
    return chosen.validation_loss


def _compared(
    fit: Labelled, validation: Labelled, classes: int, scale: float
) -> list[tuple[float, ChosenHead]]:
    """For falling l2 the head of a radius scale, with its validated loss at this scale.

    Until that rises: what is regularised less would overfit more, and takes longest to fit.
    """
    scaled = replace(fit, displacement=fit.displacement * scale)
    found: list[tuple[float, ChosenHead]] = []
    for l2, head in zip(L2_GRID, fit_path(scaled, classes), strict=True):
        own, full = _losses(head, validation, (scale, 1.0))
        found.append((own, ChosenHead(head, l2, scale, full)))
        if own > min(loss for loss, _ in found):
            break
    return found


def _losses(head: LinearHead, data: Labelled, scales: Sequence[float]) -> list[float]:
    """Mean worst-case losses at several shares of the displacement."""
    totals = [0.0] * len(scales)
    for features, labels, displacement in data.chunks(rows_at_once(data, len(head.bias))):
        logits = head(features)
        for place, scale in enumerate(scales):
            losses = worst_case_losses(logits, head.weight, labels, scale * displacement)
            totals[place] += losses.sum().item()
    return [total / len(data.labels) for total in totals]
