"""``selector rank --dry-run`` as a function."""

from __future__ import annotations

from pathlib import Path

from selector import session
from selector.api.candidates import Candidates
from selector.api.console import console
from selector.api.request import build_request, several_threats
from selector.api.tasks import TaskLike, of_classes
from selector.arguments import Threat, in_words_of_python
from selector.protocol import Preset
from selector.records import Plan
from selector.tasks.options import NO_OPTIONS, TaskOptions


def plan(
    *,
    task: TaskLike,
    candidates: Candidates,
    threat: Threat | list[Threat],
    image_size: int | None = None,
    preset: Preset = "standard",
    head: str = "recommended",
    attack: str = "annealed",
    restarts: int | None = None,
    steps: int | None = None,
    train_images: int | None = None,
    test_images: int | None = None,
    top: int | None = None,
    confidence: float | None = None,
    budget: float | str | None = None,
    device: str = "auto",
    seed: int = 0,
    store: str | Path | None = None,
    fresh: bool = False,
    lock: str | Path | None = None,
    allow_pickle: bool = False,
    task_options: TaskOptions = NO_OPTIONS,
    progress: bool = False,
) -> Plan:
    """What :func:`selector.rank` would take, in bytes, passes and seconds, without measuring.

    What ``selector rank --dry-run`` prints, as a record. Every parameter is that of ``rank`` of the
    same name, with what it would be called with. No weights are fetched: networks are timed with
    some of no meaning, modules as they are. A candidate of which it is known now that it cannot be
    measured has a ``code`` and a ``reason``.

    Returns:
        A row for each candidate, in their order, of its full measurement on this machine, by one
        process; with ``top`` or ``budget`` also the least and the most that finding the best takes.
        Certificates, of which ``rank`` has ``certify``, would come on top.

    >>> import numpy as np, torch
    >>> images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    >>> _ = torch.manual_seed(0)
    >>> linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4))
    >>> found = plan(
    ...     task=(images, [0, 1] * 20), candidates={"linear": linear}, threat=("linf", "4/255"),
    ...     preset="quick", device="cpu", store=":memory:",
    ... )
    >>> row = found.candidates[0]
    >>> row.name, row.bytes_to_fetch, row.passes > 1000, row.estimated_seconds > 0
    ('linear', 0, True, True)

    Raises:
        UsageError: an argument is not what it must be, or names something that does not exist.
        HubUnavailable: the task is on the Hub, and the Hub or the network is down.
    """
    arguments = locals()
    with in_words_of_python():
        given = of_classes(task, task_options, "plan")
        request = build_request(plan, arguments, given, several_threats(threat))
        return session.dry_run(request, console(shown=progress))
