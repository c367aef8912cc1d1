"""One candidate on one task, with the built-in zoo's own files and a few digits."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import builders
import pytest
import torch

from selector import batches, evaluation, spool
from selector.candidates import Candidate, Pinned
from selector.errors import CandidateError
from selector.evaluation import evaluate
from selector.fetching import prepare
from selector.protocol import Overrides, Protocol, Sizes, choose_protocol
from selector.records import Evaluation, HeadReport
from selector.run import Prepared
from selector.scheduling import measurement_key
from selector.tasks import Task, load_task
from selector.threat import ThreatModel
from selector.workload import Setting, planned_passes

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


def heads(measured: Evaluation) -> tuple[HeadReport, HeadReport]:
    return measured.probe, measured.bound_optimal


def test_estimated_robust_accuracy_is_never_above_attacked_accuracy(measured: Evaluation) -> None:
    for head in heads(measured):
        for estimate in (head.on_representation, head.on_task):
            assert (
                estimate.estimated_robust_accuracy.value
                <= head.attacked_accuracy.value
                <= head.clean_accuracy.value
            )


def test_criterion_on_the_task_projection_is_never_below_that_on_the_representation(
    measured: Evaluation,
) -> None:
    for head in heads(measured):
        assert (
            head.on_task.estimated_robust_accuracy.value
            >= head.on_representation.estimated_robust_accuracy.value
        )


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
    head = measured.bound_optimal
    assert sum(images.robust_correct) / n == head.on_task.estimated_robust_accuracy.value
    assert sum(images.attacked_correct) / n == head.attacked_accuracy.value
    assert sum(images.clean_correct) / n == measured.probe.clean_accuracy.value
    assert sum(images.worst_case_loss) / n == pytest.approx(
        head.on_task.estimated_worst_case_loss.value
    )


def test_planned_passes_are_the_passes_made(measured: Evaluation, setting: Setting) -> None:
    planned = planned_passes(setting).forward + 3 * evaluation.PREFLIGHT_IMAGES
    # An image that is far from a maximum saves a pass in each of three searches with two starts.
    saved = planned - measured.cost.forward_passes
    assert 0 <= saved <= SIZES.validation + 2 * SIZES.test


def test_backward_passes_are_one_per_step_and_start(measured: Evaluation) -> None:
    # Two restarts of four steps: two ascents of two steps and one of four, eight in all.
    starts = 2 * (SIZES.validation + 2 * SIZES.test) + 4 * SIZES.test
    assert measured.cost.backward_passes == 4 * starts + evaluation.PREFLIGHT_IMAGES


@pytest.mark.parametrize(("eps", "precision"), [(8 / 255, "bf16"), (0.01 / 255, "fp32")])
def test_bf16_searches_where_it_resolves_the_displacement_and_fp32_scores(
    setting: Setting, monkeypatch: pytest.MonkeyPatch, eps: float, precision: str
) -> None:
    setting = replace(setting, threat=ThreatModel("linf", eps))
    exact = evaluate(candidate("tiny_resnet.cifar10"), setting)
    monkeypatch.setattr(batches, "bf16_is_fast", lambda device: True)
    found = evaluate(candidate("tiny_resnet.cifar10"), setting)
    assert (exact.cost.search_precision, found.cost.search_precision) == ("fp32", precision)
    attained = found.sensitivity.mean.value / exact.sensitivity.mean.value
    assert attained == 1 if precision == "fp32" else 0.97 < attained != 1
    # Scored in bf16, clean features would differ too.
    assert found.probe.clean_accuracy == exact.probe.clean_accuracy
    assert found.bound_optimal.validation_loss == exact.bound_optimal.validation_loss


def test_same_seed_same_numbers_whatever_the_batch_size(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluate(candidate("tiny_vit.cifar10"), setting)
    monkeypatch.setattr(evaluation, "_LARGEST_BATCH", 7)
    second = evaluate(candidate("tiny_vit.cifar10"), setting)
    assert second.cost.batch_size == 7
    assert second.sensitivity.mean.value == pytest.approx(first.sensitivity.mean.value, rel=1e-3)
    assert second.probe.clean_accuracy == first.probe.clean_accuracy


@pytest.fixture
def short(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> Setting:
    """A short search in batches of ten, which are the same whatever part they are of."""
    monkeypatch.setattr(evaluation, "_LARGEST_BATCH", 10)
    return replace(setting, protocol=replace(setting.protocol, restarts=1, steps=2))


def test_numbers_do_not_depend_on_how_many_images_are_in_memory(
    short: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(setting: Setting) -> Evaluation:
        found = evaluate(candidate("tiny_vit.cifar10"), setting)
        return found.model_copy(update={"cost": builders.evaluation().cost})

    whole = measured(short)
    monkeypatch.setattr(evaluation, "AT_ONCE", 30)
    assert measured(short) == whole
    monkeypatch.setattr(evaluation, "AT_ONCE", 10)
    monkeypatch.setattr(spool, "IN_MEMORY", 0)
    task = load_task("builtin:digits", image_size=32, sizes=SIZES, seed=0)
    assert isinstance(task.test.pixels, spool.FileRows)
    assert task.fingerprint == short.task.fingerprint
    assert measured(replace(short, task=task)) == whole


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
    with pytest.raises(CandidateError) as caught:
        evaluate(candidate("tiny_vit.cifar10"), setting)
    assert caught.value.code == "out_of_memory"


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
    key = measurement_key(name, prepared, setting)
    assert key == measurement_key(name, files(name), setting)
    assert key != measurement_key(name, prepared, replace(setting, **change))
    assert key != measurement_key(other, files(other), setting)
    seeded = replace(setting, protocol=replace(setting.protocol, seed=1))
    assert key != measurement_key(name, prepared, seeded)


@pytest.mark.parametrize("preset", ["quick", "standard", "thorough"])
def test_every_preset_is_smaller_on_a_cpu(preset: str) -> None:
    gpu, cpu = (choose_protocol(preset, kind, Overrides(), 0) for kind in ("cuda", "cpu"))
    assert cpu.sizes.test < gpu.sizes.test
    assert cpu.restarts * cpu.steps < gpu.restarts * gpu.steps


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
