"""Records of one candidate's certificates: what is proven of a smoothed head.

Each image's certificate holds with probability 1 - alpha over the noise that was drawn for it. The
interval of an accuracy is about something else: what other test images would show.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from selector.records.base import DeviceRecord, Estimate, Record
from selector.records.measured import Provenance


class SmoothingRecord(Record):
    """How certificates were made: randomized smoothing (Cohen, Rosenfeld and Kolter 2019)."""

    sigma: Annotated[float, Field(gt=0, description="of the noise, in pixel units of [0,1]")]
    draws: Annotated[int, Field(ge=1, description="of each test image; their votes are counted")]
    selection_draws: Annotated[
        int, Field(ge=1, description="of each test image, others; they choose its class")
    ]
    training_draws: Annotated[
        int, Field(ge=1, description="of each training and validation image, for the head")
    ]
    alpha: Annotated[
        float, Field(description="the certificate of an image is wrong with at most this chance")
    ]
    largest_radius: Annotated[
        float, Field(description="l2; of an image whose draws all agree; there is no larger one")
    ]
    seed: int


class CertifiedAccuracy(Estimate):
    """Share of test images whose class is certified, and right, up to a radius."""

    radius: Annotated[float, Field(gt=0, description="l2, in pixel units of [0,1]")]


class CertifiedPerImage(Record):
    """Certificates of the test images, in the task's order."""

    radius: Annotated[
        tuple[float, ...],
        Field(description="l2: within it the smoothed head keeps its answer; 0: it abstains"),
    ]
    correct: Annotated[
        tuple[bool, ...], Field(description="the class that its draws chose is the right one")
    ]


class CertificationCost(Record):
    """What certifying a candidate took."""

    forward_passes: Annotated[int, Field(description="images through the backbone")]
    seconds_load: float
    seconds_features: Annotated[float, Field(description="of noisy images, to fit the head on")]
    seconds_heads: float
    seconds_votes: Annotated[float, Field(description="of noisy test images")]
    batch_size: Annotated[int, Field(description="images per pass at the end, after any halving")]
    peak_process_bytes: Annotated[int | None, Field(description="as for a ranking")]
    peak_device_bytes: Annotated[int | None, Field(description="as for a ranking")]
    device: Annotated[DeviceRecord | None, Field(description="as for a ranking")] = None

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.seconds_load + self.seconds_features + self.seconds_heads + self.seconds_votes


class CertifiedCandidate(Record):
    """A smoothed head of one candidate on one task."""

    name: str
    model: Annotated[
        str, Field(description="hf-hub:owner/name@commit, local-dir:PATH or module:NAME")
    ]
    provenance: Provenance
    smoothing: SmoothingRecord
    l2: Annotated[
        float, Field(description="regularisation of the head, chosen on noisy validation images")
    ]
    validation_loss: Annotated[float, Field(description="its loss on noisy validation images")]
    noisy_accuracy: Annotated[
        Estimate, Field(description="mean share of draws of a test image that the head gets right")
    ]
    smoothed_accuracy: Annotated[
        Estimate, Field(description="share of test images where it answers, and right: radius 0")
    ]
    abstained: Annotated[
        Estimate, Field(description="share of test images whose votes do not tell a class")
    ]
    certified_accuracy: Annotated[
        tuple[CertifiedAccuracy, ...],
        Field(
            description="each image's certificate holds with probability 1 - alpha at least; the"
            " interval covers the sampling of test images only"
        ),
    ]
    per_image: CertifiedPerImage
    cost: CertificationCost
