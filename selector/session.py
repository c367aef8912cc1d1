"""One run of ``selector rank``: from what the user asked for to the ranking."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from selector import __version__, store
from selector.attacks import ATTACKS
from selector.candidates import (
    Candidate,
    Pinned,
    builtin_zoo,
    default_registry,
    lock_path,
    pin,
    read_lock,
    read_registry,
    require_pins,
)
from selector.devices import choose_device, describe_device, keep_freed_memory
from selector.errors import UsageError, printable
from selector.evaluation import Setting, planned_passes, prior_entropy
from selector.fetching import FetchRules
from selector.norms import Norm
from selector.planning import Work, plan
from selector.protocol import PROTOCOL_VERSION, RHO, Overrides, Preset, choose_protocol
from selector.ranking import OBJECTIVE, choose, rank
from selector.records import (
    Evaluation,
    LockRecord,
    Outcome,
    Plan,
    PlannedCandidate,
    ProtocolRecord,
    Ranking,
    Skipped,
    TaskRecord,
    ThreatRecord,
)
from selector.reports.progress import Display
from selector.scheduling import Event, Kept, evaluate_all, in_background
from selector.selection import Selection, named, select
from selector.summary import loss_clip
from selector.tasks import Task, load_task
from selector.tasks.options import TaskOptions
from selector.threat import ThreatModel

_LIBRARIES = ("torch", "torchvision", "timm", "huggingface-hub", "safetensors", "scipy", "numpy")


@dataclass(frozen=True)
class Request:
    """What the user asked for; the options of ``selector rank``."""

    task: str
    task_options: TaskOptions
    registry: Path | None
    models: tuple[str, ...]
    selection: Selection
    locked: bool
    rules: FetchRules
    demo: bool
    norm: Norm
    eps: float
    image_size: int
    preset: Preset
    overrides: Overrides
    device: str
    seed: int
    fresh: bool


def run(request: Request, console: Console) -> Ranking:
    """Measure and rank, with progress on ``console``.

    Raises:
        UsageError: something asked for does not exist or makes no sense.
    """
    candidates, setting, lock = prepare(request, console)

    def work(emit: Callable[[Event], None]) -> None:
        kept = Kept(store.default_path(), request.fresh)
        evaluate_all(candidates, setting, kept, request.rules, emit)

    with Display(console, len(candidates), planned_passes(setting)) as display:
        outcomes = display.follow(in_background(work))
    return _ranking(outcomes, setting, lock, request.seed)


def dry_run(request: Request, console: Console) -> Plan:
    """What :func:`run` would take, without running it.

    Raises:
        UsageError: something asked for does not exist or makes no sense.
    """
    candidates, setting, _ = prepare(request, console)
    work = Work(setting, request.rules, Kept(store.default_path(), request.fresh))

    def tell(row: PlannedCandidate) -> None:
        _say(f"{row.name}: {row.reason or 'looked up'}", console)

    return plan(candidates, work, tell)


def prepare(
    request: Request, console: Console
) -> tuple[tuple[Pinned, ...], Setting, LockRecord | None]:
    """Choose candidates, and load what is the same for all of them.

    Raises:
        UsageError: something asked for does not exist or makes no sense.
    """
    threat = ThreatModel(request.norm, request.eps)
    chosen = select(_candidates(request), request.selection)
    candidates, lock = _pinned(request, chosen, console)
    if request.overrides.attack not in ATTACKS:
        raise UsageError(
            f"--attack must be one of {', '.join(ATTACKS)}, found {request.overrides.attack!r}."
        )
    device = choose_device(request.device)
    if device.type == "cpu":
        keep_freed_memory()
    protocol = choose_protocol(request.preset, device.type, request.overrides, request.seed)
    task = load_task(
        request.task,
        image_size=request.image_size,
        sizes=protocol.sizes,
        seed=request.seed,
        options=request.task_options,
    )
    _report_unreadable(task, console)
    return candidates, Setting(task, threat, protocol, device), lock


def _candidates(request: Request) -> tuple[Candidate, ...]:
    chosen = named(request.models, request.registry)
    if chosen:
        return chosen
    return builtin_zoo() if request.demo else read_registry(default_registry())


def _pinned(
    request: Request, candidates: tuple[Candidate, ...], console: Console
) -> tuple[tuple[Pinned, ...], LockRecord | None]:
    """What the lock says of every candidate, if there is one; with --locked there has to be."""
    path = lock_path(request.registry or default_registry())
    if not request.locked and (request.demo or not path.exists()):
        return tuple(map(Pinned, candidates)), None
    if not path.exists():
        raise UsageError(
            f"--locked needs the lock file {path}, found none.",
            hint="`selector lock` with the same --registry writes it.",
        )
    pinned = pin(candidates, read_lock(path), path)
    if request.locked:
        require_pins(pinned, path)
    names = tuple(one.candidate.name for one in pinned if one.pin is not None)
    _say(f"{len(names)} of {len(pinned)} candidates are pinned by {path}", console)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return pinned, LockRecord(file=str(path), sha256=digest, pinned=names)


def _say(text: str, console: Console) -> None:
    console.print(printable(text), markup=False, emoji=False, highlight=False, soft_wrap=True)


def _report_unreadable(task: Task, console: Console) -> None:
    if task.unreadable:
        names = ", ".join(task.unreadable[:3]) + (" …" if len(task.unreadable) > 3 else "")
        _say(f"{len(task.unreadable)} images cannot be read and are left out: {names}", console)


def _ranking(
    outcomes: list[Outcome], setting: Setting, lock: LockRecord | None, seed: int
) -> Ranking:
    ranked = rank([o for o in outcomes if isinstance(o, Evaluation)], seed=seed)
    task, threat, protocol = setting.task, setting.threat, setting.protocol
    return Ranking(
        selector_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=(Path(sys.argv[0]).name, *sys.argv[1:]),
        task=TaskRecord(
            name=task.name,
            source=task.source,
            classes=task.classes,
            image_size=task.image_size,
            train_images=len(task.train),
            validation_images=len(task.validation),
            test_images=len(task.test),
            prior_entropy=prior_entropy(task),
            unreadable=task.unreadable,
            fingerprint=task.fingerprint,
            revision=task.revision,
        ),
        threat=ThreatRecord(norm=threat.norm, eps=threat.eps),
        protocol=ProtocolRecord(
            version=PROTOCOL_VERSION,
            preset=protocol.preset,
            attack=protocol.attack,
            restarts=protocol.restarts,
            steps=protocol.steps,
            loss_clip=loss_clip(len(task.classes)),
            rho=RHO,
            seed=protocol.seed,
        ),
        device=describe_device(setting.device),
        versions={name: version(name) for name in _LIBRARIES},
        lock=lock,
        objective=OBJECTIVE,
        choice=choose(ranked, str(threat)),
        ranking=ranked,
        skipped=tuple(o for o in outcomes if isinstance(o, Skipped)),
    )
