"""Regressions from Python: the command's numbers, for images and targets that are in memory."""

from __future__ import annotations

import csv
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import evaluation, ranking, right
from PIL import Image
from test_api import FEW, IMAGES, SIZES, THREAT, ZOO, Maps, Small, noise, rank_small
from typer.testing import CliRunner

import selector
from selector.cli import app
from selector.demo.discs import draw_discs
from selector.errors import UsageError
from selector.records import RegressionFindings, RegressionRanking
from selector.regression.task import RegressionTask, load_regression
from selector.reports.document import to_json
from selector.tasks.options import NO_OPTIONS

ROBUST = f"local-dir:{ZOO / 'tiny_resnet.cifar10_linf_8'}"
COLUMNS = ("x", "radius")
OPTIONS = selector.TaskOptions(target_columns=COLUMNS)


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 60 discs."""
    return draw_discs(tmp_path_factory.mktemp("discs"), 60)


@pytest.fixture(scope="module")
def drawn(discs: Path) -> tuple[np.ndarray, np.ndarray]:
    """The same in memory: images (60,32,32,3), x and radius (60,2)."""
    with discs.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    images = np.stack([np.asarray(Image.open(discs.parent / row["file"])) for row in rows])
    return images, np.array([[float(row[name]) for name in COLUMNS] for row in rows])


def regress(**options: Any) -> RegressionRanking:
    """Brightness of noise, little effort, nothing kept."""
    images, _ = noise()
    given: dict[str, Any] = {
        "task": (images, images.mean(axis=(1, 2, 3))),
        "candidates": {"small": Small()},
        "threat": THREAT,
        "store": ":memory:",
        "device": "cpu",
    }
    return selector.rank_regression(**given | FEW | options)


def findings(ranking: RegressionRanking) -> list[dict[str, Any]]:
    wanted = set(RegressionFindings.model_fields)
    return [one.model_dump(include=wanted) for one in ranking.ranking]


def loaded(task: Any, **options: Any) -> RegressionTask:
    given: dict[str, Any] = {"image_size": 32, "sizes": SIZES, "seed": 3, "options": NO_OPTIONS}
    return load_regression(task, **given | options)


# --- the same as the command ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_command(discs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes of a backbone."""
    output = tmp_path_factory.mktemp("command") / "ranking.json"
    arguments = ["--task", discs, "--image-size", 32, "--device", "cpu", "--model", ROBUST]
    for name, value in FEW.items():
        arguments += [f"--{name.replace('_', '-')}", value]
    for name in COLUMNS:
        arguments += ["--target-column", name]
    arguments += ["--store", output.parent / "store", "-o", output]
    result = CliRunner().invoke(app, ["rank", *map(str, arguments)])
    assert result.exit_code == 0, result.stderr
    return output


def test_the_ranking_is_that_of_the_command(
    of_command: Path, discs: Path, drawn: tuple[np.ndarray, np.ndarray]
) -> None:
    wanted = selector.read_regression(of_command)
    assert selector.read_regression(str(of_command)) == wanted
    told: list[Any] = []
    options = {"candidates": ROBUST, "image_size": 32, "on_outcome": told.append}
    of_table = regress(task=str(discs), task_options=OPTIONS, **options)
    task = selector.targets_from_arrays(*drawn, columns=COLUMNS, name="discs")
    of_arrays = regress(task=task, **options | {"image_size": None})
    for found in (of_table, of_arrays):
        assert findings(found) == findings(wanted)
        assert found.choice == wanted.choice
        same = {"source": wanted.task.source}
        assert found.task.model_copy(update=same) == wanted.task
    assert [one.name for one in told] == ["tiny_resnet.cifar10_linf_8"] * 2
    assert (of_table.task.source, of_arrays.task.source) == (str(discs), "arrays")
    (call,) = of_table.command
    assert call.startswith("selector.rank_regression(task='")
    assert call.endswith("task_options=TaskOptions(target_columns=('x', 'radius')))")
    assert of_arrays.command[0].startswith("selector.rank_regression(task=<arrays 'discs'>, cand")


