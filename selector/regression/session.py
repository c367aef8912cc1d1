"""One run of ``selector rank --target-column``: from what the user asked for to the ranking."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from rich.console import Console

from selector.background import in_background
from selector.choosing import RADIUS_SCALES
from selector.controls import NOISE_DRAWS, SEARCH_STEPS
from selector.describing import images_record, ranking_record, run_record
from selector.errors import UsageError
from selector.events import Emit
from selector.measuring import Measuring
from selector.protocol import SCREEN
from selector.records import (
    Outcome,
    RegressionEvaluation,
    RegressionRanking,
    RegressionTaskRecord,
    TargetColumn,
)
from selector.regression.choosing import knowing_only_the_mean
from selector.regression.evaluation import evaluate
from selector.regression.ranking import OBJECTIVES, choose, rank
from selector.regression.summary import ERROR_CLIP
from selector.regression.task import RegressionTask, load_regression
from selector.reports.progress import Display
from selector.request import Request
from selector.run import Prepared
from selector.scheduling import telling
from selector.session import choose_conditions, report_images
from selector.tasks.given_targets import GivenTargets
from selector.workload import HEAD_SEARCHES, Setting, full_budget, half_budget, probe_passes


def run(
    request: Request,
    console: Console,
    on_outcome: Callable[[Outcome], None] | None = None,
    *,
    dry_run: bool = False,
) -> RegressionRanking:
    """Measure and rank, with progress on ``console``; see :func:`selector.session.run`.

    Raises:
        UsageError: something asked for does not exist, or not for a regression.
    """
    _refuse(request, dry_run=dry_run)
    task, setting = prepare(request, console)
    candidates = request.chosen.candidates
    means = request.means

    def measure(
        prepared: Prepared, setting: Setting, on_pass: Callable[[int], None]
    ) -> RegressionEvaluation:
        return evaluate(prepared, setting, task.targets, on_pass)

    def work(emit: Emit) -> None:
        how = Measuring(setting, measure, RegressionEvaluation, fresh=means.kept.fresh)
        means.measure(candidates, how, emit)

    display = Display(console, len(candidates), planned_passes(setting))
    with display, closing(in_background(work, means.engine.farewell)) as events:
        outcomes = display.follow(telling(on_outcome, events))
    return _ranking(outcomes, task, setting, request)


def prepare(request: Request, console: Console) -> tuple[RegressionTask, Setting]:
    """Load what is the same for all candidates.

    Raises:
        UsageError: something asked for does not exist or makes no sense.
    """
    conditions = choose_conditions(request, OBJECTIVES)
    assert isinstance(request.task, str | GivenTargets), "others have classes"
    task = load_regression(
        request.task,
        image_size=request.image_size,
        sizes=conditions.protocol.sizes,
        seed=request.seed,
        options=request.task_options,
    )
    report_images(task.images, console)
    return task, conditions.setting(task.images)


def planned_passes(setting: Setting) -> int:
    """Images forward through a backbone for one candidate, at most."""
    task, full = setting.task, full_budget(setting.protocol).forward_passes
    half = half_budget(setting.protocol).forward_passes
    on_validation = full + len(RADIUS_SCALES) * half
    on_test = 2 * full + HEAD_SEARCHES * half + NOISE_DRAWS + SEARCH_STEPS
    attacked = len(task.validation) * (1 + on_validation) + len(task.test) * (1 + on_test)
    return len(task.train) + attacked + probe_passes(setting).forward


def _refuse(request: Request, *, dry_run: bool) -> None:
    """Raise UsageError for what only tasks of classes have."""
    less = "Every candidate is measured in full; --preset and --only make that less."
    given = {
        "--top": request.goal.top is not None,
        "--budget": request.goal.budget is not None,
        "--preset screen": request.preset == SCREEN,
        "--dry-run": dry_run,
        "--certify": request.leaders is not None,
        "a further --eps": len(request.threats) > 1,
    }
    hints = {
        "a further --eps": "Rank once for each.",
        "--certify": "Nothing of a regression is certified.",
    }
    for option in (option for option, is_given in given.items() if is_given):
        raise UsageError(
            f"{option} must be left out with --target-column: it is for tasks of classes.",
            hint=hints.get(option, less),
        )


def _ranking(
    outcomes: list[Outcome], task: RegressionTask, setting: Setting, request: Request
) -> RegressionRanking:
    measured = [o for o in outcomes if isinstance(o, RegressionEvaluation)]
    ranked = rank(measured, seed=request.seed, objective=request.objective)
    targets, mean_error = task.targets, knowing_only_the_mean(task.targets.test)
    columns = zip(targets.columns, targets.mean.tolist(), targets.sd.tolist(), strict=True)
    made = ranking_record(
        run_record(request.chosen, request.engine.describe(setting.device), request.command),
        setting,
        ERROR_CLIP,
        (request.objective, OBJECTIVES[request.objective].kind),
        outcomes,
    )
    return RegressionRanking(
        **dict(made),
        task=RegressionTaskRecord(
            **dict(images_record(task.images)),
            columns=tuple(TargetColumn(name=n, mean=mean, sd=sd) for n, mean, sd in columns),
            mean_error=mean_error,
        ),
        choice=choose(ranked, str(setting.threat), mean_error, request.objective),
        ranking=ranked,
    )
