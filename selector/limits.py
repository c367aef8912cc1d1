"""Numbers of one candidate that a policy may set limits to, and whether they keep them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from selector.norms import format_threat
from selector.policy import NUMBERS, Policy
from selector.records import (
    AnyRanked,
    AnyRanking,
    CertifiedAccuracy,
    CertifiedCandidate,
    CurvePoint,
    Estimate,
    GateCheck,
    GateKind,
    RankedRegression,
    Ranking,
    ThreatRecord,
)

BLIND = "its gradients are masked: the attack was blind, so that its numbers flatter"
_SCREENED = "it was screened: no attack aimed at its head or at A∘g, so that this number flatters"
_VACUOUS = "its bound is vacuous: on validation images it says no more than class frequencies do"


@dataclass(frozen=True)
class _Measured:
    """What was measured of a candidate under one threat, of the heads that are picked for it.

    Attributes:
        numbers: by key of the policy.
        vacuous: of the bound.
        masked: the attack was blind.
        screened: no attack aimed at a head.
    """

    numbers: Mapping[str, Estimate]
    vacuous: bool
    masked: bool
    screened: bool

    def doubt(self, requirement: str) -> str:
        """Why a number may not be relied on, whatever it is; empty where it may."""
        if NUMBERS[requirement] == "clean":
            return ""
        if self.masked:
            return BLIND
        if self.screened:
            return _SCREENED
        return _VACUOUS if self.vacuous and requirement == "max_bound" else ""


def numbers(ranking: AnyRanking, e: AnyRanked, policy: Policy) -> Iterator[GateCheck]:
    """What was measured of a candidate, against the limits of a policy."""
    threat, where = ranking.threat, ""
    if policy.at_eps is not None:
        norm, eps = policy.at_eps
        threat = ThreatRecord(norm=norm or threat.norm, eps=eps)
        where = f" under {_said(threat)}"
    found = _under(ranking, e, threat)
    for requirement, kind in NUMBERS.items():
        limit: float | None = getattr(policy, requirement)
        if limit is None:
            continue
        limited = _Limit(requirement, limit, policy.by == "interval")
        if found is None:
            yield limited.unknown(kind, where, f"not measured{where}", _threats(ranking, e))
        elif requirement in found.numbers:
            doubt = found.doubt(requirement)
            yield limited.check(found.numbers[requirement], kind, where=where, doubt=doubt)
        else:
            of = "classes" if isinstance(ranking, Ranking) else "numbers"
            told = f"it has {', '.join(found.numbers)}"
            yield limited.unknown(kind, where, f"a ranking of {of}, which does not tell it", told)


def _own(e: AnyRanked) -> _Measured:
    if isinstance(e, RankedRegression):
        numbers = {
            "max_attacked_error": e.head.attacked_squared_error,
            "max_estimated_error": e.head.on_task.estimated_squared_error,
            "max_clean_error": e.head.clean_squared_error,
        }
    else:
        numbers = {
            "min_attacked_accuracy": e.head.attacked_accuracy,
            "min_estimated_accuracy": e.head.on_task.estimated_robust_accuracy,
            "min_clean_accuracy": e.head.clean_accuracy,
            "max_bound": e.bound_optimal.on_task.estimated_worst_case_loss,
        }
    return _Measured(numbers, vacuous=e.vacuous, masked=e.masked, screened=e.screened)


def _under(ranking: AnyRanking, e: AnyRanked, threat: ThreatRecord) -> _Measured | None:
    """Under one of the threats that the ranking was made with; None where it was not."""
    if _same(threat, ranking.threat):
        return _own(e)
    point = next((one for one in _points(ranking, e) if _same(threat, one.threat)), None)
    if point is None:
        return None
    numbers = {
        "min_attacked_accuracy": point.attacked_accuracy,
        "min_estimated_accuracy": point.estimated_robust_accuracy,
        "min_clean_accuracy": point.clean_accuracy,
        "max_bound": point.estimated_worst_case_loss,
    }
    return _Measured(numbers, vacuous=point.vacuous, masked=point.masked, screened=e.screened)


def _points(ranking: AnyRanking, e: AnyRanked) -> tuple[CurvePoint, ...]:
    curves = ranking.curves if isinstance(ranking, Ranking) else None
    return next((one.points for one in curves or () if one.model == e.model), ())


def _same(one: ThreatRecord, other: ThreatRecord) -> bool:
    return one.norm == other.norm and math.isclose(one.eps, other.eps)


def _threats(ranking: AnyRanking, e: AnyRanked) -> str:
    threats = [point.threat for point in _points(ranking, e)] or [ranking.threat]
    return f"measured under {', '.join(map(_said, threats))}; rank --eps takes several"


def _said(threat: ThreatRecord) -> str:
    return format_threat(threat.norm, threat.eps)


@dataclass(frozen=True)
class _Limit:
    """A minimum or a maximum, for an estimate or for the worse end of its interval."""

    requirement: str
    limit: float
    by_interval: bool

    @property
    def least(self) -> bool:
        """A minimum, not a maximum."""
        return self.requirement.startswith("min_")

    def required(self, where: str) -> str:
        """In words."""
        return f"{'at least' if self.least else 'at most'} {self.limit:g}{where}"

    def check(
        self, estimate: Estimate, kind: GateKind, *, where: str = "", doubt: str = ""
    ) -> GateCheck:
        """Compare; a doubt violates whatever the number is."""
        worse_end = estimate.low if self.least else estimate.high
        value = worse_end if self.by_interval else estimate.value
        holds = value >= self.limit if self.least else value <= self.limit
        of = ", the worse end of the 95 % interval" if self.by_interval else ""
        return GateCheck(
            requirement=self.requirement,
            kind=kind,
            holds=holds and not doubt,
            required=self.required(where),
            found=f"{value:.4g}{of}",
            value=value,
            images=estimate.n,
            reason=doubt,
        )

    def unknown(self, kind: GateKind, where: str, found: str, reason: str) -> GateCheck:
        """What the ranking does not show is violated."""
        return GateCheck(
            requirement=self.requirement,
            kind=kind,
            holds=False,
            required=self.required(where),
            found=found,
            reason=reason,
        )


def certificate(ranking: AnyRanking, e: AnyRanked, policy: Policy) -> Iterator[GateCheck]:
    """What is proven of a candidate, against the limit of a policy."""
    limit = policy.min_certified_accuracy
    if limit is None:
        return
    certified = ranking.certified if isinstance(ranking, Ranking) else None
    of_model = [one for one in certified or () if one.model == e.model]
    proven = next((one for one in of_model if isinstance(one, CertifiedCandidate)), None)
    at = None if proven is None else _at(policy.at_radius, proven)
    asked = "" if policy.at_radius is None else f" at l2 {policy.at_radius:g}"
    if proven is not None and at is not None:
        limited = _Limit("min_certified_accuracy", limit, policy.by == "interval")
        check = limited.check(at, "certified", where=asked or f" at l2 {at.radius:g}")
        larger = policy.at_radius is not None and not math.isclose(at.radius, policy.at_radius)
        implied = f" at l2 {at.radius:g}, and no less{asked}" if larger else ""
        confidence = f", each image with confidence {1 - proven.smoothing.alpha:g}"
        yield check.model_copy(update={"found": check.found + implied + confidence})
        return
    if proven is None:
        failures = [one.reason for one in of_model if not isinstance(one, CertifiedCandidate)]
        found = "nothing certified"
        usual = "rank --certify K certifies the first K, of a task of classes"
        reason = failures[0].rstrip(".") if failures else usual
    else:
        radii = ", ".join(f"{one.radius:g}" for one in proven.certified_accuracy)
        found = f"certified accuracy at l2 {radii}"
        reason = "the ranking tells it at no radius so large"
    yield GateCheck(
        requirement="min_certified_accuracy",
        kind="certified",
        holds=False,
        required=f"at least {limit:g}{asked}",
        found=found,
        reason=reason,
    )


def _at(radius: float | None, proven: CertifiedCandidate) -> CertifiedAccuracy | None:
    """The certified accuracy at a radius, or the next larger that is told: it is not higher there.

    At the first that is told if no radius is asked for.
    """
    told = proven.certified_accuracy
    if radius is None:
        return next(iter(told), None)
    enough = [one for one in told if one.radius > radius or math.isclose(one.radius, radius)]
    return min(enough, key=lambda one: one.radius, default=None)
