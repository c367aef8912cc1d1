"""One candidate on one task, with the built-in zoo's own files and a few digits."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import builders
import pytest
import torch
from torch import Tensor

from selector import attacking, evaluation, fitting, run, spool, workload
from selector.backbones import Backbone
from selector.batches import Images
from selector.bounds import pair_worst_case_losses
from selector.candidates import Candidate, Pinned
from selector.choosing import RADIUS_SCALES
from selector.controls import NOISE_DRAWS, SEARCH_STEPS
from selector.errors import CandidateError
from selector.evaluation import constant_accuracy, evaluate
from selector.fetching import prepare
from selector.heads import LinearHead
from selector.keys import measurement
from selector.pairs import RIVALS
from selector.protocol import Overrides, Protocol, Sizes, choose_protocol
from selector.records import Estimate, Evaluation, HeadReport
from selector.run import PREFLIGHT_IMAGES, Prepared, Run
from selector.sensitivity import Pool
from selector.shapes import Extent, Shapes
from selector.tasks import Task, load_task
from selector.threat import ThreatModel
from selector.workload import (
    PassCount,
    Setting,
    full_budget,
    half_budget,
    pair_budget,
    planned_passes,
    probe_passes,
    shape_passes,
)

ZOO = Path(str(files("selector.demo") / "zoo"))
SIZES = Sizes(train=120, validation=30, test=40)


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("builtin:digits", image_size=32, sizes=SIZES, seed=0)


@pytest.fixture(scope="module")
def setting(task: Task) -> Setting:
    protocol = Protocol("quick", "apgd", restarts=2, steps=4, sizes=SIZES, seed=0)
    return Setting(task, ThreatModel("linf", 4 / 255), protocol, torch.device("cpu"))


def candidate(name: str) -> Prepared:
    return files(Candidate(model=f"local-dir:{ZOO / name}"))


def files(one: Candidate) -> Prepared:
    return prepare(Pinned(one), None, lambda count: None)


@pytest.fixture(scope="module", params=["tiny_resnet.cifar10_linf_8", "tiny_vit.cifar10"])
def measured(request: pytest.FixtureRequest, setting: Setting) -> Evaluation:
    return evaluate(candidate(request.param), setting)


def heads(measured: Evaluation) -> tuple[HeadReport, ...]:
    return measured.head, measured.probe, measured.bound_optimal


def test_each_finer_resolution_says_no_less(measured: Evaluation) -> None:
    """Criterion on g, criterion on A∘g, attacked class pair by class pair, clean."""
    for head in heads(measured):
        ladder = (
            head.on_representation.estimated_robust_accuracy,
            head.on_task.estimated_robust_accuracy,
            head.attacked_accuracy,
            head.clean_accuracy,
        )
        assert_rising(ladder)
        assert_rising(
            (
                head.on_representation.estimated_tolerance,
                head.on_task.estimated_tolerance,
                head.attacked_tolerance,
                head.clean_accuracy,
            )
        )
    for point in measured.frontier:
        assert_rising(
            (point.estimated_robust_accuracy, point.attacked_accuracy, point.clean_accuracy)
        )


def assert_rising(estimates: tuple[Estimate, ...]) -> None:
    values = [estimate.value for estimate in estimates]
    assert all(b >= a - 1e-9 for a, b in pairwise(values)), values


def test_each_finer_resolution_says_no_less_of_any_image(measured: Evaluation) -> None:
    images = measured.per_image
    rows = zip(images.robust_correct, images.attacked_correct, images.clean_correct, strict=True)
    assert all(robust <= attacked <= clean for robust, attacked, clean in rows)
    survived = zip(images.attacked_tolerance, images.attacked_correct, strict=True)
    assert all((share == 1) == attacked for share, attacked in survived)
    smooth = zip(images.smooth, images.robust_correct, strict=True)
    assert all((share > 0.5) == robust for share, robust in smooth)


def test_the_frontier_runs_from_the_probe_to_a_head_for_all_of_the_displacement(
    measured: Evaluation,
) -> None:
    assert tuple(point.radius_scale for point in measured.frontier) == RADIUS_SCALES
    by_scale = {point.radius_scale: point for point in measured.frontier}
    for head in (measured.probe, measured.head):
        point = by_scale[head.radius_scale]
        assert point.l2 == head.l2
        assert point.clean_accuracy == head.clean_accuracy
        assert point.attacked_accuracy == head.attacked_accuracy
        assert point.estimated_robust_accuracy == head.on_task.estimated_robust_accuracy
        assert point.estimated_worst_case_loss == head.on_task.estimated_worst_case_loss
    assert measured.probe.radius_scale == 0
    kept = [point.validation_attacked_accuracy for point in measured.frontier]
    assert by_scale[measured.head.radius_scale].validation_attacked_accuracy == max(kept)


@pytest.mark.parametrize(("name", "same"), [("probe", "probe"), ("bound-optimal", "bound_optimal")])
def test_the_head_that_is_asked_for_is_the_one_that_is_ranked_by(
    setting: Setting, name: str, same: str
) -> None:
    asked = replace(setting, protocol=replace(setting.protocol, head=name))
    found = evaluate(candidate("tiny_vit.cifar10_linf_8"), asked)
    assert found.head == getattr(found, same)
    images, n = found.per_image, SIZES.test
    assert sum(images.attacked_correct) / n == found.head.attacked_accuracy.value
    assert sum(images.clean_correct) / n == found.head.clean_accuracy.value
    other = found.bound_optimal if name == "probe" else found.probe
    assert found.head.clean_loss != other.clean_loss


def test_loss_bounds_are_ordered(measured: Evaluation) -> None:
    for head in heads(measured):
        for estimate in (head.on_representation, head.on_task):
            worst, margin = estimate.estimated_worst_case_loss, estimate.estimated_margin_loss
            assert head.clean_loss.value <= head.attacked_loss.value <= worst.value + 1e-5
            assert worst.value <= margin.value + 1e-9
        assert (
            head.on_task.estimated_worst_case_loss.value
            <= head.on_representation.estimated_worst_case_loss.value + 1e-9
        )


def test_displacement_on_the_projection_is_at_most_that_on_the_representation(
    measured: Evaluation,
) -> None:
    assert 0 < measured.task_sensitivity.mean.value <= measured.sensitivity.mean.value


def test_per_image_results_average_to_what_is_reported(measured: Evaluation) -> None:
    images, n = measured.per_image, SIZES.test
    head, best = measured.head, measured.bound_optimal
    assert sum(images.probe_correct) / n == measured.probe.clean_accuracy.value
    assert sum(images.clean_correct) / n == head.clean_accuracy.value
    assert sum(images.attacked_correct) / n == head.attacked_accuracy.value
    assert sum(images.robust_correct) / n == head.on_task.estimated_robust_accuracy.value
    assert sum(images.attacked_tolerance) / n == pytest.approx(head.attacked_tolerance.value)
    assert sum(images.smooth) / n == pytest.approx(head.on_task.estimated_smooth_accuracy.value)
    assert sum(images.worst_case_loss) / n == pytest.approx(
        best.on_task.estimated_worst_case_loss.value
    )


def test_passes_are_as_many_as_planned_but_for_the_pairs_in_doubt(
    measured: Evaluation, setting: Setting
) -> None:
    most, made = planned_passes(setting, RIVALS), measured.cost
    assert made.forward_passes <= most.forward + 4 * PREFLIGHT_IMAGES
    assert made.backward_passes <= most.backward + PREFLIGHT_IMAGES
    planned = planned_passes(setting)
    assert planned.forward < most.forward
    assert planned.backward < most.backward
    assert_pairs(measured, setting, range(1, 9 * (5 * SIZES.validation + 2 * SIZES.test)))


@pytest.mark.parametrize(("classes", "rows"), [(2, 0), (3, 2), (10, 9), (14, 10)])
def test_passes_of_shapes_are_those_of_as_many_directions_as_there_are(
    setting: Setting, classes: int, rows: int
) -> None:
    task = setting.task
    parts = {
        name: replace(part, labels=torch.arange(len(part)) % classes)
        for name in ("train", "validation", "test")
        for part in [getattr(task, name)]
    }
    task = replace(task, classes=tuple(f"class {place}" for place in range(classes)), **parts)
    relabelled = replace(setting, task=task)
    found = evaluate(candidate("tiny_resnet.cifar10_linf_8"), relabelled)
    possible = range(9 * (5 * SIZES.validation + 2 * SIZES.test))
    assert_pairs(found, relabelled, possible, rows)
    assert shape_passes(relabelled, 7) == (PassCount(7, 7 * rows) if rows else PassCount(0, 0))
    most = planned_passes(relabelled, RIVALS)
    assert found.cost.backward_passes <= most.backward + PREFLIGHT_IMAGES
    least = planned_passes(relabelled)
    assert most.backward - least.backward == 8 * setting.protocol.steps * (
        5 * SIZES.validation + 2 * SIZES.test
    )


def assert_pairs(measured: Evaluation, setting: Setting, possible: range, rows: int = 9) -> None:
    """All passes but those for the class pairs in doubt are known; these are whole attacks.

    With shapes, of so many ``rows``, there is one search more on test images.
    """
    full, half, pair = (b(setting.protocol) for b in (full_budget, half_budget, pair_budget))
    reported = (measured.head, measured.probe, measured.bound_optimal)
    losses = len({(head.radius_scale, head.l2) for head in reported})
    validation, test = SIZES.validation, SIZES.test
    searched = validation + (3 if rows else 2) * test
    backward = PREFLIGHT_IMAGES + rows * (validation + test)
    backward += full.backward_passes * searched
    backward += losses * half.backward_passes * test
    pairs, rest = divmod(measured.cost.backward_passes - backward, pair.backward_passes)
    assert rest == 0
    assert pairs in possible
    forward = 4 * PREFLIGHT_IMAGES + SIZES.train + (2 if rows else 1) * (validation + test)
    forward += (NOISE_DRAWS + SEARCH_STEPS) * test + full.forward_passes * searched
    forward += losses * half.forward_passes * test + pairs * pair.forward_passes
    # An image that is far from a maximum saves one in each search with two starts.
    assert 0 <= forward - measured.cost.forward_passes <= searched


def test_estimates_and_doubts_rest_on_the_shapes_of_the_images(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, attack = evaluation.outcomes, evaluation.attack_pairs
    seen: list[tuple[Any, ...]] = []
    attacked: list[tuple[Pool, LinearHead, Tensor, Tensor, Shapes]] = []
    doubted: list[Tensor] = []
    doubt = attacking.in_doubt

    def read_off(*given: Any) -> Any:
        seen.append(given)
        return read(*given)

    def attack_with(run: Run, images: Images, *more: Any) -> Pool:
        if not attacked:
            doubted.clear()  # what validation images left in doubt
        attacked.append(more)
        return attack(run, images, *more)

    def in_doubt(clean: Tensor, head: LinearHead, labels: Tensor, *more: Tensor) -> Any:
        doubted.append(more[0])
        return doubt(clean, head, labels, *more)

    monkeypatch.setattr(evaluation, "outcomes", read_off)
    monkeypatch.setattr(evaluation, "attack_pairs", attack_with)
    monkeypatch.setattr(attacking, "in_doubt", in_doubt)
    found = evaluate(candidate("tiny_vit.cifar10_linf_4"), setting)
    ((pool, heads, picked, labels, _, shapes),) = seen
    assert len(attacked) == len(doubted) == 2
    for (before, head, labels_, projection, shaped), granted in zip(attacked, doubted, strict=True):
        assert projection is heads.projection
        assert shaped is shapes
        assert torch.equal(granted, Extent.of(before, projection, shapes).reach(head, labels_))
    reach = Extent.of(pool, heads.projection, shapes).reach(picked, labels)
    losses = pair_worst_case_losses(picked(pool.clean), labels, reach)
    on_task = found.head.on_task
    assert on_task.estimated_worst_case_loss.value == pytest.approx(losses.mean().item())
    by_ball = Extent.of(pool, heads.projection).reach(picked, labels)
    assert reach.sum() < 0.8 * by_ball.sum()


def test_where_displacement_settles_every_pair_none_is_attacked(setting: Setting) -> None:
    tiny = replace(setting, threat=ThreatModel("linf", 1e-4 / 255))
    found = evaluate(candidate("tiny_vit.cifar10"), tiny)
    assert_pairs(found, tiny, range(1))
    assert found.head.attacked_accuracy == found.head.clean_accuracy
    assert found.head.on_task.estimated_robust_accuracy == found.head.clean_accuracy


@pytest.mark.parametrize(
    ("eps", "precision"), [(8 / 255, "bf16"), (0.1 / 255, "tf32"), (0.001 / 255, "fp32")]
)
def test_a_search_takes_the_coarsest_precision_that_resolves_the_displacement_and_fp32_scores(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, eps: float, precision: str
) -> None:
    setting = replace(setting, threat=ThreatModel("linf", eps))
    exact = evaluate(candidate("tiny_resnet.cifar10"), setting)
    for module in (attacking, workload):
        monkeypatch.setattr(module, "has_tensor_cores", lambda device: True)
    found = evaluate(candidate("tiny_resnet.cifar10"), setting)
    assert (exact.cost.search_precision, found.cost.search_precision) == ("fp32", precision)
    if precision == "fp32":
        probe = probe_passes(setting)
        assert probe.forward > probe.backward > 0
        assert found.cost.forward_passes - exact.cost.forward_passes == probe.forward
        assert found.cost.backward_passes - exact.cost.backward_passes == probe.backward
    attained = found.sensitivity.mean.value / exact.sensitivity.mean.value
    assert 0.97 < attained != 1 if precision == "bf16" else attained == pytest.approx(1, abs=1e-3)
    # Scored in bf16, clean features would differ too.
    assert found.probe.clean_accuracy == exact.probe.clean_accuracy
    assert found.bound_optimal.validation_loss == exact.bound_optimal.validation_loss


def test_a_network_that_fails_in_bf16_is_searched_in_tf32(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (attacking, workload):
        monkeypatch.setattr(module, "has_tensor_cores", lambda device: True)
    plain = Backbone.forward

    def mixed(self: Backbone, x: Tensor) -> Tensor:
        features = plain(self, x)
        kept = torch.zeros(features.shape)
        kept[:, torch.arange(features.shape[1])] = features
        return kept

    monkeypatch.setattr(Backbone, "forward", mixed)
    setting = replace(setting, threat=ThreatModel("linf", 8 / 255))
    found = evaluate(candidate("tiny_resnet.cifar10"), setting)
    assert found.cost.search_precision == "tf32"


def test_features_that_are_not_finite_are_the_candidates_own_row(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Backbone.forward
    # The checks do not see it.
    one = setting.task.train.pixels[7] / 255

    def spoilt(self: Backbone, x: Tensor) -> Tensor:
        spoils = (x == one).flatten(1).all(dim=1)
        return torch.where(spoils[:, None], torch.nan, plain(self, x))

    monkeypatch.setattr(Backbone, "forward", spoilt)
    with pytest.raises(CandidateError, match="features of an image") as caught:
        evaluate(candidate("tiny_vit.cifar10"), setting)
    assert caught.value.code == "non_finite_features"


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("planted"), RuntimeError("CUDA error: out of memory")]
)
def test_running_out_of_memory_beside_the_passes_is_the_candidates_own_row(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def no_memory(*arguments: object) -> None:
        raise error

    monkeypatch.setattr(evaluation, "attack_test", no_memory)
    with pytest.raises(CandidateError, match="does not fit") as caught:
        evaluate(candidate("tiny_vit.cifar10"), setting)
    assert caught.value.code == "out_of_memory"


def test_same_seed_same_numbers_whatever_the_batch_size(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluate(candidate("tiny_vit.cifar10"), setting)
    monkeypatch.setattr(run, "_LARGEST_BATCH", {"cpu": 7})
    second = evaluate(candidate("tiny_vit.cifar10"), setting)
    assert second.cost.batch_size == 7
    assert second.sensitivity.mean.value == pytest.approx(first.sensitivity.mean.value, rel=1e-3)
    assert second.probe.clean_accuracy == first.probe.clean_accuracy


def test_numbers_do_not_depend_on_how_many_images_are_in_memory(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small() -> Setting:
        """A short search of few images, each by itself: the same whoever else is in memory."""
        sizes = Sizes(train=60, validation=15, test=20)
        protocol = replace(setting.protocol, restarts=1, steps=2, sizes=sizes)
        task = load_task("builtin:digits", image_size=32, sizes=sizes, seed=0)
        return replace(setting, task=task, protocol=protocol)

    def measured(setting: Setting) -> Evaluation:
        found = evaluate(candidate("tiny_vit.cifar10"), setting)
        return found.model_copy(update={"cost": builders.evaluation().cost})

    def at_once(images: int) -> None:
        for module in (run, attacking, fitting, evaluation):
            monkeypatch.setattr(module, "AT_ONCE", images)

    monkeypatch.setattr(run, "_LARGEST_BATCH", {"cpu": 1})
    whole = measured(small())
    at_once(15)
    assert measured(small()) == whole
    at_once(7)
    monkeypatch.setattr(spool, "IN_MEMORY", 0)
    spooled = small()
    assert isinstance(spooled.task.test.pixels, spool.FileRows)
    assert measured(spooled) == whole


def test_the_accuracy_of_a_constant_answer(task: Task) -> None:
    counts = task.train.labels.bincount()
    most = next(label for label in range(10) if counts[label] == counts.max())
    right = sum(label == most for label in task.test.labels.tolist())
    assert constant_accuracy(task) == right / SIZES.test
    assert 0.05 < constant_accuracy(task) < 0.2
    labels = torch.tensor([0, 1, 1, 1, 2, 2])
    train = SimpleNamespace(labels=labels)
    test = SimpleNamespace(labels=torch.tensor([2, 2, 2, 1]))
    assert constant_accuracy(SimpleNamespace(train=train, test=test)) == 0.25  # type: ignore[arg-type]


def test_a_disk_without_room_for_features_is_the_candidates_own_row(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY", 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=10))
    with pytest.raises(CandidateError, match="there is less") as caught:
        evaluate(candidate("tiny_vit.cifar10"), setting)
    assert caught.value.code == "no_disk_space"
    assert "TMPDIR" in caught.value.hint


def test_the_peak_of_memory_is_told(measured: Evaluation) -> None:
    assert measured.cost.peak_process_bytes is not None
    # Python and torch alone hold as much.
    assert measured.cost.peak_process_bytes > 100e6
    assert measured.cost.peak_device_bytes is None


def test_robust_pretraining_shows(setting: Setting) -> None:
    robust = evaluate(candidate("tiny_resnet.cifar10_linf_8"), setting)
    ordinary = evaluate(candidate("tiny_resnet.cifar10"), setting)
    assert robust.probe.attacked_accuracy.low > ordinary.probe.attacked_accuracy.high


def test_more_search_never_lowers_the_attained_displacement(setting: Setting) -> None:
    more = replace(setting, protocol=replace(setting.protocol, restarts=4, steps=8))
    weak = evaluate(candidate("tiny_vit.cifar10_linf_4"), setting)
    strong = evaluate(candidate("tiny_vit.cifar10_linf_4"), more)
    assert strong.sensitivity.mean.value >= weak.sensitivity.mean.value


@pytest.mark.parametrize(
    ("eps", "vacuous"), [(1 / 255, False), (64 / 255, True)], ids=["1/255", "64/255"]
)
def test_a_bound_that_says_no_more_than_class_frequencies_is_vacuous(
    setting: Setting, eps: float, vacuous: bool
) -> None:
    found = evaluate(
        candidate("tiny_resnet.cifar10_linf_8"), replace(setting, threat=ThreatModel("linf", eps))
    )
    assert found.vacuous == vacuous


def test_both_norms_are_measured(setting: Setting) -> None:
    l2 = replace(setting, threat=ThreatModel("l2", 0.25))
    assert evaluate(candidate("tiny_vit.cifar10_linf_4"), l2).sensitivity.mean.value > 0


def test_running_out_of_memory_at_one_image_is_the_candidates_own_row(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*arguments: object) -> None:
        raise torch.OutOfMemoryError("planted")

    monkeypatch.setattr("selector.backbones.Backbone.forward", no_memory)
    with pytest.raises(CandidateError, match="a pass of two images") as caught:
        evaluate(candidate("tiny_vit.cifar10"), setting)
    assert caught.value.code == "out_of_memory"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_memory_for_two_images_suffices(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    forward = Backbone.forward

    def short(backbone: Backbone, x: Tensor) -> Tensor:
        if len(x) > 2:
            raise error("planted")
        return forward(backbone, x)

    plenty = evaluate(candidate("tiny_vit.cifar10_linf_8"), setting)
    monkeypatch.setattr(Backbone, "forward", short)
    found = evaluate(candidate("tiny_vit.cifar10_linf_8"), setting)
    assert found.cost.batch_size == 2
    assert found.head.attacked_accuracy == plenty.head.attacked_accuracy


def test_a_jacobian_that_takes_too_much_memory_shrinks_no_batch_but_its_own(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradient, refused = torch.autograd.grad, []

    def short(*given: Any, **named: Any) -> Any:
        # Only J keeps its graph.
        if named.get("retain_graph") and len(given[1]) > 16:
            refused.append(len(given[1]))
            raise torch.OutOfMemoryError("planted")
        return gradient(*given, **named)

    whole = evaluate(candidate("tiny_vit.cifar10_linf_4"), setting)
    monkeypatch.setattr(torch.autograd, "grad", short)
    found = evaluate(candidate("tiny_vit.cifar10_linf_4"), setting)
    assert len(refused) >= 2
    assert found.cost.batch_size == whole.cost.batch_size > 16
    assert found.bound_optimal.validation_loss == pytest.approx(
        whole.bound_optimal.validation_loss, rel=1e-3
    )


def test_tf32_settings_are_given_back(setting: Setting) -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    evaluate(candidate("tiny_vit.cifar10"), setting)
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"threat": ThreatModel("linf", 5 / 255)}, id="eps"),
        pytest.param({"threat": ThreatModel("l2", 4 / 255)}, id="norm"),
        pytest.param({"device": torch.device("meta")}, id="device"),
    ],
)
def test_a_measurement_is_kept_under_everything_it_depends_on(
    setting: Setting, change: dict[str, object]
) -> None:
    name = Candidate(model=f"local-dir:{ZOO / 'tiny_vit.cifar10'}")
    other = Candidate(model=f"local-dir:{ZOO / 'tiny_vit.random'}")
    prepared = files(name)
    key = measurement(name, prepared, setting)
    assert key == measurement(name, files(name), setting)
    assert key != measurement(name, prepared, replace(setting, **change))
    assert key != measurement(other, files(other), setting)
    for change_of in ({"seed": 1}, {"head": "probe"}):
        asked = replace(setting, protocol=replace(setting.protocol, **change_of))
        assert key != measurement(name, prepared, asked)


@pytest.mark.parametrize("preset", ["quick", "standard", "thorough"])
def test_every_preset_is_smaller_on_a_cpu(preset: str) -> None:
    gpu, cpu = (choose_protocol(preset, kind, Overrides(), 0) for kind in ("cuda", "cpu"))
    assert cpu.sizes.test < gpu.sizes.test
    assert cpu.restarts * cpu.steps < gpu.restarts * gpu.steps


def test_a_pass_takes_as_many_pixels_as_fill_a_device() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    sides = (32, 224, 448, 10_000)
    assert [run.first_batch_size((side, side), cpu) for side in sides] == [256, 32, 8, 1]
    assert [run.first_batch_size((side, side), gpu) for side in sides] == [1024, 256, 64, 1]


@pytest.mark.gpu
def test_gpu_agrees_with_cpu(setting: Setting) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    cpu = evaluate(candidate("tiny_resnet.cifar10_linf_8"), setting)
    gpu = evaluate(
        candidate("tiny_resnet.cifar10_linf_8"), replace(setting, device=torch.device("cuda"))
    )
    assert gpu.sensitivity.mean.value == pytest.approx(cpu.sensitivity.mean.value, rel=0.05)
    assert gpu.probe.clean_accuracy.value == pytest.approx(cpu.probe.clean_accuracy.value, abs=0.03)
    assert gpu.cost.peak_device_bytes is not None
    assert 0 < gpu.cost.peak_device_bytes < torch.cuda.get_device_properties(0).total_memory
