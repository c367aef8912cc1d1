"""Labelled images before they are decoded: which there are, and which will be used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from selector.errors import UsageError, printable
from selector.protocol import Sizes

# Share of a part that is split off where a task does not come with the other part.
HELD_OUT = 0.25


class Encoded(Protocol):
    """An image file that is read when it is decoded, and not before; ``str`` says which it is."""

    def read(self) -> bytes:
        """Return the file's content; whatever is raised makes it an unreadable image."""
        ...


@dataclass(frozen=True)
class Picture:
    """An image that a caller in Python has; ``str`` says which of them.

    Attributes:
        name: which.
        image: gives it, when it is decoded and not before.
    """

    name: str
    image: Callable[[], Image.Image]

    def __str__(self) -> str:
        return self.name


Source = Path | np.ndarray | Encoded | Picture
"""A file, an array (h,w) or (h,w,3) uint8, what can be read, or what a caller has."""

Example = tuple[Source, int]
"""An image, and its label."""


@dataclass(frozen=True)
class Listing:
    """A task before any image is decoded.

    ``revision`` is the Hub's commit it is of; ``remarks`` say what there is beside it. Of a
    regression labels are rows of ``targets`` (N,q), and ``classes`` are the names of its columns.
    """

    name: str
    classes: tuple[str, ...]
    train: list[Example]
    validation: list[Example]
    test: list[Example]
    revision: str | None = None
    remarks: tuple[str, ...] = ()
    targets: np.ndarray | None = None


def with_validation(listing: Listing, sizes: Sizes, seed: int) -> Listing:
    """Hold out a quarter of train, or as much as validation may use, where no part is given."""
    if listing.validation:
        return listing
    share = min(HELD_OUT, sizes.validation / len(listing.train))
    train, validation = divide(listing.train, share, seed + 1)
    return replace(listing, train=train, validation=validation)


def divide(examples: list[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Split by class: the second list gets about ``share`` of each, and at least one image."""
    generator = np.random.default_rng(seed)
    kept, taken = [], []
    for members in _by_class(examples):
        if len(members) < 2:
            raise UsageError(
                "--task needs at least two images of every class for each part that is split off;"
                f" too few are of the class of {printable(str(members[0][0]))}.",
                hint="Add images of that class, or give all parts.",
            )
        order = generator.permutation(len(members))
        cut = min(len(members) - 1, max(1, round(share * len(members))))
        taken += [members[i] for i in sorted(order[:cut])]
        kept += [members[i] for i in sorted(order[cut:])]
    return kept, taken


def draw(examples: list[Example], size: int, seed: int) -> list[Example]:
    """At most ``size`` examples: one of every class, the rest in proportion to what is there.

    Raises:
        UsageError: ``size`` does not allow one image of every class.
    """
    if len(examples) <= size:
        return examples
    groups = _by_class(examples)
    if size < len(groups):
        raise UsageError(
            f"a part of the task needs an image of each of its {len(groups)} classes, but only"
            f" {size} may be used.",
            hint="Raise --train-images or --test-images (validation gets half of the latter; for"
            " certify a quarter of the former).",
        )
    spare = np.array([len(group) - 1 for group in groups])
    exact = spare * (size - len(groups)) / spare.sum()
    counts = np.floor(exact).astype(int)
    # Largest remainders get what rounding down has left over.
    for index in np.argsort(counts - exact, kind="stable")[: size - len(groups) - counts.sum()]:
        counts[index] += 1
    generator = np.random.default_rng(seed)
    return [
        group[i]
        for group, count in zip(groups, counts + 1, strict=True)
        for i in sorted(generator.permutation(len(group))[:count])
    ]


def _by_class(examples: list[Example]) -> list[list[Example]]:
    groups: dict[int, list[Example]] = {}
    for example in examples:
        groups.setdefault(example[1], []).append(example)
    return [groups[label] for label in sorted(groups)]
