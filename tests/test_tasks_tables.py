"""Tasks from tables and lists: which rows, which columns, and what is said when they do not do."""

from __future__ import annotations

import io
import json
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from fakehub.datasets import parquet, png
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from selector.errors import UsageError
from selector.protocol import Sizes
from selector.tasks import Task, cells, load_task
from selector.tasks.options import TaskOptions
from selector.tasks.splits import choose_splits
from selector.tasks.tables import Cell

ALL = Sizes(train=10_000, validation=10_000, test=10_000)
NAMES = ("dish", "bowl")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library converts into its cache, whose place it has read when it was imported."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def load(path: Path, sizes: Sizes = ALL, **options: str) -> Task:
    return load_task(str(path), image_size=8, sizes=sizes, seed=0, options=TaskOptions(**options))


def refused(path: Path, **options: str) -> str:
    with pytest.raises(UsageError) as caught:
        load(path, **options)
    assert caught.value.message.isprintable()
    return str(caught.value)


def colours(task: Task, part: str = "test") -> set[int]:
    """Which pictures are in a part, as fakehub.datasets paints them."""
    return set(getattr(task, part).pixels[:, 0, 4, 4].tolist())


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def table(path: Path, **columns: Sequence[object]) -> Path:
    """A parquet file without any word of the library's about its columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(dict(columns)), path)
    return path


PICTURES = [{"bytes": png((i, 0, 7)), "path": None} for i in range(20)]


def test_a_table_names_files_beside_it_only(tmp_path: Path) -> None:
    folder = tmp_path / "task"
    write(folder / "inside.png", png((1, 0, 7)))
    write(tmp_path / "outside.png", png((99, 0, 7)))
    named = [str(folder / "inside.png"), str(tmp_path / "outside.png"), "/dev/zero"]
    cells = [{"bytes": None, "path": path} for path in named] + PICTURES[3:] * 4
    path = table(folder / "a.parquet", image=cells, label=[i % 2 for i in range(len(cells))])
    task = load(path)
    assert set(task.unreadable) == {"rows row 1", "rows row 2"}
    assert len(task.train) + len(task.validation) + len(task.test) == len(cells) - 2


@pytest.mark.parametrize("spec", ["", "  ", "~nobody-has-this-name/task"])
def test_what_names_nothing_is_said(spec: str) -> None:
    with pytest.raises(UsageError, match="--task"):
        load_task(spec, image_size=8, sizes=ALL, seed=0)


def test_lines_that_nest_for_ever_are_no_json(tmp_path: Path) -> None:
    assert "line 1 is no JSON" in refused(write(tmp_path / "a.jsonl", "[" * 100_000))


# --- parquet -------------------------------------------------------------------------------------


def test_one_file_is_split_here(tmp_path: Path) -> None:
    task = load(write(tmp_path / "test.parquet", parquet([0, 1] * 20, NAMES)))
    assert (task.name, task.classes, task.revision) == ("test", NAMES, None)
    assert (len(task.train), len(task.validation), len(task.test)) == (22, 8, 10)
    parts = [colours(task, part) for part in ("train", "validation", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 40
    # Images are read by many threads; each keeps its label.
    assert (task.train.pixels[:, 0, 4, 4] % 2 == task.train.labels).all()


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (["train.parquet"], ["test.parquet"]),
        (["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"], ["test-0.parquet"]),
        (["data/train-00000-of-00001-0a1b2c.parquet"], ["data/test-00000-of-00001-3d4e.parquet"]),
        (["train/0000.parquet", "train/0001.parquet"], ["test/0000.parquet"]),
    ],
)
def test_names_of_files_say_the_split(tmp_path: Path, train: list[str], test: list[str]) -> None:
    root = tmp_path / "plates [1] *"  # no pattern
    for i, name in enumerate(train):
        write(root / name, parquet([0, 1] * 10, NAMES, first=20 * i))
    for name in test:
        write(root / name, parquet([0, 1] * 5, NAMES, first=40))
    task = load(root)
    assert task.name == "plates [1] *"
    assert colours(task) == set(range(40, 50))
    assert colours(task, "train") | colours(task, "validation") == set(range(20 * len(train)))


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "plates.parquet", parquet([0, 1] * 5, NAMES))
    before = load(path)
    write(path, parquet([0, 1] * 5, NAMES, first=100))
    assert load(path).fingerprint != before.fingerprint


def test_only_what_is_drawn_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "plates.parquet", parquet([0, 1] * 100, NAMES))
    read: list[int] = []
    original = Cell.read
    monkeypatch.setattr(Cell, "read", lambda cell: read.append(cell.row) or original(cell))
    task = load(path, Sizes(train=12, validation=6, test=8))
    assert len(task.train) + len(task.validation) + len(task.test) == len(set(read)) == 26


def resident_file_bytes() -> int:
    """Memory of this process that holds pages of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssFile"))


