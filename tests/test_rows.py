"""Rows that are read some at a time, and moments that are added up."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st

from selector.rows import Moments, Picked, moments, ranges


@given(st.integers(0, 50), st.integers(1, 60))
def test_ranges_cover_everything_once_and_in_order(count: int, at_once: int) -> None:
    parts = [torch.arange(count)[part].tolist() for part in ranges(count, at_once)]
    assert [place for part in parts for place in part] == list(range(count))
    assert all(len(part) == at_once for part in parts[:-1])
    assert all(0 < len(part) <= at_once for part in parts)


def test_picked_rows_are_read_in_their_own_order() -> None:
    rows, places = normal(6, 2, 3, seed=0), torch.tensor([4, 0, 4, 5])
    picked = Picked(rows, places)
    assert (len(picked), picked.shape) == (4, (4, 2, 3))
    assert torch.equal(picked[1:3], rows[[0, 4]])
    assert torch.equal(picked[torch.tensor([3, 0])], rows[[5, 4]])
    assert torch.equal(Picked(picked, torch.tensor([3]))[:], rows[5:])


@given(
    st.lists(st.integers(1, 8), min_size=1, max_size=5),
    st.integers(0, 1000),
    st.sampled_from([0.0, 1e4]),
)
def test_moments_of_a_stream_are_those_of_all_rows(
    sizes: list[int], seed: int, offset: float
) -> None:
    rows = normal(sum(sizes), 3, seed=seed) + offset
    found = reduce(Moments.plus, map(moments, rows.split(sizes)))
    assert found.count == len(rows)
    np.testing.assert_allclose(found.mean, rows.numpy().mean(axis=0), rtol=1e-12, atol=1e-12)
    expected = np.cov(rows.numpy().T, ddof=0) * len(rows)
    np.testing.assert_allclose(found.scatter, expected, rtol=1e-7, atol=1e-7)


def test_moments_are_in_double_precision() -> None:
    # In single precision the mean of these would be off by more than their spread.
    rows = torch.tensor([[16777216.0], [16777218.0]])
    assert moments(rows).scatter.item() == pytest.approx(2.0)
