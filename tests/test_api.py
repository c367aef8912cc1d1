"""Ranking from Python: the command's numbers, for networks and images that are in memory."""

from __future__ import annotations

import inspect
import io
import json
import threading
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from builders import certified, evaluation, ranking, right, skipped
from conftest import LinearBackbone, grey, normal
from PIL import Image
from test_regression_ranking import document as regression
from test_regression_ranking import evaluation as regression_evaluation
from torch import Tensor, nn
from typer.testing import CliRunner

import selector
from selector.backbones import load_backbone
from selector.cli import app
from selector.errors import CandidateError, UsageError
from selector.modules import Module, frozen
from selector.protocol import Sizes
from selector.records import Evaluation, Findings, Outcome, Ranking, Skipped, Sweep
from selector.reports.delimited import to_csv
from selector.reports.stream import candidate_line
from selector.store.upkeep import held
from selector.threat import ThreatModel

ZOO = Path(str(files("selector.demo") / "zoo"))
ROBUST, ORDINARY = "tiny_vit.cifar10_linf_8", "tiny_vit.cifar10"
SIZES = Sizes(train=40, validation=10, test=20)
FEW: dict[str, Any] = {
    "preset": "quick", "steps": 2, "restarts": 1, "train_images": 40, "test_images": 20,
}  # fmt: skip
THREAT = ("linf", "4/255")
CPU = torch.device("cpu")
LABEL = torch.tensor([1])


def local(name: str) -> str:
    return f"local-dir:{ZOO / name}"


def timeless(document: Ranking) -> dict[str, Any]:
    """All of a ranking but when, how fast, and from where it was asked for."""
    found = document.model_dump(mode="json", exclude={"created", "command"})
    for entry in found["ranking"]:
        entry["cost"] = {k: v for k, v in entry["cost"].items() if "passes" in k}
    return found


def numbers(e: Evaluation) -> dict[str, Any]:
    return e.model_dump(include=set(Findings.model_fields))


class Whole(nn.Module):
    """A network of timm that gives pooled features."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.network.forward_head(
            self.network.forward_features(x),
            pre_logits=True,  # type: ignore[operator]
        )
        return found


class Small(nn.Module):
    """A convolution, statistics of training, and a pooling."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.norm(self.conv(x)).relu()).mean(dim=(2, 3))


@pytest.fixture(scope="module")
def pixels() -> tuple[np.ndarray, list[str]]:
    """Two classes that a network can tell apart: dark and bright noise (24,16,16,3)."""
    generator = np.random.default_rng(0)
    both = [generator.normal(centre, 20, (12, 16, 16, 3)) for centre in (190, 60)]
    return np.concatenate(both).clip(0, 255).astype(np.uint8), ["bright"] * 12 + ["dark"] * 12


@pytest.fixture
def folder(tmp_path: Path, pixels: tuple[np.ndarray, list[str]]) -> Path:
    """The same as files."""
    for number, (image, label) in enumerate(zip(*pixels, strict=True)):
        path = tmp_path / "photos" / label / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return tmp_path / "photos"


def rank_small(**options: Any) -> Ranking:
    """Two classes of noise, little effort, nothing kept."""
    task = selector.task_from_arrays(*noise())
    given: dict[str, Any] = {"task": task, "threat": THREAT, "store": ":memory:", "device": "cpu"}
    return selector.rank(**given | FEW | options)


def noise() -> tuple[np.ndarray, list[int]]:
    generator = np.random.default_rng(1)
    both = [generator.normal(centre, 20, (20, 12, 12, 3)) for centre in (60, 190)]
    return np.concatenate(both).clip(0, 255).astype(np.uint8), [0] * 20 + [1] * 20


# --- the interface -------------------------------------------------------------------------------


def test_every_name_is_there_and_no_other() -> None:
    for name in selector.__all__:
        assert getattr(selector, name) is not None
        assert name in dir(selector)
    assert set(selector.__all__) == set(selector._HOMES)
    with pytest.raises(AttributeError, match="luck"):
        selector.luck  # noqa: B018


def test_what_is_public_is_typed_and_documented() -> None:
    for name in selector.__all__:
        one = getattr(selector, name)
        assert inspect.getdoc(one)
        if inspect.isfunction(one):
            signature = inspect.signature(one)
            assert signature.return_annotation is not inspect.Signature.empty
            assert all(p.annotation is not p.empty for p in signature.parameters.values())


# --- the same as the command ---------------------------------------------------------------------


