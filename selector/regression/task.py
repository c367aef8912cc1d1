"""The user's images with numeric targets, decoded once and standardised."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from selector.errors import UsageError, printable
from selector.protocol import Sizes
from selector.tasks import Task, fingerprint, list_task
from selector.tasks.decoding import Split, decode_readable
from selector.tasks.given_targets import GivenTargets
from selector.tasks.listing import HELD_OUT, Example
from selector.tasks.options import TaskOptions
from selector.tasks.targets import split_off

# A spread of less than this share of the largest value is rounding.
_CONSTANT = 1e-12
# Of training images: one has no spread.
_FEWEST = 2


@dataclass(frozen=True)
class Targets:
    """Numbers of each image, standardised by the training images: mean 0, sd 1 there.

    Attributes:
        columns: their names; a value in the units of the table is ``mean + sd * y``.
        mean: (q,) of the training images, in the units of the table.
        sd: (q,) the same, above 0.
        train: (n,q) float64.
        validation: the same of the validation images.
        test: the same of the test images.
    """

    columns: tuple[str, ...]
    mean: Tensor
    sd: Tensor
    train: Tensor
    validation: Tensor
    test: Tensor


@dataclass(frozen=True)
class RegressionTask:
    """Images as of any task, without classes, and their targets in the same order."""

    images: Task
    targets: Targets


def load_regression(
    spec: str | GivenTargets, *, image_size: int, sizes: Sizes, seed: int, options: TaskOptions
) -> RegressionTask:
    """Read a table with target columns and decode the images that will be used.

    Args:
        spec: as :func:`selector.tasks.load_task` takes it, of the forms that have columns. Or
            images and numbers that a caller in Python has.
        image_size: S, at least 8.
        sizes: how many images to draw of each part, at random.
        seed: of the draw and of the split.
        options: columns and splits by name, of a table at least one target column.

    Raises:
        UsageError: there is no such table, a target is no finite number or constant, or too many
            images are unreadable.
        HubUnavailable: it is on the Hub, and the Hub or the network is down.
    """
    in_memory = isinstance(spec, GivenTargets)
    if not in_memory:
        _check_columns(options)
    listing = list_task(spec, image_size=image_size, seed=seed, options=options)
    assert listing.targets is not None
    train, validation = listing.train, listing.validation
    if not validation:
        share = min(HELD_OUT, sizes.validation / len(train))
        train, validation = split_off(train, share, seed + 1)
    unreadable: list[str] = []
    splits = [
        decode_readable(_draw(examples, size, seed), image_size, unreadable, part)
        for part, examples, size in (
            ("train", train, sizes.train),
            ("validation", validation, sizes.validation),
            ("test", listing.test, sizes.test),
        )
    ]
    raw = [torch.from_numpy(listing.targets)[split.labels] for split in splits]
    columns = listing.classes
    called = "column" if in_memory else "--target-column"
    targets = standardise(columns, *raw, called=called)
    numbered = [Split(split.pixels, torch.arange(len(split))) for split in splits]
    task = Task(
        name=listing.name,
        source=spec if isinstance(spec, str) else spec.source,
        classes=(),
        train=numbered[0],
        validation=numbered[1],
        test=numbered[2],
        unreadable=tuple(unreadable),
        fingerprint=_fingerprint(columns, numbered, raw),
        revision=listing.revision,
        remarks=listing.remarks,
    )
    return RegressionTask(task, targets)


def standardise(
    columns: tuple[str, ...],
    train: Tensor,
    validation: Tensor,
    test: Tensor,
    *,
    called: str = "--target-column",
) -> Targets:
    """Targets of mean 0 and standard deviation 1 on train, from values (n,q) of each part.

    Args:
        columns: names of the q columns.
        train: values of the training images, in the units of the table.
        validation: the same of the validation images.
        test: the same of the test images.
        called: what a column is, for messages.

    Raises:
        UsageError: a column is constant on train, or train has fewer than two images.
    """
    if len(train) < _FEWEST:
        raise UsageError(
            f"--task must leave at least {_FEWEST} images to fit on, found {len(train)}.",
            hint="Give more images, or parts of your own.",
        )
    mean, sd = train.mean(dim=0), train.std(dim=0, correction=0)
    for name, spread, values in zip(columns, sd.tolist(), train.T, strict=True):
        if not np.isfinite(spread):
            raise UsageError(f"{called} {printable(name)}: the values are too large.")
        if spread <= _CONSTANT * values.abs().max().item():
            raise UsageError(
                f"{called} {printable(name)} must vary, but is {values[0].item():g} on all"
                f" {len(values)} training images.",
                hint="Leave it out: a constant needs no backbone.",
            )
    parts = [(values - mean) / sd for values in (train, validation, test)]
    return Targets(columns, mean, sd, *parts)


def _check_columns(options: TaskOptions) -> None:
    if options.label_column is not None:
        raise UsageError(
            "--label-column and --target-column exclude each other: classes are ranked by accuracy,"
            " numbers by error.",
            hint="Leave one of them out.",
        )
    if len(set(options.target_columns)) < len(options.target_columns):
        names = ", ".join(map(printable, options.target_columns))
        raise UsageError(f"--target-column must name different columns, found {names}.")


def _draw(examples: list[Example], size: int, seed: int) -> list[Example]:
    order = np.random.default_rng(seed).permutation(len(examples))
    return [examples[i] for i in sorted(order[:size])]


def _fingerprint(columns: tuple[str, ...], splits: list[Split], raw: list[Tensor]) -> str:
    """sha256 over column names, canonical pixels and target values of all parts."""
    digest = hashlib.sha256(fingerprint(("regression", *columns), splits).encode())
    for values in raw:
        digest.update(values.contiguous().numpy().tobytes())
    return digest.hexdigest()
