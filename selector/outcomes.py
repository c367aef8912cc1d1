"""What came of each test image: numbers read off its features and the pool, which then can go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Generic, TypeVar

import torch
from torch import Tensor

from selector import bounds
from selector.choosing import Heads
from selector.diagnostics import Signs
from selector.heads import LinearHead
from selector.sensitivity import Pool
from selector.shapes import Extent, Shapes

_T = TypeVar("_T")


@dataclass(frozen=True)
class Estimates:
    """The theorems per image (n,), fed with what attacks attained.

    Attributes:
        displacement: of it, >= 0.
        robust: bool, the criterion holds.
        tolerance: share of what is granted to class pairs that the decision survives, 0..1.
        smooth: a smooth count in place of the criterion, 0..1.
        margin_loss: nats.
        worst_case_loss: nats.
    """

    displacement: Tensor
    robust: Tensor
    tolerance: Tensor
    smooth: Tensor
    margin_loss: Tensor
    worst_case_loss: Tensor


@dataclass(frozen=True)
class HeadOutcomes:
    """Of one head, per image (n,).

    Attributes:
        clean_correct: bool.
        clean_loss: cross-entropy in nats.
        attacked_correct: bool, at every point of the pool.
        attacked_loss: the largest over the pool.
        attacked_tolerance: share, 0..1, of what attacks attained for its class pairs that the
            decision survives.
        on_representation: fed with displacement on g.
        on_task: fed with displacement on A∘g, and with length in the shapes of the images.
    """

    clean_correct: Tensor
    clean_loss: Tensor
    attacked_correct: Tensor
    attacked_loss: Tensor
    attacked_tolerance: Tensor
    on_representation: Estimates
    on_task: Estimates


@dataclass(frozen=True)
class Outcomes(Generic[_T]):
    """Of all that is measured on test images, per image; of each head a record of some kind.

    Attributes:
        picked: of the head that candidates are ranked by.
        probe: of the ordinary probe.
        bound_optimal: of that head.
        frontier: of the head of each radius scale.
        signs: how the attack on g went.
    """

    picked: _T
    probe: _T
    bound_optimal: _T
    frontier: tuple[_T, ...]
    signs: Signs


def of_heads(
    of: Callable[[LinearHead], _T], heads: Heads, picked: LinearHead, signs: Signs
) -> Outcomes[_T]:
    """What ``of`` says of each head; most are of the frontier, and it is asked once for each."""
    known: dict[int, _T] = {}

    def once(head: LinearHead) -> _T:
        if id(head) not in known:
            known[id(head)] = of(head)
        return known[id(head)]

    return Outcomes(
        picked=once(picked),
        probe=once(heads.probe.head),
        bound_optimal=once(heads.bound_optimal.head),
        frontier=tuple(once(one.head) for one in heads.frontier),
        signs=signs,
    )


def outcomes(
    pool: Pool,
    heads: Heads,
    picked: LinearHead,
    labels: Tensor,
    signs: Signs,
    shapes: Shapes | None = None,
) -> Outcomes[HeadOutcomes]:
    """Read them off.

    Args:
        pool: what attacks attained on n images.
        heads: of the candidate.
        picked: the one of them that candidates are ranked by.
        labels: (n,) int64.
        signs: how the attack went.
        shapes: of the images, on A∘g.
    """
    on_g, on_task = pool.displacement(), Extent.of(pool, heads.projection, shapes)

    def of(head: LinearHead) -> HeadOutcomes:
        scores = pool.scores(head)
        logits = scores.logits[0]
        return HeadOutcomes(
            clean_correct=logits.argmax(dim=1) == labels,
            clean_loss=bounds.cross_entropy(logits, labels),
            attacked_correct=scores.always_correct(labels),
            attacked_loss=scores.worst_losses(labels),
            attacked_tolerance=scores.tolerances(labels),
            on_representation=estimates(
                logits, labels, on_g, bounds.pair_reach(head.weight, labels, on_g)
            ),
            on_task=estimates(logits, labels, on_task.displacement, on_task.reach(head, labels)),
        )

    return of_heads(of, heads, picked, signs)


def estimates(logits: Tensor, labels: Tensor, displacement: Tensor, reach: Tensor) -> Estimates:
    """The theorems for logits (n,K), where class pairs have at most a ``reach`` (n,K)."""
    given = (logits, labels, reach)
    return Estimates(
        displacement=displacement,
        robust=bounds.pair_criterion_holds(*given),
        tolerance=bounds.pair_tolerances(*given),
        smooth=bounds.pair_smooth_robustness(*given),
        margin_loss=bounds.pair_margin_losses(*given),
        worst_case_loss=bounds.pair_worst_case_losses(*given),
    )


def joined(parts: Sequence[_T]) -> _T:
    """Numbers of all images from those of some, at least one part, in their order."""
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(parts)  # type: ignore[return-value, arg-type]
    if isinstance(first, tuple):
        return tuple(map(joined, zip(*parts, strict=True)))  # type: ignore[return-value]
    names = [field.name for field in fields(first)]  # type: ignore[arg-type]
    return type(first)(**{name: joined([getattr(part, name) for part in parts]) for name in names})
