"""The shape of what small changes do: against whole matrices, all corners and exact suprema."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SHAPE, SIZE, LinearBackbone, normal
from features import head_of
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from selector import shapes
from selector.attacking import find_shapes
from selector.attacks import ATTACKS
from selector.batches import BatchSize, Features, Images, extract
from selector.bounds import pair_reach
from selector.budget import Budget
from selector.heads import LinearHead, task_projection
from selector.norms import NORMS, Norm
from selector.precision import Precision
from selector.search import search
from selector.sensitivity import Pool, displacement_aim
from selector.shapes import (
    DIRECTIONS,
    Directions,
    Extent,
    Shapes,
    directions,
    length_aim,
    measure_grams,
    rounding,
    shapes_of,
)
from selector.threat import ThreatModel

EPS: dict[Norm, float] = {"linf": 0.1, "l2": 0.3}
COUNT = 7

each_norm = pytest.mark.parametrize("norm", NORMS)


# What a shape is.


def drawn(r: int, k: int, count: int = 4, seed: int = 0) -> Shapes:
    basis = torch.linalg.qr(normal(count, r, k, seed=seed)).Q
    root = normal(count, k, k, seed=seed + 1)
    spread = root @ root.mT + 0.1 * torch.eye(k)
    return Shapes(basis, spread, normal(count, seed=seed + 2).square() + 0.1)


def dense(of: Shapes) -> np.ndarray:
    """Σ (n,r,r), by numpy."""
    b, s, rest = of.basis.numpy(), of.spread.numpy(), of.rest.numpy()
    inside = b @ b.transpose(0, 2, 1)
    outside = np.eye(b.shape[1]) - inside
    return b @ s @ b.transpose(0, 2, 1) + rest[:, None, None] * outside


sizes = st.sampled_from([(2, 2), (5, 5), (5, 2), (12, 9)])


@given(sizes, st.integers(0, 2**31))
def test_lengths_distances_and_mean_are_those_of_the_whole_matrix(
    size: tuple[int, int], seed: int
) -> None:
    r, k = size
    of, moved, weight = drawn(r, k, seed=seed), normal(4, r, seed=seed), normal(6, r, seed=seed)
    labels, sigma = torch.tensor([0, 5, 2, 2]), dense(of)
    expected = np.einsum("ni,nij,nj->n", moved, np.linalg.inv(sigma), moved) ** 0.5
    np.testing.assert_allclose(of.lengths(moved), expected, rtol=1e-6)
    v = weight.numpy()[None] - weight.numpy()[labels][:, None]
    expected = np.einsum("nji,nik,njk->nj", v, sigma, v) ** 0.5
    np.testing.assert_allclose(of.distances(weight, labels), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(of.mean(), sigma.mean(axis=0), rtol=1e-9, atol=1e-12)


@given(sizes, st.integers(0, 2**31))
def test_no_pair_gains_more_than_distance_times_length(size: tuple[int, int], seed: int) -> None:
    of, moved = drawn(*size, seed=seed), normal(4, size[0], seed=seed + 9)
    weight, labels = normal(5, size[0], seed=seed + 8), torch.tensor([0, 1, 2, 3])
    gained = torch.einsum("njr,nr->nj", weight[None] - weight[labels][:, None], moved)
    granted = of.distances(weight, labels) * of.lengths(moved)[:, None]
    assert (gained <= granted * (1 + 1e-9) + 1e-9).all()
    # Attained by the displacement Σv of a pair.
    pair = torch.from_numpy(dense(of)) @ (weight[4] - weight[labels])[:, :, None]
    along = of.distances(weight, labels)[:, 4] * of.lengths(pair[:, :, 0])
    gained = ((weight[4] - weight[labels]) * pair[:, :, 0]).sum(dim=1)
    torch.testing.assert_close(along, gained, rtol=1e-6, atol=1e-9)


@given(sizes, st.integers(0, 2**31))
def test_the_aim_is_the_squared_length(size: tuple[int, int], seed: int) -> None:
    r, d = size[0], size[0] + 3
    of, projection = drawn(*size, seed=seed), torch.linalg.qr(normal(d, r, seed=seed)).Q.T
    clean, points = normal(4, d, seed=seed + 1).float(), normal(3, d, seed=seed + 2).float()
    index = torch.tensor([3, 0, 2])
    moved = (points.double() - clean[index].double()) @ projection.T
    some = Shapes(of.basis[index], of.spread[index], of.rest[index])
    found = length_aim(clean, projection, of)(points, index)
    torch.testing.assert_close(found.double(), some.lengths(moved) ** 2, rtol=1e-3, atol=1e-4)


@given(st.integers(2, 9), st.integers(0, 2**31))
def test_in_rounded_coordinates_the_shape_is_round(r: int, seed: int) -> None:
    sigma = drawn(r, r, seed=seed).mean()
    projection = torch.linalg.qr(normal(r + 3, r, seed=seed)).Q.T
    rounded = rounding(sigma, projection)
    torch.testing.assert_close(
        rounded @ projection.T @ sigma @ projection @ rounded.T,
        torch.eye(r).double(),
        rtol=1e-6,
        atol=1e-6,
    )
    # They span what the projection spans.
    torch.testing.assert_close(rounded @ projection.T @ projection, rounded)


# How it is measured.


@dataclass(frozen=True)
class Case:
    """A linear network, images at the middle of the box, a head, and their labels."""

    backbone: LinearBackbone
    images: Images
    clean: Tensor
    head: LinearHead
    labels: Tensor

    @property
    def projection(self) -> Tensor:
        return task_projection(self.head)

    @property
    def jacobian(self) -> Tensor:
        """Of A∘g (r,12), the same for each image."""
        return self.projection @ self.backbone.matrix

    def shapes(self) -> Shapes:
        along = directions(self.clean, self.head, self.labels, self.projection, seed=0)
        return shapes_of(measure_grams(self.images, along), along)

    def sup(self, norm: Norm) -> Tensor:
        """Exact s_j (n,K)."""
        order = 1 if norm == "linf" else 2
        pairs = self.head.weight[None] - self.head.weight[:, None]
        each = torch.linalg.vector_norm(pairs @ self.backbone.matrix, ord=order, dim=2)
        return EPS[norm] * each[self.labels]


def case(classes: int, dimensions: int = 8, batch: int = 100, seed: int = 0) -> Case:
    values = torch.Generator().manual_seed(seed)
    pixels = torch.randint(100, 156, (COUNT, *SHAPE), dtype=torch.uint8, generator=values)
    backbone = LinearBackbone(normal(dimensions, SIZE, seed=seed))
    images = Images(pixels, backbone, torch.device("cpu"), BatchSize(batch))
    clean = extract(images)
    head = head_of(classes, dimensions, seed=seed + 1)
    return Case(backbone, images, clean, head, head(clean).argmax(dim=1))


@pytest.mark.parametrize("classes", [3, 9])
def test_of_few_directions_the_shape_is_the_jacobian_s_with_a_little_of_each(classes: int) -> None:
    c = case(classes)
    gram = c.jacobian @ c.jacobian.T
    gram = gram / gram.diagonal().mean()
    expected = (gram + 0.05 * torch.eye(len(gram))) / 1.05
    for one in torch.from_numpy(dense(c.shapes())):
        torch.testing.assert_close(one, expected, rtol=1e-4, atol=1e-5)


def test_of_many_directions_the_nearest_rivals_span_what_is_measured() -> None:
    c = case(classes=16, dimensions=15)
    found, a = c.shapes(), c.projection
    assert found.basis.shape == (COUNT, 15, DIRECTIONS)
    logits = c.head(c.clean)
    weight, gram = c.head.weight @ a.T, c.jacobian @ c.jacobian.T
    for i, y in enumerate(c.labels.tolist()):
        radii = {
            j: ((logits[i, y] - logits[i, j]) / (weight[j] - weight[y]).norm()).item()
            for j in range(16)
            if j != y
        }
        nearest = sorted(radii, key=lambda j: radii[j])[:DIRECTIONS]
        pairs, basis = weight[nearest] - weight[y], found.basis[i]
        torch.testing.assert_close(pairs @ basis @ basis.T, pairs)
        torch.testing.assert_close(basis.T @ basis, torch.eye(DIRECTIONS).double())
        spread = basis.T @ gram @ basis
        expected = spread / spread.diagonal().mean() + 0.05 * torch.eye(DIRECTIONS)
        torch.testing.assert_close(found.spread[i], expected / 1.05, rtol=1e-4, atol=1e-4)
        # Outside of it, one direction stands for all: never more or less than what there is.
        outside = torch.linalg.svd(basis.T, full_matrices=True)[2][DIRECTIONS:]
        felt = torch.linalg.eigvalsh(outside @ gram @ outside.T) / spread.diagonal().mean()
        felt = (felt + 0.05) / 1.05
        assert felt[0] * (1 - 1e-4) <= found.rest[i] <= felt[-1] * (1 + 1e-4)
        assert found.rest[i] > 0


def test_shapes_are_kept_and_found_whatever_searches_compute_in() -> None:
    c, asked = case(classes=4), []

    def recalled(compute: Any, form: type, images: Images, along: Directions) -> Tensor:
        asked.append((images.precision.search, images.batch_size.value))
        return compute(images, along)

    protocol = SimpleNamespace(screens=False, seed=0)
    run = SimpleNamespace(setting=SimpleNamespace(protocol=protocol), recalled=recalled)
    searched = replace(c.images, precision=Precision("bf16"))
    found = find_shapes(run, searched, c.clean, c.labels, c.head, c.projection)  # type: ignore[arg-type]
    assert asked == [("fp32", 100)]
    assert found is not None
    assert torch.equal(found.spread, c.shapes().spread)


@pytest.mark.parametrize("classes", [4, 16])
def test_shapes_do_not_depend_on_the_batch_size(classes: int) -> None:
    whole = case(classes, dimensions=15).shapes()
    parts = case(classes, dimensions=15, batch=2).shapes()
    np.testing.assert_allclose(dense(parts), dense(whole), rtol=1e-4, atol=1e-5)


def with_backbone(c: Case, backbone: Features) -> Images:
    return Images(c.images.pixels, backbone, torch.device("cpu"), BatchSize(100))


@pytest.mark.parametrize("classes", [4, 16])
@pytest.mark.parametrize("slope", ["none", "infinite"])
def test_an_image_without_a_jacobian_is_round(classes: int, slope: str) -> None:
    c = case(classes, dimensions=15)

    def without(x: Tensor) -> Tensor:
        if slope == "none":
            return 0 * c.backbone(x)
        # The root has no slope at 0; the first two images are elsewhere.
        return torch.cat([c.backbone(x[:2]), c.backbone((x[2:] - x[2:].detach()).sqrt())])

    along = directions(c.clean, c.head, c.labels, c.projection, seed=0)
    found = dense(shapes_of(measure_grams(with_backbone(c, without), along), along))
    still = slice(0, COUNT) if slope == "none" else slice(2, COUNT)
    expected = np.broadcast_to(np.eye(classes - 1), found[still].shape)
    np.testing.assert_allclose(found[still], expected, atol=1e-9)
    if slope == "infinite":
        np.testing.assert_allclose(found[:2], dense(c.shapes())[:2], rtol=1e-4, atol=1e-5)


def test_the_direction_outside_is_drawn_by_the_seed() -> None:
    c = case(classes=16, dimensions=15)
    one, same, other = (
        directions(c.clean, c.head, c.labels, c.projection, seed).outside for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.isclose(one, other).all(dim=1).any()


def test_many_classes_take_memory_for_their_directions_alone() -> None:
    head, clean = head_of(301, 320, seed=1), normal(512, 320, seed=2).float()
    labels, projection = head(clean).argmax(dim=1), task_projection(head)
    with torch.profiler.profile(profile_memory=True) as seen:
        directions(clean, head, labels, projection, seed=0)
    largest = max(event.cpu_memory_usage for event in seen.events())
    # (n,r,r) would be 370 MB, the directions are 11.
    assert largest < 60e6


# What it grants class pairs.


def farthest(norm: Norm, jacobian: Tensor) -> Tensor:
    """Displacements (p,r), the longest among them in whatever shape: of all corners, or on the
    ellipsoid into which a ball goes.
    """
    if norm == "linf":
        signs = torch.tensor(list(product([-1.0, 1.0], repeat=SIZE))).double()
        return EPS[norm] * signs @ jacobian.T
    around = torch.nn.functional.normalize(normal(20000, len(jacobian), seed=5), dim=1)
    _, singular, rows = torch.linalg.svd(jacobian @ jacobian.T)
    return EPS[norm] * around * singular.sqrt() @ rows


@each_norm
@pytest.mark.parametrize("classes", [3, 5, 16])
def test_no_pair_can_gain_more_than_is_granted(norm: Norm, classes: int) -> None:
    c = case(classes, dimensions=15)
    found, sup, far = c.shapes(), c.sup(norm), farthest(norm, c.jacobian)
    weight = c.head.weight @ c.projection.T
    for i in range(COUNT):
        parts = (found.basis[[i]], found.spread[[i]], found.rest[[i]])
        many = Shapes(*(part.expand(len(far), *part.shape[1:]) for part in parts))
        granted = Shapes(*parts).distances(weight, c.labels[[i]])[0] * many.lengths(far).max()
        # In fifteen dimensions points drawn of an ellipsoid miss its farthest by more.
        slack = 1 + 1e-6 if norm == "linf" else (1.1 if classes == 16 else 1.01)
        assert (sup[i] <= granted * slack + 1e-12).all()
        if classes == 5:
            ball = (weight - weight[c.labels[i]]).norm(dim=1) * far.norm(dim=1).max()
            assert granted.sum() < 0.9 * ball.sum()


def test_of_a_linear_network_under_l2_it_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "_EVERY_DIRECTION", 0.0)
    c = case(classes=5)
    found = c.shapes()
    budget = Budget(ATTACKS["annealed"], restarts=2, steps=20, seed=0)
    aims = length_aim(c.clean, c.projection, found), displacement_aim(c.clean, c.projection)
    threat = ThreatModel("l2", EPS["l2"])
    pool = Pool(c.clean, tuple(search(c.images, aim, threat, budget).features for aim in aims))
    granted = Extent.of(pool, c.projection, found).reach(c.head, c.labels)
    torch.testing.assert_close(granted, c.sup("l2"), rtol=1e-3, atol=1e-6)
    by_ball = Extent.of(pool, c.projection).reach(c.head, c.labels)
    assert by_ball.mean() > 1.2 * granted.mean()


def test_what_is_granted_is_the_smaller_of_what_ball_and_shape_grant() -> None:
    c = case(classes=5)
    points = tuple(c.clean + 0.1 * normal(COUNT, 8, seed=seed).float() for seed in range(3))
    pool, found, a = Pool(c.clean, points), c.shapes(), c.projection
    ball = pair_reach(c.head.weight, c.labels, pool.displacement(a))
    torch.testing.assert_close(Extent.of(pool, a).reach(c.head, c.labels), ball)
    lengths = torch.stack([found.lengths((p - c.clean).double() @ a.T) for p in points]).amax(dim=0)
    by_shape = found.distances(c.head.weight @ a.T, c.labels) * lengths[:, None]
    granted = Extent.of(pool, a, found).reach(c.head, c.labels)
    torch.testing.assert_close(granted, torch.minimum(ball, by_shape))
    assert (granted < ball).any()
    assert (granted < by_shape).any()
    # No point of the pool gains more.
    assert (pool.scores(c.head).pair_reach(c.labels) <= granted + 1e-9).all()


@given(st.integers(0, 2**31))
def test_in_whatever_coordinates_no_point_gains_more_than_displacement_there_grants(
    seed: int,
) -> None:
    head, labels = head_of(4, 6, seed=seed), torch.tensor([0, 1, 2, 3, 3])
    clean = normal(5, 6, seed=seed + 1)
    pool = Pool(clean, tuple(clean + normal(5, 6, seed=seed + k) for k in (2, 3)))
    projection = normal(3, 3, seed=seed + 4) @ task_projection(head)
    granted = Extent.of(pool, projection).reach(head, labels)
    assert (pool.scores(head).pair_reach(labels) <= granted * (1 + 1e-6) + 1e-9).all()
    rotated = torch.linalg.qr(normal(3, 3, seed=seed + 5)).Q @ projection
    torch.testing.assert_close(
        Extent.of(pool, rotated).reach(head, labels), granted, rtol=1e-5, atol=1e-7
    )
