"""Tasks from folders of images: DIR/train/CLASS/* and DIR/test/CLASS/*, or DIR/CLASS/*."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from selector.errors import UsageError, printable
from selector.reading import is_folder
from selector.tasks.listing import HELD_OUT, Example, Listing, divide

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
TRAIN_NAMES = ("train", "training")
VALIDATION_NAMES = ("validation", "val", "valid")
TEST_NAMES = ("test", "testing")


def list_folder(root: Path, seed: int) -> Listing:
    """Images and classes of a folder, undecoded; parts that it lacks are split off by ``seed``.

    Raises:
        UsageError: it is no folder, or not one of labelled images.
    """
    if not is_folder(root):
        raise UsageError(
            f"--task must name a folder of labelled images, a table of them or hf:owner/name,"
            f" found nothing at {printable(str(root))}.",
            hint="Expected DIR/train/CLASS/*.jpg and DIR/test/CLASS/*.jpg, or DIR/CLASS/*.jpg; or"
            " a .parquet, .csv, .tsv or .jsonl file.",
        )
    parts = {path.name.lower(): path for path in _subfolders(root)}
    train = _first(parts, TRAIN_NAMES)
    test = _first(parts, TEST_NAMES)
    validation = _first(parts, VALIDATION_NAMES)
    if train is None and (test or validation):
        raise UsageError(f"--task {root} has {', '.join(sorted(parts))} but no train folder.")
    if train is None:
        classes = _classes(root)
        kept, held_out = divide(_list_images(root, classes), HELD_OUT, seed)
        remarks = _beside_images(root, classes)
        return Listing(root.resolve().name, classes, kept, [], held_out, remarks=remarks)
    if test is None:
        test, validation = validation, None
    classes = _classes(train)
    remarks = (
        *_unused(root, [path for path in (train, validation, test) if path]),
        *(remark for p in (train, validation, test) if p for remark in _beside_images(p, classes)),
    )
    examples = _list_images(train, classes)
    if test is None:
        kept, held_out = divide(examples, HELD_OUT, seed)
        return Listing(root.resolve().name, classes, kept, [], held_out, remarks=remarks)
    for part in filter(None, (test, validation)):
        extra = sorted(set(_with_images(part)) - set(classes))
        empty = [name for name in extra if (train / name).is_dir()]
        if empty:
            raise UsageError(
                f"--task {root}: {train.name} must have images of each class of {part.name}, found"
                f" none in {', '.join(str(train / name) for name in empty)}."
            )
        if extra:
            raise UsageError(
                f"--task {root}: {part} has classes that {train.name} lacks: {', '.join(extra)}.",
                hint="Class folders must have the same names in every part.",
            )
    return Listing(
        name=root.resolve().name,
        classes=classes,
        train=examples,
        validation=_list_images(validation, classes) if validation else [],
        test=_list_images(test, classes),
        remarks=remarks,
    )


def _unused(root: Path, parts: Sequence[Path]) -> tuple[str, ...]:
    """Folders beside train that are no part by their name."""
    unused = [printable(path.name) for path in _subfolders(root) if path not in parts]
    return (f"not used in {printable(str(root))}: {', '.join(unused)}",) if unused else ()


def _beside_images(folder: Path, classes: Sequence[str]) -> tuple[str, ...]:
    """What class folders hold that is not taken for an image."""
    kinds: Counter[str] = Counter()
    for name in classes:
        for path in (folder / name).iterdir() if (folder / name).is_dir() else ():
            if not (_is_image(path) or path.name.startswith(".")):
                kinds["folder" if path.is_dir() else path.suffix.lower() or "no suffix"] += 1
    if not kinds:
        return ()
    found = ", ".join(f"{count} x {printable(kind)}" for kind, count in kinds.most_common(5))
    return (f"not used in the class folders of {printable(str(folder))}: {found}",)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _first(parts: dict[str, Path], names: Sequence[str]) -> Path | None:
    return next((parts[name] for name in names if name in parts), None)


def _with_images(folder: Path) -> tuple[str, ...]:
    """Names of the folders in it that hold an image."""
    return tuple(path.name for path in _subfolders(folder) if any(map(_is_image, path.iterdir())))


def _classes(folder: Path) -> tuple[str, ...]:
    """Names of the class folders, sorted by code point as torchvision and datasets do."""
    folders, named = _subfolders(folder), _with_images(folder)
    odd = next((name for name in named if not name.isprintable()), None)
    if odd is not None:
        raise UsageError(
            f"--task: class folders must have printable UTF-8 names, found {printable(odd)}."
        )
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
