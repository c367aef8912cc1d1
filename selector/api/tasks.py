"""Tasks as a caller in Python gives them: of classes, and of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from selector.arguments import said, whole_or_none
from selector.errors import UsageError
from selector.tasks import Task
from selector.tasks.arrays import Images
from selector.tasks.given import GivenTask, Labels, task_from_arrays, task_from_dataset
from selector.tasks.given_targets import GivenTargets, Targets, targets_from_arrays
from selector.tasks.options import NO_OPTIONS, TaskOptions

Pair = tuple[Images, Labels]
Items = Dataset[Any] | Sequence[tuple[Any, Any]]
TaskLike = str | GivenTask | Task | Pair | Items
RegressionLike = str | GivenTargets | tuple[Images, Targets]
Given = str | GivenTask | GivenTargets | Task

_DEFAULT_SIZE = 224


def of_classes(given: TaskLike, options: TaskOptions, function: str) -> str | GivenTask | Task:
    """A task that ``rank`` and ``plan`` take.

    Args:
        given: as their caller says it.
        options: what is said of it beside that.
        function: whose arguments they are, for messages.

    Raises:
        UsageError: it is none, or one of numbers.
    """
    found = _of_classes(given)
    _check_kind(options)
    if options.target_columns:
        raise UsageError(
            f"{function} is for classes: target_columns of task_options must be left out, found"
            f" {said(options.target_columns)}.",
            hint="selector.rank_regression ranks backbones by these.",
        )
    _refuse_in_memory(options, found)
    return found


def of_numbers(given: RegressionLike, options: TaskOptions) -> str | GivenTargets:
    """A task that ``rank_regression`` takes.

    Raises:
        UsageError: it is none, or says of no column that it holds the numbers.
    """
    found = _of_numbers(given)
    _check_kind(options)
    _refuse_in_memory(options, found)
    if isinstance(found, str):
        _check_columns(options.target_columns)
    return found


def image_size(task: Given, given: int | None) -> int:
    """The side of the canonical images.

    Raises:
        UsageError: it is no whole number, or another than that of a Task.
    """
    given = whole_or_none("image_size", given)
    if isinstance(task, Task) and given not in (None, task.image_size):
        raise UsageError(
            f"image_size must be that of the Task, {task.image_size}, or left out, found {given}."
        )
    if given is not None:
        return given
    return (None if isinstance(task, str) else task.image_size) or _DEFAULT_SIZE


def _of_classes(given: Any) -> str | GivenTask | Task:
    if isinstance(given, str | GivenTask | Task):
        return given
    if isinstance(given, GivenTargets):
        raise UsageError(
            f"task must have classes, found {given.name} with numbers.",
            hint="selector.rank_regression ranks for it; a plan is of classes only.",
        )
    if isinstance(given, tuple) and len(given) == 2:
        return task_from_arrays(*given)
    # These have a length and items, too, but no labels.
    unlabelled = isinstance(given, np.ndarray | Tensor | bytes | Mapping)
    if unlabelled or not (hasattr(given, "__len__") and hasattr(given, "__getitem__")):
        raise UsageError(
            "task must be a string as the command takes it, a pair (images, labels), a data set of"
            " such pairs, a Task, or made by task_from_arrays or task_from_dataset, found"
            f" {type(given).__name__}."
        )
    return task_from_dataset(given)


def _of_numbers(given: Any) -> str | GivenTargets:
    if isinstance(given, str | GivenTargets):
        return given
    if isinstance(given, GivenTask | Task):
        raise UsageError(
            f"task must have numbers, found {given.name} with classes.",
            hint="selector.rank takes it; targets_from_arrays makes a task of numbers.",
        )
    if isinstance(given, tuple) and len(given) == 2:
        return targets_from_arrays(*given)
    raise UsageError(
        "task must be a string as the command takes it, a pair (images, targets), or made by"
        f" targets_from_arrays, found {type(given).__name__}."
    )


def _check_kind(options: object) -> None:
    if not isinstance(options, TaskOptions):
        raise UsageError(
            f"task_options must be TaskOptions, found {said(options)}.",
            hint="Leave it out where there is nothing to say.",
        )


def _refuse_in_memory(options: TaskOptions, task: Given) -> None:
    if options != NO_OPTIONS and not isinstance(task, str):
        raise UsageError(
            "task_options name columns and splits of a task that is a string; they must be left"
            f" out of one in memory, found {said(options)}.",
            hint="What makes such a task takes its parts, and names of classes or columns.",
        )


def _check_columns(columns: object) -> None:
    named = isinstance(columns, tuple) and all(isinstance(one, str) for one in columns)
    if not named or not columns:
        raise UsageError(
            "target_columns of task_options must be a tuple of at least one name where task is a"
            f" string, found {said(columns)}.",
            hint='TaskOptions(target_columns=("x",)) names a column that holds the numbers.',
        )
