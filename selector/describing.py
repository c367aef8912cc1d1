"""What a document says of the run that made it: images, threat, protocol, device, versions."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from selector import __version__
from selector.candidates import Chosen
from selector.configuration import configured
from selector.evaluation import constant_accuracy, prior_entropy
from selector.protocol import PROTOCOL_VERSION, RHO, Protocol
from selector.records import (
    ConfiguredOption,
    DeviceRecord,
    ImagesRecord,
    LockRecord,
    ObjectiveKind,
    Outcome,
    ProtocolRecord,
    RankingRecord,
    RunRecord,
    Skipped,
    TaskRecord,
    ThreatRecord,
)
from selector.tasks import Task
from selector.workload import Setting

# Numbers may depend on these.
_LIBRARIES = (
    *("torch", "torchvision", "timm", "huggingface-hub", "safetensors"),
    *("scipy", "scikit-learn", "numpy"),
)


def run_record(
    chosen: Chosen, device: DeviceRecord, command: tuple[str, ...] | None = None
) -> RunRecord:
    """Of what runs now.

    Args:
        chosen: its candidates.
        device: that measured.
        command: that asked for it; None: the one that started this process.
    """
    return RunRecord(
        selector_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command or (Path(sys.argv[0]).name, *sys.argv[1:]),
        configured=tuple(ConfiguredOption(**asdict(one)) for one in configured()),
        device=device,
        versions={name: version(name) for name in _LIBRARIES},
        lock=_lock_record(chosen),
    )


def ranking_record(
    run: RunRecord,
    setting: Setting,
    clip: float,
    objective: tuple[str, ObjectiveKind],
    outcomes: Iterable[Outcome],
) -> RankingRecord:
    """Of how a ranking was made.

    Args:
        run: that made it.
        setting: of the measurements.
        clip: what the loss is clipped at for Theorem 1.
        objective: its name and kind.
        outcomes: of all candidates; those that were skipped are in the record.
    """
    name, kind = objective
    return RankingRecord(
        **dict(run),
        threat=ThreatRecord(norm=setting.threat.norm, eps=setting.threat.eps),
        protocol=_protocol_record(setting.protocol, clip),
        objective=name,
        objective_kind=kind,
        skipped=tuple(one for one in outcomes if isinstance(one, Skipped)),
    )


def images_record(task: Task) -> ImagesRecord:
    """Of the images that were used."""
    return ImagesRecord(
        name=task.name,
        source=task.source,
        image_size=task.image_size,
        train_images=len(task.train),
        validation_images=len(task.validation),
        test_images=len(task.test),
        unreadable=task.unreadable,
        fingerprint=task.fingerprint,
        revision=task.revision,
    )


def task_record(task: Task) -> TaskRecord:
    """Of these and their classes."""
    return TaskRecord(
        **dict(images_record(task)),
        classes=task.classes,
        prior_entropy=prior_entropy(task),
        constant_accuracy=constant_accuracy(task),
    )


def _protocol_record(protocol: Protocol, clip: float) -> ProtocolRecord:
    return ProtocolRecord(
        version=PROTOCOL_VERSION,
        preset=protocol.preset,
        attack=protocol.attack,
        restarts=protocol.restarts,
        steps=protocol.steps,
        loss_clip=clip,
        rho=RHO,
        seed=protocol.seed,
        head=protocol.head,
    )


def _lock_record(chosen: Chosen) -> LockRecord | None:
    if chosen.lock is None:
        return None
    return LockRecord(file=str(chosen.lock), sha256=chosen.lock_sha256, pinned=chosen.pinned)
