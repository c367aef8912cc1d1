"""``selector rank --target-column`` as a function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from selector.api.candidates import Candidates
from selector.api.console import console
from selector.api.request import build_request, several_threats
from selector.api.tasks import RegressionLike, of_numbers
from selector.arguments import Threat, in_words_of_python
from selector.errors import UsageError
from selector.protocol import PRESETS, SCREEN, Preset
from selector.records import Outcome, RegressionRanking
from selector.regression import session
from selector.tasks.options import NO_OPTIONS, TaskOptions


def rank_regression(
    *,
    task: RegressionLike,
    candidates: Candidates,
    threat: Threat,
    image_size: int | None = None,
    preset: Preset = "standard",
    objective: str | None = None,
    head: str = "recommended",
    attack: str = "annealed",
    restarts: int | None = None,
    steps: int | None = None,
    train_images: int | None = None,
    test_images: int | None = None,
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
) -> RegressionRanking:
    """Rank backbones by the squared error of a linear head under attack, for numbers to predict.

    As ``selector rank --target-column`` does, with its numbers. What is not explained here is what
    the parameter of :func:`selector.rank` of the same name is; those that this function lacks are
    for classes.

    Args:
        task: as ``--task`` takes it, of the forms that have columns, with
            ``task_options=selector.TaskOptions(target_columns=("x",))`` for those that hold the
            numbers; a pair (images, targets) as :func:`selector.targets_from_arrays` takes, or what
            that makes, which can say more.
        threat: one.
        preset: any but "screen".
        objective: ``attacked``, ``bound`` or ``clean``; None: the first.

    Returns:
        What ``-o FILE`` writes and :func:`selector.read_regression` reads. Errors are in standard
        deviations of the training targets, squared, mean over columns: 1.0 is about what knowing
        only their mean has. :func:`selector.to_frame` makes a table of it.

    >>> import numpy as np, torch
    >>> brightness = np.random.default_rng(0).integers(60, 190, 40)
    >>> images = np.full((40, 8, 8, 3), brightness[:, None, None, None], dtype=np.uint8)
    >>> _ = torch.manual_seed(0)
    >>> linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4))
    >>> ranking = rank_regression(
    ...     task=(images, brightness), candidates={"linear": linear}, threat=("linf", "1/255"),
    ...     preset="quick", device="cpu", store=":memory:",
    ... )
    >>> ranking.ranking[0].name, ranking.ranking[0].head.clean_squared_error.value < 0.1
    ('linear', True)

    Raises:
        UsageError: an argument is not what it must be, or names something that does not exist.
        HubUnavailable: the task is on the Hub, and the Hub or the network is down.
    """
    arguments = locals()
    with in_words_of_python():
        given = of_numbers(task, task_options)
        if isinstance(threat, list):
            raise UsageError(
                f"threat must be one for numbers, found a list of {len(threat)}.",
                hint="Call rank_regression for each.",
            )
        if preset == SCREEN:
            others = ", ".join(one for one in PRESETS if one != SCREEN)
            raise UsageError(f"preset must be one of {others} for numbers, found {SCREEN!r}.")
        request = build_request(rank_regression, arguments, given, several_threats(threat))
        return session.run(request, console(shown=progress), on_outcome)
