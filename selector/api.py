"""Ranking from Python: the command ``selector rank`` as a function, for objects of the caller's."""

from __future__ import annotations

import inspect
import io
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from selector import session
from selector.candidates import Candidate, Chosen, Pinned, check_distinct, from_models
from selector.errors import UsageError
from selector.modules import Module, module_candidate
from selector.norms import Norm, check_threats, parse_eps
from selector.protocol import Overrides, Preset
from selector.racing import Goal, parse_budget
from selector.radii import choose_leaders
from selector.records import Outcome, Ranking
from selector.tasks import Task
from selector.tasks.given import GivenTask
from selector.tasks.options import NO_OPTIONS, TaskOptions
from selector.threat import ThreatModel

CandidateLike = str | Candidate | Module
Candidates = CandidateLike | Iterable[CandidateLike] | Mapping[str, nn.Module]
Threat = ThreatModel | tuple[Norm, float | str]

_DEFAULT_SIZE = 224
_OPTION = re.compile(r"--([a-z]+(?:-[a-z]+)*)")
# Options whose argument here has another name.
_ARGUMENTS = {"model": "candidates", "registry": "candidates", "eps": "eps of threat"}
_ARGUMENTS |= {"norm": "norm of threat"}


def rank(
    *,
    task: str | GivenTask | Task,
    candidates: Candidates,
    threat: Threat | list[Threat],
    image_size: int | None = None,
    preset: Preset = "standard",
    objective: str = "attacked",
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
        task: as ``--task`` takes it; from :func:`selector.task_from_arrays` or
            :func:`selector.task_from_dataset`; or a :class:`selector.Task`, all of whose images
            are then used.
        candidates: names as ``--model`` takes them, entries of a registry and
            :class:`selector.Module`, or modules by name. Hub names without a revision mean their
            commit of today; no lock file is read.
        threat: a :class:`selector.ThreatModel`, or norm and eps, as ``("linf", "4/255")``; or a
            list of such: ranked under the first, all make curves.
        image_size: side of the canonical images, on which the perturbation lives; None: that of
            images in memory, at most 224, and otherwise 224.
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
    command = _call(locals())
    with _in_words_of_python():
        threats = [_threat(one) for one in (threat if isinstance(threat, list) else [threat])]
        check_threats(threats, "threat")
        side = _image_size(task, image_size)
        request = session.Request(
            task=task,
            task_options=task_options,
            chosen=Chosen(tuple(map(Pinned, _candidates(candidates, side)))),
            allow_pickle=allow_pickle,
            threats=tuple(threats),
            image_size=side,
            preset=preset,
            overrides=Overrides(attack, restarts, steps, train_images, test_images, head),
            device=device,
            seed=seed,
            fresh=fresh,
            goal=Goal(top, confidence, _seconds(budget)),
            objective=objective,
            began=time.monotonic(),
            leaders=None if certify is None else choose_leaders(certify, sigma, *threats[0], side),
            store=None if store is None else Path(store),
            command=command,
        )
        return session.run(request, _console(shown=progress), on_outcome)


def _threat(given: Threat) -> tuple[Norm, float]:
    if isinstance(given, ThreatModel):
        return given.norm, given.eps
    if not (isinstance(given, tuple) and len(given) == 2):
        raise UsageError(
            f'threat must be a ThreatModel, or norm and eps as ("linf", "4/255"), found {given!r}.'
        )
    norm, eps = given
    return norm, parse_eps(eps) if isinstance(eps, str) else float(eps)


def _image_size(task: str | GivenTask | Task, given: int | None) -> int:
    if isinstance(task, Task):
        if given not in (None, task.image_size):
            raise UsageError(
                f"image_size must be that of the Task, {task.image_size}, or left out,"
                f" found {given}."
            )
        return task.image_size
    if not isinstance(task, str | GivenTask):
        raise UsageError(
            "task must be a string as --task takes it, a Task, or made by task_from_arrays or"
            f" task_from_dataset, found {type(task).__name__}."
        )
    if given is not None:
        return given
    own = None if isinstance(task, str) else task.image_size
    return own or _DEFAULT_SIZE


def _candidates(given: Candidates, image_size: int) -> tuple[Candidate, ...]:
    if isinstance(given, Mapping):
        given = [Module(name, module) for name, module in given.items()]
    each = [given] if isinstance(given, str | Candidate | Module) else list(given)
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


def _seconds(budget: float | str | None) -> float | None:
    if isinstance(budget, str):
        return parse_budget(budget)
    if budget is not None and not budget > 0:
        raise UsageError(f"budget must be seconds above 0, or such as '10m', found {budget}.")
    return budget


def _console(*, shown: bool) -> Console:
    return Console(stderr=True) if shown else Console(file=io.StringIO(), quiet=True)


def _call(arguments: Mapping[str, Any]) -> tuple[str]:
    """The call as Python writes it, of what differs from the defaults; objects by their name."""
    usual = inspect.signature(rank).parameters
    said = (
        f"{name}={_said(value)}"
        for name, value in arguments.items()
        if value is not usual[name].default and name not in ("progress", "on_outcome")
    )
    return (f"selector.rank({', '.join(said)})",)


def _said(value: Any) -> str:
    if isinstance(value, GivenTask | Task):
        return f"<{value.source} {value.name!r}>"
    if isinstance(value, Module):
        return f"<module {value.name!r}>"
    if isinstance(value, Candidate):
        return repr(value.model)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name!r}: <module>" for name in value) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_said, value))}]"
    return repr(value)


@contextmanager
def _in_words_of_python() -> Iterator[None]:
    """What is wrong is said of arguments, where the command line has options."""
    try:
        yield
    except UsageError as error:
        raise UsageError(_words(error.message), hint=_words(error.hint)) from error


def _words(text: str) -> str:
    """Options as arguments.

    >>> _words("--test-images must be at least 1; --eps is fine.")
    'test_images must be at least 1; eps of threat is fine.'
    """
    return _OPTION.sub(lambda m: _ARGUMENTS.get(m[1], m[1].replace("-", "_")), text)
