"""Numbers of one candidate that a policy may set limits to, and whether they keep them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from selector.policy import Policy
from selector.records import (
    CertifiedAccuracy,
    CertifiedCandidate,
    Estimate,
    GateCheck,
    GateKind,
    RankedEvaluation,
    Ranking,
)

BLIND = "its gradients are masked: the attack was blind, so that its numbers flatter"
_SCREENED = "it was screened: no attack aimed at its head or at A∘g, so that this number flatters"
_VACUOUS = "its bound is vacuous: on validation images it says no more than class frequencies do"


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
    of: Callable[[RankedEvaluation], Estimate]
    doubt: Callable[[RankedEvaluation], str]


def _blind(e: RankedEvaluation) -> str:
    if e.masked:
        return BLIND
    return _SCREENED if e.screened else ""


_NUMBERS = (
    _Number("min_attacked_accuracy", "attacked", lambda e: e.head.attacked_accuracy, _blind),
    _Number(
        "min_estimated_accuracy",
        "estimated",
        lambda e: e.head.on_task.estimated_robust_accuracy,
        _blind,
    ),
    _Number("min_clean_accuracy", "clean", lambda e: e.head.clean_accuracy, lambda e: ""),
    _Number(
        "max_bound",
        "estimated",
        lambda e: e.bound_optimal.on_task.estimated_worst_case_loss,
        lambda e: _blind(e) or (_VACUOUS if e.vacuous else ""),
    ),
)


def numbers(e: RankedEvaluation, policy: Policy) -> Iterator[GateCheck]:
    """What was measured of a candidate, against the limits of a policy."""
    for number in _NUMBERS:
        limit: float | None = getattr(policy, number.requirement)
        if limit is not None:
            limited = _Limit(number.requirement, limit, policy.by == "interval")
            yield limited.check(number.of(e), number.kind, doubt=number.doubt(e))


@dataclass(frozen=True)
class _Limit:
    """A minimum or a maximum, for an estimate or for the worse end of its interval."""

    requirement: str
    limit: float
    by_interval: bool

    def check(
        self, estimate: Estimate, kind: GateKind, *, where: str = "", doubt: str = ""
    ) -> GateCheck:
        """Compare; a doubt violates whatever the number is."""
        least = self.requirement.startswith("min_")
        worse_end = estimate.low if least else estimate.high
        value = worse_end if self.by_interval else estimate.value
        holds = value >= self.limit if least else value <= self.limit
        of = ", the worse end of the 95 % interval" if self.by_interval else ""
        return GateCheck(
            requirement=self.requirement,
            kind=kind,
            holds=holds and not doubt,
            required=f"{'at least' if least else 'at most'} {self.limit:g}{where}",
            found=f"{value:.4g}{of}",
            value=value,
            images=estimate.n,
            reason=doubt,
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
