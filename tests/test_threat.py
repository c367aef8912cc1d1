"""The threat model, against numpy and against the definition of a ball."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import SHAPE, SIZE, grey, normal
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest
from torch import Tensor

from selector.errors import UsageError
from selector.norms import NORMS, Norm
from selector.threat import ThreatModel

seeds = st.integers(0, 2**31)
threats = st.builds(ThreatModel, st.sampled_from(NORMS), st.sampled_from([0.001, 4 / 255, 0.3, 1]))
spreads = st.sampled_from([0.0, 1e-4, 0.03, 0.5, 100.0])


def images(seed: int, count: int = 3) -> Tensor:
    """Images (n,3,2,2) in [0,1], many of whose values are exactly 0 or 1."""
    return (0.5 + 0.5 * normal(count, *SHAPE, seed=seed)).clamp(0, 1)


def lengths(delta: Tensor, norm: Norm) -> Tensor:
    """Size of every perturbation (n,), by numpy."""
    order = math.inf if norm == "linf" else 2
    return torch.from_numpy(np.linalg.norm(delta.flatten(1).double().numpy(), ord=order, axis=1))


@given(threats, seeds, spreads)
def test_projection_lands_in_the_ball_and_in_the_box(threat: ThreatModel, seed: int, spread: float):
    x = images(seed)
    projected = threat.project(x + spread * normal(*x.shape, seed=seed + 1), x)
    assert (lengths(projected - x, threat.norm) <= threat.eps * (1 + 1e-12)).all()
    assert projected.min() >= 0
    assert projected.max() <= 1


@given(threats, seeds, spreads)
def test_projection_is_idempotent(threat: ThreatModel, seed: int, spread: float):
    x = images(seed)
    once = threat.project(x + spread * normal(*x.shape, seed=seed + 1), x)
    torch.testing.assert_close(threat.project(once, x), once, rtol=0, atol=1e-15)


@given(threats, seeds, st.floats(0, 1))
def test_projection_leaves_points_of_the_threat_set_where_they_are(
    threat: ThreatModel, seed: int, share: float
):
    x = images(seed)
    inside = threat.random_start(x, [seed, seed + 1, seed + 2])
    inside = x + share * (inside - x)
    torch.testing.assert_close(threat.project(inside, x), inside, rtol=0, atol=1e-15)


@given(seeds, spreads, st.sampled_from([0.001, 4 / 255, 0.3, 1]))
def test_linf_projection_is_two_clips(seed: int, spread: float, eps: float):
    x = images(seed)
    far = x + spread * normal(*x.shape, seed=seed + 1)
    expected = np.clip(np.clip(far.numpy(), x.numpy() - eps, x.numpy() + eps), 0, 1)
    np.testing.assert_array_equal(ThreatModel("linf", eps).project(far, x).numpy(), expected)


@given(seeds, spreads, st.sampled_from([0.001, 4 / 255, 0.3, 1, 3]))
def test_l2_projection_is_a_rescaling_and_a_clip(seed: int, spread: float, eps: float):
    x = images(seed)
    far = x + spread * normal(*x.shape, seed=seed + 1)
    expected = []
    for image, start in zip(far.numpy(), x.numpy(), strict=True):
        delta = image - start
        length = np.sqrt((delta**2).sum())
        expected.append(np.clip(start + delta * min(1, eps / max(length, 1e-300)), 0, 1))
    found = ThreatModel("l2", eps).project(far, x).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)


@given(threats, seeds)
def test_a_random_start_is_in_the_threat_set(threat: ThreatModel, seed: int):
    x = images(seed)
    start = threat.random_start(x, [seed, seed + 1, seed + 2])
    assert (lengths(start - x, threat.norm) <= threat.eps * (1 + 1e-12)).all()
    assert start.min() >= 0
    assert start.max() <= 1
    assert not torch.equal(start, x)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("norm", NORMS)
def test_a_random_start_does_not_depend_on_how_images_are_batched(norm: Norm, layout):
    threat = ThreatModel(norm, 0.1)
    x = images(0, 5).contiguous(memory_format=layout)
    together = threat.random_start(x, range(5))
    one_by_one = [threat.random_start(x[i : i + 1], [i]) for i in range(5)]
    assert torch.equal(together, torch.cat(one_by_one))
    backwards = threat.random_start(x.flip(0), range(4, -1, -1))
    assert torch.equal(together, backwards.flip(0))


@pytest.mark.parametrize("norm", NORMS)
def test_a_random_start_depends_on_its_seed_and_on_nothing_global(norm: Norm):
    threat = ThreatModel(norm, 0.1)
    torch.manual_seed(0)
    first = threat.random_start(grey(2), [7, 8])
    torch.manual_seed(1)
    assert torch.equal(first, threat.random_start(grey(2), [7, 8]))
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize("norm", NORMS)
def test_random_starts_are_uniform_in_the_ball(norm: Norm):
    count, eps = 2000, 0.2
    x = grey(count)
    delta = (ThreatModel(norm, eps).random_start(x, range(count)) - x).flatten(1).numpy()
    if norm == "linf":
        assert kstest(delta.ravel(), "uniform", args=(-eps, 2 * eps)).pvalue > 0.01
    else:
        # A ball of radius r holds the share (r / eps)^d of the volume.
        shares = (np.linalg.norm(delta, axis=1) / eps) ** SIZE
        assert kstest(shares, "uniform").pvalue > 0.01
        assert np.abs(delta.mean(axis=0)).max() < 0.01


def test_a_random_start_needs_one_seed_per_image():
    with pytest.raises(ValueError, match="zip"):
        ThreatModel("linf", 0.1).random_start(grey(2), [1])


@given(st.sampled_from(NORMS), seeds, st.sampled_from([1e-6, 1.0, 1e6]))
def test_the_steepest_step_has_unit_norm(norm: Norm, seed: int, scale: float):
    gradient = scale * normal(3, *SHAPE, seed=seed)
    step = ThreatModel(norm, 0.1).steepest_step(gradient)
    torch.testing.assert_close(lengths(step, norm), torch.ones(3).double())


@pytest.mark.parametrize("scale", [1e-30, 1e-25, 1e25], ids="{:g}".format)
@pytest.mark.parametrize("norm", NORMS)
def test_the_steepest_step_has_unit_norm_where_squares_leave_the_range_of_fp32(
    norm: Norm, scale: float
):
    step = ThreatModel(norm, 0.1).steepest_step(scale * normal(3, *SHAPE, seed=0).float())
    torch.testing.assert_close(lengths(step, norm), torch.ones(3).double(), rtol=1e-5, atol=0)


@given(st.sampled_from(NORMS), seeds)
def test_no_other_unit_step_is_steeper(norm: Norm, seed: int):
    gradient = normal(1, *SHAPE, seed=seed)
    slope = (ThreatModel(norm, 0.1).steepest_step(gradient) * gradient).sum()
    others = normal(200, *SHAPE, seed=seed + 1)
    others /= lengths(others, norm)[:, None, None, None]
    assert (others * gradient).sum(dim=(1, 2, 3)).max() <= slope
    # Hoelder: the steepest slope is the dual norm of the gradient.
    torch.testing.assert_close(slope, gradient.norm(p=1 if norm == "linf" else 2))


@pytest.mark.parametrize("norm", NORMS)
def test_the_steepest_step_of_a_zero_gradient_is_zero(norm: Norm):
    gradient = torch.cat([grey(1), torch.zeros(1, *SHAPE).double()])
    step = ThreatModel(norm, 0.1).steepest_step(gradient)
    assert step[0].abs().min() > 0
    assert torch.equal(step[1], torch.zeros(SHAPE).double())


@pytest.mark.parametrize("eps", [0.0, -0.1, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("norm", NORMS)
def test_eps_must_be_finite_and_above_zero(norm: Norm, eps: float):
    with pytest.raises(UsageError, match=r"^--eps must be a finite number above 0, found"):
        ThreatModel(norm, eps)


def test_eps_above_one_makes_sense_for_l2_only():
    assert ThreatModel("l2", 8).eps == 8
    assert ThreatModel("linf", 1).eps == 1
    with pytest.raises(UsageError, match=r"^--eps must be at most 1 for linf") as caught:
        ThreatModel("linf", 8)
    assert "--eps 8/255" in caught.value.hint


def test_an_unknown_norm_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match=r"^--norm must be one of linf, l2, found 'l1'"):
        ThreatModel("l1", 0.1)  # type: ignore[arg-type]


def test_a_threat_is_printed_as_people_write_it():
    assert str(ThreatModel("linf", 4 / 255)) == "linf 4/255"
    assert str(ThreatModel("l2", 0.5)) == "l2 0.5"


@pytest.mark.parametrize("size", [1e30, 1e-30])
def test_the_steepest_step_has_unit_length_where_squares_of_the_gradient_leave_float32(size: float):
    gradient = torch.full((1, 3, 4, 4), -size)
    step = ThreatModel("l2", 0.5).steepest_step(gradient)
    torch.testing.assert_close(step, torch.full_like(step, -(48**-0.5)))
