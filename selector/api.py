"""Ranking from Python: the command ``selector rank`` as a function, for objects of the caller's."""

from __future__ import annotations

import inspect
import io
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from torch import Tensor, nn
from torch.utils.data import Dataset

from selector import session
from selector.arguments import (
    Threat,
    in_words_of_python,
    number,
    one_threat,
    said,
    seconds,
    text,
    whole,
    whole_or_none,
)
from selector.candidates import Candidate, Chosen, Pinned, check_distinct, from_models
from selector.engines import choose_engine
from selector.errors import UsageError
from selector.modules import Module, module_candidate
from selector.norms import Norm, check_threats
from selector.objectives import choose_objective
from selector.protocol import Overrides, Preset
from selector.racing import Goal
from selector.radii import choose_leaders
from selector.records import Outcome, Ranking
from selector.request import Request
from selector.tasks import Task
from selector.tasks.given import (
    GivenTask,
    Images,
    Labels,
    task_from_arrays,
    task_from_dataset,
)
from selector.tasks.options import NO_OPTIONS, TaskOptions

CandidateLike = str | Candidate | Module
Candidates = CandidateLike | Iterable[CandidateLike] | Mapping[str, nn.Module]
Pair = tuple[Images, Labels]
Items = Dataset[Any] | Sequence[tuple[Any, Any]]
TaskLike = str | GivenTask | Task | Pair | Items

_DEFAULT_SIZE = 224


def rank(
    *,
    task: TaskLike,
    candidates: Candidates,
    threat: Threat | list[Threat],
    image_size: int | None = None,
    preset: Preset = "standard",
    objective: str | None = None,
    head: str = "recommended",
    attack: str = "annealed",
    restarts: int | None = None,
    steps: int | None = None,
    train_images: int | None = None,
    test_images: int | None = None,
    top: int | None = None,
    confidence: float = 0.95,
    budget: float | str | None = None,
    certify: int | None = None,
    sigma: float | None = None,
    device: str = "auto",
    seed: int = 0,
    engine: str = "local",
    store: str | Path | None = None,
    fresh: bool = False,
    allow_pickle: bool = False,
    task_options: TaskOptions = NO_OPTIONS,
    progress: bool = False,
    on_outcome: Callable[[Outcome], None] | None = None,
) -> Ranking:
    """Rank backbones by how robust they will be after transfer to a task.

    What is not explained here is what the option of ``selector rank`` of the same name is. The
    numbers are those of the command: both are this body.

    Args:
        task: as ``--task`` takes it; a pair (images, labels) as
            :func:`selector.task_from_arrays` takes, or a data set as
            :func:`selector.task_from_dataset` takes, or what these make, which can say more; or a
            :class:`selector.Task`, all of whose images are then used.
        candidates: names as ``--model`` takes them, entries of a registry and
            :class:`selector.Module`, or modules by name. Hub names without a revision mean their
            commit of today; no lock file is read.
        threat: a :class:`selector.ThreatModel`, or norm and eps, as ``("linf", "4/255")``; or a
            list of such: ranked under the first, all make curves.
        image_size: side of the canonical images, on which the perturbation lives; None: that of
            arrays and tensors, at most 224, and 224 for all else, data sets in memory included.
        budget: seconds, or such as "10m".
        store: SQLite file that measurements are kept in, for later runs; None: that of the command
            line; ":memory:": nowhere. A module is measured anew each time, as no hash tells all
            that it computes.
        progress: show it on stderr.
        on_outcome: called, in this thread, with what comes of each candidate once that is known.

    Returns:
        What ``-o FILE`` writes; :func:`selector.to_frame` makes a table of it.

    On a CPU this process then keeps the memory that it frees for itself, as the command does, which
    halves the time of a pass.

    >>> import numpy as np, torch
    >>> from selector.tasks.given import task_from_arrays
    >>> dark, bright = np.full((20, 8, 8, 3), 60), np.full((20, 8, 8, 3), 190)
    >>> noise = np.random.default_rng(0).integers(-20, 20, (40, 8, 8, 3))
    >>> images = (np.concatenate([dark, bright]) + noise).astype(np.uint8)
    >>> task = task_from_arrays(images, ["dark"] * 20 + ["bright"] * 20)
    >>> linear = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    >>> ranking = rank(
    ...     task=task, candidates={"linear": linear}, threat=("linf", "4/255"), preset="quick",
    ...     device="cpu", store=":memory:",
    ... )
    >>> ranking.ranking[0].name, ranking.ranking[0].head.clean_accuracy.value
    ('linear', 1.0)

    Raises:
        UsageError: an argument is not what it must be, or names something that does not exist.
        HubUnavailable: the task is on the Hub, and the Hub or the network is down.
    """
    arguments = locals()
    with in_words_of_python():
        given = _task(task)
        threats = _threats(threat)
        side = _image_size(given, image_size)
        _check_kinds(store, task_options)
        request = Request(
            task=given,
            task_options=task_options,
            chosen=Chosen(tuple(map(Pinned, _candidates(candidates, side)))),
            allow_pickle=allow_pickle,
            threats=threats,
            image_size=side,
            preset=preset,
            overrides=Overrides(
                text("attack", attack),
                whole_or_none("restarts", restarts),
                whole_or_none("steps", steps),
                whole_or_none("train_images", train_images),
                whole_or_none("test_images", test_images),
                text("head", head),
            ),
            device=text("device", device),
            seed=whole("seed", seed, least=0),
            fresh=fresh,
            goal=Goal(whole_or_none("top", top), number("confidence", confidence), seconds(budget)),
            objective=choose_objective(objective and text("objective", objective), preset),
            began=time.monotonic(),
            leaders=None
            if certify is None
            else choose_leaders(
                whole("certify", certify, least=1),
                None if sigma is None else number("sigma", sigma),
                *threats[0],
                side,
            ),
            store=None if store is None else Path(store),
            engine=choose_engine(text("engine", engine)),
            command=_call(arguments | {"task": given}),
        )
        return session.run(request, _console(shown=progress), on_outcome)


