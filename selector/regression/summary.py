"""From what came of each image to the numbers of a record."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from selector import intervals
from selector.choosing import ChosenHead, Heads
from selector.diagnostics import attack_flags, diagnose
from selector.outcomes import Outcomes
from selector.protocol import RHO
from selector.records import (
    Diagnostics,
    EstimatedErrors,
    Flag,
    RegressionFindings,
    RegressionHead,
    RegressionPerImage,
    RegressionPoint,
)
from selector.regression.bounds import absolute_errors, squared_errors, theorem1_error
from selector.regression.choosing import knowing_only_the_mean
from selector.regression.heads import Examples
from selector.regression.outcomes import Estimates, HeadOutcomes
from selector.regression.task import Targets
from selector.summary import FEW, is_vacuous, relative_sensitivity

# Theorem 1 needs a range of the error that is known in advance: the absolute error is clipped at
# this many standard deviations; knowing only the mean, it is at most 1 on average.
ERROR_CLIP = 2.0


@dataclass(frozen=True)
class Measured:
    """Everything that was measured of one candidate.

    Attributes:
        test: clean features and targets of the test images.
        outcomes: what came of each of them.
        heads: the candidate's.
        picked: the one of them that candidates are ranked by.
    """

    test: Examples
    outcomes: Outcomes[HeadOutcomes]
    heads: Heads
    picked: ChosenHead


def summarise(measured: Measured, targets: Targets) -> RegressionFindings:
    """All numbers of one candidate on the test images."""
    test, heads, found = measured.test, measured.heads, measured.outcomes
    probe = _report_head(heads.probe, found.probe)
    diagnostics = diagnose(found.signs, test.features)
    few = test.features[:FEW].to(test.targets.device)
    points = zip(heads.frontier, heads.validated, found.frontier, strict=True)
    return RegressionFindings(
        head=_report_head(measured.picked, found.picked),
        probe=probe,
        bound_optimal=_report_head(heads.bound_optimal, found.bound_optimal),
        frontier=tuple(_point(*one) for one in points),
        vacuous=is_vacuous(
            heads.bound_optimal.validation_loss, knowing_only_the_mean(targets.validation)
        ),
        sensitivity=relative_sensitivity(found.probe.on_representation.displacement, few),
        task_sensitivity=relative_sensitivity(
            found.probe.on_task.displacement, few @ heads.projection.to(few).T
        ),
        diagnostics=diagnostics,
        warnings=_flags(diagnostics, probe, knowing_only_the_mean(targets.test)),
        per_image=RegressionPerImage(
            probe_clean=_as_tuple(squared_errors(found.probe.residual)),
            clean=_as_tuple(squared_errors(found.picked.residual)),
            attacked=_as_tuple(found.picked.attacked_squared),
            bound=_as_tuple(found.picked.on_task.squared),
        ),
    )


def _report_head(chosen: ChosenHead, found: HeadOutcomes) -> RegressionHead:
    return RegressionHead(
        l2=chosen.l2,
        radius_scale=chosen.radius_scale,
        validation_bound=chosen.validation_loss,
        clean_squared_error=intervals.mean(squared_errors(found.residual)),
        clean_absolute_error=intervals.mean(absolute_errors(found.residual)),
        clean_by_column=_as_tuple(found.residual.square().mean(dim=0)),
        attacked_squared_error=intervals.mean(found.attacked_squared),
        attacked_absolute_error=intervals.mean(found.attacked_absolute),
        on_representation=_estimate(chosen, found.residual, found.on_representation),
        on_task=_estimate(chosen, found.residual, found.on_task),
    )


def _estimate(chosen: ChosenHead, residual: Tensor, found: Estimates) -> EstimatedErrors:
    weight = chosen.head.weight
    return EstimatedErrors(
        estimated_squared_error=intervals.mean(found.squared),
        estimated_absolute_error=intervals.mean(found.absolute),
        estimated_theorem1_error=theorem1_error(
            residual, weight, found.displacement, clip=ERROR_CLIP, rho=RHO
        ),
    )


def _point(chosen: ChosenHead, attacked: float, found: HeadOutcomes) -> RegressionPoint:
    return RegressionPoint(
        radius_scale=chosen.radius_scale,
        l2=chosen.l2,
        validation_attacked_error=attacked,
        clean_squared_error=intervals.mean(squared_errors(found.residual)),
        attacked_squared_error=intervals.mean(found.attacked_squared),
        estimated_squared_error=intervals.mean(found.on_task.squared),
    )


def _flags(diagnostics: Diagnostics, probe: RegressionHead, mean_error: float) -> tuple[Flag, ...]:
    """Reasons to read a row with care; ``mean_error`` is that of knowing only the mean."""
    found = attack_flags(diagnostics, "raise the errors")
    clean = probe.clean_squared_error
    if clean.high >= mean_error:
        message = (
            f"the squared error of ordinary ridge, {clean.value:.3f}, cannot be told from that of"
            f" knowing only the mean, {mean_error:.3f}"
        )
        found = (*found, Flag(code="at_chance", message=message))
    return found


def _as_tuple(values: Tensor) -> tuple[float, ...]:
    return tuple(values.tolist())
