"""Words of the threat model that need no tensors: norms and sizes of a perturbation."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal, get_args

from selector.errors import UsageError

Norm = Literal["linf", "l2"]
NORMS: tuple[Norm, ...] = get_args(Norm)


def parse_eps(text: str) -> float:
    """Read a perturbation size in pixel units of [0,1]; a fraction is accepted.

    >>> parse_eps("4/255") == 4 / 255
    True
    >>> parse_eps("0.5")
    0.5

    Raises:
        UsageError: it is not a number.
    """
    try:
        return float(Fraction(text.replace(" ", "")))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise UsageError(
            f"--eps must be a number or a fraction such as 4/255, found {text!r}."
        ) from None


def format_threat(norm: Norm, eps: float) -> str:
    """A threat as people write it.

    >>> format_threat("linf", 4 / 255), format_threat("l2", 0.5)
    ('linf 4/255', 'l2 0.5')
    """
    steps = eps * 255
    if norm == "linf" and abs(steps - round(steps)) < 1e-9:
        return f"linf {round(steps)}/255"
    return f"{norm} {eps:g}"
