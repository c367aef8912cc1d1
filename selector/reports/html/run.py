"""What a ranking rests on, and the command that repeats it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from selector.norms import format_threat
from selector.records import AnyRanking, RunRecord

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Terms:
    """What a kind of ranking says of itself in these facts.

    Attributes:
        answers: what has to be told from an image.
        objective: what it is ranked by, in words.
        clip: the clip of Theorem 1: label and value.
        threats: other threats of the run.
    """

    answers: Facts
    objective: str
    clip: tuple[str, str]
    threats: Facts = ()


def facts(ranking: AnyRanking, terms: Terms) -> tuple[tuple[str, Facts], ...]:
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
                *terms.answers,
                ("fingerprint", task.fingerprint),
            ),
        ),
        (
            "Threat and protocol",
            (
                ("threat", format_threat(ranking.threat.norm, ranking.threat.eps)),
                *terms.threats,
                ("eps, exactly", repr(ranking.threat.eps)),
                ("protocol version", str(protocol.version)),
                ("preset", protocol.preset),
                ("attack", f"{protocol.attack}, {protocol.restarts} x {protocol.steps} steps"),
                ("head", protocol.head),
                ("objective", f"{ranking.objective}: {terms.objective}"),
                terms.clip,
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


def _lock(ranking: RunRecord) -> Facts:
    lock = ranking.lock
    if lock is None:
        return (("lock", "none: candidates as they were"),)
    return (
        ("lock", lock.file),
        ("lock, sha256", lock.sha256),
        ("pinned by it", ", ".join(lock.pinned)),
    )


def _configured(ranking: RunRecord) -> Facts:
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
