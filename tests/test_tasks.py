"""Tasks: which images are used, and what becomes of each of them."""

from __future__ import annotations

import os
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from selector.errors import UsageError
from selector.protocol import Sizes
from selector.records import TaskRecord
from selector.tasks import Task, decoding, load_task
from selector.tasks.decoding import Split, canonical_image, decode_readable
from selector.tasks.listing import Example, divide, draw

ALL = Sizes(train=10_000, validation=10_000, test=10_000)
SMALL = Sizes(train=60, validation=20, test=30)
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


class Folder:
    """A folder of images that are all of different, known colours.

    A colour says which picture it was, whatever part it ends in: pictures are counted up in the
    red and the green channel, and blue is constant.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.pictures = 0

    def add(self, folder: str, images: int, suffix: str = "png") -> Folder:
        """Put that many new pictures into a folder below the root."""
        (self.root / folder).mkdir(parents=True, exist_ok=True)
        for _ in range(images):
            colour = (self.pictures % 256, self.pictures // 256, 7)
            path = self.root / folder / f"{self.pictures:04}.{suffix}"
            Image.new("RGB", (10, 10), colour).save(path)
            self.pictures += 1
        return self

    def add_broken(self, folder: str, images: int) -> Folder:
        """Put files there that are called images and are none."""
        (self.root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(images):
            (self.root / folder / f"broken{i}.png").write_bytes(b"no picture")
        return self

    def load(self, sizes: Sizes = ALL, *, seed: int = 0, image_size: int = 8) -> Task:
        return load_task(str(self.root), image_size=image_size, sizes=sizes, seed=seed)

    def refused(self, sizes: Sizes = ALL) -> str:
        with pytest.raises(UsageError) as caught:
            self.load(sizes)
        assert "--task" in caught.value.message
        return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "plates")


def pictures(split: Split) -> set[int]:
    """Which pictures are in a part of a task."""
    colours = split.pixels[:, :, 4, 4].long()
    return set((colours[:, 0] + 256 * colours[:, 1]).tolist())


def counts(split: Split) -> list[int]:
    """Images of each class."""
    return torch.bincount(split.labels).tolist()


def sizes_of(task: Task) -> tuple[int, int, int]:
    return len(task.train), len(task.validation), len(task.test)


def canonical(image: Image.Image, size: int = 8) -> np.ndarray:
    return canonical_image(image, size)


def painted(image: Image.Image) -> tuple[int, ...]:
    """The one colour of an image that has one."""
    pixels = canonical(image)
    assert pixels.shape == (8, 8, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == pixels[0, 0]).all()
    return tuple(pixels[0, 0].tolist())


# --- the built-in task ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits() -> Task:
    return load_task("builtin:digits", image_size=8, sizes=ALL, seed=0)


def test_digits_are_all_used_once(digits: Task) -> None:
    assert digits.classes == tuple("0123456789")
    assert sum(sizes_of(digits)) == 1797
    assert (digits.name, digits.source, digits.unreadable) == ("digits", "builtin:digits", ())
    for split in (digits.train, digits.validation, digits.test):
        assert split.pixels.shape[1:] == (3, 8, 8)
        assert split.pixels.dtype == torch.uint8
        assert split.labels.dtype == torch.int64
        assert min(counts(split)) >= 0.85 * len(split) / 10


def test_digits_are_in_one_part_only(digits: Task) -> None:
    parts = [
        {image.numpy().tobytes() for image in split.pixels}
        for split in (digits.train, digits.validation, digits.test)
    ]
    assert len(parts[0] | parts[1] | parts[2]) == 1797  # no two digits have the same pixels
    assert sum(map(len, parts)) == 1797


def test_digits_are_drawn_stratified() -> None:
    task = load_task("builtin:digits", image_size=8, sizes=SMALL, seed=0)
    assert sizes_of(task) == (60, 20, 30)
    for split in (task.train, task.validation, task.test):
        assert max(counts(split)) - min(counts(split)) <= 1


def test_the_same_seed_gives_the_same_task() -> None:
    first, second, other = (
        load_task("builtin:digits", image_size=8, sizes=SMALL, seed=seed) for seed in (3, 3, 4)
    )
    assert first.fingerprint == second.fingerprint
    assert first.fingerprint != other.fingerprint
    assert not torch.equal(first.test.pixels, other.test.pixels)


def test_an_unknown_builtin() -> None:
    with pytest.raises(UsageError, match=r"--task builtin: must name one of digits, found 'x'"):
        load_task("builtin:x", image_size=8, sizes=ALL, seed=0)


def test_images_have_at_least_8_pixels() -> None:
    with pytest.raises(UsageError, match="--image-size must be at least 8, found 7"):
        load_task("builtin:digits", image_size=7, sizes=ALL, seed=0)


# --- layouts of folders --------------------------------------------------------------------------


def test_train_and_test_folders(folder: Folder) -> None:
    folder.add("train/a", 8).add("train/b", 12).add("test/a", 3).add("test/b", 5)
    task = folder.load()
    assert (task.name, task.classes) == ("plates", ("a", "b"))
    assert task.source == str(folder.root)
    assert counts(task.test) == [3, 5]
    assert pictures(task.test) == set(range(20, 28))
    assert (counts(task.train), counts(task.validation)) == ([6, 9], [2, 3])
    assert pictures(task.train) | pictures(task.validation) == set(range(20))


def test_train_validation_and_test_folders(folder: Folder) -> None:
    folder.add("train/a", 4).add("train/b", 4).add("val/a", 2).add("val/b", 2)
    folder.add("test/a", 3).add("test/b", 3)
    task = folder.load()
    assert pictures(task.train) == set(range(8))
    assert pictures(task.validation) == set(range(8, 12))
    assert pictures(task.test) == set(range(12, 18))


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("Train", "VALID", "Test"), ("training", "validation", "test")],
)
def test_other_names_of_the_parts(folder: Folder, train: str, validation: str, test: str) -> None:
    for part in (train, validation, test):
        folder.add(f"{part}/a", 2).add(f"{part}/b", 2)
    task = folder.load()
    assert pictures(task.train) == {0, 1, 2, 3}
    assert pictures(task.test) == {8, 9, 10, 11}


def test_validation_stands_in_for_a_missing_test(folder: Folder) -> None:
    folder.add("train/a", 4).add("train/b", 4).add("val/a", 2).add("val/b", 2)
    task = folder.load()
    assert pictures(task.test) == set(range(8, 12))
    assert pictures(task.train) | pictures(task.validation) == set(range(8))


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_one_part_is_split_by_class(folder: Folder, prefix: str) -> None:
    folder.add(f"{prefix}a", 16).add(f"{prefix}b", 32)
    task = folder.load()
    # A quarter for testing, and a quarter of the rest for validation.
    assert counts(task.test) == [4, 8]
    assert counts(task.validation) == [3, 6]
    assert counts(task.train) == [9, 18]


def test_no_picture_is_in_two_parts(folder: Folder) -> None:
    folder.add("a", 20).add("b", 30).add("c", 5)
    for seed in range(5):
        task = folder.load(seed=seed)
        parts = [pictures(task.train), pictures(task.validation), pictures(task.test)]
        assert sum(map(len, parts)) == 55
        assert set.union(*parts) == set(range(55))


def test_labels_follow_class_names_in_every_part(folder: Folder) -> None:
    # test/ lacks the first class: its labels must still be those of train/.
    folder.add("train/a", 4).add("train/b", 4).add("train/c", 4).add("test/c", 2).add("test/b", 3)
    task = folder.load()
    assert task.test.labels.tolist() == [1, 1, 1, 2, 2]


def test_class_names_are_sorted_by_code_point(folder: Folder) -> None:
    for name in ("2", "10", "dog", "Zebra", "é"):
        folder.add(name, 4)
    assert folder.load().classes == ("10", "2", "Zebra", "dog", "é")


def test_what_is_no_image_or_hidden_is_left_alone(folder: Folder) -> None:
    folder.add("a", 4).add("b", 4, suffix="JPG").add(".cache", 4)
    (folder.root / "empty").mkdir()
    (folder.root / "notes.txt").write_text("notes")
    (folder.root / "a" / "notes.txt").write_text("notes")
    (folder.root / "a" / "._0001.png").write_bytes(b"what macOS leaves behind")
    task = folder.load()
    assert task.classes == ("a", "b")
    assert sum(sizes_of(task)) == 8
    assert task.unreadable == ()


def test_a_folder_may_be_in_the_home_folder(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.add("a", 4).add("b", 4)
    monkeypatch.setenv("HOME", str(folder.root.parent))
    assert load_task("~/plates", image_size=8, sizes=ALL, seed=0).name == "plates"


def test_a_missing_folder(folder: Folder) -> None:
    said = folder.refused()
    assert str(folder.root) in said
    assert "train/CLASS" in said


def test_an_empty_folder(folder: Folder) -> None:
    folder.root.mkdir()
    assert "no class folder with images" in folder.refused()


def test_one_class_is_no_task(folder: Folder) -> None:
    assert "one class (a)" in folder.add("a", 4).refused()


def test_one_level_too_high(folder: Folder) -> None:
    folder.add("set/train/a", 4).add("set/train/b", 4).add("set/test/a", 4).add("set/test/b", 4)
    assert "one level down" in folder.refused()


def test_test_without_train(folder: Folder) -> None:
    assert "no train folder" in folder.add("test/a", 4).add("test/b", 4).refused()


@pytest.mark.parametrize("part", ["test", "val"])
def test_a_class_that_train_lacks(folder: Folder, part: str) -> None:
    folder.add("train/a", 4).add("train/b", 4).add("test/a", 4).add(f"{part}/zebra", 4)
    said = folder.refused()
    assert "zebra" in said
    assert str(folder.root / part) in said


@pytest.mark.parametrize("part", ["test", "val"])
def test_a_class_whose_train_folder_is_empty(folder: Folder, part: str) -> None:
    folder.add("train/a", 4).add("train/b", 4).add("train/zebra", 0).add("test/a", 4)
    said = folder.add(f"{part}/zebra", 4).refused()
    assert f"train must have images of each class of {part}, found none in" in said
    assert str(folder.root / "train" / "zebra") in said


def test_a_class_without_any_image_is_none(folder: Folder) -> None:
    for part in ("train", "test"):
        folder.add(f"{part}/a", 4).add(f"{part}/b", 4).add(f"{part}/zebra", 0)
    assert folder.load().classes == ("a", "b")


def test_a_test_folder_without_images(folder: Folder) -> None:
    folder.add("train/a", 4).add("train/b", 4).add("test/a", 0)
    assert str(folder.root / "test") in folder.refused()


def test_a_class_of_one_image_cannot_be_split(folder: Folder) -> None:
    said = folder.add("a", 4).add("b", 1).refused()
    assert "at least two images of every class" in said
    assert str(folder.root / "b") in said


def test_what_a_class_needs_is_said_of_what_the_folder_holds(folder: Folder) -> None:
    # Split twice, a flat folder needs three images of a class, and this one has two.
    said = folder.add("a", 8).add("b", 2).refused()
    assert "found one" not in said


def test_class_names_that_are_not_unicode(folder: Folder) -> None:
    # Folders from old archives: bytes that are no UTF-8 reach Python as lone surrogates.
    folder.add("a", 4).add("b", 4)
    (folder.root / "b").rename(folder.root / os.fsdecode(b"caf\xe9"))
    try:
        task = folder.load()
    except UsageError:
        return
    assert "caf" in "".join(task.classes).encode().decode()


def test_unreadable_names_that_are_not_unicode_can_be_reported(folder: Folder) -> None:
    folder.add("a", 30).add("b", 30)
    (folder.root / "a" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"no picture")
    (unreadable,) = folder.load().unreadable
    # The name goes into the document at the very end of a run.
    record = TaskRecord(
        name="plates",
        source="plates",
        classes=("a", "b"),
        image_size=8,
        train_images=30,
        validation_images=15,
        test_images=15,
        prior_entropy=0.69,
        constant_accuracy=0.5,
        unreadable=(unreadable,),
        fingerprint="f",
    )
    assert "caf" in record.model_dump_json()


# --- how many of them are used -------------------------------------------------------------------


def test_fewer_images_than_asked_for_are_all_used(folder: Folder) -> None:
    folder.add("train/a", 4).add("train/b", 4).add("test/a", 4).add("test/b", 4)
    assert sum(sizes_of(folder.load(Sizes(1000, 4, 1000)))) == 16


def test_validation_takes_no_more_of_train_than_it_may_use(folder: Folder) -> None:
    folder.add("train/a", 50).add("train/b", 50).add("test/a", 4).add("test/b", 4)
    assert sizes_of(folder.load(Sizes(1000, 4, 1000))) == (96, 4, 8)


def test_drawn_parts_are_stratified_and_keep_every_class(folder: Folder) -> None:
    for part in ("train", "val", "test"):
        folder.add(f"{part}/a", 40).add(f"{part}/b", 20).add(f"{part}/c", 1)
    task = folder.load(Sizes(train=31, validation=16, test=3))
    assert counts(task.train) == [20, 10, 1]
    assert counts(task.validation) == [10, 5, 1]
    assert counts(task.test) == [1, 1, 1]


def test_too_few_for_every_class(folder: Folder) -> None:
    folder.add("a", 8).add("b", 8).add("c", 8)
    with pytest.raises(UsageError) as caught:
        folder.load(Sizes(train=2, validation=10, test=10))
    assert "each of its 3 classes" in caught.value.message
    assert "--train-images" in caught.value.hint


def listed(group_sizes: list[int]) -> list[Example]:
    """Distinct examples with labels 0, 1, ... in these numbers."""
    labels = [label for label, size in enumerate(group_sizes) for _ in range(size)]
    return [(Path(str(place)), label) for place, label in enumerate(labels)]


group_sizes = st.lists(st.integers(1, 30), min_size=2, max_size=6)


@given(group_sizes, st.integers(0, 100), st.integers(0, 100))
def test_draw_is_proportional_to_within_one_image(groups: list[int], more: int, seed: int) -> None:
    examples, size = listed(groups), len(groups) + more
    drawn = draw(examples, size, seed)
    assert len(drawn) == len(set(drawn)) == min(size, len(examples))
    assert set(drawn) <= set(examples)
    found = Counter(label for _, label in drawn)
    share = min(1.0, more / max(1, len(examples) - len(groups)))
    for label, there in enumerate(groups):
        assert abs(found[label] - (1 + share * (there - 1))) < 1
    assert draw(examples, size, seed) == drawn


@given(
    st.lists(st.integers(2, 30), min_size=2, max_size=6),
    st.floats(0.01, 0.99),
    st.integers(0, 100),
)
def test_divide_leaves_every_class_in_both_parts(
    groups: list[int], share: float, seed: int
) -> None:
    examples = listed(groups)
    kept, taken = divide(examples, share, seed)
    assert Counter(kept) + Counter(taken) == Counter(examples)
    found = Counter(label for _, label in taken)
    for label, there in enumerate(groups):
        assert 1 <= found[label] <= there - 1
        assert abs(found[label] - share * there) <= 1


def test_draws_of_different_seeds_differ() -> None:
    examples = listed([50, 50])
    assert draw(examples, 20, 0) != draw(examples, 20, 1)
    assert divide(examples, 0.5, 0) != divide(examples, 0.5, 1)


# --- files that cannot be read -------------------------------------------------------------------


def test_a_broken_file_is_listed_and_left_out(folder: Folder) -> None:
    folder.add("train/a", 10).add("train/b", 10).add("test/a", 10).add("test/b", 10)
    folder.add_broken("test/b", 1)
    task = folder.load()
    assert task.unreadable == (str(folder.root / "test" / "b" / "broken0.png"),)
    assert counts(task.test) == [10, 10]
    assert pictures(task.test) == set(range(20, 40))


def test_one_broken_file_is_no_reason_to_refuse_a_small_part(folder: Folder) -> None:
    folder.add("train/a", 4).add("train/b", 4).add("test/a", 2).add("test/b", 2)
    assert len(folder.add_broken("test/a", 1).load().unreadable) == 1


def test_too_many_broken_files(folder: Folder) -> None:
    folder.add("train/a", 20).add("train/b", 20).add("test/a", 20).add("test/b", 19)
    said = folder.add_broken("test/b", 3).refused()
    assert "3 of 42 test images cannot be read" in said
    assert "broken0.png" in said
    assert "5%" in said


def test_nothing_that_can_be_read(folder: Folder) -> None:
    folder.add("train/a", 4).add("train/b", 4).add_broken("test/a", 1)
    assert "no readable image" in folder.refused()


def test_a_class_of_train_is_never_lost_to_a_broken_file(folder: Folder) -> None:
    folder.add("train/a", 4).add("val/a", 1).add("val/b", 1).add("test/a", 1).add("test/b", 1)
    folder.add_broken("train/b", 1)
    assert "class" in folder.refused()


def test_truncated_files_are_not_half_images(folder: Folder) -> None:
    folder.add("a", 40).add("b", 40)
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for suffix in ("jpg", "png"):
        path = folder.root / "a" / f"cut.{suffix}"
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    task = folder.load()
    assert {Path(name).name for name in task.unreadable} == {"cut.jpg", "cut.png"}
    assert sum(sizes_of(task)) == 80


@pytest.mark.parametrize("kind", [2, 5, 7, 12])
def test_a_tiff_with_a_damaged_directory_is_unreadable(folder: Folder, kind: int) -> None:
    # StripOffsets (273) of a type that is no integer: Pillow raises what is neither OSError nor
    # ValueError.
    folder.add("a", 30).add("b", 30)
    path = folder.root / "a" / "odd.tif"
    Image.new("RGB", (10, 10)).save(path)
    data = bytearray(path.read_bytes())
    entry = data.index(struct.pack("<HH", 273, 4))
    data[entry + 2 : entry + 4] = struct.pack("<H", kind)
    path.write_bytes(data)
    assert folder.load().unreadable == (str(path),)


def test_a_folder_named_like_an_image_and_a_dead_link_are_unreadable(folder: Folder) -> None:
    folder.add("a", 40).add("b", 40)
    (folder.root / "a" / "folder.png").mkdir()
    (folder.root / "a" / "link.png").symlink_to(folder.root / "nothing.png")
    assert len(folder.load().unreadable) == 2


# --- what becomes of an image --------------------------------------------------------------------


def of_palette(*colours: tuple[int, int, int]) -> Image.Image:
    """Vertical bands of these colours, by a palette."""
    image = Image.new("P", (8 * len(colours), 16))
    image.putpalette([value for colour in colours for value in colour])
    for place in range(len(colours)):
        image.paste(place, (8 * place, 0, 8 * place + 8, 16))
    return image


QUADRANTS = np.array([[RED, GREEN], [BLUE, WHITE]], dtype=np.uint8).repeat(8, 0).repeat(8, 1)


def quadrants(pixels: np.ndarray) -> list[tuple[int, ...]]:
    """Colours of the upper left, upper right, lower left and lower right quarter."""
    return [tuple(pixels[y, x].tolist()) for y in (2, -3) for x in (2, -3)]


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, [RED, GREEN, BLUE, WHITE]),
        (2, [GREEN, RED, WHITE, BLUE]),
        (3, [WHITE, BLUE, GREEN, RED]),
        (4, [BLUE, WHITE, RED, GREEN]),
        (5, [RED, BLUE, GREEN, WHITE]),
        (6, [BLUE, RED, WHITE, GREEN]),
        (7, [WHITE, GREEN, BLUE, RED]),
        (8, [GREEN, WHITE, RED, BLUE]),
    ],
)
def test_exif_orientation_is_applied(
    tmp_path: Path, orientation: int, expected: list[tuple[int, ...]]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "rotated.png"
    Image.fromarray(QUADRANTS).save(path, exif=exif)
    with Image.open(path) as image:
        assert quadrants(canonical(image, 16)) == expected


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        pytest.param(Image.new("RGB", (9, 9), (1, 2, 3)), (1, 2, 3), id="RGB"),
        pytest.param(Image.new("L", (9, 9), 77), (77, 77, 77), id="L"),
        pytest.param(Image.new("1", (9, 9), 1), (255, 255, 255), id="1"),
        pytest.param(Image.new("LA", (9, 9), (77, 255)), (77, 77, 77), id="LA"),
        pytest.param(Image.new("LA", (9, 9), (77, 0)), (255, 255, 255), id="LA-clear"),
        pytest.param(Image.new("RGBA", (9, 9), (1, 2, 3, 255)), (1, 2, 3), id="RGBA"),
        pytest.param(Image.new("RGBA", (9, 9), (1, 2, 3, 0)), (255, 255, 255), id="RGBA-clear"),
        pytest.param(Image.new("RGBA", (9, 9), (255, 0, 0, 51)), (255, 204, 204), id="RGBA-half"),
        pytest.param(Image.new("CMYK", (9, 9), (255, 0, 0, 0)), (0, 255, 255), id="CMYK"),
        pytest.param(Image.new("HSV", (9, 9), (0, 255, 255)), (255, 0, 0), id="HSV"),
        pytest.param(of_palette((1, 2, 3)), (1, 2, 3), id="P"),
        pytest.param(Image.new("I;16", (9, 9), 0x4DFF), (0x4D,) * 3, id="I;16"),
        pytest.param(Image.new("I;16", (9, 9), 0xFFFF), (255, 255, 255), id="I;16-white"),
    ],
)
def test_every_mode_becomes_rgb(image: Image.Image, expected: tuple[int, ...]) -> None:
    assert painted(image) == expected


def test_dark_16_bit_images_stay_dark() -> None:
    # The upper eight bits of 200 are 0: images of one data set must share one scale.
    assert painted(Image.new("I;16", (9, 9), 200)) == (0, 0, 0)


def test_16_bit_files_keep_their_upper_bits(tmp_path: Path) -> None:
    for suffix in ("png", "tif"):
        path = tmp_path / f"deep.{suffix}"
        Image.fromarray(np.full((9, 9), 0x4D80, dtype=np.uint16)).save(path)
        with Image.open(path) as image:
            assert painted(image) == (0x4D,) * 3


def test_float_images_of_the_unit_range_are_not_turned_black() -> None:
    # Floats in [0,1] must be scaled or refused.
    image = Image.fromarray(np.full((9, 9), 0.5, dtype=np.float32))
    try:
        found = painted(image)
    except ValueError:
        return
    assert found == pytest.approx((127.5,) * 3, abs=1)


@pytest.mark.parametrize("value", [-5, 70_000])
def test_integer_images_do_not_wrap_around(value: int) -> None:
    image = Image.fromarray(np.full((9, 9), value, dtype=np.int32))
    try:
        found = painted(image)
    except ValueError:
        return
    assert found in {(0, 0, 0), (255, 255, 255)}


def test_a_palette_with_a_transparent_colour_is_laid_on_white(tmp_path: Path) -> None:
    image = of_palette(RED, BLUE)
    for transparency in (0, b"\x00\xff"):
        path = tmp_path / "palette.png"
        image.save(path, transparency=transparency)
        with Image.open(path) as found:
            assert found.mode == "P"
            assert quadrants(canonical(found, 16)) == [WHITE, BLUE, WHITE, BLUE]


def test_a_cmyk_jpeg_has_the_colours_it_was_made_of(tmp_path: Path) -> None:
    path = tmp_path / "print.jpg"
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(path, quality=95)
    with Image.open(path) as image:
        assert image.mode == "CMYK"
        np.testing.assert_allclose(painted(image), RED, atol=3)


@pytest.mark.parametrize("wide", [True, False])
def test_the_middle_is_cropped_and_not_squeezed(wide: bool) -> None:
    bands = np.array([RED, GREEN, BLUE], dtype=np.uint8).repeat(32, 0)[None].repeat(32, 0)
    found = canonical(Image.fromarray(bands if wide else bands.transpose(1, 0, 2)), 8)
    # Resampling looks beyond the crop by its own width only.
    assert found.shape == (8, 8, 3)
    assert (found[2:-2, 2:-2] == GREEN).all()
    assert (found[..., 1] > 200).all()


def test_a_small_image_is_enlarged() -> None:
    assert painted(Image.new("RGB", (3, 2), (9, 8, 7))) == (9, 8, 7)


def test_images_of_the_canonical_size_keep_their_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(canonical(Image.fromarray(pixels), 16), pixels)


def test_canonical_images_of_a_task(folder: Folder) -> None:
    folder.add("a", 4).add("b", 4)
    task = folder.load(image_size=24)
    assert task.image_size == 24
    for split in (task.train, task.validation, task.test):
        assert split.pixels.shape == (len(split), 3, 24, 24)
        assert split.pixels.dtype == torch.uint8
        assert split.pixels.is_contiguous()
        assert (split.pixels[:, 2] == 7).all()


# --- the fingerprint -----------------------------------------------------------------------------


def fingerprint(folder: Folder, **options: int) -> str:
    found = folder.load(**options).fingerprint  # type: ignore[arg-type]
    assert len(found) == 64
    return found


@pytest.fixture
def splits(folder: Folder) -> Folder:
    for part in ("train", "val", "test"):
        folder.add(f"{part}/a", 3).add(f"{part}/b", 3)
    return folder


def test_the_fingerprint_does_not_depend_on_where_the_folder_is(
    splits: Folder, tmp_path: Path
) -> None:
    before = fingerprint(splits)
    splits.root = splits.root.rename(tmp_path / "moved")
    assert fingerprint(splits) == before


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_the_fingerprint_changes_with_one_pixel(splits: Folder, part: str) -> None:
    before = fingerprint(splits, image_size=10)
    path = sorted((splits.root / part / "a").iterdir())[0]
    with Image.open(path) as image:
        image.putpixel((9, 0), (*image.getpixel((9, 0))[:2], 8))
        image.save(path)
    assert fingerprint(splits, image_size=10) != before


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_the_fingerprint_changes_with_one_label(splits: Folder, part: str) -> None:
    before = fingerprint(splits)
    # The first of b becomes the last of a: the order of the pictures does not change.
    path = sorted((splits.root / part / "b").iterdir())[0]
    path.rename(splits.root / part / "a" / path.name)
    assert fingerprint(splits) != before


def test_the_fingerprint_changes_with_a_class_name(splits: Folder) -> None:
    before = fingerprint(splits)
    for part in ("train", "val", "test"):
        (splits.root / part / "b").rename(splits.root / part / "c")
    assert fingerprint(splits) != before


def test_the_fingerprint_changes_with_the_size(splits: Folder) -> None:
    assert fingerprint(splits, image_size=8) != fingerprint(splits, image_size=9)


def test_the_fingerprint_changes_when_an_image_changes_its_part(splits: Folder) -> None:
    before = fingerprint(splits)
    path = sorted((splits.root / "test" / "a").iterdir())[0]
    path.rename(splits.root / "val" / "a" / path.name)
    assert fingerprint(splits) != before


# --- what is beside the images -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["test", "testing", "Testing"])
def test_a_test_folder_by_either_name(folder: Folder, name: str) -> None:
    for part, count in (("train", 12), (name, 5)):
        folder.add(f"{part}/a", count).add(f"{part}/b", count)
    task = folder.load()
    assert len(task.test) == 10
    assert task.remarks == ()


def test_what_is_not_used_is_said(folder: Folder) -> None:
    folder.add("train/a", 8).add("train/b", 8).add("test/a", 3).add("test/b", 3)
    folder.add("eval/a", 3).add("train/a/more", 3).add(".hidden/a", 1)
    for i in range(4):
        (folder.root / "train" / "b" / f"{i}.heic").write_bytes(b"picture")
    (folder.root / "train" / "b" / ".thumbs").write_bytes(b"")
    first, second = folder.load().remarks
    assert first == f"not used in {folder.root}: eval"
    assert second == f"not used in the class folders of {folder.root}/train: 4 x .heic, 1 x folder"


def test_a_pipe_is_unreadable_and_not_waited_for(folder: Folder) -> None:
    folder.add("train/a", 12).add("train/b", 12).add("test/a", 3).add("test/b", 3)
    os.mkfifo(folder.root / "train" / "a" / "z.png")
    task = folder.load()
    assert [Path(name).name for name in task.unreadable] == ["z.png"]


# --- found by fuzzing ----------------------------------------------------------------------------

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 12\n%%EndComments\n0 0 16 12 rectfill\n"


def unreadable(path: Path) -> str:
    """How the only image of a part is named that cannot be read."""
    names: list[str] = []
    assert len(decode_readable([(path, 0)], 8, names, "test")) == 0
    return names[0]


def test_no_image_runs_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*arguments: object, **options: object) -> None:
        raise AssertionError(f"ran {arguments}")

    monkeypatch.setattr("subprocess.check_call", run)
    monkeypatch.setattr("subprocess.Popen", run)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", "gs")
    path = tmp_path / "a.png"
    path.write_bytes(EPS)
    with pytest.raises(AssertionError, match="ran"), Image.open(path) as image:
        image.load()
    assert unreadable(path) == str(path)


def test_an_image_of_too_many_pixels_is_named_with_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    Image.new("RGB", (9000, 5000)).save(path, lossless=True, method=0)
    assert unreadable(path) == f"{path} (more than 44,739,242 pixels)"


def test_large_images_are_decoded_in_strips_as_small_ones_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.random.default_rng(0).integers(0, 256, (40, 30, 4), dtype=np.uint8)
    for mode in ("RGBA", "LA", "P", "I", "F", "CMYK"):
        image = Image.fromarray(values).convert("L" if mode in "IF" else mode).convert(mode)
        image = image.point(lambda v: v / 255) if mode == "F" else image
        whole = canonical_image(image, 24)
        monkeypatch.setattr(decoding, "_STRIP", 100)
        assert np.array_equal(canonical_image(image, 24), whole), mode
        monkeypatch.undo()


def test_a_task_with_a_name_that_the_system_refuses() -> None:
    with pytest.raises(UsageError, match="found nothing at"):
        load_task("a" * 5000, image_size=8, sizes=Sizes(1, 1, 1), seed=0)


def test_an_image_that_there_was_no_memory_for_is_told_apart_from_a_damaged_one(
    splits: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    true, calls = decoding.canonical_image, 0

    def starved(image: Image.Image, size: int) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise MemoryError
        return true(image, size)

    monkeypatch.setattr(decoding, "canonical_image", starved)
    (name,) = splits.load().unreadable
    assert name.endswith("(no memory for it)")


def test_a_home_folder_with_a_nul_is_no_task() -> None:
    with pytest.raises(UsageError, match="--task ~\\?a"):
        load_task("~\0a", image_size=32, sizes=Sizes(1, 1, 1), seed=0)


def test_no_images_have_no_digests() -> None:
    none = Split(torch.empty(0, 3, 8, 8, dtype=torch.uint8), torch.empty(0, dtype=torch.int64))
    assert none.digests.shape == (0, 32)


def test_no_error_is_longer_than_a_screen_or_two() -> None:
    error = UsageError("a" * 10_000, hint="b" * 10_000)
    assert (len(error.message), len(error.hint)) == (2000, 2000)
    assert error.message.endswith("…")