def _threats(given: Threat | list[Threat]) -> tuple[tuple[Norm, float], ...]:
    each = [one_threat(one) for one in (given if isinstance(given, list) else [given])]
    found = tuple((one.norm, one.eps) for one in each)
    check_threats(found, "threat")
    return found


def _task(given: TaskLike) -> str | GivenTask | Task:
    if isinstance(given, str | GivenTask | Task):
        return given
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


def _image_size(task: str | GivenTask | Task, given: int | None) -> int:
    given = whole_or_none("image_size", given)
    if isinstance(task, Task) and given not in (None, task.image_size):
        raise UsageError(
            f"image_size must be that of the Task, {task.image_size}, or left out, found {given}."
        )
    if given is not None:
        return given
    return (None if isinstance(task, str) else task.image_size) or _DEFAULT_SIZE


def _check_kinds(store: object, task_options: object) -> None:
    if not isinstance(store, str | Path | None):
        raise UsageError(f"store must be the path of a file, found {said(store)}.")
    if not isinstance(task_options, TaskOptions):
        raise UsageError(
            f"task_options must be TaskOptions, found {said(task_options)}.",
            hint="Leave it out where there is nothing to say.",
        )


def _candidates(given: Candidates, image_size: int) -> tuple[Candidate, ...]:
    if isinstance(given, Mapping):
        given = [Module(name, module) for name, module in given.items()]
    each: Iterable[CandidateLike]
    # A Sequential can be iterated as well, but its layers are no candidates.
    if isinstance(given, str | Candidate | Module | nn.Module) or not isinstance(given, Iterable):
        each = (given,)
    else:
        each = given
    found = tuple(_candidate(one, image_size) for one in each)
    if not found:
        raise UsageError("candidates must be at least one, found none.")
    check_distinct(found, "candidates")
    return found


def _candidate(given: CandidateLike, image_size: int) -> Candidate:
    if isinstance(given, str):
        return from_models([given])[0]
    if isinstance(given, Module):
        return module_candidate(given, image_size)
    if isinstance(given, Candidate):
        return given
    raise UsageError(
        f"candidates must be names, registry entries or Modules, found {type(given).__name__}.",
        hint="A network becomes one by Module(name, network), or in {name: network}.",
    )


def _console(*, shown: bool) -> Console:
    return Console(stderr=True) if shown else Console(file=io.StringIO(), quiet=True)


def _call(arguments: Mapping[str, Any]) -> tuple[str]:
    """The call as Python writes it, of what differs from the defaults; objects by their name."""
    usual = inspect.signature(rank).parameters
    written = (
        f"{name}={_written(value)}"
        for name, value in arguments.items()
        if value is not usual[name].default and name not in ("progress", "on_outcome")
    )
    return (f"selector.rank({', '.join(written)})",)


def _written(value: Any) -> str:
    if isinstance(value, GivenTask | Task):
        return f"<{value.source} {value.name!r}>"
    if isinstance(value, Module):
        return f"<module {value.name!r}>"
    if isinstance(value, Candidate):
        return repr(value.model)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name!r}: <module>" for name in value) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_written, value))}]"
    return repr(value)
