"""Numbers of a record that are made in no other place: relative displacement, vacuity, the clip."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st

from selector.summary import is_vacuous, loss_clip, relative_sensitivity


def test_relative_displacement_is_in_units_of_the_mean_distance_between_features() -> None:
    # Distances between the corners of this triangle: 3, 4 and 5.
    corners = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    found = relative_sensitivity(torch.tensor([1.0, 2.0, 3.0]).double(), corners)
    assert found.mean.value == 2.0
    assert found.relative == 0.5


@given(scale=st.floats(1e-3, 1e3))
def test_relative_displacement_depends_on_no_unit(scale: float) -> None:
    features, moved = normal(5, 3, seed=1), normal(5, seed=2).abs()
    plain, scaled = (relative_sensitivity(moved * c, features * c) for c in (1, scale))
    assert scaled.relative == pytest.approx(plain.relative)


def test_a_bound_is_vacuous_from_the_loss_of_class_frequencies_on() -> None:
    assert is_vacuous(2.31, 2.3)
    assert is_vacuous(2.3, 2.3)
    assert not is_vacuous(2.29, 2.3)


def test_the_loss_is_clipped_at_twice_that_of_knowing_nothing() -> None:
    assert loss_clip(10) == pytest.approx(2 * math.log(10))
