"""The numbers of one candidate that are worth publishing, each with what it promises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from selector.errors import UsageError, printable
from selector.norms import format_threat
from selector.records import (
    AnyRanked,
    AnyRanking,
    CertifiedCandidate,
    CurvePoint,
    Estimate,
    ProtocolRecord,
    RankedEvaluation,
    RankedRegression,
    Ranking,
    RegressionRanking,
    ThreatRecord,
)

Kind = Literal["attacked", "estimated", "certified", "clean"]
Fact = str | int | float | bool


@dataclass(frozen=True)
class Metric:
    """One number.

    Attributes:
        type: a stable word for programs, which says the kind as well.
        kind: what the number promises.
        what: the same in words, without the threat.
        estimate: accuracies are 0..1, losses in nats, errors in variances of the training images.
        threat: that it is about; of a clean accuracy: that its head was chosen for.
        head: of which it is.
        protocol: how it was measured, and its seed.
        details: what a reader needs to weigh it.
        warnings: codes of what to read with care, under this very threat.
    """

    type: str
    kind: Kind
    what: str
    estimate: Estimate
    threat: ThreatRecord
    head: str
    protocol: Mapping[str, Fact]
    details: Mapping[str, Fact]
    warnings: tuple[str, ...] = ()

    @property
    def share(self) -> bool:
        """Whether it is a share of images, 0..1."""
        return self.type.endswith("accuracy")

    @property
    def name(self) -> str:
        """For people: what it is, under which threat, on how many images."""
        threat = format_threat(self.threat.norm, self.threat.eps)
        images = f"{self.estimate.n} images"
        if self.kind == "clean":
            return f"{self.what}, {images} (chosen for {threat})"
        return f"{self.what}, {threat}, {images}"


def require_sound(e: AnyRanked) -> None:
    """Refuse a candidate whose numbers say more for the attack's blindness than for it.

    Raises:
        UsageError: its gradients are masked, or no attack aimed at its head.
    """
    if e.screened:
        raise UsageError(
            printable(
                f"{e.name} must not be published: it was screened, so that no attack aimed at"
            )
            + " its head and its numbers flatter.",
            hint="Rank it with --preset standard.",
        )
    if e.masked:
        raise UsageError(
            printable(f"{e.name} must not be published: its gradients are masked, so that the")
            + " attack was blind and its numbers flatter.",
            hint="`selector explain` says how it was noticed; only an attack that is made for this"
            " backbone would show what it withstands.",
        )


def metrics(ranking: AnyRanking, e: AnyRanked) -> tuple[Metric, ...]:
    """All of a candidate: under the ranking's own threat first, certificates last.

    Under those other threats of its curve where the attack was blind there is none.
    """
    if isinstance(ranking, Ranking):
        assert isinstance(e, RankedEvaluation)
        return _of_classes(ranking, e)
    assert isinstance(e, RankedRegression)
    return tuple(_of_numbers(ranking, e))


def _of_classes(ranking: Ranking, e: RankedEvaluation) -> tuple[Metric, ...]:
    curve = next((one for one in ranking.curves or () if one.model == e.model), None)
    others = (one for one in (curve.points if curve else ()) if one.threat != ranking.threat)
    points = [_own(ranking, e), *(point for point in others if not point.masked)]
    measured = [metric for point in points for metric in _under_attack(ranking, point)]
    return (*measured, *_certified(ranking, e))


def _own(ranking: Ranking, e: RankedEvaluation) -> CurvePoint:
    """What a candidate showed under the ranking's own threat."""
    head, bound = e.head, e.bound_optimal.on_task.estimated_worst_case_loss
    return CurvePoint(
        threat=ranking.threat,
        rank=e.rank,
        rank_interval=e.rank_interval,
        masked=e.masked,
        radius_scale=head.radius_scale,
        clean_accuracy=head.clean_accuracy,
        attacked_accuracy=head.attacked_accuracy,
        estimated_robust_accuracy=head.on_task.estimated_robust_accuracy,
        estimated_worst_case_loss=bound,
        vacuous=e.vacuous,
        warnings=e.warnings,
    )


