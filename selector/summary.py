"""From measured tensors to the numbers of a record."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from selector import bounds, intervals
from selector.diagnostics import flags
from selector.heads import ChosenHead, Labelled, LinearHead
from selector.protocol import CLIP_IN_LOG_K, RHO
from selector.records import (
    Diagnostics,
    EstimatedRobustness,
    Findings,
    HeadReport,
    PerImage,
    Sensitivity,
)
from selector.sensitivity import Pool

_ROUNDING = 1e-4


@dataclass(frozen=True)
class Measured:
    """Everything that was measured of one candidate; tensors on its device.

    Attributes:
        test: clean features and labels of the test images.
        pool: what attacks on them attained.
        projection: A (K-1,d), orthonormal rows.
        probe: ordinary linear probe on g.
        bound_optimal: bound-optimal head on A∘g, written as a head on g.
        diagnostics: how far to trust it.
    """

    test: Labelled
    pool: Pool
    projection: Tensor
    probe: ChosenHead
    bound_optimal: ChosenHead
    diagnostics: Diagnostics


def summarise(measured: Measured, prior_loss: float) -> Findings:
    """All numbers of one candidate on the test images.

    Args:
        measured: features, what attacks attained, and the heads.
        prior_loss: nats, of the class frequencies alone on validation images; a validated bound
            that is not below is vacuous.
    """
    test, head = measured.test, measured.bound_optimal.head
    s_g = measured.pool.displacement()
    s_task = measured.pool.displacement(measured.projection)
    logits = head(test.features)
    probe = _report_head(measured, measured.probe, s_g, s_task)
    bound_optimal = _report_head(measured, measured.bound_optimal, s_g, s_task)
    robust = bounds.criterion_holds(logits, head.weight, test.labels, s_task)
    losses = bounds.worst_case_losses(logits, head.weight, test.labels, s_task)
    probe_head = measured.probe.head
    probe_logits = probe_head(test.features)
    tolerance = bounds.tolerances(probe_logits, probe_head.weight, test.labels, s_task)
    return Findings(
        probe=probe,
        bound_optimal=bound_optimal,
        vacuous=is_vacuous(bound_optimal.validation_loss, prior_loss),
        sensitivity=_sensitivity(s_g, test.features),
        task_sensitivity=_sensitivity(s_task, test.features @ measured.projection.float().T),
        diagnostics=measured.diagnostics,
        warnings=flags(measured.diagnostics, probe, test.labels),
        per_image=PerImage(
            clean_correct=_as_tuple(probe_logits.argmax(dim=1) == test.labels),
            robust_correct=_as_tuple(robust),
            attacked_correct=_as_tuple(measured.pool.always_correct(head, test.labels)),
            worst_case_loss=_as_tuple(losses),
            tolerance=_as_tuple(tolerance),
        ),
    )


def _report_head(measured: Measured, chosen: ChosenHead, s_g: Tensor, s_task: Tensor) -> HeadReport:
    head, labels, features = chosen.head, measured.test.labels, measured.test.features
    logits = head(features)
    return HeadReport(
        l2=chosen.l2,
        radius_scale=chosen.radius_scale,
        validation_loss=chosen.validation_loss,
        clean_accuracy=intervals.proportion(logits.argmax(dim=1) == labels),
        clean_loss=intervals.mean(bounds.cross_entropy(logits, labels)),
        attacked_accuracy=intervals.proportion(measured.pool.always_correct(head, labels)),
        attacked_loss=intervals.mean(measured.pool.worst_losses(head, labels)),
        on_representation=_estimate(logits, head, labels, s_g),
        on_task=_estimate(logits, head, labels, s_task),
    )


def _estimate(logits: Tensor, head: LinearHead, labels: Tensor, s: Tensor) -> EstimatedRobustness:
    """The theorems, fed with attained displacements ``s`` (n,)."""
    weight = head.weight
    return EstimatedRobustness(
        estimated_robust_accuracy=intervals.proportion(
            bounds.criterion_holds(logits, weight, labels, s)
        ),
        estimated_tolerance=intervals.mean(bounds.tolerances(logits, weight, labels, s)),
        estimated_theorem1_loss=bounds.theorem1_loss(
            bounds.cross_entropy(logits, labels),
            weight,
            s,
            clip=loss_clip(logits.shape[1]),
            rho=RHO,
        ),
        estimated_margin_loss=intervals.mean(bounds.margin_losses(logits, weight, labels, s)),
        estimated_worst_case_loss=intervals.mean(
            bounds.worst_case_losses(logits, weight, labels, s)
        ),
    )


def _sensitivity(s: Tensor, features: Tensor) -> Sensitivity:
    # Mean pairwise distance over a fixed thousand images at most: n^2 memory otherwise.
    spread = torch.nn.functional.pdist(features[:1000].double()).mean().clamp_min(1e-300)
    return Sensitivity(mean=intervals.mean(s), relative=(s.mean() / spread).item())


def is_vacuous(validation_loss: float, prior_loss: float) -> bool:
    """Whether a validated bound says no more than class frequencies do (both in nats)."""
    # The collapsed head has this very loss, up to rounding.
    return validation_loss >= prior_loss * (1 - _ROUNDING)


def loss_clip(classes: int) -> float:
    """What the loss is clipped at for Theorem 1, in nats."""
    return CLIP_IN_LOG_K * math.log(classes)


def _as_tuple(values: Tensor) -> tuple[Any, ...]:
    return tuple(values.tolist())
