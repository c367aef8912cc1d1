"""The user's task: labelled images, decoded once into canonical images for every candidate."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selector.errors import UsageError
from selector.protocol import Sizes
from selector.tasks.builtin import BUILTIN_PREFIX, list_builtin
from selector.tasks.decoding import Split, decode
from selector.tasks.folders import list_folder
from selector.tasks.listing import draw, with_validation


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
        listing = list_builtin(spec.removeprefix(BUILTIN_PREFIX), seed)
    else:
        listing = list_folder(Path(spec).expanduser(), seed)
    listing = with_validation(listing, sizes, seed)
    unreadable: list[str] = []
    train, validation, test = (
        decode(draw(examples, size, seed), image_size, unreadable, part)
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


def _fingerprint(classes: Sequence[str], splits: Sequence[Split]) -> str:
    digest = hashlib.sha256("\0".join(classes).encode())
    for split in splits:
        digest.update(np.int64(len(split)).tobytes())
        digest.update(split.pixels.numpy().tobytes())
        digest.update(split.labels.numpy().tobytes())
    return digest.hexdigest()
