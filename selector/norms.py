"""Words of the threat model that need no tensors: norms and sizes of a perturbation."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Literal, get_args

from selector.errors import UsageError, shorten

Norm = Literal["linf", "l2"]
NORMS: tuple[Norm, ...] = get_args(Norm)
# Beyond what a float can hold.
_MOST_DIGITS = 400


def parse_eps(text: str, option: str = "--eps") -> float:
    """Read a perturbation size in pixel units of [0,1]; a fraction is accepted.

    >>> parse_eps("4/255") == 4 / 255
    True
    >>> parse_eps("0.5/255") == 0.5 / 255
    True
    >>> parse_eps("0.5")
    0.5

    Raises:
        UsageError: it is not a number.
    """
    parts = text.replace(" ", "").split("/")
    try:
        over, under = (_exact(part) for part in (parts if len(parts) > 1 else [*parts, "1"]))
        return float(over / under)
    except (ValueError, InvalidOperation, ZeroDivisionError, OverflowError):
        raise UsageError(
            f"{option} must be a number or a fraction such as 4/255, found {shorten(repr(text))}."
        ) from None


def _exact(text: str) -> Fraction:
    value = Decimal(text)
    # 1e999999999 is a few characters, and as a whole number a GB.
    if value.is_finite() and value and abs(value.adjusted()) > _MOST_DIGITS:
        raise OverflowError
    return Fraction(value)


def parse_threats(text: str, norm: Norm, option: str = "--eps") -> tuple[tuple[Norm, float], ...]:
    """Read one perturbation or several, each with a norm of its own if it names one.

    >>> parse_threats("1/255, 2/255, l2:0.5", "linf") == (
    ...     ("linf", 1 / 255), ("linf", 2 / 255), ("l2", 0.5)
    ... )
    True

    Args:
        text: sizes as :func:`parse_eps` reads them, or NORM:SIZE, parted by commas.
        norm: of those that name none.
        option: where it comes from.

    Raises:
        UsageError: a size is no number, a norm is unknown, or two are the same.
    """
    parts = [parse_threat(part, option) for part in text.split(",")]
    found = tuple((own or norm, eps) for own, eps in parts)
    check_threats(found, option)
    return found


def parse_threat(text: str, option: str = "--eps") -> tuple[Norm | None, float]:
    """Read one perturbation, SIZE or NORM:SIZE; None: it names no norm.

    >>> parse_threat("2/255") == (None, 2 / 255), parse_threat("l2:0.5")
    (True, ('l2', 0.5))

    Raises:
        UsageError: the size is no number, or the norm is unknown.
    """
    named, colon, size = text.strip().rpartition(":")
    norm = next((one for one in NORMS if one == named), None)
    if colon and norm is None:
        raise UsageError(
            f"{option} must be SIZE or NORM:SIZE with a norm of {', '.join(NORMS)},"
            f" found {shorten(repr(text.strip()))}."
        )
    return norm, parse_eps(size, option)


def check_threats(threats: Sequence[tuple[Norm, float]], option: str) -> None:
    """Raise UsageError if there is none, or if two are the same."""
    if not threats:
        raise UsageError(f"{option} must name at least one perturbation, found none.")
    if twice := next((one for one in threats if threats.count(one) > 1), None):
        raise UsageError(
            f"{option} must name each perturbation once, found {format_threat(*twice)} twice."
        )


def format_threat(norm: Norm, eps: float) -> str:
    """A threat as people write it.

    >>> format_threat("linf", 4 / 255), format_threat("l2", 0.5), format_threat("linf", 1e-12)
    ('linf 4/255', 'l2 0.5', 'linf 1e-12')
    """
    steps = eps * 255
    whole = abs(steps - round(steps)) < 1e-9 and round(steps) > 0
    # 0.1 is 25.5/255 as well, but nobody writes it so.
    if norm == "linf" and (whole or (0.005 < steps < 10 and abs(steps - round(steps, 2)) < 1e-9)):
        return f"linf {round(steps, 2):g}/255"
    return f"{norm} {eps:g}"
