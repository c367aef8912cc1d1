"""Numbers of one candidate that a policy may set limits to, and whether they keep them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from selector.norms import format_threat
from selector.policy import Policy
from selector.records import (
    CertifiedAccuracy,
    CertifiedCandidate,
    CurvePoint,
    Estimate,
    GateCheck,
    GateKind,
    RankedEvaluation,
    Ranking,
    ThreatRecord,
)

BLIND = "its gradients are masked: the attack was blind, so that its numbers flatter"
_SCREENED = "it was screened: no attack aimed at its head or at A∘g, so that this number flatters"
_VACUOUS = "its bound is vacuous: on validation images it says no more than class frequencies do"


@dataclass(frozen=True)
class _Withstood:
    """What a candidate withstands under one threat: of the head that is picked for it."""

    attacked: Estimate
    estimated: Estimate
    clean: Estimate
    bound: Estimate
    vacuous: bool
    masked: bool
    screened: bool


@dataclass(frozen=True)
class _Number:
    """A number of a candidate that a policy may set a limit to.

    Attributes:
        requirement: key of the policy.
        kind: what the number promises.
        of: where it stands.
        doubt: why it may not be relied on, whatever it is; empty where it may.
    """

    requirement: str
    kind: GateKind
    of: Callable[[_Withstood], Estimate]
    doubt: Callable[[_Withstood], str]


def _blind(e: _Withstood) -> str:
    if e.masked:
        return BLIND
    return _SCREENED if e.screened else ""


_NUMBERS = (
    _Number("min_attacked_accuracy", "attacked", lambda e: e.attacked, _blind),
    _Number("min_estimated_accuracy", "estimated", lambda e: e.estimated, _blind),
    _Number("min_clean_accuracy", "clean", lambda e: e.clean, lambda e: ""),
    _Number(
        "max_bound",
        "estimated",
        lambda e: e.bound,
        lambda e: _blind(e) or (_VACUOUS if e.vacuous else ""),
    ),
)


def numbers(ranking: Ranking, e: RankedEvaluation, policy: Policy) -> Iterator[GateCheck]:
    """What was measured of a candidate, against the limits of a policy."""
    found: _Withstood | None = _own(e)
    where = ""
    if policy.at_eps is not None:
        norm, eps = policy.at_eps
        threat = ThreatRecord(norm=norm or ranking.threat.norm, eps=eps)
        found, where = _under(ranking, e, threat), f" under {_said(threat)}"
    for number in _NUMBERS:
        limit: float | None = getattr(policy, number.requirement)
        if limit is None:
            continue
        limited = _Limit(number.requirement, limit, policy.by == "interval")
        if found is None:
            yield limited.unknown(number.kind, where, _measured(ranking, e))
        else:
            doubt = number.doubt(found)
            yield limited.check(number.of(found), number.kind, where=where, doubt=doubt)


def _own(e: RankedEvaluation) -> _Withstood:
    return _Withstood(
        attacked=e.head.attacked_accuracy,
        estimated=e.head.on_task.estimated_robust_accuracy,
        clean=e.head.clean_accuracy,
        bound=e.bound_optimal.on_task.estimated_worst_case_loss,
        vacuous=e.vacuous,
        masked=e.masked,
        screened=e.screened,
    )


def _under(ranking: Ranking, e: RankedEvaluation, threat: ThreatRecord) -> _Withstood | None:
    """Under one of the threats that the ranking was made with; None where it was not."""
    if _same(threat, ranking.threat):
        return _own(e)
    point = next((one for one in _points(ranking, e) if _same(threat, one.threat)), None)
    if point is None:
        return None
    return _Withstood(
        attacked=point.attacked_accuracy,
        estimated=point.estimated_robust_accuracy,
        clean=point.clean_accuracy,
        bound=point.estimated_worst_case_loss,
        vacuous=point.vacuous,
        masked=point.masked,
        screened=e.screened,
    )


def _points(ranking: Ranking, e: RankedEvaluation) -> tuple[CurvePoint, ...]:
    return next((one.points for one in ranking.curves or () if one.model == e.model), ())


def _same(one: ThreatRecord, other: ThreatRecord) -> bool:
    return one.norm == other.norm and math.isclose(one.eps, other.eps)


def _measured(ranking: Ranking, e: RankedEvaluation) -> str:
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

    def unknown(self, kind: GateKind, where: str, reason: str) -> GateCheck:
        """What the ranking does not show is violated."""
        return GateCheck(
            requirement=self.requirement,
            kind=kind,
            holds=False,
            required=self.required(where),
            found=f"not measured{where}",
            reason=reason,
        )


def certificate(ranking: Ranking, e: RankedEvaluation, policy: Policy) -> Iterator[GateCheck]:
    """What is proven of a candidate, against the limit of a policy."""
    limit = policy.min_certified_accuracy
    if limit is None:
        return
    of_model = [one for one in ranking.certified or () if one.model == e.model]
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
        reason = failures[0].rstrip(".") if failures else "rank --certify K certifies the first K"
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
