"""Records of a regression: errors in place of accuracies, a document of its own kind.

Errors are means over the target columns, which are standardised by the training images: 1.0 is the
squared error of knowing only the mean. ``mean + sd * value`` is in the units of the table.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from selector.records.base import Estimate, Record
from selector.records.document import (
    DeviceRecord,
    LockRecord,
    ProtocolRecord,
    ThreatRecord,
)
from selector.records.measured import (
    Cost,
    Diagnostics,
    Flag,
    Provenance,
    Sensitivity,
    Skipped,
)


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


class RegressionFindings(Record):
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
    sensitivity: Annotated[Sensitivity, Field(description="on g: the same for every task")]
    task_sensitivity: Annotated[Sensitivity, Field(description="on A∘g: for this task")]
    diagnostics: Diagnostics
    warnings: tuple[Flag, ...]
    per_image: RegressionPerImage


class RegressionEvaluation(RegressionFindings):
    """One candidate on one task."""

    name: str
    model: Annotated[str, Field(description="hf-hub:owner/name@commit or local-dir:PATH")]
    provenance: Provenance
    cost: Cost


class RankedRegression(RegressionEvaluation):
    """An evaluation and its place."""

    rank: Annotated[int, Field(ge=1)]
    score: Annotated[float, Field(description="error by the objective, lower is better")]
    rank_interval: Annotated[
        tuple[int, int], Field(description="95 % of ranks over resampled test images")
    ]
    group: Annotated[
        int, Field(ge=1, description="same group: cannot be told apart from the group's first")
    ]


class TargetColumn(Record):
    """A column of the table, and how it was standardised."""

    name: str
    mean: Annotated[float, Field(description="of the training images, in the table's units")]
    sd: Annotated[float, Field(gt=0, description="of the training images, in the table's units")]


class RegressionTaskRecord(Record):
    """The images and targets that were used."""

    name: str
    source: str
    columns: tuple[TargetColumn, ...]
    image_size: int
    train_images: int
    validation_images: int
    test_images: int
    mean_error: Annotated[
        float,
        Field(description="squared error on test images of knowing only the mean of train"),
    ]
    unreadable: tuple[str, ...]
    fingerprint: Annotated[str, Field(description="sha256 of columns, pixels and targets")]
    revision: Annotated[
        str | None, Field(description="commit of a dataset of the Hub; null for what is local")
    ] = None


class RegressionProtocol(ProtocolRecord):
    """How it was measured."""

    loss_clip: Annotated[
        float, Field(description="standardised units; C2 of Theorem 1 for the absolute error")
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


class RegressionRanking(Record):
    """The result of ``selector rank --target-column``."""

    kind: Literal["regression"] = "regression"
    schema_version: Literal["1.0"] = "1.0"
    selector_version: str
    created: Annotated[str, Field(description="UTC, ISO 8601")]
    command: tuple[str, ...]
    task: RegressionTaskRecord
    threat: ThreatRecord
    protocol: RegressionProtocol
    device: DeviceRecord
    versions: dict[str, str]
    lock: Annotated[LockRecord | None, Field(description="null: candidates as they were")] = None
    objective: Annotated[str, Field(description="a value of --objective")]
    objective_kind: Annotated[
        Literal["attacked", "estimated", "clean"], Field(description="what its number promises")
    ]
    choice: RegressionChoice | None
    ranking: tuple[RankedRegression, ...]
    skipped: tuple[Skipped, ...]