def _under_attack(ranking: Ranking, point: CurvePoint) -> Iterator[Metric]:
    head, task = ranking.protocol.head, ranking.task
    chance = {"constant_answer": task.constant_accuracy}
    of_point = partial(
        Metric,
        threat=point.threat,
        protocol=_protocol(ranking.protocol),
        warnings=tuple(flag.code for flag in point.warnings),
    )
    yield of_point(
        type="attacked_accuracy",
        kind="attacked",
        what="Attacked accuracy (upper estimate)",
        estimate=point.attacked_accuracy,
        head=head,
        details=chance,
    )
    yield of_point(
        type="estimated_robust_accuracy",
        kind="estimated",
        what="Estimated robust accuracy (criterion on A∘g)",
        estimate=point.estimated_robust_accuracy,
        head=head,
        details=chance,
    )
    yield of_point(
        type="estimated_worst_case_loss",
        kind="estimated",
        what="Estimated worst-case loss bound (nats, A∘g)",
        estimate=point.estimated_worst_case_loss,
        head="bound-optimal",
        details={"class_frequencies_alone": task.prior_entropy, "vacuous": point.vacuous},
    )
    yield of_point(
        type="clean_accuracy",
        kind="clean",
        what="Clean accuracy of the linear head",
        estimate=point.clean_accuracy,
        head=head,
        details=chance,
    )


def _of_numbers(ranking: RegressionRanking, e: RankedRegression) -> Iterator[Metric]:
    of_head = partial(
        Metric,
        threat=ranking.threat,
        head=ranking.protocol.head,
        protocol=_protocol(ranking.protocol),
        warnings=tuple(flag.code for flag in e.warnings),
    )
    asked: dict[str, Fact] = {
        "target_columns": ", ".join(printable(column.name) for column in ranking.task.columns),
        "knowing_only_the_mean": ranking.task.mean_error,
    }
    yield of_head(
        type="attacked_squared_error",
        kind="attacked",
        what="Attacked squared error (lower estimate)",
        estimate=e.head.attacked_squared_error,
        details=asked,
    )
    yield of_head(
        type="estimated_squared_error",
        kind="estimated",
        what="Estimated squared error bound (A∘g)",
        estimate=e.head.on_task.estimated_squared_error,
        details=asked | {"vacuous": e.vacuous},
    )
    yield of_head(
        type="clean_squared_error",
        kind="clean",
        what="Clean squared error of the linear head",
        estimate=e.head.clean_squared_error,
        details=asked,
    )


def _protocol(protocol: ProtocolRecord) -> dict[str, Fact]:
    return {
        "version": protocol.version,
        "preset": protocol.preset,
        "attack": protocol.attack,
        "restarts": protocol.restarts,
        "steps": protocol.steps,
        "seed": protocol.seed,
    }


def _certified(ranking: Ranking, e: RankedEvaluation) -> Iterator[Metric]:
    for one in ranking.certified or ():
        if not isinstance(one, CertifiedCandidate) or one.model != e.model:
            continue
        smoothing = one.smoothing
        how: dict[str, Fact] = {
            "version": ranking.protocol.version,
            "smoothing_sigma": smoothing.sigma,
            "draws": smoothing.draws,
            "selection_draws": smoothing.selection_draws,
            "training_draws": smoothing.training_draws,
            "seed": smoothing.seed,
        }
        confidence = 1 - smoothing.alpha
        for share in one.certified_accuracy:
            yield Metric(
                "certified_accuracy",
                "certified",
                f"Certified accuracy (proven, {100 * confidence:g} % confidence each image)",
                Estimate(value=share.value, low=share.low, high=share.high, n=share.n),
                ThreatRecord(norm="l2", eps=share.radius),
                "smoothed",
                how,
                {"radius": share.radius, "confidence": confidence},
            )