def can_page_out() -> bool:
    try:
        mmap.mmap(-1, mmap.PAGESIZE).madvise(cells._PAGE_OUT)
    except (OSError, ValueError, AttributeError):
        return False
    return Path("/proc/self/status").exists()


@pytest.mark.skipif(not can_page_out(), reason="needs a Linux that pages out when asked to")
def test_a_table_that_was_read_is_not_kept_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [bytes([row]) * 2_000_000 for row in range(20)]
    pyarrow.parquet.write_table(pyarrow.table({"image": rows}), tmp_path / "plates.parquet")
    images = datasets.Dataset.from_parquet(str(tmp_path / "plates.parquet"))
    monkeypatch.setattr(cells, "_ROWS_IN_MEMORY", 5)
    column, before = cells.Column(images), resident_file_bytes()
    for _ in range(2):
        assert [column[row] for row in range(20)] == rows
    assert resident_file_bytes() - before < 20_000_000


def test_raw_bytes_and_class_names(tmp_path: Path) -> None:
    files = [picture["bytes"] for picture in PICTURES]
    path = table(tmp_path / "a.parquet", Img=files, Target=["b", "a", "Z", "10"] * 5)
    assert load(path).classes == ("10", "Z", "a", "b")


def test_numbers_without_names_are_in_numeric_order(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", image=PICTURES, label=[10, 9, 2, -1] * 5)
    task = load(path)
    assert task.classes == ("-1", "2", "9", "10")
    first = task.train.pixels[0, 0, 4, 4].item()
    assert task.train.labels[0].item() == 3 - first % 4


def test_classes_without_a_row_are_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", parquet([0, 2] * 10, ("dish", "bowl", "cup")))
    assert load(path).classes == ("dish", "cup")


def test_damaged_images_are_left_out(tmp_path: Path) -> None:
    pictures = [*PICTURES, *PICTURES[:18], {"bytes": b"no picture", "path": None}]
    pictures += [{"bytes": None, "path": None}]
    path = table(tmp_path / "a.parquet", image=pictures, label=["a", "b"] * 20)
    assert set(load(path).unreadable) == {"rows row 38", "rows row 39"}
    pictures[:20] = [{"bytes": b"no picture", "path": None}] * 20
    assert "cannot be read" in refused(
        table(tmp_path / "b.parquet", image=pictures, label=["a", "b"] * 20)
    )


@pytest.mark.parametrize(
    ("columns", "options", "words"),
    [
        (
            {"image": PICTURES, "answer": ["a", "b"] * 10},
            {},
            ["one label column", "image, answer", "--label-column"],
        ),
        (
            {"image": PICTURES, "label": ["a", "b"] * 10, "target": ["a", "b"] * 10},
            {},
            ["label, target may be it", "--label-column"],
        ),
        (
            {"scan": PICTURES, "label": ["a", "b"] * 10},
            {},
            ["one image column", "none looks like it", "--image-column"],
        ),
        (
            {"image": PICTURES, "label": ["a", "b"] * 10},
            {"label_column": "x"},
            ["--label-column must name a column", "image, label", "found x"],
        ),
        (
            {"image": PICTURES, "label": ["a", "b"] * 10},
            {"image_column": "label"},
            ["must hold encoded images", "string", "manifest"],
        ),
        (
            {"image": PICTURES, "label": ["a", "b"] * 10},
            {"label_column": "image"},
            ["class names or whole numbers", "found dict"],
        ),
        (
            {"image": PICTURES, "weight": [0.5, 1.5] * 10},
            {"label_column": "weight"},
            ["class names or whole numbers", "float64"],
        ),
        (
            {"image": PICTURES, "label": ["a", "b"] * 10},
            {"test_split": "rest"},
            ["--test-split must be left out", "one file"],
        ),
        (
            {"image": PICTURES, "label": ["a"] * 20},
            {},
            ["at least two classes", "--label-column"],
        ),
        (
            {"image": PICTURES, "label": ["a", None] * 10},
            {},
            ["10 of 20 rows", "no label", "row 1"],
        ),
        ({"image": PICTURES, "label": ["a", "b\n"] * 10}, {}, ["printable", "b?"]),
    ],
)
def test_columns_that_do_not_do(
    tmp_path: Path, columns: dict[str, list[object]], options: dict[str, str], words: list[str]
) -> None:
    said = refused(table(tmp_path / "a.parquet", **columns), **options)
    for word in words:
        assert word in said


def test_images_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    file = io.BytesIO()
    image = Image.new("RGB", (16, 16))
    image.paste((200, 0, 0), (0, 0, 16, 8))
    image.save(file, "png", exif=exif)
    pictures = [{"bytes": file.getvalue(), "path": None}] * 20
    path = table(tmp_path / "a.parquet", image=pictures, label=["a", "b"] * 10)
    pixels = load(path).test.pixels[:, 0]
    assert (pixels[:, 1] == 0).all()
    assert (pixels[:, -2] == 200).all()


def test_named_columns(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", scan=PICTURES, answer=["b", "a"] * 10, label=[0, 1] * 10)
    task = load(path, image_column="scan", label_column="answer")
    assert task.classes == ("a", "b")


def test_splits_must_be_of_the_same_classes(tmp_path: Path) -> None:
    write(tmp_path / "p" / "train.parquet", parquet([0, 1] * 10, NAMES))
    write(tmp_path / "p" / "test.parquet", parquet([0, 1] * 10, NAMES[::-1]))
    assert "same type and class names" in refused(tmp_path / "p")
    table(tmp_path / "q" / "train.parquet", image=PICTURES, label=["a", "b"] * 10)
    table(tmp_path / "q" / "test.parquet", image=PICTURES, label=["a", "zebra"] * 10)
    assert "classes that train lacks: zebra" in refused(tmp_path / "q")


def test_what_is_no_parquet(tmp_path: Path) -> None:
    said = refused(write(tmp_path / "a.parquet", b"no table"))
    assert "cannot be read as a dataset" in said
    assert str(tmp_path / "a.parquet") in said


# --- saved datasets ------------------------------------------------------------------------------


def saved(first: int, count: int) -> datasets.Dataset:
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(NAMES))}
    )
    rows = {
        "image": [{"bytes": png((i, 0, 7)), "path": None} for i in range(first, first + count)],
        "label": [0, 1] * (count // 2),
    }
    return datasets.Dataset.from_dict(rows, features=features)


def test_a_saved_dataset(tmp_path: Path) -> None:
    saved(0, 40).select(range(20)).save_to_disk(str(tmp_path / "plates"))
    task = load(tmp_path / "plates")
    assert (task.name, task.classes) == ("plates", NAMES)
    parts = [colours(task, part) for part in ("train", "validation", "test")]
    assert set.union(*parts) == set(range(20))
    assert "saved Dataset" in refused(tmp_path / "plates", train_split="train")


def test_saved_splits(tmp_path: Path) -> None:
    splits = {"train": saved(0, 20), "validation": saved(20, 10), "test": saved(30, 10)}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "plates"))
    task = load(tmp_path / "plates")
    assert colours(task, "validation") == set(range(20, 30))
    assert colours(task) == set(range(30, 40))
    task = load(tmp_path / "plates", test_split="validation", validation_split="test")
    assert colours(task) == set(range(20, 30))
    task = load(tmp_path / "plates", test_split="validation")
    assert colours(task) == set(range(20, 30))
    assert colours(task, "train") | colours(task, "validation") == set(range(20))


