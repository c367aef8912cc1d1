"""What every document says of its run: images, threat, protocol, device, versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, Protocol

from pydantic import Field

from selector.records.base import DeviceRecord, Record
from selector.records.measured import Skipped

SCHEMA_VERSION: Literal["1.0"] = "1.0"
ObjectiveKind = Literal["attacked", "estimated", "clean"]
OBJECTIVE_NAMES = (
    *("attacked", "criterion", "smooth", "bound", "sensitivity"),
    *("clean", "knn", "lda", "log_me", "h_score", "parameters"),
)
"""What rankings of classes can be by."""
ERROR_OBJECTIVE_NAMES = ("attacked", "bound", "clean")
"""What those of regressions can be by."""
SCOPE = "a linear head on the frozen backbone; not full or adversarial fine-tuning of the backbone"


class ImagesRecord(Record):
    """The images that were used."""

    name: str
    source: str
    image_size: int
    train_images: int
    validation_images: int
    test_images: int
    unreadable: tuple[str, ...]
    fingerprint: Annotated[
        str, Field(description="sha256 of pixels, and of classes and labels or columns and targets")
    ]
    revision: Annotated[
        str | None, Field(description="commit of a dataset of the Hub; null for what is local")
    ] = None


class ThreatRecord(Record):
    """The perturbations allowed, for every candidate alike, on the canonical image."""

    norm: Literal["linf", "l2"]
    eps: Annotated[float, Field(gt=0, description="in pixel units of [0,1]")]


class ProtocolRecord(Record):
    """How it was measured."""

    version: Annotated[int, Field(description="raised whenever numbers may change")]
    preset: str
    attack: str
    restarts: int
    steps: int
    loss_clip: Annotated[
        float,
        Field(description="C2 of Theorem 1: nats; of a regression, standard deviations of train"),
    ]
    rho: Annotated[float, Field(description="Theorem 1 may fail with this probability")]
    seed: int
    head: Annotated[str, Field(description="recommended, probe, bound-optimal, or a radius scale")]


class LockRecord(Record):
    """The lock file whose commits and bytes were measured."""

    file: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    pinned: Annotated[tuple[str, ...], Field(description="names of the candidates it has")]


class ConfiguredOption(Record):
    """An option that was not typed: from the environment, or from a configuration file."""

    option: str
    value: Annotated[str, Field(description="as it would be typed; of a list, parted by spaces")]
    origin: Annotated[str, Field(description="name of the variable, or file and table")]


class RunRecord(Record):
    """What made the document."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    selector_version: str
    created: Annotated[str, Field(description="UTC, ISO 8601")]
    command: tuple[str, ...]
    configured: Annotated[
        tuple[ConfiguredOption, ...], Field(description="what holds beside the command")
    ] = ()
    device: Annotated[
        DeviceRecord, Field(description="several that differ are named one after the other")
    ]
    versions: dict[str, str]
    lock: Annotated[LockRecord | None, Field(description="null: candidates as they were")] = None


class RankingRecord(RunRecord):
    """What every ranking says of how it was made."""

    threat: ThreatRecord
    protocol: ProtocolRecord
    objective: Annotated[str, Field(description="a value of --objective")]
    objective_kind: Annotated[ObjectiveKind, Field(description="what its number promises")]
    scope: Annotated[str, Field(description="what all numbers are about, and what not")] = SCOPE
    skipped: tuple[Skipped, ...]

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Who has no place, and why: who was skipped."""
        return tuple(LeftOut(one.name, one.model, one.code, one.reason) for one in self.skipped)


class LeftOut(NamedTuple):
    """A candidate without a place; its code is that of a skipped one, eliminated or unsettled."""

    name: str
    model: str
    code: str
    reason: str


class Placed(Protocol):
    """A candidate in a ranking."""

    @property
    def name(self) -> str:
        """Of it."""
        ...

    @property
    def rank(self) -> int:
        """From 1."""
        ...

    @property
    def per_image(self) -> Record:
        """Values for each test image."""
        ...


def check_is_one(placed: Sequence[Placed], chosen: str | None, images: int) -> None:
    """Programs pair candidates by name, and their images by place.

    Args:
        placed: in their order.
        chosen: name of one of them.
        images: of the test.

    Raises:
        ValueError: these are not candidates of one ranking.
    """
    names = [one.name for one in placed]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"ranking must have each name once, found {twice!r} twice")
    if [one.rank for one in placed] != list(range(1, len(names) + 1)):
        raise ValueError("ranking must have ranks from 1 on, in their order")
    if chosen is not None and chosen not in names:
        raise ValueError(f"choice must be in the ranking, found {chosen!r}")
    for one in placed:
        for label, values in one.per_image:
            if values is not None and len(values) != images:
                raise ValueError(
                    f"per_image.{label} of {one.name!r} must have a value for each of"
                    f" {images} test images, found {len(values)}"
                )


class Place(Record):
    """Where an evaluation stands in a ranking."""

    rank: Annotated[int, Field(ge=1)]
    rank_interval: Annotated[
        tuple[int, int],
        Field(
            description="95 % of ranks over resampled test images; where an objective is one number"
            " for all of them, the places of its equals"
        ),
    ]
    group: Annotated[
        int, Field(ge=1, description="same group: cannot be told apart from the group's first")
    ]
