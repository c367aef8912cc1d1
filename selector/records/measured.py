"""Records of one candidate: what was measured, or why it could not be."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from selector.candidates import Pretraining, Source
from selector.records.base import DeviceRecord, Estimate, Record
from selector.records.heads import BaselineScores, FrontierPoint, HeadReport

MASKED = "masked_gradients"
"""Code of the flag that says that the attack was blind."""

SCREENED = "screened"
"""Code of the flag that says that no attack aimed at a head."""


class FileRecord(Record):
    """A file that was loaded; of a module its ``state_dict``, which is no file."""

    name: str
    size: Annotated[int, Field(ge=0, description="bytes")]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Provenance(Record):
    """Exactly which backbone was measured."""

    source: Annotated[
        Source, Field(description="module: given by a caller in Python, with no file to it")
    ]
    repo: Annotated[str | None, Field(description="owner/name on the Hub")]
    commit: Annotated[str | None, Field(description="40-hex commit on the Hub")]
    files: tuple[FileRecord, ...]
    license: str | None
    pretraining: Pretraining | None
    tags: tuple[str, ...]
    architecture: str
    parameters: Annotated[int, Field(description="of the backbone, its classifier included")]
    input_size: Annotated[tuple[int, int], Field(description="height and width it was run at")]
    feature_dim: Annotated[int, Field(ge=1, description="d")]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str


class Sensitivity(Record):
    """Mean attained displacement: a lower estimate, and not comparable across backbones."""

    mean: Estimate
    relative: Annotated[float, Field(description="divided by the mean pairwise feature distance")]


class Diagnostics(Record):
    """How far the attack's numbers can be trusted."""

    restart_spread: Annotated[
        float | None,
        Field(
            description="mean over images of (best - mean) / best of the random starts, each with"
            " its mirror image; null where there was one"
        ),
    ]
    long_ascents: Annotated[
        float,
        Field(
            description="share of images where short ascents ended far from a maximum, so that one"
            " long ascent took all steps that were left"
        ),
    ]
    still_rising: Annotated[
        float,
        Field(
            description="share of images where a quarter of the steps at last, as a proportion of"
            " what the last ascents brought, brought more than 5 % of the squared displacement"
        ),
    ]
    zero_gradient: Annotated[float, Field(description="share of images with a zero gradient")]
    noise_ratio: Annotated[float, Field(description="random noise's displacement / the attack's")]
    noise_wins: Annotated[float, Field(description="share of images where noise beat the attack")]
    search_ratio: Annotated[float, Field(description="random search's displacement / the attack's")]
    search_wins: Annotated[
        float, Field(description="share of images where a random search beat the attack")
    ]
    effective_rank: Annotated[float, Field(description="exp(entropy) of the feature spectrum")]


class Cost(Record):
    """What measuring this candidate took."""

    forward_passes: Annotated[int, Field(description="images through the backbone")]
    backward_passes: Annotated[int, Field(description="images back through the backbone")]
    seconds_load: float
    seconds_features: float
    seconds_attack: float
    seconds_heads: float
    batch_size: Annotated[int, Field(description="images per pass at the end, after any halving")]
    search_precision: Annotated[
        Literal["fp32", "tf32", "bf16"],
        Field(
            description="of the attacks: the coarsest that resolves what they look for; what"
            " they found is scored in fp32"
        ),
    ]
    peak_process_bytes: Annotated[
        int | None,
        Field(
            description="most memory of the machine that the whole process has held so far, its"
            " libraries and earlier candidates included; null where the system does not say"
        ),
    ]
    peak_device_bytes: Annotated[
        int | None,
        Field(
            description="most memory of the device that tensors held while this candidate was"
            " measured; null on a CPU"
        ),
    ]
    device: Annotated[
        DeviceRecord | None,
        Field(description="that measured it; null where an earlier version did, which kept none"),
    ] = None

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.seconds_load + self.seconds_features + self.seconds_attack + self.seconds_heads


class Flag(Record):
    """A reason to read a row with care."""

    code: str
    message: str


class PerImage(Record):
    """Results per test image, in the task's order, for paired comparisons."""

    probe_correct: Annotated[tuple[bool, ...], Field(description="ordinary probe, clean")]
    clean_correct: Annotated[tuple[bool, ...], Field(description="the head, clean")]
    attacked_correct: Annotated[
        tuple[bool, ...], Field(description="the head, after every attack, class pairs included")
    ]
    attacked_tolerance: Annotated[tuple[float, ...], Field(description="the head, class pairs")]
    robust_correct: Annotated[tuple[bool, ...], Field(description="the head, criterion on A∘g")]
    smooth: Annotated[tuple[float, ...], Field(description="the head, smooth count on A∘g")]
    worst_case_loss: Annotated[tuple[float, ...], Field(description="bound-optimal head, A∘g")]
    knn_correct: Annotated[tuple[bool, ...], Field(description="nearest neighbours, clean")]
    lda_correct: Annotated[
        tuple[bool, ...] | None, Field(description="discriminant analysis, clean")
    ]


class Representation(Record):
    """What attacks showed of a representation, and how far they can be trusted."""

    sensitivity: Annotated[Sensitivity, Field(description="on g: the same for every task")]
    task_sensitivity: Annotated[Sensitivity, Field(description="on A∘g: for this task")]
    diagnostics: Diagnostics
    warnings: tuple[Flag, ...]

    @property
    def masked(self) -> bool:
        """The attack was blind, so that numbers which rest on it flatter."""
        return any(flag.code == MASKED for flag in self.warnings)

    @property
    def screened(self) -> bool:
        """No attack aimed at a head, so that attacked numbers and those on A∘g flatter."""
        return any(flag.code == SCREENED for flag in self.warnings)


class Measurement(Record):
    """Which candidate was measured, and what that took."""

    name: str
    model: Annotated[
        str, Field(description="hf-hub:owner/name@commit, local-dir:PATH or module:NAME")
    ]
    provenance: Provenance
    cost: Cost


class Findings(Representation):
    """All numbers of one candidate on one task."""

    head: Annotated[HeadReport, Field(description="that --head picks; ranked by")]
    probe: Annotated[HeadReport, Field(description="ordinary linear probe")]
    bound_optimal: Annotated[HeadReport, Field(description="of the lowest validated loss bound")]
    frontier: Annotated[tuple[FrontierPoint, ...], Field(description="from radius scale 0 to 1")]
    vacuous: Annotated[
        bool,
        Field(
            description="the estimated worst-case loss on validation images is not below that of a"
            " head which knows only the class frequencies"
        ),
    ]
    baselines: BaselineScores
    per_image: PerImage


class Evaluation(Findings, Measurement):
    """One candidate on one task."""


class Sweep(Record):
    """One candidate under several threats."""

    name: str
    evaluations: Annotated[
        tuple[Evaluation, ...],
        Field(
            min_length=1,
            description="in the order of the threats, the one that ranks first; the cost of each"
            " is that of all",
        ),
    ]

    @property
    def model(self) -> str:
        """What it is, exactly."""
        return self.evaluations[0].model

    @property
    def cost(self) -> Cost:
        """Of all."""
        return self.evaluations[0].cost


class Screened(Record):
    """What a short attack showed of one candidate on some test images: an upper estimate."""

    name: str
    model: str
    withstood: tuple[bool, ...]
    cost: Cost


class Skipped(Record):
    """A candidate that could not be measured, and why."""

    name: str
    model: str
    code: str
    reason: str
    hint: str
    retryable: bool
