"""A ranking as rows of plain values, for csv files and data frames: names that stay as they are.

A column's name says what its number promises, as a record's does: ``attacked_*`` is what a head
withstood under attack, ``estimated_*`` rests on an attack, ``certified_*`` is proven. ``*_low`` and
``*_high`` are its 95 % interval.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from selector.records import (
    AnyRanked,
    AnyRanking,
    CertifiedCandidate,
    Estimate,
    RankedEvaluation,
    RankedRegression,
    Ranking,
    Skipped,
)
from selector.reports.further import Cell, further_rows

_E = TypeVar("_E", RankedEvaluation, RankedRegression)
_Columns = dict[str, Callable[[_E], Cell]]


def names(ranking: AnyRanking) -> tuple[str, ...]:
    """Of all columns, in their order; the same for every ranking of classes, or of numbers."""
    numbers = _CLASSES if isinstance(ranking, Ranking) else _NUMBERS
    certified = _CERTIFIED if isinstance(ranking, Ranking) else ()
    return (*_PLACE, *_LEFT_OUT, *_IDENTITY, *numbers, *certified, *_MEASURED, *_of_run(ranking))


def rows(ranking: AnyRanking) -> list[dict[str, Cell]]:
    """A row for each candidate, those that were ranked first and in their order.

    A candidate without a place has the code of the reason in ``skipped``, also ``eliminated`` and
    ``unsettled`` of a race, and None wherever there is no number. Of several perturbations these
    rows are of the first; others follow with rows of their own, which ``threat_*`` tells apart.
    """
    blank: dict[str, Cell] = dict.fromkeys(names(ranking))
    shared = blank | _of_run(ranking)
    further = further_rows(ranking) if isinstance(ranking, Ranking) else ()
    return [shared | row for row in (*_ranked(ranking), *_left_out(ranking), *further)]


def _ranked(ranking: AnyRanking) -> list[dict[str, Cell]]:
    if isinstance(ranking, Ranking):
        proven = {one.name: one for one in ranking.certified or ()}
        return [
            _row(e) | {name: of(e) for name, of in _CLASSES.items()} | _certified(proven, e.name)
            for e in ranking.ranking
        ]
    return [_row(e) | {name: of(e) for name, of in _NUMBERS.items()} for e in ranking.ranking]


def _row(e: AnyRanked) -> dict[str, Cell]:
    """What is the same for classes and for numbers."""
    found: dict[str, Cell] = {}
    for columns in (_PLACE, _IDENTITY, _MEASURED):
        found |= {name: of(e) for name, of in columns.items()}
    return found


def _left_out(ranking: AnyRanking) -> list[dict[str, Cell]]:
    return [
        {"name": one.name, "model": one.model, "skipped": one.code, "skipped_reason": one.reason}
        for one in ranking.left_out
    ]


def _certified(proven: dict[str, CertifiedCandidate | Skipped], name: str) -> dict[str, Cell]:
    found = proven.get(name)
    if not isinstance(found, CertifiedCandidate):
        return {}
    first = found.certified_accuracy[0]
    return dict(zip(_CERTIFIED, (first.value, first.low, first.high, first.radius), strict=True))


def _of_run(ranking: AnyRanking) -> dict[str, Cell]:
    """What all rows share, so that rows of several runs can lie in one table."""
    return {
        "task": ranking.task.name,
        "task_fingerprint": ranking.task.fingerprint,
        "image_size": ranking.task.image_size,
        "threat_norm": ranking.threat.norm,
        "threat_eps": ranking.threat.eps,
        "objective": ranking.objective,
        "objective_kind": ranking.objective_kind,
        "head": ranking.protocol.head,
        "preset": ranking.protocol.preset,
        "seed": ranking.protocol.seed,
        "device": ranking.device.type,
        "created": ranking.created,
    }


def _estimate(name: str, of: Callable[[_E], Estimate]) -> _Columns[_E]:
    return {
        name: lambda e: of(e).value,
        f"{name}_low": lambda e: of(e).low,
        f"{name}_high": lambda e: of(e).high,
    }


def _size(e: AnyRanked) -> str:
    height, width = e.provenance.input_size
    return f"{height}x{width}"


_PLACE: dict[str, Callable[[AnyRanked], Cell]] = {
    "rank": lambda e: e.rank,
    "rank_low": lambda e: e.rank_interval[0],
    "rank_high": lambda e: e.rank_interval[1],
    "group": lambda e: e.group,
}
_LEFT_OUT = ("skipped", "skipped_reason")
_IDENTITY: dict[str, Callable[[AnyRanked], Cell]] = {
    "name": lambda e: e.name,
    "model": lambda e: e.model,
    "score": lambda e: e.score,
}
_CLASSES: _Columns[RankedEvaluation] = {
    **_estimate("attacked_accuracy", lambda e: e.head.attacked_accuracy),
    **_estimate("estimated_robust_accuracy", lambda e: e.head.on_task.estimated_robust_accuracy),
    **_estimate(
        "estimated_worst_case_loss",
        lambda e: e.bound_optimal.on_task.estimated_worst_case_loss,
    ),
    **_estimate("clean_accuracy", lambda e: e.head.clean_accuracy),
    **_estimate("probe_attacked_accuracy", lambda e: e.probe.attacked_accuracy),
    **_estimate("probe_clean_accuracy", lambda e: e.probe.clean_accuracy),
    "n": lambda e: e.head.attacked_accuracy.n,
    "vacuous": lambda e: e.vacuous,
}
_CERTIFIED = (
    "certified_accuracy",
    "certified_accuracy_low",
    "certified_accuracy_high",
    "certified_l2_radius",
)
_NUMBERS: _Columns[RankedRegression] = {
    **_estimate("attacked_squared_error", lambda e: e.head.attacked_squared_error),
    **_estimate("estimated_squared_error", lambda e: e.head.on_task.estimated_squared_error),
    **_estimate("clean_squared_error", lambda e: e.head.clean_squared_error),
    **_estimate("ridge_attacked_squared_error", lambda e: e.probe.attacked_squared_error),
    **_estimate("ridge_clean_squared_error", lambda e: e.probe.clean_squared_error),
    "n": lambda e: e.head.attacked_squared_error.n,
    "vacuous": lambda e: e.vacuous,
}
_MEASURED: dict[str, Callable[[AnyRanked], Cell]] = {
    "warnings": lambda e: " ".join(flag.code for flag in e.warnings) or None,
    "license": lambda e: e.provenance.license,
    "parameters": lambda e: e.provenance.parameters,
    "architecture": lambda e: e.provenance.architecture,
    "input_size": _size,
    "feature_dim": lambda e: e.provenance.feature_dim,
    "repo": lambda e: e.provenance.repo,
    "commit": lambda e: e.provenance.commit,
    "seconds": lambda e: e.cost.seconds,
    "forward_passes": lambda e: e.cost.forward_passes,
    "backward_passes": lambda e: e.cost.backward_passes,
}
