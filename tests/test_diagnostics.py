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
from torch.nn import functional

from selector import diagnostics
from selector.attacks import ATTACKS
from selector.batches import BatchSize, Features, Images, extract
from selector.budget import Budget
from selector.controls import Controls, gradient_free
from selector.diagnostics import diagnose, flags, signs
from selector.records import Diagnostics, Flag
from selector.search import Search, search
from selector.sensitivity import displacement_aim
from selector.threat import ThreatModel

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
        far=torch.zeros(restart_distances.shape[1], dtype=torch.bool),
        rising=torch.tensor(rising or [False] * images),
        stuck=torch.tensor(stuck or [False] * images),
    )


def measures_of(on_g: Search, clean: Tensor, controls: Controls) -> Diagnostics:
    """Of all images at once."""
    return diagnose(signs(on_g, clean, controls), clean)


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
        ({"search_wins": 0.06}, "masked_gradients"),
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
        {"search_wins": 0.05},
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
    fields = {"noise_wins": 0.25, "search_wins": 0.375, "zero_gradient": 0.125}
    (masked,) = flags(planted(**fields), GOOD, BALANCED)
    assert "25%" in masked.message
    assert "random search 38%" in masked.message
    assert "12%" in masked.message


def test_chance_is_the_most_frequent_class() -> None:
    # 45 of 100 right, and the interval of the builder begins at 0.35.
    probe = head(right(45), right(30), right(40))
    assert flags(sound(), probe, BALANCED) == ()
    skewed = torch.tensor([0] * 40 + [1] * 30 + [2] * 30)
    assert codes(flags(sound(), probe, skewed)) == ["at_chance"]


def test_noise_is_compared_with_the_attack_image_by_image() -> None:
    clean = normal(4, 3, seed=0)
    attack = searched(moved(clean, [1.0, 1.0, 1.0, 1.0]), torch.ones(1, 4))
    noise = moved(clean, [0.5, 2.0, 1.005, 0.5])
    found = measures_of(attack, clean, Controls(noise, noise))
    # 1.005 is no win: within a hundredth noise and attack are level.
    assert found.noise_wins == pytest.approx(1 / 4)
    assert found.noise_ratio == pytest.approx((0.5 + 2.0 + 1.005 + 0.5) / 4)


def test_restart_spread_is_relative_and_in_units_of_distance() -> None:
    clean = normal(2, 3, seed=0)
    distances = torch.tensor([[1.0, 10.0], [3.0, 10.0], [4.0, 10.0]])
    found = measures_of(
        searched(moved(clean, [4.0, 10.0]), distances), clean, Controls(clean, clean)
    )
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
    found = measures_of(attack, clean, Controls(clean, clean))
    assert (found.still_rising, found.zero_gradient) == (0.75, 0.25)
    assert (found.noise_wins, found.noise_ratio) == (0, 0)


def test_one_start_has_no_spread() -> None:
    clean = normal(4, 3, seed=0)
    controls = Controls(clean, clean)
    found = diagnose(signs(searched(clean + 1, torch.ones(1, 4)), clean, controls), clean)
    assert found.restart_spread is None


def test_an_image_that_no_attack_moves_is_no_division_by_zero() -> None:
    clean = normal(2, 3, seed=0)
    controls = Controls(clean + 1, clean + 1)
    found = measures_of(searched(clean.clone(), torch.zeros(2, 2)), clean, controls)
    assert found.noise_wins == 1
    assert math.isfinite(found.noise_ratio)
    # All starts agree.
    assert found.restart_spread == 0


@given(st.integers(1, 6), st.integers(0, 1000), st.sampled_from([1e-4, 1.0, 1e4]))
def test_effective_rank_of_equal_directions_is_their_number(
    rank: int, seed: int, scale: float
) -> None:
    # Rows +-e_i in a rotated basis: centred, and the same energy in each of the directions.
    basis = torch.linalg.qr(normal(8, 8, seed=seed)).Q[:rank]
    clean = scale * torch.cat([basis, -basis]) + normal(8, seed=seed + 1)
    found = measures_of(searched(clean + 1, torch.ones(1, 2 * rank)), clean, Controls(clean, clean))
    assert found.effective_rank == pytest.approx(rank, rel=1e-6)


def test_effective_rank_of_an_uneven_spectrum() -> None:
    # Energies 1/2, 1/4, 1/4 have entropy 1.5 log 2.
    axes = torch.diag(torch.tensor([2.0, 2.0**0.5, 2.0**0.5]))
    clean = torch.cat([axes, -axes])
    found = measures_of(searched(clean + 1, torch.ones(1, 6)), clean, Controls(clean, clean))
    assert found.effective_rank == pytest.approx(2**1.5, rel=1e-6)


@given(st.integers(2, 60), st.integers(1, 7), st.integers(0, 1000))
def test_effective_rank_does_not_depend_on_how_many_images_are_taken_at_once(
    images: int, at_once: int, seed: int
) -> None:
    clean = normal(images, 5, seed=seed) * torch.tensor([10.0, 3.0, 1.0, 0.1, 0.0]) + 100
    expected = diagnostics._effective_rank(clean)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diagnostics, "AT_ONCE", at_once)
        assert diagnostics._effective_rank(clean) == pytest.approx(expected, rel=1e-9)


