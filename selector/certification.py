"""One run of ``selector certify``: from what the user asked for to the certificates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from selector import session, store
from selector.candidates import Chosen
from selector.certifying import smoothing_record
from selector.describing import run_record, task_record
from selector.fetching import FetchRules
from selector.protocol import Overrides, choose_protocol
from selector.radii import Smoothing
from selector.records import Certification, CertifiedCandidate, Skipped
from selector.scheduling import LOCAL, Engine, Kept, Means
from selector.tasks import load_task
from selector.tasks.options import TaskOptions
from selector.threat import ThreatModel
from selector.workload import Setting

# Validation images are not attacked here, so there can be more of them than for a ranking.
_VALIDATION_SHARE = 4


@dataclass(frozen=True)
class Request:
    """What the user asked for; the options of ``selector certify``."""

    task: str
    task_options: TaskOptions
    chosen: Chosen
    allow_pickle: bool
    smoothing: Smoothing
    image_size: int
    overrides: Overrides
    device: str
    seed: int
    fresh: bool
    store: Path | None = None
    engine: Engine = LOCAL


def run(request: Request, console: Console) -> Certification:
    """Certify, with progress on ``console``.

    Raises:
        UsageError: something asked for does not exist or makes no sense.
    """
    setting = prepare(request, console)
    kept = Kept(request.store or store.default_path(), request.fresh)
    means = Means(kept, FetchRules(request.allow_pickle), request.engine)
    candidates = request.chosen.candidates
    outcomes = session.certify(candidates, setting, request.smoothing, means, console)
    certified = [one for one in outcomes if isinstance(one, CertifiedCandidate)]
    return Certification(
        **dict(run_record(request.chosen, request.engine.describe(setting.device))),
        task=task_record(setting.task),
        smoothing=smoothing_record(request.smoothing, request.seed),
        certified=tuple(sorted(certified, key=order_key)),
        skipped=tuple(one for one in outcomes if isinstance(one, Skipped)),
    )


def prepare(request: Request, console: Console) -> Setting:
    """Load what is the same for all candidates.

    Raises:
        UsageError: something asked for does not exist or makes no sense.
    """
    device = request.engine.choose_device(request.device)
    protocol = choose_protocol("standard", device.type, request.overrides, request.seed)
    sizes = protocol.sizes
    sizes = replace(sizes, validation=max(1, sizes.train // _VALIDATION_SHARE))
    task = load_task(
        request.task,
        image_size=request.image_size,
        sizes=sizes,
        seed=request.seed,
        options=request.task_options,
    )
    session.report_images(task, console)
    threat = ThreatModel("l2", request.smoothing.radii[0])
    return Setting(task, threat, replace(protocol, sizes=sizes), device)


def order_key(one: CertifiedCandidate) -> tuple[float, ...]:
    """Sorts by certified accuracy at the first radius, highest first; ties by the next ones."""
    certified = (-accuracy.value for accuracy in one.certified_accuracy)
    return (*certified, -one.smoothed_accuracy.value, -one.noisy_accuracy.value)
