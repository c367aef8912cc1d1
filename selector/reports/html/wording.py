"""Numbers as people read them on the page."""

from __future__ import annotations

from selector.records import Estimate

_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def percent(share: float) -> str:
    """A share of 0..1 in percent, without the sign.

    >>> percent(0.8359)
    '83.6'
    """
    return f"{100 * share:.1f}"


def span(share: Estimate) -> str:
    """The interval of a share, in percent, as far as a share can be.

    >>> span(Estimate(value=0.5, low=0.404, high=0.596, n=100))
    '40–60'
    >>> span(Estimate(value=0.1, low=-0.04, high=0.24, n=20))
    '0–24'
    """
    return f"{100 * max(0.0, share.low):.0f}–{100 * min(1.0, share.high):.0f}"


def with_span(share: Estimate) -> str:
    """A share and its interval.

    >>> with_span(Estimate(value=0.5, low=0.404, high=0.596, n=100))
    '50.0 % (40–60)'
    """
    return f"{percent(share.value)} % ({span(share)})"


def nats(loss: Estimate) -> str:
    """A loss and its interval.

    >>> nats(Estimate(value=1.256, low=1.1, high=1.4, n=100))
    '1.26 nats (1.10–1.40)'
    """
    return f"{loss.value:.2f} nats ({loss.low:.2f}–{loss.high:.2f})"


def count(number: int) -> str:
    """A large number in short.

    >>> count(25_557_032), count(89_362), count(12)
    ('25.6M', '89.4k', '12')
    """
    for size, unit in _UNITS:
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return str(number)


def listed(names: list[str]) -> str:
    """Names in a sentence.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