def test_the_ranking_is_that_of_the_command(tmp_path: Path) -> None:
    output = tmp_path / "ranking.json"
    arguments = ["--task", "builtin:digits", "--image-size", "32", "--device", "cpu", "-o", output]
    for name, value in FEW.items():
        arguments += [f"--{name.replace('_', '-')}", value]
    arguments += ["--model", local(ROBUST), "--model", local(ORDINARY)]
    result = CliRunner().invoke(app, ["rank", *map(str, arguments)])
    assert result.exit_code == 0, result.stderr
    of_command = selector.read_ranking(output)
    assert selector.read_ranking(str(output)) == of_command

    told: list[Any] = []
    of_python = selector.rank(
        task="builtin:digits",
        candidates=[local(ROBUST), local(ORDINARY)],
        threat=selector.ThreatModel("linf", 4 / 255),
        image_size=32,
        store=tmp_path / "other.sqlite",
        on_outcome=told.append,
        device="cpu",
        **FEW,
    )
    assert timeless(of_python) == timeless(of_command)
    assert {one.name for one in told} == {ROBUST, ORDINARY}
    (call,) = of_python.command
    assert call.startswith("selector.rank(task='builtin:digits', candidates=['local-dir:")
    assert "image_size=32" in call and "seed" not in call and "on_outcome" not in call

    kept: list[str] = []
    again = selector.rank(
        task="builtin:digits", candidates=[local(ORDINARY)], threat=THREAT, image_size=32,
        store=tmp_path / "other.sqlite", device="cpu", **FEW,
        on_outcome=lambda one: kept.append(one.name),
    )  # fmt: skip
    assert kept == [ORDINARY]
    by_name = {e.name: e for e in of_python.ranking}
    assert again.ranking[0].cost == by_name[ORDINARY].cost, "it was not measured again"


def test_several_threats_make_curves() -> None:
    told: list[Outcome] = []
    threats = [("linf", "2/255"), ThreatModel("linf", 1 / 255)]
    ranking = rank_small(candidates={"small": Small()}, threat=threats, on_outcome=told.append)
    assert ranking.curves is not None
    (curve,) = ranking.curves
    assert [point.threat.eps for point in curve.points] == [1 / 255, 2 / 255]
    assert curve.points[1].attacked_accuracy == ranking.ranking[0].head.attacked_accuracy
    (outcome,) = told
    assert isinstance(outcome, Sweep)
    line = json.loads(candidate_line(outcome))
    assert line["kind"] == "evaluation"
    assert line["head"] == ranking.ranking[0].head.model_dump(mode="json")


def test_a_module_has_the_numbers_of_the_same_network_from_files(tmp_path: Path) -> None:
    backbone = load_backbone(ZOO / ROBUST, CPU)
    mean, std = (tuple(values.flatten().tolist()) for values in (backbone.mean, backbone.std))
    module = selector.Module(
        "mine", Whole(backbone.network), mean=mean, std=std, input_size=backbone.input_size
    )
    found = selector.rank(
        task="builtin:digits", candidates=[local(ROBUST), module], threat=THREAT, image_size=32,
        store=tmp_path / "store.sqlite", device="cpu", **FEW,
    )  # fmt: skip
    by_name = {e.name: e for e in found.ranking}
    from_files, given = by_name[ROBUST], by_name["mine"]
    assert numbers(given) == numbers(from_files)
    assert given.model == "module:mine"
    of_files, of_module = from_files.provenance, given.provenance
    assert of_module.source == "module"
    assert of_module.commit is of_module.repo is of_module.license is None
    assert of_module.architecture == "Whole"
    assert of_module.parameters == of_files.parameters
    assert of_module.feature_dim == of_files.feature_dim
    assert [file.name for file in of_module.files] == ["state_dict"]
    assert Ranking.model_validate_json(found.model_dump_json()) == found


# --- modules -------------------------------------------------------------------------------------


def test_a_module_is_as_it_was() -> None:
    module = Small().train()
    module.conv.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    found = rank_small(candidates={"small": module})
    assert [e.name for e in found.ranking] == ["small"]
    assert module.training and module.norm.training and module.drop.training
    assert not module.conv.weight.requires_grad and module.conv.bias is not None
    assert module.conv.bias.requires_grad and module.norm.weight.requires_grad
    assert all(parameter.grad is None for parameter in module.parameters())
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert found.ranking[0].provenance.input_size == (12, 12)


def test_what_is_measured_of_a_module_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    same = [nn.Sequential(nn.Flatten(), nn.Linear(432, 4), last) for last in (nn.ReLU(), nn.Tanh())]
    same[1].load_state_dict(same[0].state_dict())
    first, second = (rank_small(candidates={"m": module}, store=path) for module in same)
    assert first.ranking[0].provenance.files == second.ranking[0].provenance.files
    assert numbers(first.ranking[0]) != numbers(second.ranking[0]), "code is no part of a hash"
    assert held(path) == []


def test_the_hash_is_of_names_and_values() -> None:
    def files_of(module: nn.Module) -> object:
        return rank_small(candidates={"m": module}).ranking[0].provenance.files

    one, other = Small(), Small()
    assert files_of(one) == files_of(other)
    other.conv.weight.data[0, 0, 0, 0] += 1
    assert files_of(one) != files_of(other)


class Maps(Small):
    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Random(Small):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(x), training=True)


class Rounded(Small):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x * 8).round())


class Centred(Small):
    def forward(self, x: Tensor) -> Tensor:
        features = super().forward(x)
        return features - features.mean(dim=0)


class Cast(Small):
    """Features of another type."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).to(self.dtype)


class FailingLater(Small):
    """After what is checked before anything is measured."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 4:
            raise ValueError("too many.\nAnd more.")
        return super().forward(x)


class Sparse(Small):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).to_sparse()


