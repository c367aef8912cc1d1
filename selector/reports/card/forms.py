"""Metrics as the Hub's own metadata: ``model-index`` of a README, and ``.eval_results`` files.

They are what ``eval_results_to_model_index`` and ``eval_result_entries_to_yaml`` of the Hub client
give, which a test compares; the client itself takes too long to import for a command that only
reads a file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from selector.errors import UsageError, printable
from selector.norms import format_threat
from selector.records import AnyRanked, AnyRanking, ImagesRecord, Provenance
from selector.reports.card.metrics import Metric, metrics
from selector.reports.card.subject import subject

INTERVAL, WARNINGS = "interval_95", "warnings"
_BUILTIN = "builtin:"


class _Dumper(yaml.SafeDumper):
    """Every value in full: an alias into another metric would be hard to read, or to move."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def to_yaml(document: object) -> str:
    """Block YAML, keys in their order, one trailing newline included."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def model_index(ranking: AnyRanking, e: AnyRanked) -> list[dict[str, Any]]:
    """The value of ``model-index``: one model with one result, whose metrics say all they mean.

    ``verified`` and ``verifyToken`` are left to the Hub.
    """
    about = subject(ranking)
    return [
        {
            "name": printable(e.provenance.repo or e.name),
            "results": [
                {
                    "task": {"type": about.type, "name": about.name},
                    "dataset": _dataset(ranking.task),
                    "metrics": [
                        {
                            "type": metric.type,
                            "value": metric.estimate.value,
                            "name": metric.name,
                            "args": arguments(ranking, e, metric),
                        }
                        for metric in metrics(ranking, e)
                    ],
                }
            ],
        }
    ]


def eval_results(ranking: AnyRanking, e: AnyRanked) -> list[dict[str, Any]]:
    """The entries of an ``.eval_results`` file, one for each metric.

    Raises:
        UsageError: the task is no dataset of the Hub, which entries of this form are about.
    """
    task = ranking.task
    if task.revision is None:
        raise UsageError(
            "--format eval-results needs a task that is a dataset of the Hub (hf:owner/name),"
            f" found {printable(task.name)!r}, which is local.",
            hint="--format model-index can also tell of a local task.",
        )
    return [
        {
            "dataset": {
                "id": _repo(task)[0],
                "task_id": _task_id(metric),
                "revision": task.revision,
            },
            "value": metric.estimate.value,
            "date": printable(ranking.created),
            "notes": f"{metric.name}; {_in_words(arguments(ranking, e, metric))}",
        }
        for metric in metrics(ranking, e)
    ]


def arguments(ranking: AnyRanking, e: AnyRanked, metric: Metric) -> dict[str, Any]:
    """All that a metric's value depends on, and how far it can be trusted."""
    task, threat, estimate = ranking.task, metric.threat, metric.estimate
    given: dict[str, Any] = {
        "kind": metric.kind,
        "threat": {"norm": threat.norm, "eps": threat.eps},
        "images": estimate.n,
        INTERVAL: [estimate.low, estimate.high],
        "head": printable(metric.head),
        **metric.details,
        "protocol": {key: _clean(value) for key, value in metric.protocol.items()},
        "image_size": task.image_size,
        "train_images": task.train_images,
        "task_fingerprint": printable(task.fingerprint),
    }
    if task.revision is not None:
        given["task_revision"] = printable(task.revision)
    given |= _revision(e.provenance)
    given["selector_version"] = printable(ranking.selector_version)
    if metric.warnings:
        given[WARNINGS] = [printable(code) for code in metric.warnings]
    return given


def _revision(provenance: Provenance) -> dict[str, str]:
    """Exactly which weights: their commit or, where there is none, what they hash to."""
    if provenance.commit is not None:
        return {"model_revision": printable(provenance.commit)}
    weights = max(provenance.files, key=lambda file: file.size)
    return {"model_sha256": weights.sha256}


def _dataset(task: ImagesRecord) -> dict[str, str]:
    """A dataset of the Hub by its id and commit; what is local by its name alone, not its path."""
    name = printable(task.name)
    if task.revision is None:
        # The Hub client takes results of one type for results of one dataset, whatever its name.
        place = "builtin" if task.source.startswith(_BUILTIN) else "local"
        return {"name": name, "type": f"{place}:{name}"}
    repo, config = _repo(task)
    named = {"name": name, "type": repo} | ({"config": config} if config else {})
    return named | {"revision": printable(task.revision)}


def _repo(task: ImagesRecord) -> tuple[str, str]:
    """The id and, or empty, the configuration of a dataset of the Hub."""
    repo, _, config = printable(task.name).partition(":")
    return repo, config


def _task_id(metric: Metric) -> str:
    threat = format_threat(metric.threat.norm, metric.threat.eps)
    return f"{metric.type}_{re.sub('[^0-9a-z.]+', '_', threat)}"


def _in_words(given: Mapping[str, Any]) -> str:
    """Arguments on one line."""
    return "; ".join(f"{key}: {_word(value)}" for key, value in given.items())


def _word(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_word(one)}" for key, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(_word, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _clean(value: Any) -> Any:
    return printable(value) if isinstance(value, str) else value