def test_a_document_and_a_frame_of_it(of_command: Path, tmp_path: Path) -> None:
    frame = selector.to_frame(selector.read_regression(of_command))
    assert frame["name"].tolist() == ["tiny_resnet.cifar10_linf_8"]
    assert frame["attacked_squared_error"].notna().all()
    with pytest.raises(UsageError, match="must be a ranking of classes") as caught:
        selector.read_ranking(of_command)
    assert "selector.read_regression" in caught.value.hint
    classes = tmp_path / "classes.json"
    classes.write_text(to_json(ranking([evaluation("a", right(80))])), encoding="utf-8")
    for file in (classes, Path(__file__)):
        with pytest.raises(UsageError, match="must be a ranking for numbers, found a doc") as other:
            selector.read_regression(file)
        assert "selector.read_ranking" in other.value.hint
    with pytest.raises(UsageError, match="cannot be read"):
        selector.read_regression(tmp_path / "nothing.json")


def test_what_the_functions_share_has_the_same_defaults() -> None:
    of_rank, of_plan, of_numbers = (
        inspect.signature(one).parameters
        for one in (selector.rank, selector.plan, selector.rank_regression)
    )
    race, certificates = {"top", "confidence", "budget"}, {"certify", "sigma"}
    assert of_rank.keys() - of_numbers.keys() == race | certificates
    assert of_rank.keys() - of_plan.keys() == certificates | {"objective", "engine", "on_outcome"}
    for one in (of_plan, of_numbers):
        assert one.keys() <= of_rank.keys()
        assert {name: p.default for name, p in one.items()} == {
            name: of_rank[name].default for name in one
        }


# --- images and targets --------------------------------------------------------------------------


def test_arrays_are_the_task_of_the_table(
    discs: Path, drawn: tuple[np.ndarray, np.ndarray]
) -> None:
    images, targets = drawn
    wanted = loaded(str(discs), options=OPTIONS)
    for same in (targets, torch.from_numpy(targets).requires_grad_(), targets.tolist()):
        task = selector.targets_from_arrays(
            torch.from_numpy(images).permute(0, 3, 1, 2) / 255, same, columns=list(COLUMNS)
        )
        found = loaded(task)
        assert found.images.fingerprint == wanted.images.fingerprint
        assert torch.equal(found.targets.test, wanted.targets.test)
        assert found.targets.columns == COLUMNS
    named = loaded(selector.targets_from_arrays(images, targets))
    assert named.targets.columns == ("target_0", "target_1")
    assert named.images.fingerprint != wanted.images.fingerprint
    assert torch.equal(named.targets.train, wanted.targets.train)


@pytest.mark.parametrize(
    "targets",
    [
        np.arange(40),
        np.arange(40, dtype=np.float16),
        torch.arange(40),
        torch.arange(40).bfloat16(),
        list(range(40)),
        [torch.tensor(float(i)) for i in range(40)],
        np.arange(40.0)[:, None],
    ],
)
def test_one_number_of_each_image(targets: Any) -> None:
    task = selector.targets_from_arrays(noise()[0], targets)
    assert (task.columns, task.image_size) == (("target",), 12)
    listing = task.listing(seed=0)
    assert listing.targets is not None
    assert listing.targets.dtype == np.float64
    assert sorted(listing.targets.flatten().tolist()) == list(range(40))


def test_all_parts_can_be_given_and_stay_together() -> None:
    levels = np.arange(40)
    images = np.broadcast_to(levels[:, None, None, None], (40, 9, 14, 1)).astype(np.uint8)
    task = selector.targets_from_arrays(
        images[:20], 3.0 * levels[:20], name="mine",
        validation=(images[20:28], 3.0 * levels[20:28]), test=(images[28:], 3.0 * levels[28:]),
    )  # fmt: skip
    found = loaded(task, image_size=9)
    assert (found.images.name, found.images.source) == ("mine", "arrays")
    parts = (found.images.train, found.images.validation, found.images.test)
    values = (found.targets.train, found.targets.validation, found.targets.test)
    assert list(map(len, parts)) == [20, 8, 12]
    for split, numbers in zip(parts, values, strict=True):
        raw = (numbers * found.targets.sd + found.targets.mean).flatten()
        torch.testing.assert_close(raw, 3.0 * split.pixels[:][:, 0, 0, 0].double())


