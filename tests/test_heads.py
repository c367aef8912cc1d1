"""Heads against scikit-learn, a general optimiser and their own optimality conditions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from conftest import normal
from features import CLASSES, clusters, head_of, mean_worst_case, scale_of, worst_case
from scipy.optimize import approx_fprime, minimize
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from selector import heads
from selector.bounds import prior_entropy, worst_case_losses
from selector.heads import Labelled, LinearHead, fit_head, task_projection


def objective(weight: np.ndarray, bias: np.ndarray, data: Labelled, l2: float) -> float:
    """What :mod:`selector.heads` says it minimises, for a head on the features as they are."""
    on_unit_scale = weight * scale_of(data)
    return worst_case(weight, bias, data).mean() + l2 / 2 * (on_unit_scale**2).sum()


def objective_at(head: LinearHead, data: Labelled, l2: float) -> float:
    return objective(head.weight.numpy(), head.bias.numpy(), data, l2)


def assert_same_decisions(a: Tensor, b: Tensor, atol: float) -> None:
    """Equal class probabilities (n,K)."""
    torch.testing.assert_close(a.softmax(dim=1), b.softmax(dim=1), rtol=0, atol=atol)


# The optimum.


@pytest.mark.parametrize("l2", [0.1, 1e-2, 1e-4], ids="l2={:g}".format)
@pytest.mark.parametrize("classes", [2, 3])
def test_without_displacement_it_is_the_logistic_regression_of_scikit_learn(
    classes: int, l2: float
):
    data = clusters(spread=1.5)
    labels = data.labels % classes
    data = Labelled.clean(data.features, labels)
    head = fit_head(data, classes, l2)
    z = data.features.numpy()
    z = (z - z.mean(axis=0)) / scale_of(data)
    # Of two classes scikit-learn penalises one difference vector, which is twice the norm.
    strength = l2 * len(z) / (2 if classes == 2 else 1)
    theirs = LogisticRegression(C=1 / strength, tol=1e-10, max_iter=100_000).fit(z, labels)
    ours = head(data.features).softmax(dim=1).numpy()
    np.testing.assert_allclose(ours, theirs.predict_proba(z), atol=2e-3)
    assert (ours.argmax(axis=1) == theirs.predict(z)).all()
    our_loss = -np.log(ours[np.arange(len(z)), labels]).mean()
    their_loss = -theirs.predict_log_proba(z)[np.arange(len(z)), labels].mean()
    assert our_loss == pytest.approx(their_loss, abs=1e-4)


@pytest.mark.parametrize("reach", [0.0, 1.0, 3.0], ids="s={:g}".format)
@pytest.mark.parametrize("seed", range(3))
def test_a_general_optimiser_from_a_random_start_finds_the_same_optimum(reach: float, seed: int):
    data, l2 = clusters(30, 3, reach=reach, seed=seed), 1e-2
    head = fit_head(data, CLASSES, l2)
    scale = scale_of(data)

    def value(flat: np.ndarray) -> float:
        weight = flat[:9].reshape(3, 3) / scale
        centre = data.features.numpy().mean(axis=0)
        return objective(weight, flat[9:] - weight @ centre, data, l2)

    start = normal(12, seed=seed + 50).numpy()
    theirs = minimize(value, start, method="BFGS").fun
    assert objective_at(head, data, l2) == pytest.approx(theirs, abs=2e-6)


@pytest.mark.parametrize("reach", [0.0, 1.0], ids="s={:g}".format)
def test_the_gradient_vanishes_at_the_optimum(reach: float):
    data, l2 = clusters(reach=reach), 1e-2
    head = fit_head(data, CLASSES, l2)
    scale, shape = scale_of(data), head.weight.shape
    centre = data.features.numpy().mean(axis=0)

    def value(flat: np.ndarray) -> float:
        weight = flat[: shape.numel()].reshape(shape) / scale
        return objective(weight, flat[shape.numel() :] - weight @ centre, data, l2)

    weight = head.weight.numpy()
    at = np.concatenate([(weight * scale).ravel(), head.bias.numpy() + weight @ centre])
    assert np.abs(approx_fprime(at, value, 1e-6)).max() < 1e-5
    elsewhere = at + 0.1 * normal(len(at), seed=1).numpy()
    assert np.abs(approx_fprime(elsewhere, value, 1e-6)).max() > 1e-3


# How many images of each class, and the displacement as a share of the features' scale. From about
# one on, the optimum is at or next to W = 0, where the distances between rows have a kink.
UNEQUAL = pytest.mark.parametrize(
    "counts", [(45, 5), (20, 20, 10), (90, 8, 2)], ids=lambda counts: "-".join(map(str, counts))
)
SHARES = pytest.mark.parametrize("share", [0.3, 0.7, 1.0, 2.0, 10.0], ids="s={:g}".format)


def unequal(counts: tuple[int, ...], share: float) -> Labelled:
    """Clusters of unequal size, every image movable by this share of the features' scale."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    centres = 2 * normal(len(counts), 4, seed=100)
    features = 5 + 3 * (centres[labels] + normal(len(labels), 4, seed=0))
    still = Labelled.clean(features, labels)
    s = torch.full((len(labels),), share * scale_of(still)).double()
    return Labelled(features, labels, s)