class Changing(Small):
    """Does with its input what it likes."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(0.5).add_(0.25))


class Uncopied(Small):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


def damaged() -> nn.Module:
    module = Small()
    module.conv.weight.data[0, 0, 0, 0] = torch.nan
    return module


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (Maps, "no_pooled_features", "x.mean(dim=(2, 3))"),
        (Random, "not_deterministic", ""),
        (Rounded, "masked_gradients", ""),
        (Centred, "depends_on_batch", "a mean, a norm"),
        (Uncopied, "cannot_copy", "copy.deepcopy"),
        (damaged, "non_finite_weights", "conv.weight"),
        (lambda: Small().double(), "forward_failed", ""),
        (FailingLater, "forward_failed", "fails on 22 images of 12 x 12: too many."),
        (Sparse, "no_pooled_features", "features.to_dense()"),
        (lambda: Cast(torch.int64), "no_floating_point", "floating point, found int64"),
        (lambda: Cast(torch.bool), "no_floating_point", "found bool"),
    ],
)
def test_a_module_passes_the_checks_of_any_candidate(
    make: Callable[[], nn.Module], code: str, words: str
) -> None:
    found = rank_small(candidates={"bad": make(), "good": Small()})
    assert [e.name for e in found.ranking] == ["good"]
    (row,) = found.skipped
    assert (row.name, row.model, row.code) == ("bad", "module:bad", code)
    assert words in f"{row.reason} {row.hint}"


def test_mean_std_and_size_are_used() -> None:
    plain, scaled = Small(), Small()
    scaled.conv.weight.data *= 0.5
    scaled.conv.bias.data += 2 * scaled.conv.weight.data.sum(dim=(1, 2, 3))
    both = [
        selector.Module("plain", plain),
        selector.Module("scaled", scaled, mean=(1.0,) * 3, std=(0.5,) * 3),
        selector.Module("resized", Small(), input_size=(10, 14), interpolation="bilinear"),
    ]
    found = {e.name: e for e in rank_small(candidates=both).ranking}
    moved = [found[name].sensitivity.mean.value for name in ("plain", "scaled")]
    assert moved[0] == pytest.approx(moved[1], rel=1e-3)
    assert found["resized"].provenance.input_size == (10, 14)
    assert found["resized"].provenance.interpolation == "bilinear"
    assert found["scaled"].provenance.std == (0.5,) * 3


def test_a_race_takes_modules_too() -> None:
    images, labels = noise()
    constant = Small()
    constant.conv.weight.data *= 1e-3
    found = rank_small(
        task=selector.task_from_arrays(np.concatenate([images] * 3), labels * 3),
        candidates={"a": Small(), "b": constant}, top=1, test_images=30,
    )  # fmt: skip
    assert found.race is not None
    assert found.race.top == 1
    assert found.ranking


# --- images --------------------------------------------------------------------------------------


def test_arrays_are_the_task_of_the_folder(
    folder: Path, pixels: tuple[np.ndarray, list[str]], tmp_path: Path
) -> None:
    images, labels = pixels
    given = {"sizes": SIZES, "seed": 3}
    wanted = selector.load_task(str(folder), image_size=16, **given)
    first = torch.from_numpy(images).permute(0, 3, 1, 2)
    for same in (images, first, first.float() / 255, images.astype(np.float64) / 255):
        task = selector.task_from_arrays(same, labels)
        assert task.image_size == 16
        assert selector.load_task(task, image_size=16, **given).fingerprint == wanted.fingerprint
    assert wanted.classes == ("bright", "dark")

    module = {"small": Small()}
    options: dict[str, Any] = {"threat": THREAT, "store": ":memory:", "image_size": 16} | FEW
    of_folder = selector.rank(task=str(folder), candidates=module, **options)
    for task in (
        selector.task_from_arrays(images, labels),
        selector.load_task(
            str(folder), image_size=16, sizes=Sizes(train=40, validation=10, test=20), seed=0
        ),
    ):
        found = selector.rank(task=task, candidates=module, **options)
        assert found.task.fingerprint == of_folder.task.fingerprint
        assert numbers(found.ranking[0]) == numbers(of_folder.ranking[0])


class Dataset(torch.utils.data.Dataset):
    """Items of any kind, which counts how often each is read."""

    def __init__(self, items: list[tuple[Any, Any]]) -> None:
        self.items, self.read = items, [0] * len(items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        self.read[index] += 1
        return self.items[index]


def test_data_sets_are_the_task_of_the_folder(
    folder: Path, pixels: tuple[np.ndarray, list[str]]
) -> None:
    images, labels = pixels
    numbers_of = [0] * 12 + [1] * 12
    wanted = selector.load_task(str(folder), image_size=16, sizes=SIZES, seed=0)
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2)
    for items in (
        [(Image.fromarray(image), n) for image, n in zip(images, numbers_of, strict=True)],
        [(image, torch.tensor(n)) for image, n in zip(tensors / 255, numbers_of, strict=True)],
        list(zip(images, labels, strict=True)),
    ):
        task = selector.task_from_dataset(Dataset(items), classes=("bright", "dark"))
        found = selector.load_task(task, image_size=16, sizes=SIZES, seed=0)
        assert found.fingerprint == wanted.fingerprint
        assert found.source == "dataset Dataset"


def test_a_task_is_given_as_pairs_tensors_and_data_sets_are() -> None:
    images, labels = noise()
    items = list(zip(images, labels, strict=True))
    wanted = rank_small(candidates={"small": Small()})
    for given in (
        (images, labels),
        (torch.from_numpy(images).permute(0, 3, 1, 2), torch.tensor(labels)),
        Dataset(items),
        items,
    ):
        found = rank_small(candidates={"small": Small()}, task=given, image_size=12)
        assert found.task.fingerprint == wanted.task.fingerprint
        assert numbers(found.ranking[0]) == numbers(wanted.ranking[0])
        (call,) = found.command
        assert call.startswith(f"selector.rank(task=<{found.task.source} ")
    assert rank_small(candidates={"small": Small()}, task=(images, labels)).task.image_size == 12


def test_whole_numbers_are_of_any_integer_type() -> None:
    found = rank_small(candidates={"small": Small()}, steps=np.int64(2), seed=np.int32(0))
    assert (found.protocol.steps, found.protocol.seed) == (2, 0)


def test_targets_spare_reading_and_only_what_is_drawn_is_decoded() -> None:
    images, labels = noise()
    data = Dataset([(Image.fromarray(image), n) for image, n in zip(images, labels, strict=True)])
    data.targets = torch.tensor(labels)  # type: ignore[attr-defined]
    task = selector.task_from_dataset(data)
    assert sum(data.read) == 0
    few = Sizes(train=4, validation=2, test=4)
    selector.load_task(task, image_size=12, sizes=few, seed=0)
    assert sum(data.read) == 10 and max(data.read) == 1

    data.target_transform = lambda n: 1 - n  # type: ignore[attr-defined]
    selector.task_from_dataset(data)
    assert sum(data.read) == 50, "with a transform targets are not the labels"


def test_a_label_that_changes_is_refused() -> None:
    images, labels = noise()
    data = Dataset([(Image.fromarray(image), n) for image, n in zip(images, labels, strict=True)])
    data.targets = labels[::-1]  # type: ignore[attr-defined]
    task = selector.task_from_dataset(data)
    with pytest.raises(UsageError, match=r"train\[\d+\] must always have the same label"):
        selector.load_task(task, image_size=12, sizes=SIZES, seed=0)


def test_all_parts_can_be_given() -> None:
    images, labels = noise()
    task = selector.task_from_arrays(
        images, labels, test=(images[::2], labels[::2]), validation=(images[::4], labels[::4]),
        classes=("dark", "bright"), name="mine",
    )  # fmt: skip
    found = selector.load_task(task, image_size=12, sizes=SIZES, seed=0)
    assert (len(found.train), len(found.validation), len(found.test)) == (40, 10, 20)
    assert (found.name, found.source, found.classes) == ("mine", "arrays", ("dark", "bright"))
    grey_images = selector.task_from_arrays(images[..., :1], labels)
    grey_task = selector.load_task(grey_images, image_size=12, sizes=SIZES, seed=0)
    assert torch.equal(grey_task.test.pixels[:, 0], grey_task.test.pixels[:, 2])


def test_the_size_is_that_of_the_images_at_most_224() -> None:
    large = np.zeros((4, 300, 250, 3), dtype=np.uint8)
    assert selector.task_from_arrays(large, [0, 1, 0, 1]).image_size == 224
    assert rank_small(candidates={"small": Small()}).task.image_size == 12


# --- what is wrong with an argument --------------------------------------------------------------

IMAGES = np.zeros((4, 8, 8, 3), dtype=np.uint8)


class Failing:
    """A data set whose third item is damaged."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if index == 2:
            raise ValueError("wet paper.\nAnd more.")
        return IMAGES[index], index % 2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: selector.task_from_arrays(IMAGES[0, 0], [0]), "images of train must have the"),
        (lambda: selector.task_from_arrays(IMAGES[..., :2], [0] * 4), "shape"),
        (lambda: selector.task_from_arrays(IMAGES.astype(int), [0] * 4), "int64"),
        (lambda: selector.task_from_arrays(IMAGES - 1.5, [0] * 4), "Leave normalisation out"),
        (lambda: selector.task_from_arrays(IMAGES * np.nan, [0] * 4), r"float in \[0,1\]"),
        (lambda: selector.task_from_arrays(IMAGES, [0] * 3), "4 and 3"),
        (lambda: selector.task_from_arrays(IMAGES, [0.5] * 4), "whole number"),
        (lambda: selector.task_from_arrays(IMAGES, [True] * 4), "whole number"),
        (lambda: selector.task_from_arrays(IMAGES, [0, 9, 0, 1], classes="ab"), "found 9"),
        (lambda: selector.task_from_arrays(IMAGES, [0] * 4, classes="aa"), "classes must be"),
        (lambda: selector.task_from_dataset(iter([])), "train must be a data set"),
        (lambda: selector.task_from_dataset([1, 2]), r"\(image, label\)"),
        (lambda: selector.task_from_dataset(None), "train must be a data set .* found NoneType"),
        (
            lambda: selector.task_from_dataset(Failing()),
            r"^train\[2\] cannot be .* ValueError: wet",
        ),
        (lambda: selector.task_from_arrays(IMAGES, None), "labels of train must be .* NoneType"),
        (lambda: selector.task_from_arrays(IMAGES, np.array(3)), "labels of train must be one"),
        (lambda: selector.task_from_arrays(IMAGES, [0] * 4, test=IMAGES), "test must be a pair"),
        (lambda: selector.to_frame(None), "ranking must be what rank, .* found NoneType"),
        (lambda: selector.Module("", Small()), "name of a Module"),
        (lambda: selector.Module("a", Small), "module of a must be"),
        (lambda: selector.Module("a", Small(), std=(1.0, 0.0, 1.0)), "std of a"),
        (lambda: selector.Module("a", Small(), mean=(1.0, 1.0)), "mean of a"),
        (lambda: selector.Module("a", Small(), input_size=0), "input_size of a"),
        (lambda: selector.Module("a", Small(), interpolation="lanczos"), "interpolation of a"),
        (lambda: rank_small(candidates=[]), "candidates must be at least one"),
        (lambda: rank_small(candidates=[Small()]), "candidates must be names, .* found Small"),
        (lambda: rank_small(candidates="no form"), "candidates .*owner/name"),
        (lambda: rank_small(candidates=[Module("a", Small())] * 2), "candidates names module:a tw"),
        (lambda: rank_small(candidates=["a/b"], threat="linf"), "threat must be"),
        (lambda: rank_small(candidates=["a/b"], threat=[]), "threat must name at least one"),
        (lambda: rank_small(candidates=["a/b"], threat=[THREAT] * 2), "linf 4/255 twice"),
        (lambda: rank_small(candidates=["a/b"], threat=("linf", 4)), "eps of threat must be at"),
        (lambda: rank_small(candidates=["a/b"], threat=("l3", 1.0)), "norm of threat must"),
        (lambda: rank_small(candidates=["a/b"], test_images=0), "test_images must be at least 1"),
        (lambda: rank_small(candidates=["a/b"], image_size=4), "image_size must be at least 8"),
        (lambda: rank_small(candidates=["a/b"], device="abacus"), "device must name"),
        (lambda: rank_small(candidates=["a/b"], budget=0), "budget must be seconds above 0"),
        (lambda: rank_small(candidates=["a/b"], certify=1), "certify needs norm of threat l2"),
        (lambda: rank_small(candidates=["a/b"], task=7), "task must be a string as the command ta"),
        (lambda: rank_small(candidates=["a/b"], task=None), "task_from_dataset, found NoneType"),
        (lambda: rank_small(candidates=["a/b"], task=IMAGES), "task_from_arrays .*found ndarray"),
        (lambda: rank_small(candidates=["a/b"], task={"a": 1}), "pair .*, found dict"),
        (lambda: rank_small(candidates=["a/b"], task=(IMAGES, [0] * 3)), "4 and 3"),
        (
            lambda: rank_small(candidates=["a/b"], preset="x"),
            "must be one of screen, quick, .*'x'",
        ),
        (
            lambda: rank_small(candidates=["a/b"], preset=None),
            "must be one of screen, quick",
        ),
        (lambda: rank_small(candidates=["a/b"], steps="2"), "steps must be a whole .* '2'"),
        (lambda: rank_small(candidates=["a/b"], steps=1.5), r"steps must be a whole .* 1\.5"),
        (lambda: rank_small(candidates=["a/b"], restarts=True), "restarts must be a whole .*True"),
        (lambda: rank_small(candidates=["a/b"], top="1"), "top must be a whole number"),
        (lambda: rank_small(candidates=["a/b"], seed=-1), "seed must be at least 0, found -1"),
        (lambda: rank_small(candidates=["a/b"], seed=None), "seed must be a whole number"),
        (lambda: rank_small(candidates=["a/b"], image_size="8"), "image_size must be a whole"),
        (lambda: rank_small(candidates=["a/b"], certify=0), "certify must be at least 1"),
        (lambda: rank_small(candidates=["a/b"], sigma=0.5), "sigma is of certificates"),
        (lambda: rank_small(candidates=["a/b"], confidence="1"), "confidence must be a number"),
        (lambda: rank_small(candidates=["a/b"], budget=[1]), "budget must be a number"),
        (lambda: rank_small(candidates=["a/b"], budget=np.inf), "budget must be .*, found inf"),
        (
            lambda: rank_small(candidates=["a/b"], confidence=0.9),
            "confidence is of top K or budget",
        ),
        (lambda: rank_small(candidates=["a/b"], attack=["apgd"]), "attack must be a string"),
        (lambda: rank_small(candidates=["a/b"], device=None), "device must be a string"),
        (lambda: rank_small(candidates=["a/b"], store=5), "store must be the path"),
        (lambda: rank_small(candidates=["a/b"], task_options=None), "task_options must be TaskOp"),
        (
            lambda: rank_small(candidates=["a/b"], threat=("linf", 0)),
            "^eps of threat must be a fin",
        ),
        (
            lambda: rank_small(candidates=["a/b"], threat=("linf", None)),
            "eps of threat must be a n",
        ),
        (lambda: rank_small(candidates=["a/b"], threat=("linf", "x")), "eps of threat must be a n"),
        (lambda: rank_small(candidates=None), "candidates must be names, .* found NoneType"),
        (lambda: rank_small(candidates=nn.Sequential(Small())), "candidates .* found Sequential"),
        (lambda: rank_small(candidates={5: Small()}), "name of a Module must be printable.* 5"),
        (
            lambda: rank_small(
                candidates=["a/b"], task=selector.task_from_arrays(IMAGES, ["a"] * 4)
            ),
            r"task arrays needs at least two classes to tell apart, found one \(a\)\.$",
        ),
    ],
)
def test_what_is_wrong_names_the_argument(make: Callable[[], object], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        make()
    assert "--" not in caught.value.message


def test_a_task_has_its_own_size() -> None:
    task = selector.load_task("builtin:digits", image_size=16, sizes=SIZES, seed=0)
    with pytest.raises(UsageError, match="image_size must be that of the Task, 16"):
        rank_small(task=task, candidates={"a": Small()}, image_size=32)
    found = rank_small(task=task, candidates={"a": Small()})
    assert (found.task.image_size, found.task.test_images) == (16, 20)


def test_what_a_data_set_raises_is_told() -> None:
    class Broken(Dataset):
        targets = (0, 1) * 4

        def __getitem__(self, index: int) -> tuple[Any, Any]:
            raise KeyError("no such file")

    task = selector.task_from_dataset(Broken([(None, 0)] * 8))
    with pytest.raises(UsageError, match=r"train\[\d\] cannot be read: KeyError: 'no such file'"):
        selector.load_task(task, image_size=12, sizes=SIZES, seed=0)


# --- how it ends ---------------------------------------------------------------------------------


def test_an_interruption_ends_the_work() -> None:
    passes: list[int] = []

    class Counting(Small):
        def forward(self, x: Tensor) -> Tensor:
            passes.append(len(x))
            return super().forward(x)

    def interrupt(outcome: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rank_small(candidates={"a": Small(), "b": Counting()}, steps=200, on_outcome=interrupt)
    for thread in threading.enumerate():
        if thread.name == "measure":
            thread.join(timeout=20)
            assert not thread.is_alive()
    assert len(passes) < 200, "the second goes on"


def test_progress_is_silent_unless_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    rank_small(candidates={"a": Small()})
    assert capsys.readouterr() == ("", "")
    rank_small(candidates={"a": Small()}, progress=True)
    said = capsys.readouterr()
    assert said.out == ""
    assert "1/1 a: measured in" in said.err


# --- data frames ---------------------------------------------------------------------------------


def test_a_frame_is_the_csv() -> None:
    full = ranking(
        [evaluation("a", right(80), flags=["few_images"]), evaluation("b", right(60))],
        [skipped("acme/x")],
    ).model_copy(update={"certified": (certified("a"),)})
    for of in (full, ranking([], [skipped()]), regression(regression_evaluation("a", [0.5] * 9))):
        frame = selector.to_frame(of)
        read = pandas.read_csv(io.StringIO(to_csv(of)), dtype=dict(frame.dtypes))
        pandas.testing.assert_frame_equal(frame, read)
    frame = selector.to_frame(full)
    assert frame["rank"].tolist()[:2] == [1, 2]
    assert str(frame["rank"].dtype) == "Int64" and frame["rank"].isna().tolist()[2]
    assert frame["attacked_accuracy"].tolist()[:2] == [0.8, 0.6]


def test_a_frame_needs_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(UsageError, match="needs pandas"):
        selector.to_frame(ranking([]))


# --- building blocks -----------------------------------------------------------------------------


@pytest.mark.parametrize(("norm", "eps"), [("l2", 0.1), ("linf", 0.05)])
def test_the_sensitivity_of_a_linear_map_is_known(norm: Any, eps: float) -> None:
    linear = LinearBackbone(normal(4, 12, seed=0))
    threat = selector.ThreatModel(norm, eps)
    images = grey(3, torch.float32)
    attained = selector.measure_sensitivity(linear, images, threat)
    known = linear.largest_displacement(norm, eps)
    assert attained.shape == (3,) and attained.dtype == torch.float64
    assert (attained <= known * (1 + 1e-5)).all()
    assert (attained >= 0.99 * known).all()


def test_sensitivity_does_not_depend_on_how_many_images_go_through_at_once() -> None:
    images = torch.rand(9, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    threat, module = selector.ThreatModel("l2", 0.5), Small()
    one, all_ = (
        selector.measure_sensitivity(
            module, images, threat, selector.Effort(restarts=1, steps=3, batch_size=size)
        )
        for size in (1, 9)
    )
    torch.testing.assert_close(one, all_, rtol=1e-3, atol=1e-6)


def test_a_projection_is_looked_through() -> None:
    linear = LinearBackbone(torch.diag(torch.arange(1.0, 13.0)))
    first = torch.eye(1, 12)
    threat, images = selector.ThreatModel("l2", 0.1), grey(2, torch.float32)
    attained = selector.measure_sensitivity(linear, images, threat, projection=first)
    assert attained.tolist() == pytest.approx([0.1, 0.1], rel=1e-3)


def test_modules_are_measured_in_evaluation_mode_and_left_alone() -> None:
    module = Small().train()
    images = torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    threat, effort = selector.ThreatModel("l2", 0.5), selector.Effort(restarts=1, steps=3)
    attained = [
        selector.measure_sensitivity(one, images, threat, effort)
        for one in (module, selector.Module("m", module), frozen(module))
    ]
    assert torch.equal(attained[0], attained[2])
    assert torch.allclose(attained[0], attained[1])
    assert module.training and module.norm.num_batches_tracked == 0
    assert all(p.requires_grad and p.grad is None for p in module.parameters())


def test_a_head_withstands_what_lies_within_its_radius() -> None:
    linear = LinearBackbone(torch.eye(12))
    head = selector.LinearHead(torch.eye(2, 12).double() * 2, torch.zeros(2).double())
    images = grey(3, torch.float32)
    images[:, 0, 0, 0] += torch.tensor([0.1, 0.2, -0.2])  # distances to the boundary, by sqrt(2)
    labels = torch.zeros(3, dtype=torch.int64)
    radii = selector.bounds.decision_radii(head(linear(images)), head.weight)
    assert radii.tolist()[:2] == pytest.approx([0.1 / 2**0.5, 0.2 / 2**0.5], rel=1e-4)
    for eps, wanted in ((0.06, [True, True, False]), (0.1, [False, True, False])):
        threat = selector.ThreatModel("l2", eps)
        found = selector.attack_head(linear, head, images, labels, threat)
        assert found.tolist() == wanted


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda t: selector.measure_sensitivity(Small(), grey()[0], t), "images must have the"),
        (lambda t: selector.measure_sensitivity(Small(), grey() * 3, t), r"float in \[0,1\]"),
        (lambda t: selector.measure_sensitivity(Small(), grey().int(), t), r"float in \[0,1\]"),
        (
            lambda t: selector.measure_sensitivity(Small(), torch.zeros(1, 3, 0, 4), t),
            "images must have the",
        ),
        (lambda t: selector.measure_sensitivity(Small(), grey(), t, "quick"), "effort must be an"),
        (lambda t: selector.Effort(attack="fgsm"), "attack must be one of annealed"),
        (lambda t: selector.Effort(steps=0), "steps must be at least 1"),
        (
            lambda t: selector.attack_head(
                Small(), selector.LinearHead(torch.eye(2), torch.zeros(2)), grey(), torch.ones(3), t
            ),
            "labels must be",
        ),
        (lambda t: selector.measure_sensitivity(Small(), grey().numpy(), t), "Tensor, found ndarr"),
        (
            lambda t: selector.measure_sensitivity("small", grey(), t),
            "backbone must be .*found str",
        ),
        (
            lambda t: selector.measure_sensitivity(Small(), grey(), ("linf", 2)),
            "^eps of threat must",
        ),
        (lambda t: selector.measure_sensitivity(Small(), grey(), "linf"), "threat must be"),
        (lambda t: sensitivity_on(torch.eye(5), t), r"projection must be \(r,6\).*\(5, 5\)"),
        (lambda t: sensitivity_on(np.eye(6), t), "projection must be a tensor"),
        (lambda t: selector.Effort(steps="2"), "steps must be a whole number"),
        (lambda t: selector.Effort(seed=-1), "seed must be at least 0"),
        (lambda t: attack_on(torch.eye(2, 5), t), r"weight of head must be \(r,6\) .*\(2, 5\)"),
        (lambda t: attack_on(torch.eye(3, 6), t), r"found \(3, 6\) and \(2,\)"),
        (lambda t: attack_on(torch.eye(2, 6), t, torch.ones(1)), "whole numbers, found torch.fl"),
        (lambda t: attack_on(torch.eye(2, 6), t, torch.tensor([2])), r"labels must lie in 0\.\.1"),
        (lambda t: attack_on(torch.eye(2, 6), t, [1]), "labels must be a tensor, found list"),
        (lambda t: selector.attack_head(Small(), None, grey(), torch.ones(1), t), "head must be"),
    ],
)
def test_building_blocks_name_what_is_wrong(
    make: Callable[[selector.ThreatModel], object], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        make(selector.ThreatModel("l2", 0.1))


def sensitivity_on(projection: Any, threat: ThreatModel) -> object:
    return selector.measure_sensitivity(Small(), grey_12(), threat, projection=projection)


def attack_on(weight: Tensor, threat: ThreatModel, labels: Any = LABEL) -> object:
    head = selector.LinearHead(weight, torch.zeros(2))
    return selector.attack_head(Small(), head, grey_12(), labels, threat)


def grey_12() -> Tensor:
    return torch.full((1, 3, 12, 12), 0.5)


def test_norm_and_eps_are_a_threat() -> None:
    linear, images = LinearBackbone(normal(4, 12, seed=0)), grey(2, torch.float32)
    found, wanted = (
        selector.measure_sensitivity(linear, images, threat)
        for threat in (("linf", "4/255"), selector.ThreatModel("linf", 4 / 255))
    )
    assert torch.equal(found, wanted)
    head = selector.LinearHead(torch.eye(2, 4), torch.zeros(2))
    labels = head(linear(images)).argmax(dim=1)
    for kind in (torch.int64, torch.int32):
        withstood = selector.attack_head(linear, head, images, labels.to(kind), ("linf", 1e-6))
        assert withstood.tolist() == [True, True]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_features_of_other_precision_are_measured_as_float32(dtype: torch.dtype) -> None:
    cast = Cast(dtype)
    found = rank_small(candidates={"cast": cast, "small": Small()})
    assert not found.skipped
    moved = {e.name: e.sensitivity.mean.value for e in found.ranking}
    assert moved["cast"] == pytest.approx(moved["small"], rel=0.1)
    threat, images = ("l2", 0.5), grey_12()
    alone = selector.measure_sensitivity(cast, images, threat)
    wanted = selector.measure_sensitivity(Small(), images, threat)
    assert alone.tolist() == pytest.approx(wanted.tolist(), rel=0.1)


def test_features_that_are_no_numbers_to_follow_are_refused() -> None:
    with pytest.raises(CandidateError, match="must be floating point, found int32") as caught:
        selector.measure_sensitivity(Cast(torch.int32), grey_12(), ("l2", 0.5))
    assert caught.value.code == "no_floating_point"


def test_a_module_may_change_its_input() -> None:
    images, threat = grey_12(), ("linf", "4/255")
    attained = selector.measure_sensitivity(Changing(), images, threat)
    assert torch.equal(images, grey_12())

    class Unchanging(Small):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x * 0.5 + 0.25)

    assert torch.equal(attained, selector.measure_sensitivity(Unchanging(), images, threat))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_building_blocks_follow_gradients_in_any_mode(mode: Callable[[], Any]) -> None:
    threat = ("linf", "4/255")
    wanted = selector.measure_sensitivity(Small(), grey_12(), threat)
    with mode():
        found = selector.measure_sensitivity(Small(), grey_12(), threat)
    assert torch.equal(found, wanted)
    assert wanted.item() > 0