def test_a_pair_is_a_task_whose_size_is_that_of_its_images() -> None:
    found = regress()
    assert (found.task.image_size, found.task.train_images) == (12, 22)
    assert [column.name for column in found.task.columns] == ["target"]
    task = selector.targets_from_arrays(noise()[0], noise()[0].mean(axis=(1, 2, 3)))
    assert findings(regress(task=task)) == findings(found)
    assert regress(image_size=16).task.image_size == 16


def test_a_module_that_cannot_be_measured_is_a_row() -> None:
    found = regress(candidates={"bad": Maps(), "good": Small()}, objective="clean", head="probe")
    assert [one.name for one in found.ranking] == ["good"]
    assert [one.code for one in found.skipped] == ["no_pooled_features"]
    assert (found.objective, found.protocol.head) == ("clean", "probe")


def test_progress_is_silent_unless_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    regress()
    assert capsys.readouterr() == ("", "")
    regress(progress=True)
    said = capsys.readouterr()
    assert said.out == ""
    assert "1/1 small: measured in" in said.err


# --- what is wrong with an argument --------------------------------------------------------------

FOUR = [0.0, 1.0, 2.0, 3.0]


def made(*arguments: Any, **options: Any) -> object:
    return selector.targets_from_arrays(*arguments, **options)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: made(IMAGES, FOUR[:3]), "images of train and targets must .* found 4 and 3"),
        (lambda: made(IMAGES[0, 0], [0]), "images of train must have the shape"),
        (lambda: made(IMAGES, [[0], [1, 2], [3], [4]]), "targets of train must be numb.*list"),
        (lambda: made(IMAGES, ["a"] * 4), "targets of train must be numbers, .* list of <U1"),
        (lambda: made(IMAGES, [True] * 4), "numbers, .* found list of bool, shape"),
        (lambda: made(IMAGES, [1j] * 4), "numbers, .* of complex128"),
        (lambda: made(IMAGES, None), "numbers, .* found NoneType"),
        (lambda: made(IMAGES, 3.0), "numbers, .* found float"),
        (lambda: made(IMAGES, []), r"numbers, .* shape \(0,\)"),
        (lambda: made(IMAGES, np.zeros((4, 0))), r"shape \(4, 0\)"),
        (lambda: made(IMAGES, np.zeros((4, 1, 1))), r"\(n,\) or \(n,q\), .* \(4, 1, 1\)"),
        (lambda: made(IMAGES, [0, 1, np.nan, 2]), r"of train must be finite, found nan at \[2, 0"),
        (lambda: made(IMAGES, [[0, 1], [2, 3], [4, -np.inf], [5, 6]]), r"found -inf at \[2, 1\]"),
        (lambda: made(IMAGES, FOUR, test=IMAGES), r"test must be a pair \(images, targets\)"),
        (lambda: made(IMAGES, FOUR, test=(IMAGES, [0])), "images of test and targets .* 4 and 1"),
        (
            lambda: made(IMAGES, FOUR, validation=(IMAGES, np.zeros((4, 2)))),
            "as many .* found 1 in train, 2 in validation",
        ),
        (lambda: made(IMAGES, FOUR, columns=("a", "b")), r"columns must be 1 different.*\('a', 'b"),
        (lambda: made(IMAGES, np.zeros((4, 2)), columns=("a", "a")), "columns must be 2 different"),
        (lambda: made(IMAGES, np.zeros((4, 2)), columns="ab"), "columns must be 2 .* found 'ab'"),
        (lambda: made(IMAGES, FOUR, columns=[3]), r"columns must be 1 .* found \[3\]"),
        (lambda: made(IMAGES, FOUR, columns=["\n"]), "columns must be 1 different printable"),
        (lambda: made(IMAGES, FOUR, columns=5), "columns must be 1 .* found 5"),
        (lambda: regress(task=7), "task must be a string .* targets_from_arrays, found int"),
        (lambda: regress(task=IMAGES), "pair .images, targets.* found ndarray"),
        (lambda: regress(task=(IMAGES, [0] * 3)), "4 and 3"),
        (lambda: regress(task=(IMAGES[:1], [0])), "task needs at least two images"),
        (lambda: regress(task=(IMAGES, [7] * 4)), "column target must vary, but is 7"),
        (lambda: regress(task=(IMAGES, [1e308, -1e308] * 2)), "column target: the values are too"),
        (
            lambda: regress(task=selector.task_from_arrays(IMAGES, [0, 1] * 2)),
            "task must have numbers, found arrays with classes",
        ),
        (lambda: regress(task="builtin:digits"), r"target_columns of task_opt.* found \(\)"),
        (
            lambda: regress(task="a.csv", task_options=selector.TaskOptions(target_columns="x")),  # type: ignore[arg-type]
            "must be a tuple of at least one name .* found 'x'",
        ),
        (
            lambda: regress(task="builtin:digits", task_options=OPTIONS),
            "^target_columns must be left out: built-in tasks have no columns",
        ),
        (lambda: regress(task_options=OPTIONS), "task_options name columns .* TaskOptions"),
        (lambda: regress(task_options=None), "task_options must be TaskOptions, found None"),
        (lambda: regress(preset="screen"), "preset must be one of quick, standard.*'screen'"),
        (lambda: regress(preset="x"), "preset must be one of screen, .* found 'x'"),
        (lambda: regress(threat=[THREAT, THREAT]), "threat must be one .* a list of 2"),
        (lambda: regress(threat="linf"), "threat must be a ThreatModel"),
        (
            lambda: regress(objective="knn"),
            "objective must be one of attacked, bound, clean, .*knn",
        ),
        (lambda: regress(objective=3), "objective must be a string"),
        (lambda: regress(head="best"), "head must be one of"),
        (lambda: regress(steps="2"), "steps must be a whole number"),
        (lambda: regress(test_images=0), "test_images must be at least 1"),
        (lambda: regress(image_size=4), "image_size must be at least 8"),
        (lambda: regress(candidates=[]), "candidates must be at least one"),
        (lambda: regress(device="abacus"), "device must name"),
        (lambda: regress(store=5), "store must be the path"),
        (lambda: regress(engine="steam"), "engine must be local"),
    ],
)
def test_what_is_wrong_names_the_argument(make: Callable[[], object], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        make()
    assert "--" not in caught.value.message


def test_a_table_names_columns_as_python_does(discs: Path) -> None:
    def asked(*columns: str, **names: str) -> RegressionRanking:
        options = selector.TaskOptions(target_columns=columns, **names)
        return regress(task=str(discs), task_options=options, image_size=32)

    with pytest.raises(UsageError, match=r"target_columns must name a column of .*found z"):
        asked("z")
    with pytest.raises(UsageError, match="target_columns must name different columns, found x, x"):
        asked("x", "x")
    with pytest.raises(UsageError, match="label_column and target_columns exclude each other"):
        asked("x", label_column="y")
    with pytest.raises(UsageError, match="objective with target_columns must be one of attacked"):
        regress(task=str(discs), task_options=OPTIONS, objective="knn")


# --- numbers where classes are wanted ------------------------------------------------------------


@pytest.mark.parametrize("name", ["rank", "plan"])
def test_columns_of_numbers_are_no_classes(name: str, discs: Path) -> None:
    words = f"^{name} is for classes: target_columns of task_options must be left out, found"
    for task in (str(discs), noise()):
        with pytest.raises(UsageError, match=words) as caught:
            getattr(selector, name)(
                task=task, candidates=["a/b"], threat=THREAT, task_options=OPTIONS
            )
        assert "selector.rank_regression" in caught.value.hint


def test_numbers_in_memory_are_no_classes(discs: Path) -> None:
    task = selector.targets_from_arrays(IMAGES, FOUR, name="heights")
    with pytest.raises(UsageError, match="task must have classes, found heights") as caught:
        rank_small(task=task, candidates={"a": Small()})
    assert "selector.rank_regression" in caught.value.hint
    with pytest.raises(UsageError, match="a label must be a whole number") as caught:
        rank_small(task=(IMAGES, FOUR), candidates={"a": Small()})
    assert "selector.rank_regression" in caught.value.hint
    given: dict[str, Any] = {"image_size": 8, "sizes": SIZES, "seed": 0}
    for other in ({"spec": task}, {"spec": str(discs), "options": OPTIONS}):
        with pytest.raises(UsageError, match=r"must have classes, found numbers: (target|x, rad)"):
            selector.load_task(**given | other)
    classes = selector.task_from_arrays(*noise())
    with pytest.raises(UsageError, match=r"task_options name columns .* left out of one in mem"):
        options = selector.TaskOptions(label_column="kind")
        rank_small(task=classes, candidates={"a": Small()}, task_options=options)
