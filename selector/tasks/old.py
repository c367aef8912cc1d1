"""The user's task: labelled images, decoded once into canonical images for every candidate."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from selector.demo.digits import load_digits
from selector.errors import UsageError
from selector.protocol import Sizes

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
TRAIN_NAMES, VALIDATION_NAMES, TEST_NAMES = (
    ("train", "training"),
    ("validation", "val", "valid"),
    ("test",),
)
BUILTIN_PREFIX = "builtin:"

# More unreadable files than this share of what was asked for is a broken data set, not an accident.
UNREADABLE_LIMIT = 0.05


@dataclass(frozen=True)
class Split:
    """Canonical images of one part of a task.

    Attributes:
        pixels: (n,3,S,S) uint8.
        labels: (n,) int64 in 0..K-1.
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Task:
    """Labelled images of the user.

    Attributes:
        name: the folder's name or the built-in's.
        source: what ``--task`` said.
        classes: class names; a label is an index into them.
        train: images the heads are fitted on.
        validation: images that hyperparameters are chosen on; never used to fit.
        test: images that results are reported on; used for nothing else.
        unreadable: files that could not be decoded and were left out.
        fingerprint: sha256 over class names, canonical pixels and labels of all parts.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    unreadable: tuple[str, ...]
    fingerprint: str

    @property
    def image_size(self) -> int:
        """S: width and height of the canonical images."""
        return int(self.train.pixels.shape[-1])


Example = tuple[Path | np.ndarray, int]


@dataclass(frozen=True)
class _Listing:
    """A task before any image is decoded."""

    name: str
    classes: tuple[str, ...]
    train: list[Example]
    validation: list[Example]
    test: list[Example]


def load_task(spec: str, *, image_size: int, sizes: Sizes, seed: int) -> Task:
    """Read a task and decode the images that will be used, each exactly once.

    Args:
        spec: a folder (``train/CLASS/*`` and ``test/CLASS/*``, with an optional ``val/``; or
            ``CLASS/*`` to be split here), or ``builtin:digits``.
        image_size: S, at least 8.
        sizes: how many images to draw of each part.
        seed: of the draw and of the split.

    Raises:
        UsageError: there is no such task, or it is not one: fewer than two classes, a part
            without images, a class of the test part that train lacks, too many unreadable files.
    """
    if image_size < 8:
        raise UsageError(f"--image-size must be at least 8, found {image_size}.")
    if spec.startswith(BUILTIN_PREFIX):
        listing = _builtin(spec.removeprefix(BUILTIN_PREFIX), seed)
    else:
        listing = _folder(Path(spec).expanduser(), seed)
    listing = _with_validation(listing, sizes, seed)
    unreadable: list[str] = []
    train, validation, test = (
        _decode(_draw(examples, size, seed), image_size, unreadable, part)
        for part, examples, size in (
            ("train", listing.train, sizes.train),
            ("validation", listing.validation, sizes.validation),
            ("test", listing.test, sizes.test),
        )
    )
    return Task(
        name=listing.name,
        source=spec,
        classes=listing.classes,
        train=train,
        validation=validation,
        test=test,
        unreadable=tuple(unreadable),
        fingerprint=_fingerprint(listing.classes, (train, validation, test)),
    )


def canonical_image(image: Image.Image, size: int) -> np.ndarray:
    """One image as (S,S,3) uint8: EXIF rotation, RGB, shorter side to S, centre crop.

    Transparent pixels are laid on white; 16-bit grey keeps its upper 8 bits.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        image = Image.fromarray((values / (256 if values.max() > 255 else 1)).astype(np.uint8))
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA"):
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.asarray(
        ImageOps.fit(image.convert("RGB"), (size, size), method=Image.Resampling.BICUBIC)
    )


def _builtin(name: str, seed: int) -> _Listing:
    if name not in BUILTIN_TASKS:
        raise UsageError(
            f"--task builtin: must name one of {', '.join(BUILTIN_TASKS)}, found {name!r}."
        )
    return BUILTIN_TASKS[name](seed)


def _digits(seed: int) -> _Listing:
    pixels, labels = load_digits()
    examples: list[Example] = list(zip(pixels, labels.tolist(), strict=True))
    train, test = _divide(examples, 1 / 3, seed)
    return _Listing("digits", tuple("0123456789"), train, [], test)


def _folder(root: Path, seed: int) -> _Listing:
    if not root.is_dir():
        raise UsageError(
            f"--task must name a folder of labelled images, found no folder at {root}.",
            hint="Expected DIR/train/CLASS/*.jpg and DIR/test/CLASS/*.jpg, or DIR/CLASS/*.jpg.",
        )
    parts = {path.name.lower(): path for path in _subfolders(root)}
    train = _first(parts, TRAIN_NAMES)
    test = _first(parts, TEST_NAMES)
    validation = _first(parts, VALIDATION_NAMES)
    if train is None and (test or validation):
        raise UsageError(f"--task {root} has {', '.join(sorted(parts))} but no train folder.")
    if train is None:
        classes = _classes(root)
        kept, held_out = _divide(_list_images(root, classes), 0.25, seed)
        return _Listing(root.resolve().name, classes, kept, [], held_out)
    if test is None:
        test, validation = validation, None
    classes = _classes(train)
    examples = _list_images(train, classes)
    if test is None:
        kept, held_out = _divide(examples, 0.25, seed)
        return _Listing(root.resolve().name, classes, kept, [], held_out)
    for part in (test, validation):
        extra = sorted({path.name for path in _subfolders(part)} - set(classes)) if part else []
        if extra:
            raise UsageError(
                f"--task {root}: {part} has classes that {train.name} lacks: {', '.join(extra)}.",
                hint="Class folders must have the same names in every part.",
            )
    return _Listing(
        name=root.resolve().name,
        classes=classes,
        train=examples,
        validation=_list_images(validation, classes) if validation else [],
        test=_list_images(test, classes),
    )


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _first(parts: dict[str, Path], names: Sequence[str]) -> Path | None:
    return next((parts[name] for name in names if name in parts), None)


def _classes(folder: Path) -> tuple[str, ...]:
    """Names of the class folders, sorted by code point as torchvision and datasets do."""
    folders = _subfolders(folder)
    named = tuple(path.name for path in folders if any(map(_is_image, path.iterdir())))
    if not named and any(_subfolders(path) for path in folders):
        raise UsageError(
            f"--task {folder} holds folders of folders ({', '.join(p.name for p in folders[:5])}).",
            hint="Point --task one level down, at the folder that holds train/ and test/ or the"
            " class folders.",
        )
    if len(named) < 2:
        found = f"one class ({named[0]})" if named else "no class folder with images"
        raise UsageError(
            f"--task needs at least two classes to tell apart, found {found} in {folder}.",
            hint="Each class is a folder of images: DIR/CLASS/*.jpg.",
        )
    return named


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _list_images(folder: Path, classes: Sequence[str]) -> list[Example]:
    examples: list[Example] = [
        (path, label)
        for label, name in enumerate(classes)
        if (folder / name).is_dir()
        for path in sorted((folder / name).iterdir())
        if _is_image(path)
    ]
    if not examples:
        raise UsageError(f"--task: {folder} holds no images.")
    return examples


def _with_validation(listing: _Listing, sizes: Sizes, seed: int) -> _Listing:
    """Hold out a quarter of train, or as much as validation may use, where no part is given."""
    if listing.validation:
        return listing
    share = min(0.25, sizes.validation / len(listing.train))
    train, validation = _divide(listing.train, share, seed + 1)
    return _Listing(listing.name, listing.classes, train, validation, listing.test)


def _divide(
    examples: list[Example], share: float, seed: int
) -> tuple[list[Example], list[Example]]:
    """Split by class: the second list gets about ``share`` of each class, and at least one image."""
    generator = np.random.default_rng(seed)
    kept, taken = [], []
    for members in _by_class(examples):
        if len(members) < 2:
            raise UsageError(
                "--task needs at least two images of every class that is to be split,"
                f" found one: {members[0][0]}."
            )
        order = generator.permutation(len(members))
        cut = min(len(members) - 1, max(1, round(share * len(members))))
        taken += [members[i] for i in sorted(order[:cut])]
        kept += [members[i] for i in sorted(order[cut:])]
    return kept, taken


def _draw(examples: list[Example], size: int, seed: int) -> list[Example]:
    """At most ``size`` examples, every class in proportion (largest remainders)."""
    if len(examples) <= size:
        return examples
    generator = np.random.default_rng(seed)
    groups = _by_class(examples)
    exact = np.array([len(group) for group in groups]) * size / len(examples)
    counts = np.floor(exact).astype(int)
    for index in np.argsort(counts - exact, kind="stable")[: size - counts.sum()]:
        counts[index] += 1
    return [
        group[i]
        for group, count in zip(groups, counts, strict=True)
        for i in sorted(generator.permutation(len(group))[:count])
    ]


def _by_class(examples: list[Example]) -> list[list[Example]]:
    groups: dict[int, list[Example]] = {}
    for example in examples:
        groups.setdefault(example[1], []).append(example)
    return [groups[label] for label in sorted(groups)]


def _decode(examples: list[Example], size: int, unreadable: list[str], part: str) -> Split:
    def read(example: Example) -> np.ndarray | None:
        source = example[0]
        if isinstance(source, np.ndarray):
            return canonical_image(Image.fromarray(source), size)
        try:
            with Image.open(source) as image:
                return canonical_image(image, size)
        except (
            UnidentifiedImageError,
            OSError,
            ValueError,
            SyntaxError,
            Image.DecompressionBombError,
        ):
            return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        images = list(pool.map(read, examples))
    failed = [
        str(source) for (source, _), image in zip(examples, images, strict=True) if image is None
    ]
    unreadable += failed
    if len(failed) > max(1, UNREADABLE_LIMIT * len(examples)):
        raise UsageError(
            f"--task: {len(failed)} of {len(examples)} {part} images cannot be read,"
            f" at most {UNREADABLE_LIMIT:.0%} may be; the first is {failed[0]}.",
            hint="Remove or replace them.",
        )
    good = [
        (image, label)
        for image, (_, label) in zip(images, examples, strict=True)
        if image is not None
    ]
    if not good:
        raise UsageError(f"--task: the {part} part has no readable image.")
    pixels = torch.from_numpy(np.stack([image for image, _ in good])).permute(0, 3, 1, 2)
    return Split(pixels.contiguous(), torch.tensor([label for _, label in good]))


def _fingerprint(classes: Sequence[str], splits: Sequence[Split]) -> str:
    digest = hashlib.sha256("\0".join(classes).encode())
    for split in splits:
        digest.update(np.int64(len(split)).tobytes())
        digest.update(split.pixels.numpy().tobytes())
        digest.update(split.labels.numpy().tobytes())
    return digest.hexdigest()


BUILTIN_TASKS: dict[str, Callable[[int], _Listing]] = {"digits": _digits}
