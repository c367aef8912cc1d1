"""Values of many images, one row for each, that may be more than memory holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Rows(Protocol):
    """What reads like a tensor (n, ...), some rows at a time: one is, others lie in a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of all rows: (n, ...)."""
        ...

    def __len__(self) -> int:
        """n."""
        ...

    def __getitem__(self, places: slice | Tensor, /) -> Tensor:
        """The rows of a range without steps, or of an index (b,)."""
        ...


@dataclass(frozen=True)
class Picked:
    """Some rows of others, in an order of their own, read when they are asked for.

    Attributes:
        rows: the others.
        places: index (n,) into them.
    """

    rows: Rows
    places: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, ...)."""
        return (len(self), *self.rows.shape[1:])

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, places: slice | Tensor, /) -> Tensor:
        return self.rows[self.places[places]]


def ranges(count: int, at_once: int) -> Iterator[slice]:
    """Consecutive ranges of at most ``at_once`` that cover 0 .. count - 1.

    >>> list(ranges(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    for start in range(0, count, at_once):
        yield slice(start, min(start + at_once, count))


def spread(count: int, at_most: int) -> Tensor:
    """Places (n,) of so many of ``count`` rows at most, evenly apart: classes follow each other.

    >>> spread(9, 4).tolist()
    [0, 2, 4, 6]
    >>> spread(3, 4).tolist()
    [0, 1, 2]
    """
    chosen = min(count, at_most)
    return torch.arange(chosen) * count // chosen


@dataclass(frozen=True)
class Moments:
    """Of rows (n,d), in float64.

    Attributes:
        count: n.
        mean: (d,).
        scatter: (d,d), the sum over rows of (x - mean)(x - mean)^T.
    """

    count: int
    mean: Tensor
    scatter: Tensor

    def plus(self, other: Moments) -> Moments:
        """Of both sets of rows together (Chan, Golub and LeVeque 1983), so of a stream of them."""
        count = self.count + other.count
        apart = other.mean - self.mean
        share = other.count / count
        return Moments(
            count,
            self.mean + share * apart,
            self.scatter + other.scatter + self.count * share * torch.outer(apart, apart),
        )


def moments(rows: Tensor) -> Moments:
    """Mean and scatter of rows (n,d)."""
    values = rows.double()
    mean = values.mean(dim=0)
    centred = values - mean
    return Moments(len(values), mean, centred.T @ centred)
