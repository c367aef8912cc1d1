"""Whether memory grows, and what must be flat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import linregress, t

# Values of neighbouring rankings go together; means of so many hardly do.
_BLOCK = 50


@dataclass(frozen=True)
class Slope:
    """Growth per ranking, with its 95 % interval."""

    value: float
    low: float
    high: float


def slope(values: Sequence[float]) -> Slope:
    """Least squares through the means of blocks of 50 values; at least three blocks.

    >>> round(slope([2.0 * place for place in range(200)]).value, 6)
    2.0
    """
    blocks = len(values) // _BLOCK
    means = np.asarray(values[: blocks * _BLOCK], dtype=float).reshape(blocks, _BLOCK).mean(axis=1)
    line = linregress(np.arange(blocks) * _BLOCK, means)
    reach = float(t.ppf(0.975, blocks - 2) * line.stderr)
    return Slope(float(line.slope), float(line.slope) - reach, float(line.slope) + reach)
