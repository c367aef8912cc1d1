"""What people may require of a ranking: a policy file, or the options of ``selector gate``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from selector.candidates.entry import Entry
from selector.candidates.yamlfile import explain, read_yaml
from selector.errors import UsageError, shorten
from selector.norms import Norm, parse_eps, parse_threat
from selector.selection import parse_count

_AGE = re.compile(r"([0-9]{1,6})([hdw])", re.IGNORECASE)
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(%?)")
_HOURS = {"h": 1, "d": 24, "w": 168}
# These say how to compare, and require nothing.
_MANNERS = {"by", "at_radius", "at_eps"}
# What can be told at several eps.
_AT_EPS = ("min_attacked_accuracy", "min_estimated_accuracy", "min_clean_accuracy", "max_bound")


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
_Share = Annotated[float, Field(ge=0, le=1, strict=True), _said(_SHARE, _as_share)]
_Text = Annotated[str, Field(min_length=1)]
_Name = Annotated[_Text, _said("the name of a model")]
_Licences = Annotated[
    tuple[_Text, ...],
    Field(min_length=1),
    _said(
        "one or more names of licences such as [mit, apache-2.0]",
        lambda value: f"write [{value}]" if isinstance(value, str) and value else "",
    ),
]
_Count = Annotated[
    int,
    Field(ge=0, strict=True),
    BeforeValidator(
        _read(parse_count),
        json_schema_input_type=Annotated[int, Field(ge=0)]
        | Annotated[str, Field(pattern=r"^\d+(\.\d+)?[KMBkmb]?$")],
    ),
    _said("a number such as 100M"),
]
_Age = Annotated[
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
_Radius = Annotated[
    float,
    Field(gt=0, strict=True),
    BeforeValidator(
        _read(parse_eps),
        json_schema_input_type=Annotated[float, Field(gt=0)]
        | Annotated[str, Field(pattern=r"^[0-9.]+(/[0-9.]+)?$")],
    ),
    _said("a number above 0 such as 0.5 or 1/2"),
]
_Threat = Annotated[
    tuple[Norm | None, Annotated[float, Field(gt=0)]],
    BeforeValidator(
        _read(parse_threat),
        json_schema_input_type=Annotated[str, Field(pattern=r"^((linf|l2):)?[0-9.]+(/[0-9.]+)?$")],
    ),
    _said("a text such as 2/255 or l2:0.5"),
]
_Nats = Annotated[float, Field(ge=0, strict=True), _said("a number of nats, 0 or more")]
_Skips = Annotated[int, Field(ge=0, strict=True), _said("a whole number, 0 or more")]


class Policy(Entry):
    """A policy file. Each key is also an option of `selector gate`, which overrides it."""

    model: Annotated[
        _Name | None,
        Field(
            description="name of the model in use: it has to be in the top group, and all else is"
            " required of it; left out: of the first of the ranking"
        ),
    ] = None
    min_attacked_accuracy: Annotated[
        _Share | None, Field(description="of the head after every attack, an upper estimate")
    ] = None
    min_estimated_accuracy: Annotated[
        _Share | None, Field(description="criterion on A∘g of the head, rests on an attack")
    ] = None
    min_certified_accuracy: Annotated[
        _Share | None, Field(description="of the smoothed head: `selector rank --certify`")
    ] = None
    at_radius: Annotated[
        _Radius | None,
        Field(description="l2, of the certified accuracy; left out: the first of the ranking"),
    ] = None
    at_eps: Annotated[
        _Threat | None,
        Field(
            description="of the accuracies that are not certified and of the bound: one of several"
            " that the ranking was made with, 2/255 or l2:0.5; left out: its first"
        ),
    ] = None
    min_clean_accuracy: Annotated[_Share | None, Field(description="of the head")] = None
    max_bound: Annotated[
        _Nats | None,
        Field(
            description="estimated worst-case loss of the bound-optimal head on A∘g, in nats; a"
            " vacuous bound exceeds every maximum"
        ),
    ] = None
    license: Annotated[
        _Licences | None,
        Field(description="allowed licences, in any case of letters; none stated is not allowed"),
    ] = None
    max_params: Annotated[_Count | None, Field(description="a number, or as 100M")] = None
    max_skipped: Annotated[
        _Skips | None,
        Field(description="candidates that could not be measured"),
    ] = None
    max_age: Annotated[_Age | None, Field(description="of the ranking: 12h, 30d, 4w")] = None
    by: Annotated[
        Literal["value", "interval"],
        Field(
            description="what is compared: the estimate itself, or the end of its 95 % interval"
            " that is nearer to the threshold's wrong side"
        ),
    ] = "value"


def combine(file: Policy, typed: Mapping[str, object], configured: Mapping[str, object]) -> Policy:
    """A policy of options that were typed, then of a file, then of options that were not typed.

    Args:
        file: as :func:`read_policy` gives it.
        typed: by the keys of a policy file; None stands for one that was not given.
        configured: the same of those from the environment or a configuration file.

    Raises:
        UsageError: a value is wrong, or nothing is required.
    """
    sources = (_from_options(configured), file, _from_options(typed))
    policy = Policy.model_validate({k: v for one in sources for k, v in _fields(one).items()})
    if not set(_fields(policy)) - _MANNERS:
        raise UsageError(
            "gate needs something to require, found neither an option nor a --policy that does.",
            hint="For example: selector gate ranking.json --min-attacked-accuracy 0.6",
        )
    if policy.at_radius is not None and policy.min_certified_accuracy is None:
        raise UsageError(
            "--at-radius needs --min-certified-accuracy, which is not required.",
            hint="Add --min-certified-accuracy, or leave out the radius.",
        )
    if policy.at_eps is not None and all(getattr(policy, key) is None for key in _AT_EPS):
        raise UsageError(
            "--at-eps needs something that depends on eps, which is not required.",
            hint="Add --min-attacked-accuracy or another number, or leave out the eps.",
        )
    return policy


def _fields(policy: Policy) -> dict[str, Any]:
    """What was said; a key of a file may be null, which says nothing."""
    return {
        name: getattr(policy, name)
        for name in policy.model_fields_set
        if getattr(policy, name) is not None
    }


def keys_of(policy: Policy) -> frozenset[str]:
    """The keys that a policy file says something of."""
    return frozenset(_fields(policy))


def read_policy(path: Path | None) -> Policy:
    """A policy file, which may require nothing; an empty policy where there is none.

    Raises:
        UsageError: it cannot be read, or a key or a value is wrong.
    """
    if path is None:
        return Policy()
    file = read_yaml(path, "--policy")
    if not isinstance(file.document, dict):
        raise UsageError(
            f"{file.where} must hold keys such as min_attacked_accuracy: 0.6.",
            hint="`selector schema policy` prints the form.",
        )
    return file.validate(Policy)


def _from_options(given: Mapping[str, object]) -> Policy:
    try:
        return Policy.model_validate({k: v for k, v in given.items() if v is not None})
    except ValidationError as error:
        field, _, said = explain(error, Policy).partition(": ")
        option = "--" + field.partition(".")[0].replace("_", "-")
        raise UsageError(f"{option}: {said}.") from None