def test_a_random_search_is_compared_apart_from_noise() -> None:
    clean = normal(4, 3, seed=0)
    attack = searched(moved(clean, [1.0] * 4), torch.ones(1, 4))
    controls = Controls(moved(clean, [0.5] * 4), moved(clean, [0.5, 2.0, 3.0, 1.005]))
    found = measures_of(attack, clean, controls)
    assert (found.noise_wins, found.search_wins) == (0, 0.5)
    assert found.search_ratio == pytest.approx((0.5 + 2.0 + 3.0 + 1.005) / 4)


# Networks whose numbers must not be believed, measured as a candidate is.

THREAT = ThreatModel("linf", 8 / 255)


def smooth(x: Tensor) -> Tensor:
    return (0.3 * (x - 0.5).flatten(1) @ normal(3 * 64, 8, seed=1).to(x)).tanh()


def rounded(x: Tensor) -> Tensor:
    """Pixels in steps of 16/255, and a faint true gradient that leads nowhere."""
    return torch.cat([10 * (x * 255 / 16).round().flatten(1), 1e-3 * smooth(x)], dim=1)


def stairs(x: Tensor) -> Tensor:
    """Brightness of each quarter in steps: noise averages out below one, a square does not."""
    quarters = functional.avg_pool2d(x - 0.5, 4).flatten(1)
    return torch.cat([10 * (quarters * 255 / 14).round(), 1e-3 * smooth(x)], dim=1)


def dead_when_bright(x: Tensor) -> Tensor:
    """Features of bright images have no gradient."""
    bright = x.mean(dim=(1, 2, 3)) > 128 / 255
    return torch.where(bright[:, None], smooth(x).detach(), smooth(x))


def rugged(x: Tensor) -> Tensor:
    """Waves far narrower than the threat set: the start decides which crests are found."""
    return (10 * (x - 0.5).flatten(1) @ normal(3 * 64, 8, seed=1).to(x)).sin()


def torn(x: Tensor) -> Tensor:
    """Two hills, one twice as high: which one is climbed is decided by where it began."""
    halves = ((x - 128 / 255) / THREAT.eps).flatten(2).unflatten(2, (2, -1)).mean(dim=(1, 3))
    low, high = halves.T
    higher = high.abs() > low.abs()
    return torch.stack([2 * high * higher, low * ~higher], dim=1)


def damped(x: Tensor) -> Tensor:
    """What moves features has no gradient, and fades on the way that a faint gradient shows."""
    share = (x - 128 / 255).flatten(1) / THREAT.eps
    shown = share @ normal(3 * 64, 8, seed=1).to(x)
    faded = shown.square().mean(dim=1, keepdim=True).div(-4 * 3 * 64).exp()
    return torch.cat([(faded * share).detach(), 1e-3 * shown], dim=1)


def measure(backbone: Features) -> Diagnostics:
    """Diagnostics of a quick search over 12 images (12,3,8,8) that are nearly grey."""
    drawn = torch.randint(-2, 3, (12, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    images = Images((128 + drawn).to(torch.uint8), backbone, torch.device("cpu"), BatchSize(12))
    clean = extract(images)
    found = search(images, displacement_aim(clean), THREAT, Budget(ATTACKS["annealed"], 2, 10, 0))
    return measures_of(found, clean, gradient_free(images, clean, THREAT, seed=0))


def test_a_smooth_network_raises_no_flag() -> None:
    found = measure(smooth)
    assert flags(found, GOOD, BALANCED) == ()
    assert found.noise_ratio < found.search_ratio < 1
    assert found.restart_spread < 0.1


def test_a_random_search_finds_out_a_network_that_rounds() -> None:
    found = measure(rounded)
    assert found.noise_ratio > 3 * measure(smooth).noise_ratio
    assert found.search_wins > diagnostics.MASKING_SHARE
    assert "masked_gradients" in codes(flags(found, GOOD, BALANCED))


def test_a_random_search_finds_out_what_noise_hardly_moves() -> None:
    found = measure(stairs)
    assert found.noise_wins <= diagnostics.MASKING_SHARE < found.search_wins
    assert "masked_gradients" in codes(flags(found, GOOD, BALANCED))


def test_noise_finds_out_a_gradient_that_leads_away_from_what_moves_most() -> None:
    found = measure(damped)
    assert found.noise_wins > diagnostics.MASKING_SHARE
    assert "masked_gradients" in codes(flags(found, GOOD, BALANCED))


def test_a_network_that_more_steps_would_move_farther_is_said_to() -> None:
    found = measure(rugged)
    assert found.still_rising > diagnostics.RISING_SHARE
    assert "still_rising" in codes(flags(found, GOOD, BALANCED))


def test_a_gradient_that_vanishes_is_found_out() -> None:
    found = measure(dead_when_bright)
    assert found.zero_gradient > diagnostics.MASKING_SHARE
    assert "masked_gradients" in codes(flags(found, GOOD, BALANCED))


def test_starts_that_disagree_show_in_their_spread() -> None:
    # A start on the lower hill attains half; a few of 12 images have one on each.
    assert measure(smooth).restart_spread < 0.05 < measure(torn).restart_spread < 0.25
