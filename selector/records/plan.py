"""Records of what a run would take: ``selector rank --dry-run``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from selector.records.base import Record


class PlannedCandidate(Record):
    """One candidate, before it is measured."""

    name: str
    model: str
    kept: Annotated[bool, Field(description="an earlier run has measured exactly this")] = False
    bytes_to_fetch: Annotated[int, Field(ge=0, description="not on this machine yet")] = 0
    passes: Annotated[int, Field(ge=0, description="images forward and back")] = 0
    estimated_seconds: Annotated[
        float, Field(ge=0, description="of the passes, from a short timing; fetching not included")
    ] = 0.0
    seconds_per_image: Annotated[
        float,
        Field(
            ge=0,
            description="forward and back: of a short timing; of a kept one, as it was measured",
        ),
    ] = 0.0
    code: Annotated[str, Field(description="why it cannot be measured; empty if it can")] = ""
    reason: str = ""
    retryable: bool = False


class PlannedRace(Record):
    """What finding the best would take, where not all are measured in full."""

    top: Annotated[int | None, Field(ge=1, description="how many are wanted; null: all")]
    budget_seconds: Annotated[float | None, Field(description="after which it ends in any case")]
    least_passes: Annotated[
        int,
        Field(
            ge=0,
            description="images forward and back, about: a look at each, only the wanted in full",
        ),
    ]
    most_passes: Annotated[
        int,
        Field(
            ge=0,
            description="images forward and back, about: looks at all test images, all in full",
        ),
    ]
    least_seconds: Annotated[float, Field(ge=0, description="of these passes")]
    most_seconds: Annotated[float, Field(ge=0, description="of these passes")]


class Plan(Record):
    """The result of ``selector rank --dry-run``; of each candidate, its full measurement."""

    schema_version: Literal["1.0"] = "1.0"
    candidates: tuple[PlannedCandidate, ...]
    race: Annotated[
        PlannedRace | None, Field(description="null: every candidate is measured in full")
    ] = None
