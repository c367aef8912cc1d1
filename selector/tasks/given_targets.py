"""Numbers to predict for images that a caller in Python has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selector.errors import UsageError, printable, shorten
from selector.tasks.arrays import Images, check_equally_many, side_of, to_pictures
from selector.tasks.listing import Listing
from selector.tasks.splits import Chosen
from selector.tasks.targets import TargetRows, assemble_targets

Targets = np.ndarray | Tensor | Sequence[float] | Sequence[Sequence[float]]


@dataclass(frozen=True)
class GivenTargets:
    """Images with numbers, before it is drawn which of them are used.

    Attributes:
        name: of the task, in tables and documents.
        source: what it was made from.
        columns: names of the q numbers.
        parts: images and numbers by part: train, and validation and test where these are given.
        image_size: of the canonical images where the caller of rank_regression says none.
    """

    name: str
    source: str
    columns: tuple[str, ...]
    parts: Mapping[str, TargetRows]
    image_size: int

    def listing(self, seed: int) -> Listing:
        """Its images and numbers; a test part that it lacks is split off by ``seed``.

        Raises:
            UsageError: there are too few images to split any off.
        """
        validation, test = (part if part in self.parts else None for part in ("validation", "test"))
        chosen = Chosen("train", validation, test)
        where = f"task {self.name}"
        return assemble_targets(
            self.name, chosen, self.parts.__getitem__, self.columns, seed, where=where
        )


def targets_from_arrays(
    images: Images,
    targets: Targets,
    *,
    test: tuple[Images, Targets] | None = None,
    validation: tuple[Images, Targets] | None = None,
    columns: Sequence[str] | None = None,
    name: str = "arrays",
) -> GivenTargets:
    """A regression from images in memory, for :func:`selector.rank_regression`.

    Args:
        images: n, as :func:`selector.task_from_arrays` takes them.
        targets: (n,) or (n,q), finite, in units of your own: they are standardised by the training
            images.
        test: images and targets that results are reported on; None: a quarter is split off, by the
            seed of the run.
        validation: the same that hyperparameters are chosen on; None: split off as well.
        columns: q different names; None: ``target``, or ``target_0``, ``target_1`` and so on.
        name: what tables call the task.

    >>> pixels = np.zeros((8, 16, 16, 3), dtype=np.uint8)
    >>> task = targets_from_arrays(pixels, [[i, i * i] for i in range(8)], columns=("x", "area"))
    >>> task.columns, task.image_size
    (('x', 'area'), 16)
    >>> task.listing(seed=0).targets.shape
    (8, 2)

    Raises:
        UsageError: an argument is not what it must be.
    """
    given = {"train": (images, targets), "validation": validation, "test": test}
    parts = {part: _rows(part, pair) for part, pair in given.items() if pair is not None}
    widths = {part: len(rows.cells[0]) for part, rows in parts.items()}
    if len(set(widths.values())) > 1:
        found = ", ".join(f"{width} in {part}" for part, width in widths.items())
        raise UsageError(f"targets must be as many of each image in every part, found {found}.")
    return GivenTargets(
        printable(name), "arrays", _names(columns, widths["train"]), parts, side_of(images)
    )


def _rows(part: str, pair: tuple[Images, Targets]) -> TargetRows:
    pictures, targets = to_pictures(pair, part, "targets")
    values = _values(targets, f"targets of {part}")
    check_equally_many(len(pictures), len(values), part, "targets")
    return TargetRows(part, pictures, values.tolist())


def _values(targets: Any, where: str) -> np.ndarray:
    """Finite numbers (n,q) float64, q at least 1."""
    try:
        found = np.asarray(_on_cpu(targets))
    except (TypeError, ValueError, RuntimeError):  # rows of different lengths, for one
        found = np.asarray(None)
    if found.dtype.kind not in "iuf" or found.ndim not in (1, 2) or not found.size:
        kind = f" of {found.dtype}" if found.ndim else ""
        shape = f", shape {found.shape}" if found.ndim else ""
        raise UsageError(
            f"{where} must be numbers, (n,) or (n,q), found {type(targets).__name__}{kind}{shape}.",
            hint="Classes are ranked by selector.rank.",
        )
    values = found.astype(np.float64).reshape(len(found), -1)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise UsageError(
            f"{where} must be finite, found {values[row, column]} at [{row}, {column}].",
            hint="Correct the row or remove it.",
        )
    return values


def _on_cpu(targets: Any) -> Any:
    if not isinstance(targets, Tensor):
        return targets
    # numpy has no bfloat16.
    targets = targets.detach().cpu()
    return targets.double() if targets.dtype == torch.bfloat16 else targets


def _names(columns: Any, count: int) -> tuple[str, ...]:
    if columns is None:
        return ("target",) if count == 1 else tuple(f"target_{i}" for i in range(count))
    named = isinstance(columns, Sequence) and not isinstance(columns, str)
    names = tuple(columns) if named else ()
    good = all(isinstance(one, str) and one and one.isprintable() for one in names)
    if not good or len(names) != count or len(set(names)) < count:
        raise UsageError(
            f"columns must be {count} different printable names, one of each number of an image,"
            f" found {shorten(repr(columns), 80)}."
        )
    return names
