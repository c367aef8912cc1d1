"""What a ranking rests on, and the command that repeats it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from selector.norms import format_threat
from selector.objectives import OBJECTIVES
from selector.records import Ranking

Facts = tuple[tuple[str, str], ...]


def facts(ranking: Ranking) -> tuple[tuple[str, Facts], ...]:
    """Groups of label and value: task, threat, protocol, and what it ran on."""
    task, protocol = ranking.task, ranking.protocol
    return (
        (
            "Task",
            (
                ("name", task.name),
                ("source", task.source),
                ("revision", task.revision or "none: local"),
                (
                    "images",
                    f"{task.train_images} train, {task.validation_images} validation,"
                    f" {task.test_images} test, {task.image_size} px",
                ),
                ("unreadable", str(len(task.unreadable))),
                ("classes", str(len(task.classes))),
                ("prior entropy", f"{task.prior_entropy:.4f} nats"),
                ("constant answer", f"{100 * task.constant_accuracy:.1f} % of test images"),
                ("fingerprint", task.fingerprint),
            ),
        ),
        (
            "Threat and protocol",
            (
                ("threat", format_threat(ranking.threat.norm, ranking.threat.eps)),
                *_further(ranking),
                ("eps, exactly", repr(ranking.threat.eps)),
                ("protocol version", str(protocol.version)),
                ("preset", protocol.preset),
                ("attack", f"{protocol.attack}, {protocol.restarts} x {protocol.steps} steps"),
                ("head", protocol.head),
                ("objective", f"{ranking.objective}: {OBJECTIVES[ranking.objective].what}"),
                ("loss clip (C2)", f"{protocol.loss_clip:.4f} nats"),
                ("rho", f"{protocol.rho:g}"),
                ("seed", str(protocol.seed)),
                ("scope", ranking.scope),
            ),
        ),
        (
            "Software and machine",
            (
                ("selector", ranking.selector_version),
                *sorted(ranking.versions.items()),
                ("device", f"{ranking.device.type}: {ranking.device.name}"),
                ("created", ranking.created),
                ("schema", ranking.schema_version),
                *_lock(ranking),
                *_configured(ranking),
            ),
        ),
    )


def _further(ranking: Ranking) -> Facts:
    """Other threats of the run."""
    threats = [one.threat for curve in ranking.curves or () for one in curve.points]
    words = dict.fromkeys(format_threat(one.norm, one.eps) for one in threats)
    return (("all threats", ", ".join(words)),) if words else ()


def _lock(ranking: Ranking) -> Facts:
    lock = ranking.lock
    if lock is None:
        return (("lock", "none: candidates as they were"),)
    return (
        ("lock", lock.file),
        ("lock, sha256", lock.sha256),
        ("pinned by it", ", ".join(lock.pinned)),
    )


def _configured(ranking: Ranking) -> Facts:
    """Options that nobody typed."""
    return tuple(
        (one.option, f"{one.value} (not typed: {one.origin})") for one in ranking.configured
    )


def command_line(arguments: Sequence[str]) -> str:
    """Arguments as bash and zsh read them back, all in one line.

    >>> command_line(["selector", "rank", "--task", "my images", "it's"])
    'selector rank --task \\'my images\\' \\'it\\'"\\'"\\'s\\''
    >>> print(command_line(["rank", "a" + chr(10) + "b"]))
    rank $'a\\U0000000ab'
    """
    return " ".join(map(_quoted, arguments))


def _quoted(argument: str) -> str:
    if argument.isprintable():
        return shlex.quote(argument)
    safe = (c if c.isprintable() and c not in "\\'" else f"\\U{ord(c):08x}" for c in argument)
    return f"$'{''.join(safe)}'"