@UNEQUAL
@SHARES
@pytest.mark.parametrize("l2", [0.1, 1e-6], ids="l2={:g}".format)
def test_the_bound_on_training_images_is_at_most_the_entropy_of_their_priors(
    counts: tuple[int, ...], share: float, l2: float
):
    data, classes = unequal(counts, share), len(counts)
    entropy = prior_entropy(data.labels, classes)
    assert mean_worst_case(fit_head(data, classes, l2), data) <= entropy + 1e-5
    assert entropy < math.log(classes)


@UNEQUAL
@SHARES
def test_the_optimum_is_found_at_every_displacement(counts: tuple[int, ...], share: float):
    data, classes, l2 = unequal(counts, share), len(counts), 1e-2
    centre, scale = data.features.numpy().mean(axis=0), scale_of(data)

    def value(flat: np.ndarray) -> float:
        weight = flat[: 4 * classes].reshape(classes, 4) / scale
        return objective(weight, flat[4 * classes :] - weight @ centre, data, l2)

    # Away from the kink, and with as many steps as it takes.
    priors = np.log(np.array(counts) / sum(counts))
    start = np.concatenate([0.3 * normal(4 * classes, seed=1).numpy(), priors])
    theirs = minimize(value, start, method="BFGS").fun
    assert objective_at(fit_head(data, classes, l2), data, l2) <= theirs + 1e-5


def test_the_optimum_grows_with_displacement():
    data = clusters()
    values = []
    for s in (0.0, 0.1, 0.5, 2.0, 5.0):
        moved = Labelled(data.features, data.labels, torch.full((60,), s).double())
        values.append(objective_at(fit_head(moved, CLASSES, 1e-3), moved, 1e-3))
    assert all(more > less for less, more in itertools.pairwise(values))


def test_the_head_fitted_for_a_displacement_beats_the_probe_at_it():
    data = clusters(reach=2.0)
    probe = fit_head(Labelled.clean(data.features, data.labels), CLASSES, 1e-4)
    bound_optimal = fit_head(data, CLASSES, 1e-4)
    assert mean_worst_case(bound_optimal, data) < mean_worst_case(probe, data) - 0.05


# What must not matter.


@pytest.mark.parametrize("scale", [1e-3, 7.0, 1e3], ids="scale={:g}".format)
@pytest.mark.parametrize("reach", [0.0, 1.0], ids="s={:g}".format)
def test_rescaled_features_give_the_same_logits(reach: float, scale: float):
    data = clusters(reach=reach)
    head = fit_head(data, CLASSES, 1e-3)
    scaled = Labelled(data.features * scale, data.labels, data.displacement * scale)
    other = fit_head(scaled, CLASSES, 1e-3)
    assert_same_decisions(other(scaled.features), head(data.features), atol=1e-3)


