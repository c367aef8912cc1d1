"""Records of a regression: errors in place of accuracies, a document of its own kind.

Errors are means over the target columns, which are standardised by the training images: 1.0 is the
squared error of knowing only the mean. ``mean + sd * value`` is in the units of the table.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from selector.records.base import Estimate, Record
from selector.records.measured import Measurement, Representation
from selector.records.run import ImagesRecord, Place, RankingRecord, check_is_one


class EstimatedErrors(Record):
    """What the theorems give when fed with the displacement that the attacks attained."""

    estimated_squared_error: Annotated[
        Estimate, Field(description="mean of max of ||r + W u||^2 / q over ||u|| <= s")
    ]
    estimated_absolute_error: Annotated[
        Estimate, Field(description="mean_k |r_k| + s min(sum_k ||W_k||, sqrt(q) ||W||) / q")
    ]
    estimated_theorem1_error: Annotated[
        float, Field(description="Theorem 1, clipped absolute error, finite-sample term included")
    ]


class RegressionHead(Record):
    """One linear head on the test images."""

    l2: Annotated[float, Field(description="regularisation")]
    radius_scale: Annotated[
        float, Field(description="share of the displacement it was fitted against; 0: ridge")
    ]
    validation_bound: Annotated[
        float,
        Field(
            description="mean estimated squared error on validation images, of ordinary ridge the"
            " clean one"
        ),
    ]
    clean_squared_error: Estimate
    clean_absolute_error: Estimate
    clean_by_column: Annotated[
        tuple[float, ...],
        Field(description="mean squared error of each column; sd * its root is in table units"),
    ]
    attacked_squared_error: Annotated[Estimate, Field(description="largest after every attack")]
    attacked_absolute_error: Annotated[Estimate, Field(description="largest after every attack")]
    on_representation: Annotated[EstimatedErrors, Field(description="displacement on g")]
    on_task: Annotated[EstimatedErrors, Field(description="displacement on A∘g")]


class RegressionPoint(Record):
    """One head between ordinary ridge and scale 1, on the test images.

    On these it was not attacked itself: its attacked error is over the points that attacks on other
    heads and on displacement found, so it flatters more than theirs.
    """

    radius_scale: float
    l2: float
    validation_attacked_error: Annotated[
        float, Field(description="squared, on validation images; the lowest is recommended")
    ]
    clean_squared_error: Estimate
    attacked_squared_error: Estimate
    estimated_squared_error: Annotated[Estimate, Field(description="on A∘g")]


class RegressionPerImage(Record):
    """Squared errors per test image, in the task's order, for paired comparisons."""

    probe_clean: Annotated[tuple[float, ...], Field(description="ordinary ridge")]
    clean: Annotated[tuple[float, ...], Field(description="the head")]
    attacked: Annotated[tuple[float, ...], Field(description="the head, after every attack")]
    bound: Annotated[tuple[float, ...], Field(description="the head, estimated on A∘g")]


class RegressionFindings(Representation):
    """All numbers of one candidate on one task."""

    head: Annotated[RegressionHead, Field(description="that --head picks; ranked by")]
    probe: Annotated[RegressionHead, Field(description="ordinary ridge")]
    bound_optimal: Annotated[RegressionHead, Field(description="of the lowest validated bound")]
    frontier: Annotated[tuple[RegressionPoint, ...], Field(description="radius scale 0 to 1")]
    vacuous: Annotated[
        bool,
        Field(
            description="the lowest estimated squared error on validation images is not below that"
            " of knowing only the mean of train"
        ),
    ]
    per_image: RegressionPerImage


class RegressionEvaluation(RegressionFindings, Measurement):
    """One candidate on one task."""


class RankedRegression(RegressionEvaluation, Place):
    """An evaluation and its place."""

    score: Annotated[float, Field(description="error by the objective, lower is better")]


class TargetColumn(Record):
    """A column of the table, and how it was standardised."""

    name: str
    mean: Annotated[float, Field(description="of the training images, in the table's units")]
    sd: Annotated[float, Field(gt=0, description="of the training images, in the table's units")]


class RegressionTaskRecord(ImagesRecord):
    """The images and targets that were used."""

    columns: tuple[TargetColumn, ...]
    mean_error: Annotated[
        float,
        Field(description="squared error on test images of knowing only the mean of train"),
    ]


class RegressionChoice(Record):
    """The advice, and what choosing by clean error would have cost (standardised, squared)."""

    name: str
    attacked_error: Annotated[float, Field(description="of its head")]
    estimated_error: Annotated[float, Field(description="of its head, on A∘g")]
    clean_error: Annotated[float, Field(description="of its head")]
    by_clean_error: Annotated[
        str, Field(description="of the ranking, with the lowest clean error of ordinary ridge")
    ]
    clean_error_saved: Annotated[float, Field(description="by it, head against head")]
    attacked_error_added: Annotated[float, Field(description="by it, head against head")]
    sentence: str

    @property
    def cleanest(self) -> str:
        """Who would have been chosen, nothing attacked."""
        return self.by_clean_error


class RegressionRanking(RankingRecord):
    """The result of ``selector rank --target-column``."""

    kind: Literal["regression"] = "regression"
    task: RegressionTaskRecord
    choice: RegressionChoice | None
    ranking: tuple[RankedRegression, ...]

    @model_validator(mode="after")
    def _is_one_ranking(self) -> Self:
        chosen = None if self.choice is None else self.choice.name
        check_is_one(self.ranking, chosen, self.task.test_images)
        for e in self.ranking:
            self._check_columns(e)
        return self

    def _check_columns(self, e: RankedRegression) -> None:
        columns = len(self.task.columns)
        for label, head in (
            ("head", e.head),
            ("probe", e.probe),
            ("bound_optimal", e.bound_optimal),
        ):
            if len(head.clean_by_column) != columns:
                raise ValueError(
                    f"clean_by_column of {label} of {e.name!r} must have a value for each of"
                    f" {columns} columns, found {len(head.clean_by_column)}"
                )
