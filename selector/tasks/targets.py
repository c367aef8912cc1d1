"""From rows with numbers to a listing for regression: parts, and a table of targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from selector.errors import UsageError, printable
from selector.tasks.listing import HELD_OUT, Encoded, Example, Listing, Picture
from selector.tasks.options import TaskOptions
from selector.tasks.splits import Chosen, choose_column

_HINT = (
    "Correct the row or remove it: every column that --target-column names must hold a finite"
    " number in every row."
)


@dataclass(frozen=True)
class TargetRows:
    """One split, undecoded.

    Attributes:
        name: what the split is called.
        sources: where the n images are.
        cells: (n,q), what the target columns hold.
    """

    name: str
    sources: Sequence[Encoded | Picture]
    cells: Sequence[Sequence[object]]


def target_columns(
    columns: Sequence[str], options: TaskOptions, image: str, where: str
) -> tuple[str, ...]:
    """The columns that ``--target-column`` names, each once and none the images'.

    Raises:
        UsageError: one is not there, or cannot be meant.
    """
    for name in options.target_columns:
        choose_column(columns, (), option="--target-column", given=name, where=where)
        if name == image:
            raise UsageError(
                f"--target-column must name numbers; {printable(name)} is the image column."
            )
    return options.target_columns


def assemble_targets(
    name: str,
    chosen: Chosen,
    read: Callable[[str], TargetRows],
    columns: tuple[str, ...],
    seed: int,
    *,
    where: str,
) -> Listing:
    """A listing whose labels are row numbers of its ``targets`` (N,q).

    Args:
        name: the task's.
        chosen: names of its splits.
        read: the rows of a split.
        columns: q target columns.
        seed: of the split, where test has to be held out.
        where: the task, for messages.

    Raises:
        UsageError: a cell is no finite number, or a split has no rows.
    """
    values: list[list[float]] = []
    parts: dict[str, list[Example]] = {"train": [], "validation": [], "test": []}
    for part, split in zip(parts, (chosen.train, chosen.validation, chosen.test), strict=True):
        if split is None:
            continue
        rows = read(split)
        if not rows.sources:
            raise UsageError(f"{where}: the split {printable(split)} must have rows, found none.")
        for source, cells in zip(rows.sources, rows.cells, strict=True):
            parts[part].append((source, len(values)))
            values.append(
                [
                    _number(cell, column, str(source), where)
                    for cell, column in zip(cells, columns, strict=True)
                ]
            )
    if not parts["test"]:
        parts["train"], parts["test"] = split_off(parts["train"], HELD_OUT, seed)
    return Listing(
        name,
        columns,
        parts["train"],
        parts["validation"],
        parts["test"],
        targets=np.array(values),
    )


def split_off(
    examples: list[Example], share: float, seed: int
) -> tuple[list[Example], list[Example]]:
    """About ``share`` of the examples at random, at least one, as the second list.

    Raises:
        UsageError: there are fewer than two.
    """
    if len(examples) < 2:
        raise UsageError(
            "--task needs at least two images for each part that is split off, found"
            f" {len(examples)}.",
            hint="Add images, or give all parts.",
        )
    order = np.random.default_rng(seed).permutation(len(examples))
    cut = min(len(examples) - 1, max(1, round(share * len(examples))))
    return [examples[i] for i in sorted(order[cut:])], [examples[i] for i in sorted(order[:cut])]


def _number(cell: object, column: str, row: str, where: str) -> float:
    """A cell as a finite number; text that reads as one counts."""
    try:
        # An underscore is Python's own way to group digits.
        if isinstance(cell, bool) or not isinstance(cell, str | int | float) or "_" in str(cell):
            raise ValueError
        value = float(cell)
    except (ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        found = "nothing" if cell is None or not str(cell).strip() else printable(repr(cell)[:80])
        raise UsageError(
            f"{where}: {printable(column)} of {printable(row)} must be a finite number,"
            f" found {found}.",
            hint=_HINT,
        )
    return value
