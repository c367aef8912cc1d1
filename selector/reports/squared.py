"""Squared errors as people read them: in variances of train, where 1 is knowing only the mean."""

from __future__ import annotations

from collections.abc import Sequence

from selector.records import Estimate, RegressionHead, TargetColumn

_MANY, _SMALL = 100, 0.1


def error(value: float) -> str:
    """An error, with as many digits as say something.

    >>> error(0.3442), error(0.00344), error(4321.0), error(0.0)
    ('0.34', '0.0034', '4,321', '0')
    """
    if value >= _MANY:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= _SMALL else f"{value:.2g}"


def span(estimate: Estimate) -> str:
    """The interval of an error, which is never below 0.

    >>> span(Estimate(value=0.04, low=-0.06, high=0.14, n=100))
    '0–0.14'
    """
    return f"{error(max(0.0, estimate.low))}–{error(estimate.high)}"


def with_span(estimate: Estimate) -> str:
    """An error and its interval.

    >>> with_span(Estimate(value=0.344, low=0.29, high=0.4, n=100))
    '0.34 (0.29–0.40)'
    """
    return f"{error(estimate.value)} ({span(estimate)})"


def in_units(head: RegressionHead, columns: Sequence[TargetColumn]) -> list[tuple[str, str]]:
    """Name of each of the first columns, and the root of its mean squared clean error, in the
    units of the table.
    """
    roots = zip(columns, head.clean_by_column, strict=False)
    return [(one.name, f"{one.sd * square**0.5:.3g} (sd {one.sd:.3g})") for one, square in roots]
