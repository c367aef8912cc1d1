"""Tasks of a caller in Python: arrays, tensors and data sets, undecoded until they are drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from selector.errors import UsageError, first_line, printable, shorten
from selector.tasks.arrays import (
    Images,
    check_equally_many,
    side_of,
    to_picture,
    to_pictures,
    to_values,
)
from selector.tasks.labelling import Label, Parts, Rows, assemble
from selector.tasks.listing import Listing, Picture

Labels = Sequence[int | str] | np.ndarray | Tensor


@dataclass(frozen=True)
class GivenTask:
    """Labelled images, before it is drawn which of them are used.

    Attributes:
        name: of the task, in tables and documents.
        source: what it was made from.
        parts: images and labels.
        order: class names in the caller's order; None: numbers in numeric order, names by code
            point.
        image_size: of the canonical images where the caller of rank says none; None: 224.
    """

    name: str
    source: str
    parts: Parts
    order: tuple[str, ...] | None = None
    image_size: int | None = None

    def listing(self, seed: int) -> Listing:
        """Its images and classes; a part that it lacks is split off by ``seed``.

        Raises:
            UsageError: fewer than two classes, or one that train lacks.
        """
        try:
            return assemble(
                self.name, self.parts, seed, where=f"task {self.name}", order=self.order
            )
        except UsageError as error:
            # Columns and splits are what tables have.
            hint = "" if "--" in error.hint else error.hint
            raise UsageError(error.message, hint=hint) from None


def task_from_arrays(
    images: Images,
    labels: Labels,
    *,
    test: tuple[Images, Labels] | None = None,
    validation: tuple[Images, Labels] | None = None,
    classes: Sequence[str] | None = None,
    name: str = "arrays",
) -> GivenTask:
    """A task from images in memory.

    Args:
        images: (n,3,h,w) or (n,h,w,3), or of one channel; uint8, or float in [0,1], which is
            rounded to 8 bits. Neither normalised nor augmented: backbones normalise by themselves.
        labels: (n,) of numbers or names.
        test: images and labels that results are reported on; None: a quarter of each class is
            split off, by the seed of the run.
        validation: the same that hyperparameters are chosen on; None: split off as well.
        classes: names; a label that is a number is an index into them. None: the labels themselves.
        name: what tables call the task.

    >>> pixels = np.zeros((8, 16, 16, 3), dtype=np.uint8)
    >>> task = task_from_arrays(pixels, ["cat", "dog"] * 4, name="pets")
    >>> task.listing(seed=0).classes, task.image_size
    (('cat', 'dog'), 16)

    Raises:
        UsageError: an argument is not what it must be.
    """
    given = {"train": (images, labels), "validation": validation, "test": test}
    order = _order(classes)
    rows = {
        part: _array_rows(part, pair, order) for part, pair in given.items() if pair is not None
    }
    return GivenTask(
        printable(name),
        "arrays",
        Parts(rows["train"], rows.get("validation"), rows.get("test")),
        order,
        side_of(images),
    )


def task_from_dataset(
    train: Any,
    test: Any = None,
    *,
    validation: Any = None,
    classes: Sequence[str] | None = None,
    name: str = "dataset",
) -> GivenTask:
    """A task from data sets of (image, label), as torch and torchvision have them.

    An image is a PIL image, or an array or tensor as :func:`task_from_arrays` takes, (3,h,w) or
    (h,w,3). Those that are drawn are read again for each run. Labels are needed before: they are
    taken from ``targets`` where a data set has that and no ``target_transform``; otherwise every
    item is read once. Items are read one at a time, in whatever thread.

    Args:
        train: has ``len`` and items by number; without random augmentation, which would make
            another task of it each time.
        test: the same that results are reported on; None: split off.
        validation: the same that hyperparameters are chosen on; None: split off.
        classes: as of :func:`task_from_arrays`; for torchvision's ``train.classes``.
        name: what tables call the task.

    >>> items = [(Image.new("RGB", (16, 16), colour), colour) for colour in ["red", "blue"] * 4]
    >>> task_from_dataset(items).listing(seed=0).classes
    ('blue', 'red')

    Raises:
        UsageError: an argument is not what it must be.
    """
    given = {"train": train, "validation": validation, "test": test}
    order = _order(classes)
    rows = {
        part: _item_rows(part, data, order)
        for part, data in given.items()
        if data is not None or part == "train"
    }
    return GivenTask(
        printable(name),
        f"dataset {type(train).__name__}",
        Parts(rows["train"], rows.get("validation"), rows.get("test")),
        order,
    )


def _array_rows(part: str, pair: tuple[Images, Labels], order: tuple[str, ...] | None) -> Rows:
    sources, labels = to_pictures(pair, part, "labels")
    known = _known(labels, order, f"labels of {part}")
    check_equally_many(len(sources), len(known), part, "labels")
    return Rows(part, sources, known)


def _item_rows(part: str, data: Any, order: tuple[str, ...] | None) -> Rows:
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise UsageError(
            f"{part} must be a data set with a length and items by number, found"
            f" {type(data).__name__}.",
            hint="Collect what an iterable one gives in a list of (image, label).",
        )
    raw = _raw_labels(part, data)
    known, lock = _known(raw, order, f"labels of {part}"), Lock()
    sources = [
        Picture(f"{part}[{i}]", partial(_item_picture, part, data, i, label, lock))
        for i, label in enumerate(raw)
    ]
    return Rows(part, sources, known)


def _raw_labels(part: str, data: Any) -> list[int | str]:
    targets = getattr(data, "targets", None)
    if targets is None or getattr(data, "target_transform", None) is not None:
        return [_plain(_readable(part, data, i)[1]) for i in range(len(data))]
    if len(targets) != len(data):
        raise UsageError(
            f"{part} must have a target of each of its {len(data)} items, found {len(targets)}."
        )
    return [_plain(target) for target in targets]


def _readable(part: str, data: Any, index: int) -> tuple[Any, Any]:
    try:
        return _item(part, data, index)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"{part}[{index}] cannot be read: {type(error).__name__}: {first_line(error)}."
        ) from error


def _item(part: str, data: Any, index: int) -> tuple[Any, Any]:
    item = data[index]
    if not (isinstance(item, tuple | list) and len(item) == 2):
        raise UsageError(
            f"items of {part} must be (image, label), found {type(item).__name__} at {index}."
        )
    return item[0], item[1]


def _item_picture(part: str, data: Any, index: int, label: int | str, lock: Lock) -> Image.Image:
    """The image, once it is sure that its label is the one that it was drawn by."""
    with lock:
        value, found = _item(part, data, index)
    if _plain(found) != label:
        raise UsageError(
            f"{part}[{index}] must always have the same label, found {_plain(found)!r} where"
            f" {label!r} was told before."
        )
    if isinstance(value, Image.Image):
        return value
    return to_picture(to_values(value[None], f"{part}[{index}]")[0])


def _known(labels: Any, order: tuple[str, ...] | None, where: str) -> list[Label]:
    """Labels as numbers or names; where there are class names, as these."""
    flat = labels.tolist() if isinstance(labels, np.ndarray | Tensor) else labels
    if not isinstance(flat, Iterable):
        raise UsageError(f"{where} must be one of each image, found {type(labels).__name__}.")
    found = [_plain(label) for label in flat]
    if order is None:
        return list(found)
    named: list[Label] = []
    for label in found:
        if isinstance(label, int) and 0 <= label < len(order):
            named.append(order[label])
        elif label in order:
            named.append(label)
        else:
            raise UsageError(
                f"{where} must be one of {len(order)} classes by name or number from 0, found"
                f" {shorten(repr(label))}."
            )
    return named


def _plain(label: Any) -> int | str:
    value = label.item() if isinstance(label, np.generic | np.ndarray | Tensor) else label
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise UsageError(
            f"a label must be a whole number or a name, found {shorten(repr(value))}.",
            hint="Backbones for numbers to predict are ranked by selector.rank_regression.",
        )
    return value


def _order(classes: Iterable[str] | None) -> tuple[str, ...] | None:
    if classes is None:
        return None
    order = tuple(map(str, classes))
    if len(set(order)) < len(order):
        raise UsageError("classes must be different names, found one twice.")
    return order
