"""The command that makes a document again, with the options that nobody typed."""

from __future__ import annotations

from selector.norms import format_threat, parse_eps
from selector.records import AnyRanking, Ranking, RunRecord, ThreatRecord


def whole_command(run: RunRecord) -> tuple[str, ...]:
    """What was typed, and what came from the environment or from a file as if it had been."""
    words = list(run.command)
    for one in run.configured:
        if one.value == "true":
            words.append(one.option)
        elif one.value != "false":
            words += (one.option, one.value)
    return tuple(words)


def eps_option(ranking: AnyRanking) -> str:
    """What ``--eps`` was, beside ``--norm`` of the first: all perturbations, that one first."""
    first = ranking.threat
    curves = (ranking.curves or ()) if isinstance(ranking, Ranking) else ()
    points = (point.threat for curve in curves for point in curve.points)
    others = [threat for threat in dict.fromkeys(points) if threat != first]
    return ",".join([_size(first), *(f"{one.norm}:{_size(one)}" for one in others)])


def _size(threat: ThreatRecord) -> str:
    """As people write it, where that is exactly this size."""
    said = format_threat(threat.norm, threat.eps).partition(" ")[2]
    return said if parse_eps(said) == threat.eps else repr(threat.eps)
