"""``selector rank`` as a function, for objects of the caller's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from selector import session
from selector.api.candidates import Candidates
from selector.api.console import console
from selector.api.request import build_request, several_threats
from selector.api.tasks import TaskLike, of_classes
from selector.arguments import Threat, in_words_of_python
from selector.protocol import Preset
from selector.records import Outcome, Ranking
from selector.tasks.options import NO_OPTIONS, TaskOptions


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
    confidence: float | None = None,
    budget: float | str | None = None,
    certify: int | None = None,
    sigma: float | None = None,
    device: str = "auto",
    seed: int = 0,
    engine: str = "local",
    store: str | Path | None = None,
    fresh: bool = False,
    lock: str | Path | None = None,
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
            :class:`selector.Module`, or modules by name. Without ``lock`` Hub names that have no
            revision mean their commit of today.
        threat: a :class:`selector.ThreatModel`, or norm and eps, as ``("linf", "4/255")``; or a
            list of such: ranked under the first, all make curves.
        image_size: side of the canonical images, on which the perturbation lives; None: that of
            arrays and tensors, at most 224, and 224 for all else, data sets in memory included.
        confidence: of ``top`` or ``budget``; None: 0.95.
        budget: seconds, or such as "10m".
        store: SQLite file that measurements are kept in, for later runs; None: that of the command
            line; ":memory:": nowhere. A module is measured anew each time, as no hash tells all
            that it computes.
        lock: the lock file that holds candidates to their commits and bytes, every one of them, as
            ``--locked`` does; None: none is read. Modules have no files, and so no place in it.
        task_options: columns and splits of a task that is a string.
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
    >>> _ = torch.manual_seed(0)
    >>> linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4))
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
        given = of_classes(task, task_options, "rank")
        request = build_request(rank, arguments, given, several_threats(threat))
        return session.run(request, console(shown=progress), on_outcome)