@pytest.mark.parametrize(
    ("backbone", "code", "words"),
    [
        (lambda x: Small()(x).detach(), "masked_gradients", "by operations with a gradient"),
        (lambda x: Small()(x)[:-1], "no_pooled_features", "found 0 rows of 1 images"),
    ],
)
def test_what_no_attack_can_follow_is_refused_alone_too(
    backbone: Callable[[Tensor], Tensor], code: str, words: str
) -> None:
    with pytest.raises(CandidateError, match=words) as caught:
        selector.measure_sensitivity(backbone, grey_12(), ("linf", "4/255"))
    assert caught.value.code == code


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*:DeprecationWarning")
def test_a_traced_module_is_measured_as_its_source() -> None:
    traced = torch.jit.trace(Small().eval(), grey_12().expand(2, 3, 12, 12))
    found = rank_small(candidates={"traced": traced, "plain": Small()})
    assert not found.skipped
    # The norm of the source alone is folded, which rounds otherwise.
    one, other = found.ranking
    assert one.sensitivity.mean.value == pytest.approx(other.sensitivity.mean.value, rel=1e-3)
    assert one.head.attacked_accuracy == other.head.attacked_accuracy


def test_the_default_type_of_numbers_changes_none() -> None:
    wanted = rank_small(candidates={"small": Small()})
    module = Small()
    torch.set_default_dtype(torch.float64)
    try:
        found = rank_small(candidates={"small": module})
    finally:
        torch.set_default_dtype(torch.float32)
    assert [numbers(e) for e in found.ranking] == [numbers(e) for e in wanted.ranking]