def test_shifted_and_rotated_features_give_the_same_logits():
    data = clusters(reach=1.0)
    rotation, _ = torch.linalg.qr(normal(4, 4, seed=3))
    moved = Labelled(data.features @ rotation - 20, data.labels, data.displacement)
    a, b = fit_head(data, CLASSES, 1e-3), fit_head(moved, CLASSES, 1e-3)
    assert_same_decisions(b(moved.features), a(data.features), atol=1e-3)


def test_fp32_features_give_a_head_in_fp64():
    data = clusters()
    single = Labelled(data.features.float(), data.labels, data.displacement.float())
    head = fit_head(single, CLASSES, 1e-3)
    assert head.weight.dtype == head.bias.dtype == torch.float64
    assert head(single.features).dtype == torch.float64
    expected = fit_head(data, CLASSES, 1e-3)(data.features)
    assert_same_decisions(head(single.features), expected, atol=1e-3)


def test_the_number_of_threads_is_left_as_it_was():
    torch.set_num_threads(2)
    try:
        fit_head(clusters(), CLASSES, 1e-1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


# Features that are awkward.


@pytest.mark.parametrize("reach", [0.0, 1.0], ids="s={:g}".format)
def test_more_dimensions_than_images_give_the_head_of_their_span(reach: float):
    data, l2 = clusters(12, 40, reach=reach), 1e-2
    head = fit_head(data, CLASSES, l2)
    centred = data.features - data.features.mean(dim=0)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    inside = axes[:11]
    torch.testing.assert_close(head.weight @ inside.T @ inside, head.weight)
    reduced = Labelled(data.features @ inside.T, data.labels, data.displacement)
    expected = fit_head(reduced, CLASSES, l2)
    assert_same_decisions(head(data.features), expected(reduced.features), atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.25, 1e4], ids="value={:g}".format)
@pytest.mark.parametrize("reach", [0.0, 1.0], ids="s={:g}".format)
def test_constant_features_leave_the_class_priors(reach: float, value: float):
    features = torch.full((50, 4), value)
    labels = torch.arange(50) % CLASSES
    head = fit_head(Labelled(features, labels, torch.full((50,), reach)), CLASSES, 1e-3)
    priors = torch.bincount(labels).double() / 50
    found = head(features).softmax(dim=1)
    torch.testing.assert_close(found, priors.expand(50, 3), rtol=0, atol=1e-3)


def test_duplicated_and_dead_dimensions_change_no_decision():
    data = clusters()
    twice = torch.cat([data.features, data.features], dim=1) / math.sqrt(2)
    padded = torch.cat([twice, torch.ones(60, 3).double()], dim=1)
    head = fit_head(Labelled.clean(padded, data.labels), CLASSES, 1e-2)
    expected = fit_head(data, CLASSES, 1e-2)(data.features)
    assert_same_decisions(head(padded), expected, atol=1e-3)


# More images than are taken at once.


