"""Error bounds for numeric targets, against exact suprema of linear representations."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from conftest import SHAPE, SIZE, LinearBackbone, normal
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from selector.attacks import ATTACKS
from selector.batches import BatchSize, Images, extract
from selector.budget import Budget
from selector.heads import LinearHead
from selector.norms import NORMS, Norm
from selector.regression import bounds
from selector.regression.heads import residuals, row_space
from selector.regression.pool import squared_aim, worst_errors
from selector.search import search
from selector.sensitivity import Pool, displacement, displacement_aim
from selector.threat import ThreatModel

EPS = 0.1
IMAGES = 5
sizes = st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(0, 10**6))


def drawn(columns: int, dimensions: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Residuals (n,q), W (q,d) and displacement (n,), some of it 0."""
    residual = normal(6, columns, seed=seed)
    weight = normal(columns, dimensions, seed=seed + 1)
    reach = normal(6, seed=seed + 2).abs()
    return residual, weight, reach * (torch.arange(6) != 2)


def ascended(residual: Tensor, weight: Tensor, reach: Tensor, starts: int = 40) -> Tensor:
    """max of ||r + W u||^2 / q over ||u|| <= s, by fixed-point ascent: what any u attains."""
    u = normal(starts, len(residual), weight.shape[1], seed=9)
    for _ in range(100):
        u = u / u.norm(dim=2, keepdim=True).clamp_min(1e-300) * reach[:, None]
        best = (residual + u @ weight.T).square().mean(dim=2)
        u = (residual + u @ weight.T) @ weight
    return best.amax(dim=0)


@settings(max_examples=25)
@given(sizes)
def test_bounds_are_ordered(size: tuple[int, int, int]) -> None:
    given_ = drawn(*size)
    residual = given_[0]
    clean, worst = bounds.squared_errors(residual), bounds.worst_squared(*given_)
    rows, spectrum = (
        bounds.worst_squared_by_rows(*given_),
        bounds.worst_squared_by_spectrum(*given_),
    )
    slack = 1e-9 * (1 + rows)
    assert (clean <= worst + slack).all()
    assert (worst <= torch.minimum(rows, spectrum) + slack).all()
    if size[0] == 1:
        torch.testing.assert_close(rows, worst)
        torch.testing.assert_close(spectrum, worst)


@settings(max_examples=25)
@given(sizes)
def test_the_dual_is_the_largest_squared_error_in_a_ball(size: tuple[int, int, int]) -> None:
    residual, weight, reach = drawn(*size)
    worst = bounds.worst_squared(residual, weight, reach)
    found = ascended(residual, weight, reach)
    assert (found <= worst * (1 + 1e-9) + 1e-12).all()
    assert (found >= worst * (1 - 1e-3)).all()


@settings(max_examples=25)
@given(sizes)
def test_no_step_within_reach_beats_the_absolute_bound(size: tuple[int, int, int]) -> None:
    residual, weight, reach = drawn(*size)
    worst = bounds.worst_absolute(residual, weight, reach)
    for signs in itertools.product((-1.0, 1.0), repeat=len(weight)):
        steepest = torch.tensor(signs).double() @ weight
        u = steepest / steepest.norm() * reach[:, None]
        assert (bounds.absolute_errors(residual + u @ weight.T) <= worst + 1e-9).all()


def test_the_absolute_bound_of_one_column_is_attained() -> None:
    residual, weight, reach = drawn(1, 5, 3)
    u = residual.sign() * weight / weight.norm() * reach[:, None]
    torch.testing.assert_close(
        bounds.absolute_errors(residual + u @ weight.T),
        bounds.worst_absolute(residual, weight, reach),
    )


def test_the_slope_takes_the_better_of_two_norms() -> None:
    apart, alike = torch.eye(4).double(), torch.ones(4, 1).double()
    assert bounds.absolute_slope(apart) == pytest.approx(1 / 2)  # ||W||_2 / sqrt(4)
    assert bounds.absolute_slope(alike) == pytest.approx(1)  # both
    uneven = torch.diag(torch.tensor([4.0, 0, 0, 0])).double()
    assert bounds.absolute_slope(uneven) == pytest.approx(1)  # sum of rows / 4, not 4 / 2


@pytest.mark.parametrize("residual", [0.0, 1.5])
def test_without_weights_or_reach_nothing_grows(residual: float) -> None:
    r = torch.full((2, 3), residual).double()
    still, nothing = torch.zeros(2).double(), torch.zeros(3, 4).double()
    for weight, reach in ((nothing, still + 1), (normal(3, 4, seed=1), still), (nothing, still)):
        worst = bounds.worst_squared(r, weight, reach)
        torch.testing.assert_close(worst, bounds.squared_errors(r))


