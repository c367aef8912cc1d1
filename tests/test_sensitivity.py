"""Searches over representations that are known exactly, and the inequalities of the pool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from conftest import DEVICES, SHAPE, SIZE, LinearBackbone, normal
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from selector.attacks import ATTACKS
from selector.batches import BatchSize, Features, Images, extract
from selector.bounds import criterion_holds, pairwise_distances, worst_case_losses
from selector.budget import Budget
from selector.controls import gradient_free
from selector.heads import LinearHead, task_projection
from selector.norms import NORMS, Norm
from selector.search import search
from selector.sensitivity import Pool, displacement, displacement_aim, loss_aim
from selector.threat import ThreatModel

EPS = 0.1
each_norm = pytest.mark.parametrize("norm", NORMS)
MATRIX = normal(6, SIZE, seed=1)


def pixels(count: int = 7) -> Tensor:
    """Different images (n,3,2,2) uint8, far enough from black and white for the box not to cut."""
    values = torch.Generator().manual_seed(0)
    return torch.randint(100, 156, (count, *SHAPE), dtype=torch.uint8, generator=values)


def images(
    backbone: Features, count: int = 7, batch: int = 100, values: Tensor | None = None
) -> Images:
    values = pixels(count) if values is None else values
    return Images(values, backbone, torch.device("cpu"), BatchSize(batch))


def budget(restarts: int = 10, steps: int = 20, seed: int = 0, attack="annealed") -> Budget:
    return Budget(ATTACKS[attack], restarts, steps, seed)


def flat(x: Tensor) -> Tensor:
    """The representation that keeps everything: pixels."""
    return x.flatten(1)


@dataclass
class Recorder:
    """A backbone that keeps what it was shown."""

    backbone: Features
    shown: list[Tensor] = field(default_factory=list)

    def __call__(self, x: Tensor) -> Tensor:
        self.shown.append(x.detach().clone())
        return self.backbone(x)


def curved(x: Tensor) -> Tensor:
    """A representation (n,6) that is not linear."""
    return (30 * (x.flatten(1) - 0.5) @ MATRIX.T.to(x)).tanh()


# Images and clean features.


def test_pixels_become_numbers_between_0_and_1_in_order():
    values = torch.tensor([0, 51, 255], dtype=torch.uint8)[:, None, None, None].expand(3, *SHAPE)
    of = images(flat, batch=2, values=values)
    batches = [of.part(slice(0, 2)), of.part(slice(2, 3))]
    assert [index.tolist() for index, _ in batches] == [[0, 1], [2]]
    x = torch.cat([x for _, x in batches])
    assert x.dtype == torch.float32
    torch.testing.assert_close(x[:, 0, 0, 0], torch.tensor([0.0, 0.2, 1.0]))
    assert all(x.is_contiguous(memory_format=torch.channels_last) for _, x in batches)


def test_clean_features_are_the_backbones_without_a_graph():
    matrix = MATRIX.clone().requires_grad_(True)
    clean = extract(images(LinearBackbone(matrix), batch=3))
    assert not clean.requires_grad
    torch.testing.assert_close(clean, pixels().flatten(1) / 255 @ MATRIX.float().T)


# What a search attains.


@each_norm
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seed", range(3))
def test_the_displacement_of_a_linear_backbone_is_found(norm: Norm, seed: int, device: str):
    backbone = LinearBackbone(normal(6, SIZE, seed=seed))
    of = Images(pixels(), backbone, torch.device(device), BatchSize(3))
    clean = extract(of)
    found = search(of, displacement_aim(clean), ThreatModel(norm, EPS), budget())
    attained = displacement(found.features, clean)
    exact = backbone.largest_displacement(norm, EPS)
    assert (attained <= exact * (1 + 1e-5)).all()
    assert (attained >= exact * (0.99 if norm == "l2" else 0.9)).all()


@each_norm
def test_the_displacement_on_a_projection_is_found(norm: Norm):
    projection, _ = torch.linalg.qr(normal(6, 2, seed=2))
    on_task = LinearBackbone(projection.T @ MATRIX)
    of = images(LinearBackbone(MATRIX))
    clean = extract(of)
    aim = displacement_aim(clean, projection.T)
    found = search(of, aim, ThreatModel(norm, EPS), budget())
    attained = displacement(found.features, clean, projection.T)
    exact = on_task.largest_displacement(norm, EPS)
    assert (attained <= exact * (1 + 1e-5)).all()
    assert (attained >= exact * (0.99 if norm == "l2" else 0.9)).all()


@pytest.mark.parametrize("batch", [1, 3, 7])
@each_norm
def test_the_result_does_not_depend_on_the_batch_size(norm: Norm, batch: int):
    threat, hard = ThreatModel(norm, EPS), budget(restarts=2, steps=3)
    results = []
    for size in (2, batch):
        of = images(curved, batch=size)
        clean = extract(of)
        found = search(of, displacement_aim(clean), threat, hard)
        controls = gradient_free(of, clean, threat, seed=0)
        parts = (found.features, found.restart_values, controls.noise, controls.searched)
        results.append((clean, *parts))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, equal_nan=True)


def test_a_search_is_decided_by_its_seed():
    of = images(curved)
    aim, threat = displacement_aim(extract(of)), ThreatModel("linf", EPS)
    first, again, other = (
        search(of, aim, threat, budget(1, 2, seed)).features for seed in (5, 5, 6)
    )
    assert torch.equal(first, again)
    assert not torch.isclose(first, other).all(dim=1).any()


def test_equal_images_start_from_different_points_and_so_do_restarts():
    same = torch.full((4, *SHAPE), 128, dtype=torch.uint8)
    backbone = Recorder(flat)
    of = images(backbone, values=same)
    clean = flat(same / 255)
    search(of, displacement_aim(clean), ThreatModel("linf", EPS), budget(restarts=3, steps=1))
    # Per restart the start and one step; at last the best point is scored once more.
    starts = torch.cat(backbone.shown[:-1:2]).flatten(1)
    assert len(backbone.shown) == 7
    assert len(starts.unique(dim=0)) == 12


# Memory.


def full_memory(kind: str) -> None:
    """Fail as this machine does when memory is out."""
    if kind == "cuda":
        raise torch.OutOfMemoryError("CUDA out of memory. (planted)")
    if kind == "python":
        raise MemoryError
    if kind == "a library of cuda":
        raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED (planted)")
    torch.empty(1 << 50, dtype=torch.uint8)  # a petabyte: torch's own refusal


def hungry(kind: str, limit: int, when: Callable[[Tensor], bool] = lambda x: True) -> Features:
    """A backbone that takes at most ``limit`` images at a time."""

    def backbone(x: Tensor) -> Tensor:
        if len(x) > limit and when(x):
            full_memory(kind)
        return curved(x)

    return backbone


out_of_memory = pytest.mark.parametrize(
    "kind", ["cuda", "a library of cuda", "python", "torch on cpu"]
)


@out_of_memory
@pytest.mark.parametrize(("limit", "left"), [(7, 7), (6, 4), (3, 2), (1, 1)])
def test_the_batch_is_halved_for_good_until_it_fits(kind: str, limit: int, left: int):
    of = images(hungry(kind, limit), batch=7)
    torch.testing.assert_close(extract(of), extract(images(curved)))
    assert of.batch_size.value == left


@out_of_memory
def test_running_out_of_memory_only_under_attack_loses_and_repeats_no_image(kind: str):
    of = images(hungry(kind, 2, when=lambda x: x.requires_grad), batch=5)
    clean = extract(of)
    assert of.batch_size.value == 5
    aim, threat = displacement_aim(clean), ThreatModel("l2", EPS)
    found = search(of, aim, threat, budget(2, 3))
    assert of.batch_size.value == 2
    expected = search(images(curved), aim, threat, budget(2, 3))
    torch.testing.assert_close(found.features, expected.features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        found.restart_values, expected.restart_values, rtol=1e-4, atol=1e-5, equal_nan=True
    )


def test_what_did_not_fit_is_halved_where_it_was_less_than_a_batch():
    tried = Recorder(hungry("cuda", 3))
    of = images(tried, batch=256)
    extract(of)
    assert [len(x) for x in tried.shown] == [7, 4, 2, 2, 2, 1]
    assert of.batch_size.value == 2


@out_of_memory
@pytest.mark.parametrize("adapts", [True, False])
def test_running_out_of_memory_between_passes_loses_and_repeats_no_image(
    kind: str, adapts: bool, monkeypatch: pytest.MonkeyPatch
):
    """Points of a whole group take memory, too, which a smaller group needs less of."""
    tight = {"tried": 0}

    def start(self: ThreatModel, x: Tensor, draw: list[int]) -> Tensor:
        if len(x) > 4:
            tight["tried"] += 1
            full_memory(kind)
        return plenty(self, x, draw)

    of, clean = images(curved, batch=7), extract(images(curved))
    aim, threat, hard = displacement_aim(clean), ThreatModel("l2", EPS), budget(1 + adapts, 5)
    expected = search(images(curved), aim, threat, hard)
    plenty = ThreatModel.random_start
    monkeypatch.setattr(ThreatModel, "random_start", start)
    found = search(of, aim, threat, hard)
    assert tight["tried"] > 0
    assert of.batch_size.value == 1
    torch.testing.assert_close(found.features, expected.features, rtol=1e-4, atol=1e-5)


@out_of_memory
def test_a_single_image_that_does_not_fit_is_a_memory_error(kind: str):
    of = images(hungry(kind, 0), batch=4)
    with pytest.raises(MemoryError, match="single image"):
        extract(of)
    assert of.batch_size.value == 1


def test_other_errors_of_a_backbone_are_not_taken_for_lack_of_memory():
    def broken(x: Tensor) -> Tensor:
        raise RuntimeError("shapes cannot be multiplied")

    of = images(broken, batch=4)
    with pytest.raises(RuntimeError, match="multiplied"):
        extract(of)
    assert of.batch_size.value == 4


# Aims.


def test_displacement_is_the_distance_in_fp64():
    clean = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    points = torch.tensor([[4.0, 5.0], [0.0, 0.0]])
    found = displacement(points, clean)
    assert found.dtype == torch.float64
    assert found.tolist() == [5, 0]
    assert displacement(points, clean, torch.tensor([[0.0, 1.0]])).tolist() == [4, 0]


def test_the_displacement_aim_is_the_squared_distance_to_the_images_own_features():
    clean = normal(5, 4, seed=0).float()
    features, index = normal(2, 4, seed=1).float(), torch.tensor([3, 1])
    expected = displacement(features, clean[index]).square().float()
    torch.testing.assert_close(displacement_aim(clean)(features, index), expected)
    projection = torch.linalg.qr(normal(4, 2, seed=2))[0].T
    expected = displacement(features, clean[index], projection).square().float()
    torch.testing.assert_close(displacement_aim(clean, projection)(features, index), expected)


def test_the_aim_at_a_head_is_its_loss():
    head = LinearHead(normal(3, 4, seed=0), normal(3, seed=1))
    labels, index = torch.tensor([2, 0, 1, 2, 0]), torch.tensor([4, 0, 2])
    features = normal(3, 4, seed=2).float()
    logits = (features.double() @ head.weight.T + head.bias).numpy()
    losses = [np.logaddexp.reduce(row) - row[y] for row, y in zip(logits, [0, 2, 1], strict=True)]
    found = loss_aim(head, labels)(features, index)
    np.testing.assert_allclose(found.numpy(), losses, rtol=1e-5)


# The pool.


@dataclass(frozen=True)
class Case:
    """A pool at random, and a head that is fitted on nothing."""

    pool: Pool
    head: LinearHead
    labels: Tensor


def case(seed: int, classes: int, dimensions: int, aims: int, reach: float, confidence: float):
    images = 8
    clean = normal(images, dimensions, seed=seed).float()
    attained = tuple(
        clean + reach * normal(images, dimensions, seed=seed + k + 1).float() for k in range(aims)
    )
    head = LinearHead(
        confidence * normal(classes, dimensions, seed=seed + 10), normal(classes, seed=seed + 11)
    )
    labels = head(clean).argmax(dim=1)
    labels[:2] = (labels[:2] + 1) % classes
    return Case(Pool(clean, attained), head, labels)


cases = st.builds(
    case,
    seed=st.integers(0, 2**31),
    classes=st.integers(2, 6),
    dimensions=st.integers(1, 8),
    aims=st.integers(1, 3),
    reach=st.sampled_from([0.0, 0.01, 0.3, 3.0]),
    confidence=st.sampled_from([0.1, 1.0, 20.0]),
)


@given(cases)
def test_displacement_on_the_task_is_at_most_that_on_all_features(c: Case):
    projection = task_projection(c.head)
    on_task, on_all = c.pool.displacement(projection), c.pool.displacement()
    assert (on_task <= on_all * (1 + 1e-12)).all()


@given(cases)
def test_the_pool_keeps_the_largest_of_all_aims(c: Case):
    moved = [(points - c.pool.clean).double().norm(dim=1) for points in c.pool.attained]
    torch.testing.assert_close(
        c.pool.displacement(), torch.stack(moved).amax(dim=0), rtol=1e-5, atol=1e-6
    )
    points = torch.stack([c.pool.clean, *c.pool.attained]).double()
    logits = points @ c.head.weight.T + c.head.bias
    labels = c.labels.expand(logits.shape[:2])
    losses = logits.logsumexp(dim=2) - logits.gather(2, labels[..., None])[..., 0]
    worst = c.pool.scores(c.head).worst_losses(c.labels)
    torch.testing.assert_close(worst, losses.amax(dim=0), rtol=1e-9, atol=1e-9)
    right = (logits.argmax(dim=2) == labels).all(dim=0)
    assert torch.equal(c.pool.scores(c.head).always_correct(c.labels), right)


@given(cases)
def test_what_a_pair_was_pushed_by_is_the_largest_of_all_points(c: Case):
    points = torch.stack([c.pool.clean, *c.pool.attained]).double()
    logits = points @ c.head.weight.T + c.head.bias
    ahead = logits - logits.gather(2, c.labels[None, :, None].expand(len(logits), -1, 1))
    expected = (ahead - ahead[0]).amax(dim=0)
    found = c.pool.scores(c.head).pair_reach(c.labels)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    assert (found >= 0).all()
    # By Cauchy and Schwarz, with the displacement of all points.
    most = pairwise_distances(c.head.weight)[c.labels] * c.pool.displacement()[:, None]
    assert (found <= most * (1 + 1e-9) + 1e-9).all()


@given(cases)
def test_an_image_survives_all_of_the_attacks_where_no_point_changes_its_prediction(c: Case):
    tolerances = c.pool.scores(c.head).tolerances(c.labels)
    assert torch.equal(tolerances == 1, c.pool.scores(c.head).always_correct(c.labels))
    assert torch.equal(tolerances > 0, c.head(c.pool.clean).argmax(dim=1) == c.labels)
    # Of every way that an attack went, this share leaves the prediction as it is, up to rounding.
    steps = torch.stack(c.pool.attained).double() - c.pool.clean.double()
    shortened = c.pool.clean.double() + steps * tolerances[None, :, None] * (1 - 1e-9)
    right = c.head(shortened).argmax(dim=2) == c.labels
    assert (right | (tolerances == 0)).all()


@given(cases)
def test_one_more_attack_never_raises_what_is_withstood(c: Case):
    before, after = c.pool, c.pool.with_points(c.pool.clean.flip(0))
    assert len(after.attained) == len(before.attained) + 1
    assert torch.equal(after.attained[-1], c.pool.clean.flip(0))
    assert (after.displacement() >= before.displacement()).all()
    worse = after.scores(c.head).tolerances(c.labels) <= before.scores(c.head).tolerances(c.labels)
    assert worse.all()
    lost = before.scores(c.head).always_correct(c.labels) | ~after.scores(c.head).always_correct(
        c.labels
    )
    assert lost.all()


@given(cases, st.booleans())
def test_where_the_criterion_holds_no_point_of_the_pool_changes_the_prediction(c: Case, task: bool):
    """So estimated robust accuracy is at most attacked robust accuracy."""
    s = c.pool.displacement(task_projection(c.head) if task else None)
    holds = criterion_holds(c.head(c.pool.clean), c.head.weight, c.labels, s)
    right = c.pool.scores(c.head).always_correct(c.labels)
    assert (right | ~holds).all()
    assert holds.double().mean() <= right.double().mean()


@given(cases, st.booleans())
def test_the_attacked_loss_is_at_most_the_worst_case_bound(c: Case, task: bool):
    s = c.pool.displacement(task_projection(c.head) if task else None)
    bound = worst_case_losses(c.head(c.pool.clean), c.head.weight, c.labels, s)
    attacked = c.pool.scores(c.head).worst_losses(c.labels)
    assert (attacked <= bound + 1e-6 * (1 + bound)).all()


@given(cases)
def test_an_attack_of_no_effect_leaves_clean_accuracy_and_loss(c: Case):
    still = Pool(c.pool.clean, (c.pool.clean,))
    logits = c.head(c.pool.clean)
    assert torch.equal(still.displacement(), torch.zeros(8).double())
    assert torch.equal(
        still.scores(c.head).always_correct(c.labels), logits.argmax(dim=1) == c.labels
    )


@each_norm
def test_a_search_for_the_loss_beats_one_for_the_displacement_at_the_loss(norm: Norm):
    head = LinearHead(3 * normal(3, 6, seed=3), torch.zeros(3).double())
    of, threat = images(LinearBackbone(MATRIX)), ThreatModel(norm, EPS)
    clean = extract(of)
    labels = head(clean).argmax(dim=1)
    by_aim = {
        aim: search(of, objective, threat, budget(5, 20)).features
        for aim, objective in {
            "displacement": displacement_aim(clean),
            "loss": loss_aim(head, labels),
        }.items()
    }
    worst = {aim: Pool(clean, (z,)).scores(head).worst_losses(labels) for aim, z in by_aim.items()}
    assert (worst["loss"] >= worst["displacement"] * (1 - 1e-3)).all()
    assert worst["loss"].mean() > worst["displacement"].mean() * 1.01
    moved = {aim: displacement(z, clean) for aim, z in by_aim.items()}
    assert moved["displacement"].mean() > moved["loss"].mean()
    pool = Pool(clean, tuple(by_aim.values()))
    assert torch.equal(
        pool.scores(head).worst_losses(labels), torch.stack(list(worst.values())).amax(0)
    )
