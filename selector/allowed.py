"""Values that a policy may have: how each is written, and what is said of any other."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from selector.errors import UsageError, shorten
from selector.norms import Norm, parse_eps, parse_threat
from selector.selection import parse_count

_AGE = re.compile(r"([0-9]{1,6})([hdw])", re.IGNORECASE)
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(%?)")
_HOURS = {"h": 1, "d": 24, "w": 168}


def parse_age(text: str, option: str = "--max-age") -> timedelta:
    """Read an age; hours, days and weeks are accepted.

    >>> parse_age("30d").days, parse_age("2w").days
    (30, 14)

    Raises:
        UsageError: it is none.
    """
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{option} must be an age such as 12h, 30d or 4w, found {shorten(repr(text))}."
        )
    return timedelta(hours=int(match[1]) * _HOURS[match[2].lower()])


def _read(parse: Callable[[str, str], object]) -> Callable[[Any], Any]:
    """A text as ``parse`` reads it, for a validator."""

    def read(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return parse(value, "")
        except UsageError as error:
            raise ValueError(error.message) from None

    return read


def _said(required: str, way_out: Callable[[Any], str] = lambda value: "") -> WrapValidator:
    """What is required, what was found and the way out; who reports it puts the key before it."""

    def check(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
        try:
            return read(value)
        except ValidationError:
            found = f"found {shorten(repr(value), 80)}"
            fix = way_out(value)
            raise ValueError(f"must be {required}, {found}{fix and '; ' + fix}") from None

    return WrapValidator(check)


def _as_share(value: Any) -> str:
    """How a share that was given in percent, or as a text, is written."""
    match = _PERCENT.fullmatch(str(value))
    if match is None:
        return ""
    number = float(match[1])
    share = number / 100 if match[2] or number >= 2 else number
    return f"write {share:g}" if share <= 1 else ""


_SHARE = "a number from 0 to 1 such as 0.6"
Share = Annotated[float, Field(ge=0, le=1, strict=True), _said(_SHARE, _as_share)]
_Text = Annotated[str, Field(min_length=1)]
Name = Annotated[_Text, _said("the name of a model")]
Licences = Annotated[
    tuple[_Text, ...],
    Field(min_length=1),
    _said(
        "one or more names of licences such as [mit, apache-2.0]",
        lambda value: f"write [{value}]" if isinstance(value, str) and value else "",
    ),
]
Count = Annotated[
    int,
    Field(ge=0, strict=True),
    BeforeValidator(
        _read(parse_count),
        json_schema_input_type=Annotated[int, Field(ge=0)]
        | Annotated[str, Field(pattern=r"^\d+(\.\d+)?[KMBkmb]?$")],
    ),
    _said("a number such as 100M"),
]
Age = Annotated[
    timedelta,
    Field(strict=True),
    BeforeValidator(
        _read(parse_age),
        json_schema_input_type=Annotated[str, Field(pattern="^[0-9]{1,6}[hdwHDW]$")],
    ),
    _said(
        "an age such as 12h, 30d or 4w",
        lambda value: f"write {value}d for days" if type(value) is int and value > 0 else "",
    ),
]
Radius = Annotated[
    float,
    Field(gt=0, strict=True),
    BeforeValidator(
        _read(parse_eps),
        json_schema_input_type=Annotated[float, Field(gt=0)]
        | Annotated[str, Field(pattern=r"^[0-9.]+(/[0-9.]+)?$")],
    ),
    _said("a number above 0 such as 0.5 or 1/2"),
]
Threat = Annotated[
    tuple[Norm | None, Annotated[float, Field(gt=0)]],
    BeforeValidator(
        _read(parse_threat),
        json_schema_input_type=Annotated[str, Field(pattern=r"^((linf|l2):)?[0-9.]+(/[0-9.]+)?$")],
    ),
    _said("a text such as 2/255 or l2:0.5"),
]
Number = Annotated[float, Field(ge=0, strict=True), _said("a number, 0 or more")]
Skips = Annotated[int, Field(ge=0, strict=True), _said("a whole number, 0 or more")]
