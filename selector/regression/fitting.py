"""The heads of one candidate for numeric targets, from training and validation images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from selector.attacking import attack_validation
from selector.batches import Images
from selector.choosing import ChosenHead, Heads
from selector.regression.bounds import squared_errors
from selector.regression.choosing import choose_path, choose_ridge
from selector.regression.heads import Examples, row_space
from selector.regression.pool import squared_aim, worst_errors
from selector.regression.task import Targets
from selector.run import Run
from selector.sensitivity import Pool
from selector.tasks.decoding import Split


@dataclass(frozen=True)
class _Attacked:
    """Some validation images, what attacks attained on them, and their targets (n,q)."""

    images: Images
    pool: Pool
    targets: Tensor


def examples(run: Run, split: Split, targets: Tensor) -> Examples:
    """Clean features of a part of the task, and its targets (n,q), on the device."""
    return Examples.clean(run.clean(split).features, targets.to(run.setting.device))


def fit(run: Run, targets: Targets) -> Heads:
    """The heads of a candidate; that one is recommended which attacks on validation hurt least."""
    task = run.setting.task
    with run.watch.stage("features"):
        train = examples(run, task.train, targets.train)
        validation = examples(run, task.validation, targets.validation)
    with run.watch.stage("heads"):
        probe = choose_ridge(train, validation)
        projection = row_space(probe.head)
    with run.watch.stage("attack"):
        attacked = [
            _Attacked(images, pool, validation.targets[rows])
            for images, pool, rows in attack_validation(run, validation.features, projection)
        ]
        reach = torch.cat([part.pool.displacement(projection) for part in attacked])
    with run.watch.stage("heads"):
        # Training images are not attacked: each counts as moved by what validation images attained
        # on average. Every number of a report is computed from test images.
        path = choose_path(
            _projected(train, projection, reach.mean().expand(len(train.targets))),
            _projected(validation, projection, reach),
        )
        on_g = [one.before(projection) for one in path]
    frontier = (probe, *on_g)
    with run.watch.stage("attack"):
        tried = [_tried(run, part, frontier) for part in attacked]
        errors = tuple(_mean_error(one, tried) for one in frontier)
    return Heads(
        frontier=frontier,
        validated=errors,
        recommended=frontier[errors.index(min(errors))],
        bound_optimal=min(on_g, key=lambda one: one.validation_loss),
        projection=projection,
        rounded=projection,
    )


def _tried(run: Run, part: _Attacked, heads: Sequence[ChosenHead]) -> _Attacked:
    """With what attacks on the error of each head attained; it counts for every head."""
    pool = part.pool
    for one in heads:
        aim = squared_aim(one.head, part.targets)
        found = run.search(part.images, aim, run.half_budget)
        pool = pool.with_points(found.features)
    return replace(part, pool=pool)


def _mean_error(chosen: ChosenHead, parts: Sequence[_Attacked]) -> float:
    """Mean squared error of a head on validation images under attack."""
    worst = [worst_errors(part.pool, chosen.head, part.targets, squared_errors) for part in parts]
    return torch.cat(worst).mean().item()


def _projected(data: Examples, projection: Tensor, reach: Tensor) -> Examples:
    """The same images on A∘g, movable by ``reach`` (n,)."""
    features = torch.cat([features @ projection.T for features, _, _ in data.chunks()])
    return Examples(features, data.targets, reach)
