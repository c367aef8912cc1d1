"""Heads for numeric targets, against scikit-learn and an independent solver."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import normal
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import Ridge
from torch import Tensor

from selector.heads import LinearHead
from selector.regression import heads
from selector.regression.bounds import worst_squared
from selector.regression.heads import (
    RIDGE_GRID,
    Examples,
    fit_bounded,
    residuals,
    ridge_path,
    row_space,
)


def examples(images: int = 60, dimensions: int = 3, columns: int = 2, reach: float = 0.4):
    features = normal(images, dimensions, seed=0) * 5 + 2
    noise = normal(images, columns, seed=1) * 0.3
    targets = (features - 2) / 5 @ normal(dimensions, columns, seed=2) + noise
    return Examples(features, targets, torch.full((images,), reach).double())


def bound(head: LinearHead, data: Examples) -> float:
    residual = residuals(head, data.features, data.targets)
    return worst_squared(residual, head.weight, data.displacement).mean().item()


@pytest.mark.parametrize(("images", "dimensions"), [(60, 4), (12, 30)])
def test_the_ridge_path_is_that_of_scikit_learn(images: int, dimensions: int) -> None:
    data = examples(images, dimensions)
    features, targets = data.features.numpy(), data.targets.numpy()
    scale = np.sqrt(((features - features.mean(0)) ** 2).sum(1).mean())
    for l2, head in zip(RIDGE_GRID, ridge_path(data), strict=True):
        oracle = Ridge(alpha=l2 * images, solver="svd").fit(features / scale, targets)
        predicted = torch.from_numpy(oracle.predict(features / scale))
        torch.testing.assert_close(head(data.features), predicted, rtol=1e-6, atol=1e-6)


def test_rescaled_features_give_the_same_ridge() -> None:
    data = examples()
    larger = Examples(data.features * 1000, data.targets, data.displacement)
    (head,), (other,) = ridge_path(data, (0.1,)), ridge_path(larger, (0.1,))
    torch.testing.assert_close(head(data.features), other(larger.features))


def independent(data: Examples) -> float:
    """The lowest mean of (|r| + s ||w||)^2 of one column, by SLSQP over its epigraph."""
    features, target = data.features.numpy(), data.targets.numpy()[:, 0]
    n, d = features.shape
    reach = data.displacement.numpy()

    def objective(v: np.ndarray) -> float:
        return float(np.mean((v[d + 2 :] + reach * v[d + 1]) ** 2))

    def slacks(v: np.ndarray) -> np.ndarray:
        residual = features @ v[:d] + v[d] - target
        return np.concatenate([v[d + 2 :] - residual, v[d + 2 :] + residual])

    start = np.concatenate([np.full(d, 0.1), [0, 1], np.full(n, 3.0)])
    found = minimize(
        objective,
        start,
        method="SLSQP",
        constraints=[
            {"type": "ineq", "fun": slacks},
            {"type": "ineq", "fun": lambda v: v[d + 1] - np.linalg.norm(v[:d])},
        ],
        options={"maxiter": 500, "ftol": 1e-12},
    )
    assert found.success, found.message
    return objective(found.x)


@pytest.mark.parametrize("reach", [0.1, 1.0, 3.0])
def test_one_column_reaches_the_optimum_of_an_independent_solver(reach: float) -> None:
    data = examples(images=25, dimensions=2, columns=1, reach=reach)
    assert bound(fit_bounded(data, 1e-9), data) == pytest.approx(independent(data), rel=1e-4)


@pytest.mark.parametrize("reach", [0.3, 2.0])
def test_several_columns_reach_what_a_search_without_slopes_does(reach: float) -> None:
    data = examples(images=30, dimensions=2, columns=2, reach=reach)

    def objective(flat: np.ndarray) -> float:
        both = torch.from_numpy(flat).view(2, 3)
        return bound(LinearHead(both[:, :-1], both[:, -1]), data)

    fitted = bound(fit_bounded(data, 1e-9), data)
    rough = min(
        minimize(objective, normal(6, seed=s).numpy() * 0.1, method="Powell").fun for s in range(1)
    )
    assert fitted <= rough * (1 + 1e-4)
    assert rough <= fitted * (1 + 1e-2)


@settings(max_examples=10)
@given(st.integers(0, 10**6), st.floats(0.01, 3))
def test_no_other_head_has_a_lower_bound(seed: int, reach: float) -> None:
    data = examples(images=30, reach=reach)
    fitted = fit_bounded(data, 1e-9)
    lowest = bound(fitted, data)
    for size in (1e-3, 1e-1, 1.0):
        other = LinearHead(
            fitted.weight + size * normal(2, 3, seed=seed),
            fitted.bias + size * normal(2, seed=seed + 1),
        )
        assert lowest <= bound(other, data) * (1 + 1e-6)


@pytest.mark.parametrize("columns", [1, 3])
def test_slopes_are_those_of_the_smoothed_objective(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So much smoothing that its own share is felt.
    monkeypatch.setattr(heads, "_SMOOTHING", 0.5)
    points, targets = normal(20, 2, seed=0), normal(20, columns, seed=1)
    problem = heads._Bounded(points, targets, normal(20, seed=2).abs(), 0.1)
    at = normal(columns, 3, seed=3)
    _, slope = problem._smooth(at[:, :-1], at[:, -1])
    for place in range(at.numel()):
        step = torch.zeros_like(at).flatten()
        step[place] = 1e-6
        high, low = (
            problem._smooth(moved[:, :-1], moved[:, -1])[0]
            for moved in (at + step.view_as(at), at - step.view_as(at))
        )
        assert slope.flatten()[place].item() == pytest.approx((high - low) / 2e-6, abs=1e-6)


def test_where_everything_can_be_pushed_only_the_mean_is_known() -> None:
    data = examples(reach=1000.0)
    head = fit_bounded(data, 1e-6)
    assert head.weight.abs().max() == 0
    torch.testing.assert_close(head.bias, data.targets.mean(dim=0))


def test_more_reach_means_smaller_weights_and_a_higher_bound() -> None:
    norms, lowest = [], []
    for reach in (0.01, 0.5, 1.0, 2.0):
        data = examples(reach=reach)
        head = fit_bounded(data, 1e-6)
        norms.append(head.weight.norm().item())
        lowest.append(bound(head, data))
    assert norms == sorted(norms, reverse=True) and lowest == sorted(lowest)
    (ridge,) = ridge_path(examples(), (1e-6,))
    still = fit_bounded(examples(reach=1e-9), 1e-6)
    torch.testing.assert_close(still.weight, ridge.weight, rtol=1e-3, atol=1e-4)


def test_a_row_space_is_orthonormal_and_has_no_more_axes_than_the_weights_have() -> None:
    weight = torch.tensor([[1.0, 2, 3], [2, 4, 6]]).double()
    axes = row_space(LinearHead(weight, torch.zeros(2).double()))
    assert axes.shape == (1, 3)
    torch.testing.assert_close((axes @ axes.T), torch.eye(1).double())
    rows: Tensor = weight @ axes.T @ axes
    torch.testing.assert_close(rows, weight)
