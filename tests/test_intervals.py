"""Intervals against the formulas they are named after."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from selector import intervals

Z = 1.959963984540054


@given(st.integers(0, 200), st.integers(0, 200))
def test_proportion_has_the_interval_of_wilson(hits: int, misses: int) -> None:
    n = hits + misses
    if n == 0:
        return
    p = hits / n
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    found = intervals.proportion(torch.tensor([True] * hits + [False] * misses))
    assert (found.value, found.n) == (p, n)
    assert found.low == pytest.approx(max(0.0, centre - half), abs=1e-12)
    assert found.high == pytest.approx(min(1.0, centre + half), abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_proportion_of_a_known_table() -> None:
    # Wilson's interval for 8 of 10 as in Brown, Cai and DasGupta (2001), to three digits.
    found = intervals.proportion(torch.arange(10) < 8)
    assert (round(found.low, 3), round(found.high, 3)) == (0.490, 0.943)


@given(st.integers(2, 50), st.integers(0, 1000), st.sampled_from([1e-6, 1.0, 1e6]))
def test_mean_has_the_interval_of_student(n: int, seed: int, scale: float) -> None:
    values = scale * (normal(n, seed=seed) + 3)
    sample = values.numpy()
    low, high = stats.t.interval(0.95, n - 1, loc=sample.mean(), scale=stats.sem(sample))
    found = intervals.mean(values)
    assert found.n == n
    assert found.value == pytest.approx(np.mean(sample))
    assert (found.low, found.high) == pytest.approx((low, high))


def test_a_single_value_has_no_width() -> None:
    found = intervals.mean(torch.tensor([2.5]))
    assert (found.value, found.low, found.high, found.n) == (2.5, 2.5, 2.5, 1)


def test_mean_of_many_float32_values_is_summed_in_double() -> None:
    values = torch.full((100_000,), 0.1, dtype=torch.float32)
    assert intervals.mean(values).value == pytest.approx(values[0].item(), abs=1e-12)
