"""What people may require of a ranking: a policy file, or the options of ``selector gate``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from selector.allowed import Age, Count, Licences, Name, Number, Radius, Share, Skips, Threat
from selector.candidates.entry import Entry
from selector.candidates.yamlfile import explain, read_yaml
from selector.errors import UsageError
from selector.records import GateKind

# These say how to compare, and require nothing.
_MANNERS = {"by", "at_radius", "at_eps"}
# Keys that set a limit to a number of one threat, and what that number promises.
NUMBERS: Mapping[str, GateKind] = {
    "min_attacked_accuracy": "attacked",
    "min_estimated_accuracy": "estimated",
    "min_clean_accuracy": "clean",
    "max_bound": "estimated",
    "max_attacked_error": "attacked",
    "max_estimated_error": "estimated",
    "max_clean_error": "clean",
}


class Policy(Entry):
    """A policy file. Each key is also an option of `selector gate`, which overrides it."""

    model: Annotated[
        Name | None,
        Field(
            description="name of the model in use: it has to be in the top group, and all else is"
            " required of it; left out: of the first of the ranking"
        ),
    ] = None
    min_attacked_accuracy: Annotated[
        Share | None, Field(description="of the head after every attack, an upper estimate")
    ] = None
    min_estimated_accuracy: Annotated[
        Share | None, Field(description="criterion on A∘g of the head, rests on an attack")
    ] = None
    min_certified_accuracy: Annotated[
        Share | None, Field(description="of the smoothed head: `selector rank --certify`")
    ] = None
    at_radius: Annotated[
        Radius | None,
        Field(description="l2, of the certified accuracy; left out: the first of the ranking"),
    ] = None
    at_eps: Annotated[
        Threat | None,
        Field(
            description="of the accuracies that are not certified and of the bound: one of several"
            " that the ranking was made with, 2/255 or l2:0.5; left out: its first"
        ),
    ] = None
    min_clean_accuracy: Annotated[Share | None, Field(description="of the head")] = None
    max_attacked_error: Annotated[
        Number | None,
        Field(
            description="squared, of the head after every attack, a lower estimate; of a ranking"
            " by --target-column, where 1 is about that of knowing only the mean"
        ),
    ] = None
    max_estimated_error: Annotated[
        Number | None,
        Field(description="the same by the bound on A∘g, rests on an attack"),
    ] = None
    max_clean_error: Annotated[Number | None, Field(description="the same on clean images")] = None
    max_bound: Annotated[
        Number | None,
        Field(
            description="estimated worst-case loss of the bound-optimal head on A∘g, in nats; a"
            " vacuous bound exceeds every maximum"
        ),
    ] = None
    license: Annotated[
        Licences | None,
        Field(description="allowed licences, in any case of letters; none stated is not allowed"),
    ] = None
    max_params: Annotated[Count | None, Field(description="a number, or as 100M")] = None
    max_skipped: Annotated[
        Skips | None,
        Field(description="candidates that could not be measured"),
    ] = None
    max_age: Annotated[Age | None, Field(description="of the ranking: 12h, 30d, 4w")] = None
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
    if policy.at_eps is not None and all(getattr(policy, key) is None for key in NUMBERS):
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