def test_a_saved_dataset_that_is_damaged(tmp_path: Path) -> None:
    saved(0, 20).save_to_disk(str(tmp_path / "plates"))
    for path in (tmp_path / "plates").glob("*.arrow"):
        path.write_bytes(b"")
    assert "cannot be read as a dataset" in refused(tmp_path / "plates")


# --- manifests -----------------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with the pictures 0.png to 39.png in img/."""
    for i in range(40):
        write(tmp_path / "img" / f"{i}.png", png((i, 0, 7)))
    return tmp_path


def lines(rows: Sequence[Sequence[object]], separator: str = ",") -> str:
    return "".join(separator.join(map(str, row)) + "\n" for row in rows)


CLASSES = ("é", "b")
ROWS = [(f"img/{i}.png", CLASSES[i % 2], "test" if i >= 30 else "train") for i in range(40)]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "CSV"])
def test_manifests(images: Path, suffix: str) -> None:
    header = ("file_name", "label", "split")
    separator = "\t" if suffix == "tsv" else ","
    text = lines([header, *ROWS], separator)
    if suffix == "jsonl":
        text = "\n".join(json.dumps(dict(zip(header, row, strict=True))) for row in ROWS)
    task = load(write(images / f"plates.{suffix}", text))
    assert (task.name, task.classes) == ("plates", ("b", "é"))
    assert colours(task) == set(range(30, 40))
    first = task.test.pixels[0, 0, 4, 4].item()
    assert task.test.labels[0].item() == 1 - first % 2


