"""From what came of each image to the numbers of a record."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from selector import bounds, intervals
from selector.baselines import Baselines
from selector.choosing import ChosenHead, Heads
from selector.diagnostics import diagnose, flags
from selector.heads import Labelled, LinearHead
from selector.outcomes import Estimates, HeadOutcomes, Outcomes
from selector.protocol import CLIP_IN_LOG_K, RHO
from selector.records import (
    BaselineScores,
    EstimatedRobustness,
    Findings,
    Flag,
    FrontierPoint,
    HeadReport,
    PerImage,
    Sensitivity,
)

_ROUNDING = 1e-4
# Images whose pairwise distances are taken: there are n^2 of them.
FEW = 1000


@dataclass(frozen=True)
class Measured:
    """Everything that was measured of one candidate.

    Attributes:
        test: clean features and labels of the test images.
        outcomes: what came of each of them.
        heads: the candidate's.
        picked: the one of them that candidates are ranked by.
        baselines: what others rank by.
        flags: reasons to read all of it with care.
    """

    test: Labelled
    outcomes: Outcomes[HeadOutcomes]
    heads: Heads
    picked: ChosenHead
    baselines: Baselines
    flags: tuple[Flag, ...] = ()


def summarise(measured: Measured, prior_loss: float) -> Findings:
    """All numbers of one candidate on the test images.

    Args:
        measured: features, what came of each image, and the heads.
        prior_loss: nats, of the class frequencies alone on validation images; a validated bound
            that is not below is vacuous.
    """
    test, heads, found = measured.test, measured.heads, measured.outcomes
    probe = _report_head(heads.probe, found.probe)
    bound_optimal = _report_head(heads.bound_optimal, found.bound_optimal)
    diagnostics = diagnose(found.signs, test.features)
    few = test.features[:FEW].to(test.labels.device)
    frontier = zip(heads.frontier, heads.validated, found.frontier, strict=True)
    return Findings(
        head=_report_head(measured.picked, found.picked),
        probe=probe,
        bound_optimal=bound_optimal,
        frontier=tuple(_point(*one) for one in frontier),
        vacuous=is_vacuous(bound_optimal.validation_loss, prior_loss),
        baselines=baseline_scores(measured.baselines),
        sensitivity=relative_sensitivity(found.probe.on_representation.displacement, few),
        task_sensitivity=relative_sensitivity(
            found.probe.on_task.displacement, few @ heads.projection.float().T
        ),
        diagnostics=diagnostics,
        warnings=(*measured.flags, *flags(diagnostics, probe, test.labels)),
        per_image=PerImage(
            probe_correct=_as_tuple(found.probe.clean_correct),
            clean_correct=_as_tuple(found.picked.clean_correct),
            attacked_correct=_as_tuple(found.picked.attacked_correct),
            attacked_tolerance=_as_tuple(found.picked.attacked_tolerance),
            robust_correct=_as_tuple(found.picked.on_task.robust),
            smooth=_as_tuple(found.picked.on_task.smooth),
            worst_case_loss=_as_tuple(found.bound_optimal.on_task.worst_case_loss),
            knn_correct=_as_tuple(measured.baselines.knn_correct),
            lda_correct=_optional(measured.baselines.lda_correct),
        ),
    )


def baseline_scores(found: Baselines) -> BaselineScores:
    """What others rank by, with intervals where it is a share of test images."""
    lda = found.lda_correct
    return BaselineScores(
        knn_accuracy=intervals.proportion(found.knn_correct),
        lda_accuracy=None if lda is None else intervals.proportion(lda),
        log_me=found.log_me,
        h_score=found.h_score,
    )


def _report_head(chosen: ChosenHead, found: HeadOutcomes) -> HeadReport:
    return HeadReport(
        l2=chosen.l2,
        radius_scale=chosen.radius_scale,
        steepness=bounds.steepness(chosen.head.weight),
        validation_loss=chosen.validation_loss,
        clean_accuracy=intervals.proportion(found.clean_correct),
        clean_loss=intervals.mean(found.clean_loss),
        attacked_accuracy=intervals.proportion(found.attacked_correct),
        attacked_loss=intervals.mean(found.attacked_loss),
        attacked_tolerance=intervals.mean(found.attacked_tolerance),
        on_representation=_estimate(chosen.head, found.clean_loss, found.on_representation),
        on_task=_estimate(chosen.head, found.clean_loss, found.on_task),
    )


def _point(chosen: ChosenHead, withstood: float, found: HeadOutcomes) -> FrontierPoint:
    return FrontierPoint(
        radius_scale=chosen.radius_scale,
        l2=chosen.l2,
        validation_attacked_accuracy=withstood,
        clean_accuracy=intervals.proportion(found.clean_correct),
        estimated_robust_accuracy=intervals.proportion(found.on_task.robust),
        attacked_accuracy=intervals.proportion(found.attacked_correct),
        estimated_worst_case_loss=intervals.mean(found.on_task.worst_case_loss),
    )


def _estimate(head: LinearHead, clean_loss: Tensor, found: Estimates) -> EstimatedRobustness:
    return EstimatedRobustness(
        displacement=intervals.mean(found.displacement),
        estimated_robust_accuracy=intervals.proportion(found.robust),
        estimated_tolerance=intervals.mean(found.tolerance),
        estimated_smooth_accuracy=intervals.mean(found.smooth),
        estimated_theorem1_loss=bounds.theorem1_loss(
            clean_loss,
            head.weight,
            found.displacement,
            clip=loss_clip(len(head.bias)),
            rho=RHO,
        ),
        estimated_margin_loss=intervals.mean(found.margin_loss),
        estimated_worst_case_loss=intervals.mean(found.worst_case_loss),
    )


def relative_sensitivity(s: Tensor, features: Tensor) -> Sensitivity:
    """Mean of ``s`` (n,), absolute and in units of the distance between features (b,d)."""
    spread = torch.nn.functional.pdist(features.double()).mean().clamp_min(1e-300)
    return Sensitivity(mean=intervals.mean(s), relative=(s.mean() / spread).item())


def is_vacuous(validation_loss: float, prior_loss: float) -> bool:
    """Whether a validated bound says no more than class frequencies do (both in nats)."""
    # The collapsed head has this very loss, up to rounding.
    return validation_loss >= prior_loss * (1 - _ROUNDING)


def loss_clip(classes: int) -> float:
    """What the loss is clipped at for Theorem 1, in nats."""
    return CLIP_IN_LOG_K * math.log(classes)


def _optional(values: Tensor | None) -> tuple[Any, ...] | None:
    return None if values is None else _as_tuple(values)


def _as_tuple(values: Tensor) -> tuple[Any, ...]:
    return tuple(values.tolist())
