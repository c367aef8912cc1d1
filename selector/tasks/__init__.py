"""The user's task: labelled images, decoded once into canonical images for every candidate."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selector.errors import UsageError, printable
from selector.protocol import Sizes
from selector.reading import is_file, is_folder
from selector.tasks.builtin import BUILTIN_PREFIX, list_builtin
from selector.tasks.decoding import Split, decode
from selector.tasks.folders import list_folder
from selector.tasks.given import GivenTask
from selector.tasks.given_targets import GivenTargets
from selector.tasks.hub_datasets import HUB_PREFIX, list_hub
from selector.tasks.listing import Listing, draw, with_validation
from selector.tasks.manifests import READERS, list_manifest
from selector.tasks.options import NO_OPTIONS, TaskOptions
from selector.tasks.splits import listed
from selector.tasks.tables import SAVED_FILES, list_parquet, list_saved, parquet_files


@dataclass(frozen=True)
class Task:
    """Labelled images of the user.

    Attributes:
        name: of the folder, the file, the dataset or the built-in.
        source: what ``--task`` said, or what a caller in Python gave.
        classes: class names; a label is an index into them.
        train: images the heads are fitted on.
        validation: images that hyperparameters are chosen on; never used to fit.
        test: images that results are reported on; used for nothing else.
        unreadable: files that could not be decoded and were left out.
        fingerprint: sha256 over class names, canonical pixels and labels of all parts.
        revision: the commit, 40 hex digits, of a dataset of the Hub; None for what is local.
        remarks: what there is beside these images, and was not used.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    unreadable: tuple[str, ...]
    fingerprint: str
    revision: str | None
    remarks: tuple[str, ...] = ()

    @property
    def image_size(self) -> int:
        """S: width and height of the canonical images."""
        return self.train.pixels.shape[-1]


def load_task(
    spec: str | GivenTask,
    *,
    image_size: int,
    sizes: Sizes,
    seed: int,
    options: TaskOptions = NO_OPTIONS,
) -> Task:
    """Read a task and decode the images that will be used, each exactly once.

    Args:
        spec: a folder (``train/CLASS/*`` and ``test/CLASS/*``, with an optional ``val/``; or
            ``CLASS/*`` to be split here; or parquet files; or what ``save_to_disk`` wrote), a
            .parquet file, a .csv, .tsv or .jsonl manifest, ``hf:owner/name[@revision][:config]``,
            or ``builtin:digits``. Or images that a caller in Python has.
        image_size: S, at least 8.
        sizes: how many images to draw of each part.
        seed: of the draw and of the split.
        options: columns and splits by name.

    Raises:
        UsageError: there is no such task, or it is not one: fewer than two classes, a part
            without images, a class of the test part that train lacks, too many unreadable files;
            an option does not apply to it; or it has numbers in place of classes.
        HubUnavailable: it is on the Hub, and the Hub or the network is down.
    """
    listing = list_task(spec, image_size=image_size, seed=seed, options=options)
    if listing.targets is not None:
        raise UsageError(
            f"task {listing.name} must have classes, found numbers: {listed(listing.classes)}.",
            hint="selector.rank_regression ranks backbones by these.",
        )
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
        source=spec if isinstance(spec, str) else spec.source,
        classes=listing.classes,
        train=train,
        validation=validation,
        test=test,
        unreadable=tuple(unreadable),
        fingerprint=fingerprint(listing.classes, (train, validation, test)),
        revision=listing.revision,
        remarks=listing.remarks,
    )


def list_task(
    spec: str | GivenTask | GivenTargets, *, image_size: int, seed: int, options: TaskOptions
) -> Listing:
    """What there is, before any image is decoded; see :func:`load_task`.

    Raises:
        UsageError: there is no such task, or an option does not apply to it.
    """
    if image_size < 8:
        raise UsageError(f"--image-size must be at least 8, found {image_size}.")
    if not isinstance(spec, str):
        return spec.listing(seed)
    if not spec.strip():
        raise UsageError("--task must name a folder, a table or hf:owner/name, found nothing.")
    return SOURCES[_form(spec)](spec, options, seed)


def fingerprint(names: Sequence[str], splits: Sequence[Split]) -> str:
    """sha256 over names, canonical pixels and labels."""
    digest = hashlib.sha256("\0".join(names).encode())
    for split in splits:
        digest.update(np.int64(len(split)).tobytes())
        digest.update(split.digests.numpy().data)
        digest.update(split.labels.numpy().tobytes())
    return digest.hexdigest()


def _form(spec: str) -> str:
    """Which of SOURCES reads a task."""
    for prefix in (BUILTIN_PREFIX, HUB_PREFIX):
        if spec.startswith(prefix):
            return prefix
    try:
        path = Path(spec).expanduser()
    except (RuntimeError, ValueError) as error:  # ~nobody, and a NUL after ~
        raise UsageError(f"--task {printable(spec)}: {error}") from None
    if is_folder(path):
        if any(is_file(path / name) for name in SAVED_FILES):
            return "saved"
        return "parquet" if parquet_files(path) else "folder"
    suffix = path.suffix.lower()
    if not is_file(path):
        return "folder"
    if suffix not in (".parquet", *READERS):
        raise UsageError(
            f"--task must be a folder, or a file that ends in .parquet, {', '.join(READERS)},"
            f" found {printable(str(path))}.",
        )
    return "manifest" if suffix in READERS else "parquet"


def _builtin(spec: str, options: TaskOptions, seed: int) -> Listing:
    options.refuse_columns("built-in tasks have no columns")
    options.refuse_splits("built-in tasks are split by --seed")
    return list_builtin(spec.removeprefix(BUILTIN_PREFIX), seed)


def _folder(spec: str, options: TaskOptions, seed: int) -> Listing:
    root = Path(spec).expanduser()
    if is_folder(root):
        options.refuse_columns("a folder of images has no columns")
        options.refuse_splits(
            "the folders train, val and test of a folder of images are its splits"
        )
    return list_folder(root, seed)


SOURCES: dict[str, Callable[[str, TaskOptions, int], Listing]] = {
    BUILTIN_PREFIX: _builtin,
    HUB_PREFIX: list_hub,
    "folder": _folder,
    "manifest": list_manifest,
    "parquet": list_parquet,
    "saved": list_saved,
}
