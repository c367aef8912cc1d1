"""Tables with numeric targets: what is read, standardised and refused."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from selector.errors import UsageError
from selector.protocol import Sizes
from selector.regression.task import RegressionTask, load_regression, standardise
from selector.tasks.options import TaskOptions

SIZES = Sizes(train=12, validation=4, test=5)
ROWS = 24


def value(i: int) -> tuple[float, float]:
    """The targets of image i, which is grey of level 5 i."""
    return 100 + 3.5 * i, (-1.0) ** i * i


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Images whose brightness says which row they are of."""
    lines = ["file,x,y,note,same"]
    for i in range(ROWS):
        Image.new("RGB", (10, 10), (5 * i,) * 3).save(tmp_path / f"{i}.png")
        x, y = value(i)
        lines.append(f"{i}.png,{x},{y},n{i},7")
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "m.csv"


def load(spec: object, *columns: str, seed: int = 0, **options: str) -> RegressionTask:
    return load_regression(
        str(spec),
        image_size=8,
        sizes=SIZES,
        seed=seed,
        options=TaskOptions(target_columns=columns, **options),
    )


def with_cell(manifest: Path, row: int, cell: str) -> Path:
    """The manifest with another x in a row."""
    lines = manifest.read_text().splitlines()
    fields = lines[row + 1].split(",")
    lines[row + 1] = ",".join([fields[0], cell, *fields[2:]])
    manifest.write_text("\n".join(lines))
    return manifest