def test_as_spreadsheets_write_it(images: Path) -> None:
    rows = [("Image", "Class"), *((f'"img/{i}.png"', i % 2) for i in range(20)), ()]
    text = "\ufeff" + lines(rows).replace("\n", "\r\n")
    task = load(write(images / "a.csv", text))
    assert task.classes == ("0", "1")
    assert sum(len(getattr(task, part)) for part in ("train", "validation", "test")) == 20


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (("10", "9", "-2"), ("-2", "9", "10")),
        (("10", "9", "x"), ("10", "9", "x")),
        (("007", "10", "9"), ("007", "10", "9")),
    ],
)
def test_numbers_as_text(images: Path, labels: Sequence[str], classes: Sequence[str]) -> None:
    rows = [("path", "label"), *((f"img/{i}.png", labels[i % 3]) for i in range(30))]
    assert load(write(images / "a.csv", lines(rows))).classes == tuple(classes)


def test_a_file_that_is_missing_is_named_with_its_line(images: Path) -> None:
    rows = [("path", "label"), *((f"img/{i}.png", i % 2) for i in range(40))]
    rows[5] = ("img/none\x1b.png", 0)
    rows[7] = ("", 0)
    found = load(write(images / "a.csv", lines(rows))).unreadable
    assert set(found) == {f"a.csv line 6: {images}/img/none?.png", f"a.csv line 8: {images}"}


