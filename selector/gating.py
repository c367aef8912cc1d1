"""Whether a ranking shows that what a policy requires holds.

Works on records alone. What a ranking does not show counts as violated: a certificate that was not
asked for, a licence that nobody states, a model that was not measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from selector.limits import BLIND, certificate, numbers
from selector.policy import Policy
from selector.records import AnyRanked, AnyRanking, Gate, GateCheck, Ranking

_LISTED = 4
_FUTURE = "it was made in the future: a clock is wrong, or the ranking was edited"


def gate(ranking: AnyRanking, policy: Policy, now: datetime) -> Gate:
    """Compare a ranking with a policy.

    Args:
        ranking: at least no candidate.
        policy: requires something.
        now: that the ranking's age is counted to; has a time zone.
    """
    candidate = _candidate(ranking, policy.model)
    checks = [*_standing(ranking, policy.model, candidate)]
    if candidate is not None:
        checks += numbers(ranking, candidate, policy)
        checks += certificate(ranking, candidate, policy)
        checks += _recorded(candidate, policy)
    checks += _run(ranking, policy, now)
    return Gate(
        created=ranking.created,
        candidate=None if candidate is None else candidate.name,
        ranked="accuracies" if isinstance(ranking, Ranking) else "errors",
        holds=all(check.holds for check in checks),
        checks=tuple(checks),
    )


def violations(ranking: AnyRanking, policy: Policy, now: datetime) -> tuple[GateCheck, ...]:
    """What of :func:`gate` does not hold."""
    return tuple(check for check in gate(ranking, policy, now).checks if not check.holds)


def _candidate(ranking: AnyRanking, model: str | None) -> AnyRanked | None:
    ranked: tuple[AnyRanked, ...] = ranking.ranking
    if model is None:
        return next(iter(ranked), None)
    return next((e for e in ranked if model in (e.name, e.model)), None)


def _standing(
    ranking: AnyRanking, model: str | None, candidate: AnyRanked | None
) -> Iterator[GateCheck]:
    """Whether there is someone to check, and the model in use is among the best."""
    if model is not None:
        yield _place(ranking, model, candidate)
    elif candidate is None:
        yield GateCheck(
            requirement="ranked",
            kind="recorded",
            holds=False,
            required="a candidate that was ranked",
            found="none",
        )


def _place(ranking: AnyRanking, model: str, candidate: AnyRanked | None) -> GateCheck:
    if candidate is None:
        found, images, reason = "not ranked", None, _absence(ranking, model)
    else:
        found = f"number {candidate.rank} of {len(ranking.ranking)}, group {candidate.group}"
        images, reason = ranking.task.test_images, _lag(ranking, candidate)
    return GateCheck(
        requirement="model",
        kind=ranking.objective_kind,
        holds=not reason,
        required=f"{model} in the top group",
        found=found,
        images=images,
        reason=reason,
    )


def _lag(ranking: AnyRanking, e: AnyRanked) -> str:
    """Why a candidate is not among the best; empty if it is."""
    # Where clean images alone decide, the attack has no say in the order.
    if e.masked and ranking.objective_kind != "clean":
        return BLIND
    return "" if e.group == 1 else f"told apart from the top group, {ranking.ranking[0].name} first"


def _absence(ranking: AnyRanking, model: str) -> str:
    """Why a model has no place in the ranking, as far as the ranking says."""
    reasons = (one.reason for one in ranking.left_out if model in (one.name, one.model))
    return next(reasons, "the ranking has no candidate of this name").rstrip(".")


def _recorded(e: AnyRanked, policy: Policy) -> Iterator[GateCheck]:
    """What was not measured, but stands in the record."""
    if policy.license is not None:
        stated = e.provenance.license
        yield GateCheck(
            requirement="license",
            kind="recorded",
            holds=(stated or "").lower() in {one.lower() for one in policy.license},
            required=" or ".join(policy.license),
            found=stated or "none stated",
        )
    if policy.max_params is not None:
        yield GateCheck(
            requirement="max_params",
            kind="recorded",
            holds=e.provenance.parameters <= policy.max_params,
            required=f"at most {policy.max_params:,}",
            found=f"{e.provenance.parameters:,}",
            value=e.provenance.parameters,
        )


def _run(ranking: AnyRanking, policy: Policy, now: datetime) -> Iterator[GateCheck]:
    """What is required of the ranking as a whole."""
    if policy.max_skipped is not None:
        names = [one.name for one in ranking.skipped]
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        holds = len(names) <= policy.max_skipped
        yield GateCheck(
            requirement="max_skipped",
            kind="recorded",
            holds=holds,
            required=f"at most {policy.max_skipped}",
            found=str(len(names)),
            value=len(names),
            reason="" if holds else f"skipped: {', '.join(names[:_LISTED])}{more}",
        )
    if policy.max_age is not None:
        yield _age(ranking, policy.max_age, now)


def _age(ranking: AnyRanking, limit: timedelta, now: datetime) -> GateCheck:
    try:
        made = datetime.fromisoformat(ranking.created)
    except ValueError:
        age, found = None, f"made at {ranking.created!r}, which is not ISO 8601"
    else:
        # It is written in UTC; one that was edited may have lost the word for it.
        age = now - (made if made.tzinfo else made.replace(tzinfo=UTC))
        found = _in_words(age)
    future = age is not None and age < timedelta()
    return GateCheck(
        requirement="max_age",
        kind="recorded",
        holds=age is not None and timedelta() <= age <= limit,
        required=f"at most {_in_words(limit)}",
        found=found,
        value=None if age is None else age / timedelta(days=1),
        reason=_FUTURE if future else "",
    )


def _in_words(age: timedelta) -> str:
    if abs(age) < timedelta(days=1):
        return f"{age / timedelta(hours=1):.2g} hours"
    days = round(age / timedelta(days=1), 2)
    return f"{days:g} {'day' if days == 1 else 'days'}"
