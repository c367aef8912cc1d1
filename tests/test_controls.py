"""What is reached without a gradient: stays in the threat set, never above the exact maximum."""

from __future__ import annotations

import pytest
import torch
from conftest import SHAPE, SIZE, LinearBackbone, normal
from test_sensitivity import Recorder, budget, curved, flat, images
from torch import Tensor

from selector.attacks import ATTACKS
from selector.batches import extract
from selector.controls import NOISE_DRAWS, SEARCH_STEPS, gradient_free, move_square
from selector.norms import NORMS, Norm
from selector.search import search
from selector.sensitivity import displacement, displacement_aim
from selector.threat import ThreatModel

EPS = 0.1
each_norm = pytest.mark.parametrize("norm", NORMS)


@each_norm
def test_noise_is_on_the_border_of_the_threat_set(norm: Norm):
    of = images(flat)
    clean = extract(of)
    delta = gradient_free(of, clean, ThreatModel(norm, EPS), seed=0).noise.double() - clean.double()
    if norm == "linf":
        torch.testing.assert_close(delta.abs(), torch.full_like(delta, EPS), rtol=0, atol=1e-6)
        assert delta.sign().unique().tolist() == [-1, 1]
    else:
        torch.testing.assert_close(delta.norm(dim=1), torch.full((7,), EPS).double())
    assert len(delta.sign().unique(dim=0)) == 7


@each_norm
def test_noise_stays_in_the_box(norm: Norm):
    values = torch.cat([torch.zeros(2, *SHAPE), torch.full((2, *SHAPE), 255)]).to(torch.uint8)
    of = images(flat, values=values)
    noisy = gradient_free(of, extract(of), ThreatModel(norm, EPS), seed=0).noise
    assert noisy.min() >= 0
    assert noisy.max() <= 1
    assert (noisy - extract(of)).abs().amax(dim=1).min() > 0


@each_norm
def test_noise_takes_the_farther_of_two_draws(norm: Norm):
    backbone = Recorder(curved)
    of = images(backbone)
    clean = extract(of)
    found = gradient_free(of, clean, ThreatModel(norm, EPS), seed=0).noise
    first, second = (displacement(curved(x), clean) for x in backbone.shown[1:3])
    assert len({bool(a > b) for a, b in zip(first, second, strict=True)}) == 2
    torch.testing.assert_close(displacement(found, clean), torch.maximum(first, second))


@pytest.mark.parametrize("draw", range(NOISE_DRAWS + SEARCH_STEPS))
def test_features_that_are_not_finite_are_no_shorter_way(draw: int):
    """A NaN is larger than nothing, so that the point would be passed over."""
    shown = iter(range(1 + NOISE_DRAWS + SEARCH_STEPS))

    def spoilt(x: Tensor) -> Tensor:
        features = curved(x)
        if next(shown) == 1 + draw:
            features[3, 2] = torch.nan
        return features

    of = images(spoilt)
    clean = extract(of)
    with pytest.raises(FloatingPointError, match="features"):
        gradient_free(of, clean, ThreatModel("linf", EPS), seed=0)


@each_norm
def test_noise_is_below_the_exact_maximum_and_a_search_is_above_it(norm: Norm):
    backbone, threat = LinearBackbone(normal(6, SIZE, seed=1)), ThreatModel(norm, EPS)
    of = images(backbone)
    clean = extract(of)
    noise = displacement(gradient_free(of, clean, threat, seed=0).noise, clean)
    assert (noise < backbone.largest_displacement(norm, EPS)).all()
    for attack in ATTACKS:
        found = search(of, displacement_aim(clean), threat, budget(2, 10, attack=attack))
        assert (displacement(found.features, clean) > noise).all()


@each_norm
def test_a_random_search_climbs_from_the_noise_and_stays_inside(norm: Norm):
    backbone, threat = Recorder(curved), ThreatModel(norm, EPS)
    of = images(backbone)
    clean = extract(of)
    found = gradient_free(of, clean, threat, seed=0)
    noise, searched = displacement(found.noise, clean), displacement(found.searched, clean)
    assert (searched >= noise).all()
    assert (searched > 1.05 * noise).any()
    shown = backbone.shown[1:]
    assert len(shown) == NOISE_DRAWS + SEARCH_STEPS
    everything = torch.stack([displacement(curved(x), clean) for x in shown])
    torch.testing.assert_close(searched, everything.amax(dim=0))
    x = backbone.shown[0]
    order = float("inf") if norm == "linf" else 2
    for point in shown:
        sizes = torch.linalg.vector_norm((point - x).flatten(1), ord=order, dim=1)
        assert (sizes <= EPS * (1 + 1e-5)).all()


@each_norm
def test_a_long_random_search_comes_near_the_exact_maximum_of_one_direction(norm: Norm):
    # One row of equal signs: the best square is the whole image.
    backbone, threat = LinearBackbone(torch.ones(1, SIZE)), ThreatModel(norm, EPS)
    of = images(backbone)
    clean = extract(of)
    exact = backbone.largest_displacement(norm, EPS)
    found = displacement(gradient_free(of, clean, threat, seed=0, steps=200).searched, clean)
    assert (found <= exact * (1 + 1e-5)).all()
    assert found.mean() >= 0.9 * exact


def test_a_square_of_one_sign_per_channel_is_moved_and_nothing_else() -> None:
    x = torch.full((20, 3, 7, 9), 0.5)
    moved = move_square(x, x, ThreatModel("linf", 0.25), 3, list(range(20))) - x
    assert set(moved.unique().tolist()) == {-0.25, 0.0, 0.25}
    for image in moved:
        rows, columns = (image[0].abs().amax(dim=dim).nonzero().flatten() for dim in (1, 0))
        assert len(rows) == len(columns) == 3
        square = image[:, rows[0] : rows[0] + 3, columns[0] : columns[0] + 3]
        assert (square == square[:, :1, :1]).all() and (square != 0).all()
        assert (image != 0).sum() == square.numel()
    corners = {tuple((image[0] != 0).nonzero()[0].tolist()) for image in moved}
    assert len(corners) > 5 and max(top for top, _ in corners) <= 4
