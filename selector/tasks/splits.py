"""Which split of a table trains, validates and tests, and which column holds what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from selector.errors import UsageError, printable
from selector.tasks import folders
from selector.tasks.options import TaskOptions

TRAIN_NAMES = folders.TRAIN_NAMES
VALIDATION_NAMES = (*folders.VALIDATION_NAMES, "dev")
TEST_NAMES = folders.TEST_NAMES
IMAGE_COLUMNS = ("image", "img", "jpg", "png", "pixel_values", "file_name", "path", "file")
LABEL_COLUMNS = ("label", "labels", "cls", "target", "class", "fine_label")


@dataclass(frozen=True)
class Chosen:
    """Names of splits; what is None is held out of train."""

    train: str
    validation: str | None
    test: str | None


def choose_splits(names: Sequence[str], options: TaskOptions, where: str) -> Chosen:
    """The splits that the options name, and for the rest what their names say.

    A single split trains whatever it is called, unless it is called test or validation. As with
    folders, validation stands in for a missing test.

    Raises:
        UsageError: a split that is named is not there, or names do not tell.
    """
    for option, name in options.splits.items():
        if name is not None and name not in names:
            raise UsageError(
                f"{option} must name a split of {where} ({listed(names)}), found {printable(name)}."
            )
    named = [name for name in options.splits.values() if name is not None]
    if len(set(named)) < len(named):
        raise UsageError(
            "--train-split, --validation-split and --test-split must name different splits, found"
            f" {listed(named)}.",
            hint="Leave one out and it is held out of train.",
        )
    free = [name for name in names if name not in named]
    train = options.train_split or _named(free, TRAIN_NAMES, "--train-split", where)
    if train is None and len(names) == 1 and not called(free, VALIDATION_NAMES + TEST_NAMES):
        train = next(iter(free), None)
    if train is None:
        raise UsageError(
            f"{where} must have a split called train, found {listed(names)}.",
            hint="Name the one to fit heads on with --train-split.",
        )
    free = [name for name in free if name != train]
    test = options.test_split or _named(free, TEST_NAMES, "--test-split", where)
    validation = options.validation_split or _named(
        free, VALIDATION_NAMES, "--validation-split", where
    )
    if test is None and options.validation_split is None:
        test, validation = validation, None
    return Chosen(train, validation, test)


def choose_column(
    columns: Sequence[str], likely: Sequence[str], *, option: str, given: str | None, where: str
) -> str:
    """The column that was given, else the only one that can be meant.

    Args:
        columns: all there are.
        likely: those that may be meant.
        option: how the user names one.
        given: what the user said.
        where: the task, for messages.

    Raises:
        UsageError: what was given is not there, or not exactly one is likely.
    """
    if given is not None:
        if given not in columns:
            raise UsageError(
                f"{option} must name a column of {where} ({listed(columns)}),"
                f" found {printable(given)}."
            )
        return given
    if len(likely) != 1:
        what = option.removeprefix("--").partition("-")[0]
        found = f"{listed(likely)} may be it" if likely else "none looks like it"
        raise UsageError(
            f"{where} must have one {what} column; of {listed(columns)}, {found}.",
            hint=f"Name it with {option}.",
        )
    return likely[0]


def called(columns: Iterable[str], names: Sequence[str]) -> list[str]:
    """The columns that have one of these names, in upper or lower case."""
    return [column for column in columns if column.lower() in names]


def listed(names: Iterable[str]) -> str:
    """Names for a message, the first twelve of them."""
    shown = [printable(name) for name in names]
    return ", ".join(shown[:12]) + (", ..." if len(shown) > 12 else "") or "none"


def _named(free: Sequence[str], names: Sequence[str], option: str, where: str) -> str | None:
    found = called(free, names)
    if len(found) > 1:
        raise UsageError(
            f"{where} has the splits {listed(found)}: which is meant?",
            hint=f"Name one with {option}.",
        )
    return found[0] if found else None
