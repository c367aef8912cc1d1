"""What every record is, and an estimate with its interval."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Record(BaseModel):
    """Immutable, closed to unknown fields, and free of NaN and infinity."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        json_schema_serialization_defaults_required=True,
    )


class Estimate(Record):
    """A mean over n images with the 95 % interval of its sampling error alone."""

    value: float
    low: float
    high: float
    n: Annotated[int, Field(ge=1, description="images it was computed on")]
