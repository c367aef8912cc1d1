"""Records of a comparison of two rankings that answer the same question, of classes or numbers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from selector.records.base import Record
from selector.records.run import ObjectiveKind, ThreatRecord


class Difference(Record):
    """Something about which two documents do not agree, in their own words."""

    field: str
    before: str
    after: str


class Change(Record):
    """A number of one candidate in both rankings."""

    before: float
    after: float
    difference: Annotated[float, Field(description="after - before")]


class Compared(Record):
    """One candidate that both rankings have, found by its name."""

    name: str
    differs_in: Annotated[
        tuple[str, ...],
        Field(description="fields of the provenance that changed: commit, files, ...; none: same"),
    ]
    rank: Change
    masked_before: Annotated[bool, Field(description="the attack was blind: its numbers flatter")]
    masked_after: Annotated[bool, Field(description="the attack was blind: its numbers flatter")]
    score: Annotated[
        Change | None,
        Field(
            description="by the objective: of classes higher is better, of numbers lower; null:"
            " could not be computed"
        ),
    ]
    p_value: Annotated[
        float | None,
        Field(
            description="of the score, paired over test images: McNemar's exact test for counts,"
            " Student's otherwise; null: the objective gives no score of each image"
        ),
    ]
    adjusted_p_value: Annotated[
        float | None, Field(description="Holm's, over all candidates of both rankings")
    ]
    moved: Annotated[
        bool | None, Field(description="adjusted p-value below the level; null: not tested")
    ]


class ComparedCandidate(Compared):
    """One candidate of two rankings of classes."""

    attacked_accuracy: Annotated[Change, Field(description="of the head, an upper estimate")]
    clean_accuracy: Annotated[Change, Field(description="of the head")]
    estimated_robust_accuracy: Annotated[Change, Field(description="of the head, on A∘g")]
    estimated_worst_case_loss: Annotated[
        Change, Field(description="of the bound-optimal head, on A∘g, nats")
    ]


class ComparedRegression(Compared):
    """One candidate of two rankings of a regression."""

    attacked_squared_error: Annotated[Change, Field(description="of the head, a lower estimate")]
    clean_squared_error: Annotated[Change, Field(description="of the head")]
    estimated_squared_error: Annotated[Change, Field(description="of the head, on A∘g")]


class Unpaired(Record):
    """A candidate that has a place in one of the rankings only, or was skipped anew."""

    name: str
    rank: Annotated[int | None, Field(description="where it has one; null: nowhere")]
    code: Annotated[
        str,
        Field(
            description="why not in the other: a code of skipped, eliminated, unsettled, or"
            " not_listed"
        ),
    ]
    reason: Annotated[str, Field(description="empty where it was not listed")]


class ChangeOfChoice(Record):
    """The first of each ranking."""

    before: Annotated[str | None, Field(description="null: nobody was ranked")]
    after: Annotated[str | None, Field(description="null: nobody was ranked")]
    told_apart: Annotated[
        bool | None,
        Field(
            description="whether the ranking after tells the new choice from the old one; null: the"
            " choice stays, or the old one is not ranked after"
        ),
    ]


class ComparisonRecord(Record):
    """What every comparison says."""

    schema_version: Literal["1.0"] = "1.0"
    selector_version: str
    created_before: Annotated[str, Field(description="UTC, ISO 8601")]
    created_after: Annotated[str, Field(description="UTC, ISO 8601")]
    task: Annotated[str, Field(description="its name after")]
    test_images: int
    threat: ThreatRecord
    objective: str
    objective_kind: ObjectiveKind
    surroundings: Annotated[
        tuple[Difference, ...],
        Field(description="that may change numbers but not the question: versions, device"),
    ]
    level: Annotated[
        float, Field(description="largest chance that any is called moved where none is")
    ]
    correction: Literal["holm"] = "holm"
    entered: Annotated[
        tuple[Unpaired, ...], Field(description="ranked after only; code and reason are of before")
    ]
    left: Annotated[
        tuple[Unpaired, ...],
        Field(
            description="ranked before only, or skipped after only; code and reason are of after"
        ),
    ]
    choice: ChangeOfChoice
    sentence: str


class Comparison(ComparisonRecord):
    """The result of ``selector compare``, of two rankings of classes."""

    candidates: Annotated[
        tuple[ComparedCandidate, ...], Field(description="of both, in the order after")
    ]


class RegressionComparison(ComparisonRecord):
    """The result of ``selector compare``, of two rankings of a regression."""

    kind: Literal["regression-comparison"] = "regression-comparison"
    candidates: Annotated[
        tuple[ComparedRegression, ...], Field(description="of both, in the order after")
    ]
