"""Metrics as a section of a model card, for people: a table, what it means, how to repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from itertools import pairwise

from selector.errors import printable
from selector.norms import format_threat
from selector.records import AnyRanked, AnyRanking, CertifiedCandidate, Ranking
from selector.reports.again import eps_option, whole_command
from selector.reports.card.metrics import Metric, metrics
from selector.reports.card.subject import Subject, subject
from selector.reports.escaping import prose

_PROMISES = {
    "estimated": "rests on an attack: would be proven if attacks found the farthest point",
    "certified": "proven of a smoothed head, with the stated confidence for each image",
    "clean": "nothing attacked",
}
# What a command may say that the record does not: none of these holds a path.
_FROM_COMMAND = (
    "--image-column",
    "--label-column",
    "--train-split",
    "--validation-split",
    "--test-split",
    "--train-images",
    "--test-images",
)


def markdown(ranking: AnyRanking, e: AnyRanked) -> str:
    """A section of a model card, one trailing newline included; names cannot bring markup in."""
    shown, about = metrics(ranking, e), subject(ranking)
    parts = [
        "## Robustness after transfer",
        _about(ranking, e, about),
        _table(shown),
        "\n".join(_promises(shown, about)),
        "\n".join(_remarks(ranking, e, about)),
        _again(ranking, e),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _about(ranking: AnyRanking, e: AnyRanked, about: Subject) -> str:
    task = ranking.task
    at = f" (revision {prose(task.revision)})" if task.revision else ""
    commit = e.provenance.commit
    of = f", at commit {prose(commit)}" if commit else ""
    return (
        f"Of {prose(e.provenance.repo or e.name)}{of}, measured by selector"
        f" {prose(ranking.selector_version)} on {prose(task.name)}{at},"
        f" {prose(about.asked)}: {prose(ranking.scope)}."
    )


def _table(shown: Sequence[Metric]) -> str:
    rows = [
        f"| {metric.what} | {metric.kind} | {_value(metric)}"
        f" | {format_threat(metric.threat.norm, metric.threat.eps)}"
        f" | {prose(metric.head)} | {metric.estimate.n} |"
        for metric in shown
    ]
    header = "| measure | kind | value (95 % interval) | threat | head | images |"
    return "\n".join((header, "|---|---|---:|---|---|---:|", *rows))


def _value(metric: Metric) -> str:
    estimate = metric.estimate
    if not metric.share:
        return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
    value, low, high = (100 * one for one in (estimate.value, estimate.low, estimate.high))
    return f"{value:.1f} % ({low:.1f} to {high:.1f})"


def _promises(shown: Sequence[Metric], about: Subject) -> Iterator[str]:
    promises = _PROMISES | {"attacked": about.attacked}
    for kind in dict.fromkeys(metric.kind for metric in shown):
        yield f"- **{kind}**: {promises[kind]}."


def _remarks(ranking: AnyRanking, e: AnyRanked, about: Subject) -> Iterator[str]:
    yield f"- {prose(about.ignorant)}"
    if e.vacuous:
        yield f"- {about.vacuous}"
    for flag in e.warnings:
        yield f"- With care: {prose(flag.message)}."
    for threat in _blind(ranking, e):
        yield f"- Under {threat} the attack was blind, so that nothing is said of it."


def _blind(ranking: AnyRanking, e: AnyRanked) -> Iterator[str]:
    for curve in (ranking.curves or ()) if isinstance(ranking, Ranking) else ():
        for point in curve.points if curve.model == e.model else ():
            if point.masked:
                yield format_threat(point.threat.norm, point.threat.eps)


def _again(ranking: AnyRanking, e: AnyRanked) -> str:
    """The command that measures it again, without a path of the machine it was measured on."""
    task, protocol = ranking.task, ranking.protocol
    words = [
        *("selector", "rank", "--task", _task(ranking), "--model", _model(e)),
        *("--norm", ranking.threat.norm, "--eps", eps_option(ranking)),
        *("--image-size", str(task.image_size), "--preset", protocol.preset),
        *("--attack", protocol.attack, "--restarts", str(protocol.restarts)),
        *("--steps", str(protocol.steps), "--head", protocol.head, "--seed", str(protocol.seed)),
        *subject(ranking).options,
        *_from_command(whole_command(ranking)),
        *_smoothed(ranking, e),
    ]
    command = shlex.join(printable(word) for word in words)
    return (
        f"How to measure it again (this was on {prose(ranking.device.type)}, whose presets are"
        f" other than those of other devices):\n\n```sh\n{command}\n```\n\n"
        "The images were the same if its JSON has the task fingerprint"
        f" `{printable(task.fingerprint)[:64]}`."
    )


def _task(ranking: AnyRanking) -> str:
    task = ranking.task
    if task.revision is not None:
        repo, _, config = task.name.partition(":")
        return f"hf:{repo}@{task.revision}" + (f":{config}" if config else "")
    if task.source.startswith("builtin:"):
        return task.source
    return "DIR" if isinstance(ranking, Ranking) else "FILE"


def _model(e: AnyRanked) -> str:
    found = e.provenance
    return f"{found.repo}@{found.commit}" if found.repo and found.commit else "local-dir:DIR"


def _smoothed(ranking: AnyRanking, e: AnyRanked) -> Iterator[str]:
    """What asks for its certificates, if it has some."""
    for one in (ranking.certified or ()) if isinstance(ranking, Ranking) else ():
        if isinstance(one, CertifiedCandidate) and one.model == e.model:
            yield from ("--certify", "1", "--sigma", repr(one.smoothing.sigma))


def _from_command(command: Sequence[str]) -> Iterator[str]:
    """Options of the command that was run which the record does not hold, as they were given."""
    words = [
        part for word in command for part in (word.split("=", 1) if word[:2] == "--" else [word])
    ]
    for option, value in pairwise(words):
        if option in _FROM_COMMAND:
            yield from (option, value)
