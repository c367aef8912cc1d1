"""Records of a gate: what a policy requires of a ranking, and what was found."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from selector.records.base import Record

GateKind = Literal["attacked", "estimated", "certified", "clean", "recorded"]


class GateCheck(Record):
    """One requirement of a policy, and whether the ranking shows that it holds."""

    requirement: Annotated[str, Field(description="key of the policy, or `ranked`")]
    kind: Annotated[
        GateKind,
        Field(
            description="what the number promises: attacked, of an accuracy an upper estimate, of"
            " an error a lower; estimated, rests on an attack; certified, proven; clean; recorded,"
            " no measurement"
        ),
    ]
    holds: bool
    required: str
    found: str
    value: Annotated[
        float | None, Field(description="number that was compared; null: there is none")
    ] = None
    images: Annotated[int | None, Field(description="test images it was computed on")] = None
    reason: Annotated[
        str, Field(description="why it is violated; empty where the numbers say it")
    ] = ""


class Gate(Record):
    """The result of ``selector gate``: whether a ranking fulfils a policy."""

    schema_version: Literal["1.0"] = "1.0"
    created: Annotated[str, Field(description="of the ranking: UTC, ISO 8601")]
    candidate: Annotated[
        str | None,
        Field(description="that was checked: the policy's model, or the first; null: none there"),
    ]
    ranked: Annotated[
        Literal["accuracies", "errors"],
        Field(description="an attacked accuracy is an upper estimate, an attacked error a lower"),
    ]
    holds: Annotated[bool, Field(description="every requirement holds")]
    checks: tuple[GateCheck, ...]
