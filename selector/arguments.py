"""Arguments of the Python interface: checked where they enter, and named as Python names them."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from typing import Any

from selector.errors import UsageError, shorten
from selector.norms import Norm, parse_eps
from selector.racing import parse_budget
from selector.threat import ThreatModel

Threat = ThreatModel | tuple[Norm, float | str]
"""A threat model, or norm and eps, as ``("linf", "4/255")``."""

# What stands between backticks is to be typed as it is.
_OPTION = re.compile(r"`[^`]*`|--([a-z]+(?:-[a-z]+)*)")
# Options whose argument here has another name.
_ARGUMENTS = {"model": "candidates", "registry": "candidates", "eps": "eps of threat"}
_ARGUMENTS |= {"norm": "norm of threat", "target-column": "target_columns", "locked": "lock"}


def whole(name: str, value: Any, least: int | None = None) -> int:
    """A whole number of any integer type, at least so large.

    >>> import numpy as np
    >>> whole("steps", np.int64(3))
    3

    Raises:
        UsageError: it is none; ``name`` is said to be what must be one.
    """
    try:
        found = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        found = None
    if found is None:
        raise UsageError(f"{name} must be a whole number, found {said(value)}.")
    if least is not None and found < least:
        raise UsageError(f"{name} must be at least {least}, found {found}.")
    return found


def whole_or_none(name: str, value: Any, least: int | None = None) -> int | None:
    """As :func:`whole`, or None."""
    return None if value is None else whole(name, value, least)


def number(name: str, value: Any) -> float:
    """A number.

    Raises:
        UsageError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise UsageError(f"{name} must be a number, found {said(value)}.")
    return float(value)


def text(name: str, value: Any) -> str:
    """A string.

    Raises:
        UsageError: it is none.
    """
    if not isinstance(value, str):
        raise UsageError(f"{name} must be a string, found {said(value)}.")
    return value


def seconds(budget: Any) -> float | None:
    """A time in seconds, or such as "10m".

    Raises:
        UsageError: it is none, not above 0, or infinite.
    """
    if isinstance(budget, str):
        return parse_budget(budget)
    if budget is None:
        return None
    found = number("budget", budget)
    if not 0 < found < math.inf:
        raise UsageError(f"budget must be seconds above 0, or such as '10m', found {budget}.")
    return found


def one_threat(given: Any) -> ThreatModel:
    """The threat model that a :data:`Threat` says.

    Raises:
        UsageError: it says none.
    """
    if isinstance(given, ThreatModel):
        return given
    if not (isinstance(given, tuple) and len(given) == 2):
        raise UsageError(
            'threat must be a ThreatModel, or norm and eps as ("linf", "4/255"), found'
            f" {said(given)}."
        )
    norm, eps = given
    with in_words_of_python():
        return ThreatModel(
            norm, parse_eps(eps) if isinstance(eps, str) else number("eps of threat", eps)
        )


def said(value: Any) -> str:
    """A value as Python writes it, cut where it is long."""
    return shorten(repr(value), 80)


@contextmanager
def in_words_of_python() -> Iterator[None]:
    """What is wrong is said of arguments, where the command line has options."""
    try:
        yield
    except UsageError as error:
        raise UsageError(_words(error.message), hint=_words(error.hint)) from error


def _words(said_of_options: str) -> str:
    """Options as arguments.

    >>> _words("--test-images must be at least 1; --eps is fine, and so is `selector rank --top`.")
    'test_images must be at least 1; eps of threat is fine, and so is `selector rank --top`.'
    """
    return _OPTION.sub(_argument, said_of_options)


def _argument(found: re.Match[str]) -> str:
    option = found[1]
    return _ARGUMENTS.get(option, option.replace("-", "_")) if option else found[0]