def parts(task: RegressionTask) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Row numbers by what images show, and targets in the units of the table, of each part."""
    images, targets = task.images, task.targets
    pairs = (
        (images.train, targets.train),
        (images.validation, targets.validation),
        (images.test, targets.test),
    )
    return [
        (split.pixels[:][:, 0, 0, 0] // 5, values * targets.sd + targets.mean)
        for split, values in pairs
    ]


def test_images_and_targets_stay_together_in_every_part(manifest: Path) -> None:
    task = load(manifest, "x", "y")
    seen: list[int] = []
    for rows, values in parts(task):
        expected = torch.tensor([value(int(i)) for i in rows]).double()
        torch.testing.assert_close(values, expected)
        seen += rows.tolist()
    assert len(set(seen)) == len(seen) == 12 + 4 + 5
    assert task.targets.columns == ("x", "y")


def test_training_targets_have_mean_0_and_deviation_1(manifest: Path) -> None:
    targets = load(manifest, "x", "y").targets
    torch.testing.assert_close(targets.train.mean(dim=0), torch.zeros(2).double())
    torch.testing.assert_close(targets.train.square().mean(dim=0), torch.ones(2).double())
    assert abs(targets.test.mean().item()) > 1e-6  # standardised by train, not by itself


def test_a_column_split_and_the_order_of_columns_are_used(manifest: Path) -> None:
    lines = manifest.read_text().splitlines()
    names = ["split", *(["train"] * 15 + ["val"] * 4 + ["test"] * 5)]
    manifest.write_text("\n".join(f"{a},{b}" for a, b in zip(lines, names, strict=True)))
    task = load(manifest, "y", "x")
    (train, values), (validation, _), (test, _) = parts(task)
    assert set(train.tolist()) < set(range(15)) and len(train) == 12
    assert validation.tolist() == [15, 16, 17, 18] and test.tolist() == [19, 20, 21, 22, 23]
    torch.testing.assert_close(values[0], torch.tensor(value(int(train[0]))[::-1]).double())


def test_json_lines_and_saved_datasets_read_the_same(manifest: Path, tmp_path: Path) -> None:
    expected = load(manifest, "x", "y")
    lines = [
        json.dumps({"file": f"{i}.png", "x": value(i)[0], "y": int(value(i)[1])})
        for i in range(ROWS)
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    table = datasets.Dataset.from_dict(
        {
            "image": [{"bytes": (tmp_path / f"{i}.png").read_bytes()} for i in range(ROWS)],
            "x": np.array([value(i)[0] for i in range(ROWS)], dtype=np.float32),
            "y": [int(value(i)[1]) for i in range(ROWS)],
        },
        features=datasets.Features(
            {
                "image": datasets.Image(),
                "x": datasets.Value("float32"),
                "y": datasets.Value("int16"),
            }
        ),
    )
    table.save_to_disk(tmp_path / "saved")
    table.to_parquet(tmp_path / "m.parquet")
    for spec in ("m.jsonl", "saved", "m.parquet"):
        found = load(tmp_path / spec, "x", "y")
        torch.testing.assert_close(found.targets.test, expected.targets.test)
        assert found.images.fingerprint == expected.images.fingerprint


def test_the_fingerprint_is_of_pixels_columns_and_targets(manifest: Path) -> None:
    task = load(manifest, "x")
    first = task.images.fingerprint
    assert load(manifest, "x").images.fingerprint == first
    assert load(manifest, "y").images.fingerprint != first
    drawn = int(parts(task)[2][0][0])
    # Another scale is standardised away, yet it is another table.
    with_cell(manifest, drawn, "777")
    assert load(manifest, "x").images.fingerprint != first


@pytest.mark.parametrize("cell", ["", "nan", "inf", "about 3", "1_000", "0x10"])
def test_a_cell_that_is_no_finite_number_is_named(manifest: Path, cell: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(with_cell(manifest, 3, cell), "y", "x")
    assert "x of m.csv line 5" in caught.value.message
    assert "3.png" in caught.value.message
    assert (cell or "nothing") in caught.value.message
    assert "Correct the row or remove it" in caught.value.hint


def test_truth_values_and_missing_keys_are_no_numbers(manifest: Path, tmp_path: Path) -> None:
    for bad in ({"x": True}, {"x": None}, {}, {"x": [1]}):
        rows = [{"file": f"{i}.png", "x": i} for i in range(ROWS)]
        rows[2] = {"file": "2.png"} | bad
        (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, rows)))
        with pytest.raises(UsageError, match=r"x of b\.jsonl line 3"):
            load(tmp_path / "b.jsonl", "x")


def test_missing_values_of_a_dataset_are_named(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    table = datasets.Dataset.from_dict({"image": [content] * 8, "x": [1.0, None, *range(6)]})
    table.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(UsageError, match="x of rows row 1 must be a finite number, found nothing"):
        load(tmp_path / "t.parquet", "x")


@pytest.mark.parametrize(
    ("columns", "options", "says"),
    [
        (("z",), {}, "--target-column must name a column"),
        (("note",), {}, "note of m.csv line 2.*found 'n0'"),
        (("same",), {}, "same must vary, but is 7 on all 12"),
        (("x", "x"), {}, "different columns, found x, x"),
        (("file",), {}, "file is the image column"),
        (("x",), {"label_column": "note"}, "exclude each other"),
    ],
)
def test_what_makes_no_regression_is_refused(
    manifest: Path, columns: tuple[str, ...], options: dict[str, str], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        load(manifest, *columns, **options)


def test_one_image_has_no_spread() -> None:
    one, values = torch.zeros(1, 1), torch.zeros(4, 1)
    with pytest.raises(UsageError, match="at least 2 images to fit on, found 1") as caught:
        standardise(("x",), one, values, values)
    assert "more images" in caught.value.hint


@pytest.mark.parametrize("spec", ["builtin:digits", "folder"])
def test_tasks_without_columns_have_no_targets(tmp_path: Path, spec: str) -> None:
    (tmp_path / "folder").mkdir()
    named = tmp_path / spec if spec == "folder" else spec
    with pytest.raises(UsageError, match="--target-column must be left out"):
        load(named, "x")


def test_an_unreadable_image_takes_its_target_with_it(manifest: Path) -> None:
    lost = int(parts(load(manifest, "x", "y"))[0][0][0])
    (manifest.parent / f"{lost}.png").write_bytes(b"no image")
    task = load(manifest, "x", "y")
    assert len(task.images.unreadable) == 1
    for rows, values in parts(task):
        torch.testing.assert_close(values, torch.tensor([value(int(i)) for i in rows]).double())


def test_values_beyond_what_can_be_standardised_are_refused() -> None:
    huge = torch.tensor([[1e308], [-1e308], [1e308]], dtype=torch.float64)
    with pytest.raises(UsageError, match="too large"):
        standardise(("x",), huge, huge, huge)
    close = torch.tensor([[1e9 + 1], [1e9 - 1]], dtype=torch.float64)
    torch.testing.assert_close(
        standardise(("x",), close, close, close).test.flatten(), torch.tensor([1.0, -1]).double()
    )
