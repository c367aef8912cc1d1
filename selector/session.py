"""One run of ``selector rank``: from what the user asked for to the ranking."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch
from rich.console import Console

from selector.advice import choose
from selector.attacks import ATTACKS
from selector.background import in_background
from selector.candidates import Pinned
from selector.certifying import certifying, planned_certification
from selector.choosing import HEADS
from selector.contest import Contest, Terms
from selector.curves import curves
from selector.describing import ranking_record, run_record, task_record
from selector.errors import UsageError, printable
from selector.events import Emit
from selector.fetching import FetchRules
from selector.objectives import DEFAULT_OBJECTIVE, OBJECTIVES
from selector.planning import Work, plan
from selector.protocol import Protocol, Sizes, choose_protocol
from selector.raceplan import plan_race
from selector.radii import Smoothing
from selector.ranking import rank
from selector.records import (
    CertifiedCandidate,
    Evaluation,
    Outcome,
    Plan,
    PlannedCandidate,
    RaceRecord,
    Ranking,
    Skipped,
    Sweep,
)
from selector.reports.progress import Display
from selector.request import Request
from selector.scheduling import Means, measuring_classes, telling
from selector.summary import loss_clip
from selector.tasks import Task, load_task
from selector.tasks.given_targets import GivenTargets
from selector.threat import ThreatModel
from selector.workload import Setting, planned_passes


def run(
    request: Request, console: Console, on_outcome: Callable[[Outcome], None] | None = None
) -> Ranking:
    """Measure and rank, with progress on ``console``.

    Args:
        request: what to measure, and how.
        console: for progress.
        on_outcome: called with what comes of each candidate, as soon as that is known.

    Raises:
        UsageError: something asked for does not exist or makes no sense.
    """
    terms = Terms(request.goal, request.began)
    candidates, setting = request.chosen.candidates, prepare(request, console)
    means = request.means
    races: list[RaceRecord] = []

    def work(emit: Emit) -> None:
        if request.goal.is_race(len(candidates)):
            races.append(Contest(setting, means.kept, terms, emit).run(candidates, means.rules))
        else:
            how = measuring_classes(setting, fresh=means.kept.fresh)
            means.measure(candidates, how, emit)

    display = Display(console, len(candidates), planned_passes(setting).forward)
    with display, closing(in_background(work, means.engine.farewell)) as events:
        outcomes = display.follow(telling(on_outcome, events))
    ranking = _ranking(outcomes, setting, request, races[0] if races else None)
    if request.leaders is None:
        return ranking
    first = [one.name for one in ranking.ranking[: request.leaders.count]]
    pinned = {one.candidate.name: one for one in candidates}
    leaders = [pinned[name] for name in first]
    smoothed = certify(leaders, setting, request.leaders.smoothing, means, console)
    return ranking.model_copy(update={"certified": tuple(smoothed)})


def certify(
    candidates: Sequence[Pinned],
    setting: Setting,
    smoothing: Smoothing,
    means: Means,
    console: Console,
) -> list[CertifiedCandidate | Skipped]:
    """Certify candidates, with progress on ``console``; in their order."""
    passes = planned_certification(setting, smoothing)

    def work(emit: Emit) -> None:
        means.measure(candidates, certifying(setting, smoothing, fresh=means.kept.fresh), emit)

    display = Display(console, len(candidates), passes, verb="certified")
    with display, closing(in_background(work, means.engine.farewell)) as events:
        outcomes = display.follow(events)
    return [one for one in outcomes if isinstance(one, CertifiedCandidate | Skipped)]


def dry_run(request: Request, console: Console) -> Plan:
    """What :func:`run` would take, without running it.

    Raises:
        UsageError: something asked for does not exist or makes no sense.
    """
    if not request.engine.in_process:
        raise UsageError(
            "--dry-run needs --engine local: it times passes in this process.",
            hint="Divide the time that it estimates by the number of workers.",
        )
    candidates = request.chosen.candidates
    work = Work(prepare(request, console), FetchRules(request.allow_pickle), request.kept)

    def tell(row: PlannedCandidate) -> None:
        _say(f"{row.name}: {row.reason or 'looked up'}", console)

    planned = plan(candidates, work, tell)
    if request.leaders is not None:
        passes = planned_certification(work.setting, request.leaders.smoothing)
        _say(f"--certify comes on top: {passes:,} passes for each that it certifies", console)
    if not request.goal.is_race(len(candidates)):
        return planned
    race = plan_race(planned.candidates, work.setting, request.goal)
    return planned.model_copy(update={"race": race})


def prepare(request: Request, console: Console) -> Setting:
    """Load what is the same for all candidates.

    Raises:
        UsageError: something asked for does not exist or makes no sense.
    """
    conditions = choose_conditions(request, OBJECTIVES)
    races = request.goal.is_race(len(request.chosen.candidates))
    if races and request.objective != DEFAULT_OBJECTIVE:
        raise UsageError(
            f"--top and --budget need --objective {DEFAULT_OBJECTIVE},"
            f" found {request.objective!r}.",
            hint="Leave them out: every candidate is then measured in full.",
        )
    if races and not request.engine.in_process:
        raise UsageError(
            "--top and --budget need --engine local: a race runs on one device.",
            hint="Leave them out: every candidate is then measured in full, many at once.",
        )
    if races and len(request.threats) > 1:
        raise UsageError(
            f"--top and --budget need one --eps, found {len(request.threats)}.",
            hint="Leave them out: every candidate is then measured in full under each.",
        )
    task = _task(request, conditions.protocol.sizes)
    report_images(task, console)
    return conditions.setting(task)


def _task(request: Request, sizes: Sizes) -> Task:
    if isinstance(request.task, Task):
        return request.task
    assert not isinstance(request.task, GivenTargets), "they are no classes"
    return load_task(
        request.task,
        image_size=request.image_size,
        sizes=sizes,
        seed=request.seed,
        options=request.task_options,
    )


@dataclass(frozen=True)
class Conditions:
    """A setting without its images."""

    threats: tuple[ThreatModel, ...]
    protocol: Protocol
    device: torch.device

    def setting(self, task: Task) -> Setting:
        """With them."""
        threat, *others = self.threats
        return Setting(task, threat, self.protocol, self.device, tuple(others))


def choose_conditions(request: Request, objectives: Iterable[str]) -> Conditions:
    """What does not depend on the images.

    Raises:
        UsageError: a name is none of those there are, or there is no such device.
    """
    _check_name("--attack", request.overrides.attack, ATTACKS)
    _check_name("--head", request.overrides.head, HEADS)
    with_targets = " with --target-column" if request.task_options.target_columns else ""
    _check_name(f"--objective{with_targets}", request.objective, objectives)
    threats = tuple(ThreatModel(norm, eps) for norm, eps in request.threats)
    device = request.engine.choose_device(request.device)
    protocol = choose_protocol(request.preset, device.type, request.overrides, request.seed)
    return Conditions(threats, protocol, device)


def _check_name(option: str, found: str, names: Iterable[str]) -> None:
    if found not in names:
        raise UsageError(f"{option} must be one of {', '.join(names)}, found {found!r}.")


def _say(text: str, console: Console) -> None:
    console.print(printable(text), markup=False, emoji=False, highlight=False, soft_wrap=True)


def report_images(task: Task, console: Console) -> None:
    """Say which images are left out, and what else was found."""
    for remark in task.remarks:
        _say(remark, console)
    if task.unreadable:
        names = ", ".join(task.unreadable[:3]) + (" …" if len(task.unreadable) > 3 else "")
        _say(f"{len(task.unreadable)} images cannot be read and are left out: {names}", console)


def _ranking(
    outcomes: list[Outcome], setting: Setting, request: Request, race: RaceRecord | None
) -> Ranking:
    sweeps = [o for o in outcomes if isinstance(o, Sweep)]
    measured = [o for o in outcomes if isinstance(o, Evaluation)]
    measured += [one.evaluations[0] for one in sweeps]
    ranked = rank(measured, seed=request.seed, objective=request.objective)
    task = task_record(setting.task)
    made = ranking_record(
        run_record(request.chosen, request.engine.describe(setting.device), request.command),
        setting,
        loss_clip(len(task.classes)),
        (request.objective, OBJECTIVES[request.objective].kind),
        outcomes,
    )
    return Ranking(
        **dict(made),
        task=task,
        choice=choose(
            ranked,
            str(setting.threat),
            task.constant_accuracy,
            request.objective,
            unsettled=len(race.unsettled) if race else 0,
        ),
        ranking=ranked,
        race=race,
        curves=curves(ranked, sweeps, setting, seed=request.seed, objective=request.objective)
        if sweeps
        else None,
    )
