"""What can be certified at all, and how asking for more is refused."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selector.errors import UsageError
from selector.radii import Leaders, Smoothing, default_radii, parse_radii, require_l2
from selector.smoothing import certify


@given(
    draws=st.integers(1, 5000),
    sigma=st.floats(0.01, 5),
    alpha=st.floats(1e-6, 0.4),
)
def test_the_largest_radius_is_that_of_draws_which_all_agree(
    draws: int, sigma: float, alpha: float
) -> None:
    largest = Smoothing(sigma, (1.0,), draws, alpha).largest_radius
    agreed = torch.tensor([[draws, 0]])
    found = float(certify(agreed, agreed, sigma, alpha).radii)
    assert found == pytest.approx(max(0.0, largest), abs=1e-9)


@given(share=st.floats(0.05, 3.5), alpha=st.floats(1e-4, 0.4))
def test_the_fewest_draws_reach_a_radius_and_one_less_does_not(share: float, alpha: float) -> None:
    sigma = 0.25
    fewest = Smoothing(sigma, (1.0,), alpha=alpha).draws_for(share * sigma)
    assert fewest is not None
    assert Smoothing(sigma, (1.0,), fewest, alpha).largest_radius >= share * sigma - 1e-9
    if fewest > 1:
        assert Smoothing(sigma, (1.0,), fewest - 1, alpha).largest_radius < share * sigma + 1e-9


@pytest.mark.parametrize("share", [5.0, 8.5, 40.0, 1e6])
def test_what_takes_a_million_draws_is_no_way_out(share: float) -> None:
    assert Smoothing(1.0, (share,)).draws_for(share) is None
    with pytest.raises(UsageError) as caught:
        Smoothing(1.0, (share,)).require_reach("--radii")
    assert caught.value.hint == "Use a smaller radius or a larger --sigma."


def test_a_radius_out_of_reach_is_refused_with_what_can_be_reached() -> None:
    with pytest.raises(UsageError) as caught:
        Smoothing(0.25, (0.25, 0.7)).require_reach("--radii")
    message, hint = caught.value.message, caught.value.hint
    assert "--radii can be at most 0.6158 with 1000 draws, alpha 0.001 and sigma 0.25" in message
    assert "found 0.7" in message
    draws = int(hint.partition("at least ")[2].partition(" draws")[0])
    Smoothing(0.25, (0.25, 0.7), draws).require_reach("--radii")
    Smoothing(0.25, (0.25, 0.6158)).require_reach("--radii")
    with pytest.raises(UsageError):
        Smoothing(0.25, (0.25, 0.7), draws - 1).require_reach("--radii")


def test_too_few_draws_certify_nothing() -> None:
    with pytest.raises(UsageError, match="can be none with 5 draws"):
        Smoothing(0.25, (0.01,), 5).require_reach("--radii")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sigma": 0.0}, "--sigma must be a finite number above 0, found 0"),
        ({"sigma": math.inf}, "--sigma must be a finite number above 0"),
        ({"draws": 0}, "--draws must be at least 1, found 0"),
        ({"alpha": 0.0}, "--alpha must lie between 0 and 0.5, found 0"),
        ({"alpha": 0.5}, "--alpha must lie between 0 and 0.5"),
        ({"alpha": math.nan}, "--alpha must lie between 0 and 0.5"),
    ],
)
def test_what_makes_no_sense_is_named(change: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Smoothing(**({"sigma": 0.25, "radii": (0.25,)} | change))


def test_nobody_to_certify_is_named() -> None:
    with pytest.raises(UsageError, match="--certify must be at least 1, found 0"):
        Leaders(0, Smoothing(0.25, (0.25,)))


@pytest.mark.parametrize("text", ["", "0", "-1", "x", "0.5,", "0.5,0.5", "1/0", "inf", "nan"])
def test_radii_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--radii"):
        parse_radii(text)


def test_radii_keep_their_order() -> None:
    assert parse_radii("1, 0.25,128/255") == (1.0, 0.25, 128 / 255)


def test_the_radii_of_the_noise_can_be_certified() -> None:
    for sigma in (0.1, 0.25, 3.0):
        Smoothing(sigma, default_radii(sigma)).require_reach("--radii")


def test_another_norm_is_refused_with_the_ball_that_it_takes() -> None:
    require_l2("--certify", "l2", 0.5, 224)
    with pytest.raises(UsageError, match=r"linf 4/255 at 224 px has radius .* = 6\.09"):
        require_l2("--certify", "linf", 4 / 255, 224)
