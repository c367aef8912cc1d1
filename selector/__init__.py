"""Rank pretrained image backbones by how robust they will be after transfer to a task.

A linear head is as robust as the representation under it lets it be. The theory in one example,
with a representation that is known exactly, the identity on two features:

>>> import torch
>>> from selector.bounds import criterion_holds, decision_radii, worst_case_losses
>>> weight = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
>>> features = torch.tensor([[2.0, 0.0], [0.6, 0.5]], dtype=torch.float64)
>>> labels = torch.tensor([0, 0])
>>> decision_radii(features @ weight.T, weight)     # distance to the decision boundary
tensor([1.4142, 0.0707], dtype=torch.float64)
>>> moved = torch.tensor([0.5, 0.5], dtype=torch.float64)     # how far each feature can be pushed
>>> criterion_holds(features @ weight.T, weight, labels, moved).tolist()
[True, False]
>>> worst_case_losses(features @ weight.T, weight, labels, moved)
tensor([0.2425, 1.0421], dtype=torch.float64)

What is listed in ``__all__`` is the Python interface, and stays as it is. Names are looked up when
they are first used, so that ``import selector`` does not wait for torch:

``rank``, ``rank_regression``, ``plan``
    measure and rank, for classes or for numbers; what the former would take.
``to_frame``, ``read_ranking``, ``read_regression``
    either ranking as a data frame; each from the file that ``-o`` wrote. :class:`Ranking`,
    :class:`RegressionRanking` and :class:`Plan` are what all these give.
``task_from_arrays``, ``task_from_dataset``, ``load_task``, ``targets_from_arrays``
    tasks of your own, the last of numbers; :class:`Task` is what ``load_task`` gives, and
    :class:`TaskOptions` names columns and splits of a table.
``Module``, ``Candidate``, ``read_registry``, ``builtin_zoo``
    candidates: your own networks, and those of registries.
``ThreatModel``, ``measure_sensitivity``, ``attack_head``, ``Effort``
    how far attacks push features, and what a head withstands; usable alone.
``LinearHead``, ``heads``, ``bounds``, ``smoothing``
    heads and how they are fitted, the theorems, certificates; usable alone.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selector import bounds, heads, smoothing
    from selector.api import plan, rank, rank_regression
    from selector.blocks import Effort, attack_head, measure_sensitivity
    from selector.candidates import Candidate, builtin_zoo, read_registry
    from selector.errors import CandidateError, SelectorError, UsageError
    from selector.heads import LinearHead
    from selector.modules import Module
    from selector.records import Plan, Ranking, RegressionRanking
    from selector.reports.document import read_ranking, read_regression
    from selector.reports.frame import to_frame
    from selector.tasks import Task, load_task
    from selector.tasks.given import task_from_arrays, task_from_dataset
    from selector.tasks.given_targets import targets_from_arrays
    from selector.tasks.options import TaskOptions
    from selector.threat import ThreatModel

__all__ = [
    "Candidate",
    "CandidateError",
    "Effort",
    "LinearHead",
    "Module",
    "Plan",
    "Ranking",
    "RegressionRanking",
    "SelectorError",
    "Task",
    "TaskOptions",
    "ThreatModel",
    "UsageError",
    "attack_head",
    "bounds",
    "builtin_zoo",
    "heads",
    "load_task",
    "measure_sensitivity",
    "plan",
    "rank",
    "rank_regression",
    "read_ranking",
    "read_registry",
    "read_regression",
    "smoothing",
    "targets_from_arrays",
    "task_from_arrays",
    "task_from_dataset",
    "to_frame",
]

__version__ = version("selector")

# Where each name is; empty: it is a module of this package.
_HOMES = {
    "Candidate": "candidates",
    "CandidateError": "errors",
    "Effort": "blocks",
    "LinearHead": "heads",
    "Module": "modules",
    "Plan": "records",
    "Ranking": "records",
    "RegressionRanking": "records",
    "SelectorError": "errors",
    "Task": "tasks",
    "TaskOptions": "tasks.options",
    "ThreatModel": "threat",
    "UsageError": "errors",
    "attack_head": "blocks",
    "bounds": "",
    "builtin_zoo": "candidates",
    "heads": "",
    "load_task": "tasks",
    "measure_sensitivity": "blocks",
    "plan": "api",
    "rank": "api",
    "rank_regression": "api",
    "read_ranking": "reports.document",
    "read_registry": "candidates",
    "read_regression": "reports.document",
    "smoothing": "",
    "targets_from_arrays": "tasks.given_targets",
    "task_from_arrays": "tasks.given",
    "task_from_dataset": "tasks.given",
    "to_frame": "reports.frame",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES[name]
    found = import_module(f"{__name__}.{home or name}")
    value = getattr(found, name) if home else found
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
