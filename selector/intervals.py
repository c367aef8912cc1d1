"""95 % intervals over test images: sampling error only, never the weakness of an attack."""

from __future__ import annotations

import numpy as np
from scipy import stats
from torch import Tensor

from selector.records import Estimate

LEVEL = 0.95


def proportion(outcomes: Tensor) -> Estimate:
    """Share of true values (n,) bool, with Wilson's interval."""
    hits, n = int(outcomes.sum()), len(outcomes)
    interval = stats.binomtest(hits, n).proportion_ci(LEVEL, method="wilson")
    return Estimate(value=hits / n, low=float(interval.low), high=float(interval.high), n=n)


def mean(values: Tensor) -> Estimate:
    """Mean of values (n,), with Student's interval; a single value has no width."""
    sample = values.double().cpu().numpy()
    n = len(sample)
    centre = float(sample.mean())
    if n == 1:
        return Estimate(value=centre, low=centre, high=centre, n=1)
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * sample.std(ddof=1) / np.sqrt(n))
    return Estimate(value=centre, low=centre - half, high=centre + half, n=n)