def test_absolute_paths(images: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    rows = [("path", "label"), *((images / f"img/{i}.png", i % 2) for i in range(20))]
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert len(load(write(elsewhere / "a.csv", lines(rows))).test) == 4


def test_splits_that_are_named(images: Path) -> None:
    rows = [("path", "label", "Split")]
    rows += [(f"img/{i}.png", str(i % 2), "abc"[i // 16]) for i in range(40)]
    path = write(images / "a.csv", lines(rows))
    assert "--train-split" in refused(path)
    task = load(path, train_split="a", test_split="c")
    assert colours(task) == set(range(32, 40))
    assert colours(task, "train") | colours(task, "validation") == set(range(16))
    assert "different splits" in refused(path, train_split="a", test_split="a")
    assert "(a, b, c), found d" in refused(path, test_split="d")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "", ["must have rows"]),
        ("a.csv", "path,label\n", ["must have rows"]),
        ("a.csv", "path;label\na;b\n", ["path;label", "--image-column"]),
        ("a.csv", "path,label\na\n", ["line 2", "2 fields", "found 1"]),
        ("a.csv", 'path,label\n"a,b\n', ["line 2", "no CSV"]),
        ("a.csv", "path,path\na,b\n", ["different names"]),
        ("a.csv", "path,label\na,b\nc,\n", ["1 of 2 rows", "a.csv line 3"]),
        ("a.csv", "path,label,split\na,b,\n", ["line 2", "must name a split"]),
        ("a.csv", b"path,label\n\xff,b\n", ["UTF-8"]),
        ("a.jsonl", '{"path": "a", "label": 1}\nno\n', ["line 2", "no JSON"]),
        ("a.jsonl", "[1]\n", ["line 1", "JSON object"]),
        ("a.jsonl", '{"path": "a", "label": 1.5}\n', ["line 1", "1.5"]),
        ("a.jsonl", '{"path": "a", "label": [1]}\n', ["line 1", "[1]"]),
        (
            "a.jsonl",
            '{"path": "a", "label": 1}\n{"path": "a", "label": "b"}\n',
            ["all numbers or all names"],
        ),
    ],
)
def test_manifests_that_do_not_do(
    tmp_path: Path, name: str, text: str | bytes, words: list[str]
) -> None:
    said = refused(write(tmp_path / name, text))
    assert str(tmp_path / name) in said
    for word in words:
        assert word in said


def test_a_manifest_without_splits_takes_no_split(images: Path) -> None:
    path = write(images / "a.csv", lines([("path", "label"), ("a", "b")]))
    assert "--test-split must be left out" in refused(path, test_split="test")


# --- what is asked for ---------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["image_column", "label_column", "train_split", "test_split"])
def test_options_that_do_not_apply(tmp_path: Path, option: str) -> None:
    for name in ("a", "b"):
        for i in range(4):
            write(tmp_path / "plates" / name / f"{i}.png", png((i, 0, 7)))
    flag = f"--{option.replace('_', '-')}"
    assert f"{flag} must be left out: " in refused(tmp_path / "plates", **{option: "x"})
    with pytest.raises(UsageError, match=f"{flag} must be left out: built-in"):
        load_task(
            "builtin:digits",
            image_size=8,
            sizes=ALL,
            seed=0,
            options=TaskOptions(**{option: "x"}),
        )


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    said = refused(write(tmp_path / "a.zip", b"PK"))
    assert ".parquet, .csv, .tsv, .jsonl" in said


WORDS = st.sampled_from(["train", "Training", "val", "validation", "dev", "test", "extra", "rest"])


@given(
    st.lists(WORDS, min_size=1, max_size=5, unique=True),
    st.tuples(*[st.none() | WORDS] * 3),
)
def test_splits_are_different_and_are_there(
    names: list[str], given: tuple[str | None, ...]
) -> None:
    options = TaskOptions(train_split=given[0], validation_split=given[1], test_split=given[2])
    try:
        chosen = choose_splits(names, options, "--task x")
    except UsageError as error:
        assert "--" in str(error)
        return
    used = [name for name in (chosen.train, chosen.validation, chosen.test) if name is not None]
    assert len(set(used)) == len(used)
    assert set(used) <= set(names)
    for wanted, found in zip(given, (chosen.train, chosen.validation, chosen.test), strict=True):
        assert wanted is None or wanted == found


# --- found by fuzzing ----------------------------------------------------------------------------


def test_a_manifest_that_names_a_pipe_or_a_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    named = "".join(f"{place}.png,{NAMES[place % 2]}\n" for place in range(40))
    for place in range(40):
        Image.new("RGB", (8, 8), (place, 0, 0)).save(tmp_path / f"{place}.png")
    text = f"path,label\n{named}pipe,dish\n/dev/zero,bowl\n"
    assert "2 of 24 train images cannot be read" in refused(write(tmp_path / "a.csv", text))


def test_a_line_that_is_too_long(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"path": "' + "a" * 2**20 + '"}\n')
    assert "line 1 must have at most 1,048,576 characters" in refused(path)


def test_what_the_csv_reader_says_can_be_printed(tmp_path: Path) -> None:
    assert "is no CSV" in refused(write(tmp_path / "a.tsv", 'path\tlabel\n"a"b\tc\n'))


def test_a_table_of_too_many_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selector.tasks.tables._MOST_ROWS", 2)
    path = table(tmp_path / "a.parquet", image=[b"a", b"b", b"c"], label=["a", "b", "a"])
    assert "must have at most 2 rows, found 3" in refused(path)


@pytest.mark.parametrize("options", [{}, {"target_columns": ("label",)}])
def test_text_that_is_none(tmp_path: Path, options: dict[str, tuple[str, ...]]) -> None:
    binary = pyarrow.array([b"dish", b"\x80owl"] * 10)
    text = pyarrow.Array.from_buffers(pyarrow.string(), len(binary), binary.buffers())
    path = table(tmp_path / "a.parquet", image=PICTURES, label=text)
    assert "cannot be read as a dataset: UnicodeDecodeError" in refused(path, **options)


def test_class_names_that_are_no_texts(tmp_path: Path) -> None:
    features = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": [[[1]], "dog"]},
    }
    told = {"huggingface": json.dumps({"info": {"features": features}})}
    known = pyarrow.table({"image": PICTURES, "label": [0, 1] * 10}).replace_schema_metadata(told)
    pyarrow.parquet.write_table(known, tmp_path / "a.parquet")
    assert "class names must be texts, found [[[1]], 'dog']." in refused(tmp_path / "a.parquet")