def test_the_hard_case_of_the_trust_region_is_exact() -> None:
    # The residual has no part along the direction that W stretches most.
    weight = torch.diag(torch.tensor([3.0, 1.0])).double()
    residual = torch.tensor([[0.0, 1.0]]).double()
    # max of 9 u1^2 + (1 + u2)^2 over u1^2 + u2^2 = 4: at u2 = 1/8.
    exact = 9 * (4 - 1 / 64) + (1 + 1 / 8) ** 2
    worst = bounds.worst_squared(residual, weight, torch.tensor([2.0]).double())
    assert worst.item() == pytest.approx(exact / 2, rel=1e-9)


def test_theorem_1_is_its_three_terms() -> None:
    residual = torch.tensor([[1.0], [-5.0]]).double()
    weight = torch.tensor([[3.0, 4.0]]).double()
    found = bounds.theorem1_error(
        residual, weight, torch.tensor([0.1, 0.3]).double(), clip=2.0, rho=0.05
    )
    assert found == pytest.approx(1.5 + 5 * 0.2 + 2 * math.sqrt(math.log(40) / 4))


# Linear representations, whose suprema are known.


def pixels() -> Tensor:
    """Images far enough from black and white for the box not to cut."""
    values = torch.Generator().manual_seed(0)
    return torch.randint(100, 156, (IMAGES, *SHAPE), dtype=torch.uint8, generator=values)


def exact_worst(jacobian: Tensor, residual: Tensor, norm: Norm) -> Tensor:
    """sup of ||r + J delta||^2 / q over the threat set: all corners, or a ball of pixels."""
    if norm == "l2":
        return ascended(residual, jacobian, residual[:, 0] * 0 + EPS, 200)
    corners = EPS * torch.tensor(list(itertools.product((-1.0, 1.0), repeat=SIZE))).double()
    return (residual[:, None] + corners @ jacobian.T).square().mean(dim=2).amax(dim=1)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("columns", [1, 3])
def test_clean_attacked_exact_and_bound_of_a_linear_representation(
    norm: Norm, columns: int
) -> None:
    backbone = LinearBackbone(normal(6, SIZE, seed=1))
    head = LinearHead(normal(columns, 6, seed=2), normal(columns, seed=3))
    images = Images(pixels(), backbone, torch.device("cpu"), BatchSize(IMAGES))
    clean, targets = extract(images), normal(IMAGES, columns, seed=4)
    residual = residuals(head, clean, targets)
    threat, budget = ThreatModel(norm, EPS), Budget(ATTACKS["annealed"], 5, 20, 0)
    on_loss = search(images, squared_aim(head, targets), threat, budget)
    pool = Pool(clean, (on_loss.features,))

    attacked = worst_errors(pool, head, targets, bounds.squared_errors)
    exact = exact_worst(head.weight @ backbone.matrix, residual, norm)
    axes = row_space(head)
    reach = LinearBackbone(axes @ backbone.matrix).largest_displacement(norm, EPS)
    # On A∘g the head is W A^T.
    worst = bounds.worst_squared(residual, head.weight @ axes.T, normal(IMAGES, seed=0) * 0 + reach)
    assert (bounds.squared_errors(residual) < attacked).all()
    assert (attacked <= exact * (1 + 1e-5)).all()
    assert (attacked >= exact * 0.97).all()
    assert (exact <= worst * (1 + 1e-9)).all()
    if columns == 1:
        torch.testing.assert_close(worst, exact)


def test_of_one_column_the_displacement_on_its_row_is_the_change_of_the_answer() -> None:
    head = LinearHead(normal(1, 6, seed=2), normal(1, seed=3))
    clean, moved = normal(IMAGES, 6, seed=4), normal(IMAGES, 6, seed=5)
    change = (head(moved) - head(clean)).abs()[:, 0]
    torch.testing.assert_close(
        displacement(moved, clean, row_space(head)), change / head.weight.norm()
    )


def test_the_aim_on_a_projection_is_what_the_head_sees() -> None:
    head = LinearHead(normal(2, 6, seed=2), normal(2, seed=3))
    clean, moved = normal(IMAGES, 6, seed=4), normal(IMAGES, 6, seed=5)
    axes = row_space(head)
    torch.testing.assert_close(head(clean @ axes.T @ axes), head(clean))
    aim = displacement_aim(clean, axes)
    torch.testing.assert_close(
        aim(moved, torch.arange(IMAGES)).sqrt(), displacement(moved, clean, axes)
    )
