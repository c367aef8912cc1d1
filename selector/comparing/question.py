"""Whether two rankings answer the same question, and in what else they were made differently."""

from __future__ import annotations

from collections.abc import Iterator

from selector.errors import UsageError, shorten
from selector.records import AnyRanking, Difference, Ranking

# What two documents must share to answer the same question.
_QUESTION = (
    "task.fingerprint",
    "task.image_size",
    "task.test_images",
    "threat.norm",
    "threat.eps",
    "protocol.version",
    "protocol.preset",
    "protocol.attack",
    "protocol.restarts",
    "protocol.steps",
    "protocol.seed",
    "protocol.head",
    "objective",
)
_SURROUNDINGS = ("selector_version", "device.type", "device.name")


def require_same_question(before: AnyRanking, after: AnyRanking) -> None:
    """Refuse rankings whose numbers cannot be compared.

    Raises:
        UsageError: they differ in the question; with every field, and both values.
    """
    kinds = tuple(_kind(ranking) for ranking in (before, after))
    if kinds[0] != kinds[1]:
        raise UsageError(
            f"Both rankings must answer the same question, found one of {kinds[0]} and one of"
            f" {kinds[1]}.",
            hint="Rank again with the same --label-column or --target-column.",
        )
    found = [
        (field, _value(before, field), _value(after, field))
        for field in _QUESTION
        if _value(before, field) != _value(after, field)
    ]
    if not found:
        return
    listed = "; ".join(f"{field} {_said(a)} and {_said(b)}" for field, a, b in found)
    raise UsageError(
        f"Both rankings must answer the same question, found different {listed}.",
        hint="Rank again with the same task, threat, protocol and objective.",
    )


def _kind(ranking: AnyRanking) -> str:
    return "classes" if isinstance(ranking, Ranking) else "numbers"


def surroundings(before: AnyRanking, after: AnyRanking) -> Iterator[Difference]:
    """What may change numbers but not the question: versions, the device."""
    for field in _SURROUNDINGS:
        a, b = str(_value(before, field)), str(_value(after, field))
        if a != b:
            yield Difference(field=field, before=a, after=b)
    for library in sorted(before.versions.keys() | after.versions.keys()):
        a, b = (r.versions.get(library, "none") for r in (before, after))
        if a != b:
            yield Difference(field=library, before=a, after=b)


def _value(ranking: AnyRanking, field: str) -> object:
    value: object = ranking
    for name in field.split("."):
        value = getattr(value, name)
    return value


def _said(value: object) -> str:
    return shorten(str(value))