def test_a_module_that_cannot_be_copied_is_said_to_be() -> None:
    with pytest.raises(CandidateError, match=r"copy\.deepcopy"):
        selector.measure_sensitivity(Uncopied(), grey(), selector.ThreatModel("l2", 0.1))


def test_a_registry_may_be_named_by_a_string(tmp_path: Path) -> None:
    path = tmp_path / "zoo.yaml"
    path.write_text(
        "candidates: [{model: 'local-dir:a'}, {model: 'hf-hub:acme/b'}]\n", encoding="utf-8"
    )
    found = selector.read_registry(str(path))
    assert found == selector.read_registry(path)
    assert found[0].directory == tmp_path / "a"


def test_a_registry_cannot_name_a_module(tmp_path: Path) -> None:
    path = tmp_path / "zoo.yaml"
    path.write_text("candidates: [{model: 'module:a'}]\n", encoding="utf-8")
    with pytest.raises(UsageError, match="hf-hub:owner/name"):
        selector.read_registry(path)
    entries = [one for one in selector.builtin_zoo() if one.name == ORDINARY]
    found = rank_small(candidates=entries)
    assert [e.name for e in found.ranking] == [ORDINARY]
    assert not [one for one in found.skipped if isinstance(one, Skipped)]
    assert json.loads(found.model_dump_json())["ranking"][0]["provenance"]["source"] == "local"
