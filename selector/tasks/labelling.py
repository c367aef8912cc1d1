"""From rows with labels to a listing: class names, and parts that share them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from selector.errors import UsageError, printable, shorten
from selector.tasks.listing import HELD_OUT, Encoded, Example, Listing, Picture, divide
from selector.tasks.splits import listed

Label = str | int | None
"""A class by name or, where it has none, by number; None: the row says nothing."""


@dataclass(frozen=True)
class Rows:
    """One split, undecoded.

    Attributes:
        name: what the split is called.
        sources: where the images are.
        labels: a class of each.
    """

    name: str
    sources: Sequence[Encoded | Picture]
    labels: Sequence[Label]


@dataclass(frozen=True)
class Parts:
    """The splits that are used; what is None is held out of train."""

    train: Rows
    validation: Rows | None
    test: Rows | None


def assemble(
    name: str, parts: Parts, seed: int, *, where: str, order: Sequence[str] | None = None
) -> Listing:
    """A listing of the classes that train has, in an order that does not depend on its rows.

    Args:
        name: the task's.
        parts: rows of each split.
        seed: of the split, where test has to be held out.
        where: the task, for messages.
        order: class names in the order of their publisher. None: numbers in numeric order, names
            by code point.

    Raises:
        UsageError: rows without a label, fewer than two classes, or one that train lacks.
    """
    _check_test_is_labelled(parts, where)
    for rows in (parts.train, parts.validation, parts.test):
        if rows is not None:
            _check_labels(rows, where)
    present = set(parts.train.labels)
    known = [label for label in order if label in present] if order else _in_order(present, where)
    classes = tuple(str(label) for label in known)
    _check_classes(classes, where)
    index = {label: i for i, label in enumerate(known)}
    train, validation, test = (
        _examples(rows, index, where) if rows else []
        for rows in (parts.train, parts.validation, parts.test)
    )
    if not test:
        train, test = divide(train, HELD_OUT, seed)
    return Listing(name, classes, train, validation, test)


def _check_test_is_labelled(parts: Parts, where: str) -> None:
    test = parts.test
    # Without class names -1 can be a class; alone it is none.
    if test is None or not test.labels or not set(test.labels) <= {None, -1}:
        return
    name = printable(parts.validation.name) if parts.validation else "NAME"
    raise UsageError(
        f"{where} must have labels in its test split, and {printable(test.name)} has none"
        " (-1 or empty in every row), as is usual where the answers are kept back.",
        hint=f"Use a split that has labels: --test-split {name}.",
    )


def _check_labels(rows: Rows, where: str) -> None:
    if not rows.labels:
        raise UsageError(f"{where}: the split {printable(rows.name)} must have rows, found none.")
    missing = [i for i, label in enumerate(rows.labels) if label is None]
    if missing:
        raise UsageError(
            f"{where}: {len(missing)} of {len(rows.labels)} rows of {printable(rows.name)} have no"
            f" label; the first is {printable(str(rows.sources[missing[0]]))}.",
            hint="Remove them or label them.",
        )


def _in_order(labels: set[Label], where: str) -> list[Label]:
    numbers = sorted(label for label in labels if isinstance(label, int))
    names = sorted(label for label in labels if isinstance(label, str))
    if numbers and names:
        raise UsageError(
            f"{where}: labels must be all numbers or all names, found {numbers[0]} and"
            f" {printable(names[0])}."
        )
    return [*numbers, *names]


def _check_classes(classes: tuple[str, ...], where: str) -> None:
    odd = next((name for name in classes if not name.isprintable() or not name), None)
    if odd is not None:
        raise UsageError(
            f"{where}: classes must have printable UTF-8 names, found {printable(odd)!r}."
        )
    if len(classes) < 2:
        raise UsageError(
            f"{where} needs at least two classes to tell apart, found one ({listed(classes)}).",
            hint="If labels are in another column, name it with --label-column.",
        )


def _examples(rows: Rows, index: dict[Label, int], where: str) -> list[Example]:
    extra = set(rows.labels) - set(index)
    if extra:
        names = listed(sorted(str(label) for label in extra))
        raise UsageError(
            f"{where}: the split {printable(rows.name)} has classes that train lacks: {names}.",
            hint="Classes must have the same names in every split; --train-split,"
            " --validation-split and --test-split name others.",
        )
    return [(source, index[label]) for source, label in zip(rows.sources, rows.labels, strict=True)]


def class_names(feature: object, where: str) -> list[str] | None:
    """That a column of labels brings with it; None: it has numbers or texts alone."""
    names: list[str] | None = getattr(feature, "names", None)
    if names is not None and any(not isinstance(name, str) for name in names):
        raise UsageError(f"{where}: class names must be texts, found {shorten(repr(names))}.")
    return names


def named(values: list[Any], names: list[str] | None, where: str) -> list[Label]:
    """Class names, or numbers where there are none; None is a row without a label."""
    if names is None:
        return values
    unknown = next((v for v in values if v is not None and not -1 <= v < len(names)), None)
    if unknown is not None:
        raise UsageError(f"{where}: labels must be below {len(names)}, found {unknown}.")
    return [None if value is None or value == -1 else names[value] for value in values]
