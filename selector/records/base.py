"""What every record is, and an estimate with its interval."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Record(BaseModel):
    """Immutable, closed to unknown fields, and free of NaN and infinity."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        json_schema_serialization_defaults_required=True,
    )


class DeviceRecord(Record):
    """Where something ran."""

    type: str
    name: str


class Estimate(Record):
    """A mean over n images with the 95 % interval of its sampling error alone."""

    value: float
    low: float
    high: float
    n: Annotated[int, Field(ge=1, description="images it was computed on")]


# Ends of an interval are computed, and may miss its middle or 0 and 1 in the last bits.
_ROUNDING = 1e-9


def _within_0_and_1(estimate: Estimate) -> Estimate:
    ordered = (0.0, estimate.low, estimate.value, estimate.high, 1.0)
    if any(after < before - _ROUNDING for before, after in pairwise(ordered)):
        raise ValueError(
            f"must be a share and its interval, 0 <= low <= value <= high <= 1, found"
            f" {estimate.low:g}, {estimate.value:g}, {estimate.high:g}"
        )
    return estimate


Share = Annotated[Estimate, AfterValidator(_within_0_and_1)]
"""A share of images, 0..1."""