@pytest.fixture(params=[1, 7, 59])
def at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Let that many images of four dimensions be taken at a time."""
    monkeypatch.setattr(heads, "_VALUES_AT_ONCE", {"cpu": 4 * request.param})
    return request.param


@pytest.mark.parametrize("l2", [1e-2, 1e-4], ids="l2={:g}".format)
def test_in_parts_it_is_the_logistic_regression_of_scikit_learn(at_once: int, l2: float):
    test_without_displacement_it_is_the_logistic_regression_of_scikit_learn(3, l2)


@pytest.mark.parametrize("reach", [0.0, 1.0, 3.0], ids="s={:g}".format)
def test_the_optimum_does_not_depend_on_how_many_images_are_taken_at_once(
    at_once: int, reach: float, monkeypatch: pytest.MonkeyPatch
):
    data, l2 = clusters(reach=reach), 1e-3
    in_parts = fit_head(data, CLASSES, l2)
    monkeypatch.setattr(heads, "_VALUES_AT_ONCE", {"cpu": 10**6})
    whole = fit_head(data, CLASSES, l2)
    assert objective_at(in_parts, data, l2) == pytest.approx(
        objective_at(whole, data, l2), abs=1e-6
    )
    assert_same_decisions(in_parts(data.features), whole(data.features), atol=1e-3)


def test_in_parts_the_gradient_vanishes_at_the_optimum(at_once: int):
    test_the_gradient_vanishes_at_the_optimum(1.0)


def test_awkward_features_may_come_in_parts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(heads, "_VALUES_AT_ONCE", {"cpu": 80})
    for value in (0.0, 0.25, 1e4):
        test_constant_features_leave_the_class_priors(1.0, value)
    test_duplicated_and_dead_dimensions_change_no_decision()
    test_more_dimensions_than_images_give_the_head_of_their_span(1.0)
    test_rescaled_features_give_the_same_logits(1.0, 1e-3)
    test_rescaled_features_give_the_same_logits(1.0, 1e3)


# Heads and projections.


def test_a_head_is_w_z_plus_b():
    head = LinearHead(torch.tensor([[1.0, 2.0], [0.0, -1.0]]).double(), torch.tensor([0.5, 0]))
    assert head(torch.tensor([[1.0, 1.0], [2.0, 0.0]])).tolist() == [[3.5, -1.0], [2.5, 0.0]]
    assert head.to(torch.float32).weight.dtype == torch.float32
    assert head.to(torch.float32).bias.dtype == torch.float32


def test_a_head_before_a_projection_is_the_head_on_projected_features():
    head, projection, z = head_of(3, 2), normal(2, 6, seed=5), normal(9, 6, seed=6)
    torch.testing.assert_close(head.before(projection)(z), head(z @ projection.T))


@pytest.mark.parametrize(
    ("classes", "dimensions", "rank"), [(2, 5, 1), (4, 10, 3), (6, 3, 3), (10, 9, 9)]
)
def test_the_task_projection_is_orthonormal_and_keeps_all_that_the_head_uses(
    classes: int, dimensions: int, rank: int
):
    head, z = head_of(classes, dimensions), normal(8, dimensions, seed=3)
    a = task_projection(head)
    assert a.shape == (rank, dimensions)
    torch.testing.assert_close(a @ a.T, torch.eye(rank).double())
    full, through = head(z), head(z @ a.T @ a)
    shift = full - through
    torch.testing.assert_close(shift, shift[:, :1].expand(-1, classes))
    assert_same_decisions(full, through, atol=1e-12)


def test_the_task_projection_does_not_see_what_all_classes_share():
    head = head_of(4, 10)
    shared = LinearHead(head.weight + 5 * normal(10, seed=9), head.bias)
    a, b = task_projection(head), task_projection(shared)
    torch.testing.assert_close(b.T @ b, a.T @ a)


def test_equal_rows_lower_the_rank_of_the_task_projection():
    head = head_of(4, 10)
    weight = torch.cat([head.weight, head.weight[:2]])
    assert task_projection(LinearHead(weight, torch.zeros(6).double())).shape == (3, 10)


def test_bounds_on_projected_features_are_those_on_all_of_them():
    head, z, s = head_of(4, 10), normal(8, 10, seed=3), normal(8, seed=4).abs()
    labels, a = torch.arange(8) % 4, task_projection(head)
    on_task = LinearHead(head.weight @ a.T, head.bias)
    torch.testing.assert_close(
        worst_case_losses(on_task(z @ a.T), on_task.weight, labels, s),
        worst_case_losses(head(z @ a.T @ a), head.weight, labels, s),
    )
