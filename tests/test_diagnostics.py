"""Diagnostics of planted searches, and the flags they raise."""

from __future__ import annotations

import math

import pytest
import torch
from builders import head, right, sound
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from selector import diagnostics, ranking
from selector.diagnostics import diagnose, flags
from selector.records import Diagnostics, Flag
from selector.sensitivity import Search

BALANCED = torch.arange(100) % 10
GOOD = head(right(90), right(50), right(60))


def codes(found: tuple[Flag, ...]) -> list[str]:
    return [flag.code for flag in found]


def planted(**fields: float) -> Diagnostics:
    """Sound but for the given fields."""
    return sound().model_copy(update=fields)


def searched(
    features: Tensor,
    restart_distances: Tensor,
    rising: list[bool] | None = None,
    stuck: list[bool] | None = None,
) -> Search:
    """A search with these distances per restart (restarts,n)."""
    images = len(features)
    return Search(
        features=features,
        restart_values=restart_distances.square(),
        rising=torch.tensor(rising or [False] * images),
        stuck=torch.tensor(stuck or [False] * images),
    )


def moved(clean: Tensor, distances: list[float]) -> Tensor:
    """Each row of ``clean`` (n,d) moved this far in the first direction."""
    step = torch.zeros_like(clean)
    step[:, 0] = torch.tensor(distances)
    return clean + step


def test_sound_diagnostics_raise_no_flag() -> None:
    assert flags(sound(), GOOD, BALANCED) == ()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"noise_wins": 0.06}, "masked_gradients"),
        ({"zero_gradient": 0.06}, "masked_gradients"),
        ({"noise_wins": 1.0, "zero_gradient": 1.0}, "masked_gradients"),
        ({"still_rising": 0.26}, "still_rising"),
        ({"effective_rank": 1.9}, "collapsed_features"),
    ],
)
def test_planted_diagnostics_raise_their_flag(fields: dict[str, float], code: str) -> None:
    found = flags(planted(**fields), GOOD, BALANCED)
    assert codes(found) == [code]
    assert found[0].message
    assert not found[0].message.endswith(".")  # the table ends it


@pytest.mark.parametrize(
    "fields",
    [
        {"noise_wins": 0.05},
        {"zero_gradient": 0.05},
        {"still_rising": 0.25},
        {"effective_rank": 2.0},
        {"restart_spread": 0.5},
        {"noise_ratio": 0.9},
    ],
)
def test_what_is_within_the_limits_raises_none(fields: dict[str, float]) -> None:
    assert flags(planted(**fields), GOOD, BALANCED) == ()


def test_every_reason_is_given() -> None:
    bad = planted(noise_wins=0.5, still_rising=0.5, effective_rank=1.0)
    found = flags(bad, head(right(10), right(0), right(0)), BALANCED)
    assert codes(found) == ["masked_gradients", "still_rising", "collapsed_features", "at_chance"]


def test_messages_hold_the_numbers() -> None:
    (masked,) = flags(planted(noise_wins=0.25, zero_gradient=0.125), GOOD, BALANCED)
    assert "25%" in masked.message
    assert "12%" in masked.message


def test_chance_is_the_most_frequent_class() -> None:
    # 45 of 100 right, and the interval of the builder begins at 0.35.
    probe = head(right(45), right(30), right(40))
    assert flags(sound(), probe, BALANCED) == ()
    skewed = torch.tensor([0] * 40 + [1] * 30 + [2] * 30)
    assert codes(flags(sound(), probe, skewed)) == ["at_chance"]


def test_the_ranking_knows_the_flag_by_its_code() -> None:
    assert ranking.MASKED == diagnostics.MASKED


def test_noise_is_compared_with_the_attack_image_by_image() -> None:
    clean = normal(4, 3, seed=0)
    attack = searched(moved(clean, [1.0, 1.0, 1.0, 1.0]), torch.ones(1, 4))
    noise = moved(clean, [0.5, 2.0, 1.005, 0.5])
    found = diagnose(attack, clean, noise)
    # 1.005 is no win: within a hundredth noise and attack are level.
    assert found.noise_wins == pytest.approx(1 / 4)
    assert found.noise_ratio == pytest.approx((0.5 + 2.0 + 1.005 + 0.5) / 4)


def test_restart_spread_is_relative_and_in_units_of_distance() -> None:
    clean = normal(2, 3, seed=0)
    distances = torch.tensor([[1.0, 10.0], [3.0, 10.0], [4.0, 10.0]])
    found = diagnose(searched(moved(clean, [4.0, 10.0]), distances), clean, clean)
    # The first image: (4 - 8/3) / 4 = 1/3; the second has none.
    assert found.restart_spread == pytest.approx(1 / 6)


def test_shares_of_images() -> None:
    clean = normal(4, 3, seed=0)
    attack = searched(
        moved(clean, [1.0] * 4),
        torch.ones(2, 4),
        rising=[True, True, True, False],
        stuck=[False, True, False, False],
    )
    found = diagnose(attack, clean, clean)
    assert (found.still_rising, found.zero_gradient) == (0.75, 0.25)
    assert (found.noise_wins, found.noise_ratio) == (0, 0)


def test_an_image_that_no_attack_moves_is_no_division_by_zero() -> None:
    clean = normal(2, 3, seed=0)
    found = diagnose(searched(clean.clone(), torch.zeros(2, 2)), clean, clean + 1)
    assert found.noise_wins == 1
    assert math.isfinite(found.noise_ratio)


@given(st.integers(1, 6), st.integers(0, 1000), st.sampled_from([1e-4, 1.0, 1e4]))
def test_effective_rank_of_equal_directions_is_their_number(
    rank: int, seed: int, scale: float
) -> None:
    # Rows +-e_i in a rotated basis: centred, and the same energy in each of the directions.
    basis = torch.linalg.qr(normal(8, 8, seed=seed)).Q[:rank]
    clean = scale * torch.cat([basis, -basis]) + normal(8, seed=seed + 1)
    found = diagnose(searched(clean + 1, torch.ones(1, 2 * rank)), clean, clean)
    assert found.effective_rank == pytest.approx(rank, rel=1e-6)


def test_effective_rank_of_an_uneven_spectrum() -> None:
    # Energies 1/2, 1/4, 1/4 have entropy 1.5 log 2.
    axes = torch.diag(torch.tensor([2.0, 2.0**0.5, 2.0**0.5]))
    clean = torch.cat([axes, -axes])
    found = diagnose(searched(clean + 1, torch.ones(1, 6)), clean, clean)
    assert found.effective_rank == pytest.approx(2**1.5, rel=1e-6)
