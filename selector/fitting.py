"""The heads of one candidate, from training and validation images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from selector import bounds
from selector.attacking import attack_pairs, attack_validation, find_shapes
from selector.batches import AT_ONCE, Images
from selector.choosing import (
    RADIUS_SCALES,
    ChosenHead,
    Heads,
    choose_path,
    choose_probe,
)
from selector.heads import Labelled, task_projection
from selector.rows import spread
from selector.run import Run
from selector.sensitivity import Pool
from selector.shapes import SHAPED, rounding
from selector.spool import collect


@dataclass(frozen=True)
class _Attacked:
    """Some validation images, what attacks attained on them, and their labels (n,)."""

    images: Images
    pool: Pool
    labels: Tensor


@dataclass(frozen=True)
class Probed:
    """What no threat changes.

    Attributes:
        train, validation: clean features and labels.
        probe: the ordinary head.
        projection: A (r,d), orthonormal rows: the directions that it reads.
        rounded: T (r,d), coordinates of A∘g in which the mean shape of validation images is round;
            A itself for two classes and for a screening.
    """

    train: Labelled
    validation: Labelled
    probe: ChosenHead
    projection: Tensor
    rounded: Tensor


@dataclass(frozen=True)
class Fitted:
    """The heads of a candidate under one threat.

    Attributes:
        heads: them.
        attained: what attacks attained on validation images, AT_ONCE at a time.
    """

    heads: Heads
    attained: tuple[Pool, ...]


def find_probe(run: Run) -> Probed:
    """The ordinary probe, from training images; its regularisation from validation images.

    And the directions in which it reads features, with how unequally validation images move there.
    """
    task = run.setting.task
    with run.watch.stage("features"):
        train, validation = map(run.clean, (task.train, task.validation))
    with run.watch.stage("heads"):
        probe = choose_probe(train, validation, len(task.classes))
        projection = task_projection(probe.head)
    with run.watch.stage("attack"):
        rounded = _rounded(run, validation, probe, projection)
    return Probed(train, validation, probe, projection, rounded)


def _rounded(run: Run, validation: Labelled, probe: ChosenHead, projection: Tensor) -> Tensor:
    """T, of at most SHAPED validation images."""
    split = run.setting.task.validation
    places = spread(len(split), SHAPED)
    clean = validation.features[places].to(projection.device)
    images, labels = run.images(split.at(places)), validation.labels[places]
    shapes = find_shapes(run, images, clean, labels, probe.head, projection)
    return projection if shapes is None else rounding(shapes.mean(), projection)


@dataclass(frozen=True)
class _Path:
    """Heads along the radius scale, none of which is recommended yet."""

    frontier: tuple[ChosenHead, ...]
    bound_optimal: ChosenHead
    projection: Tensor
    rounded: Tensor

    def heads(self, tried: Sequence[tuple[float, float]]) -> Heads:
        """With what :func:`_kept` or :func:`_certain` said of each."""
        return Heads(
            frontier=self.frontier,
            validated=tuple(kept for kept, _ in tried),
            recommended=self.frontier[tried.index(max(tried))],
            bound_optimal=self.bound_optimal,
            projection=self.projection,
            rounded=self.rounded,
        )


def fit(run: Run, probed: Probed, known: Sequence[Pool] = ()) -> Fitted:
    """The heads of a candidate, from training and validation images.

    Of the frontier's heads the one is recommended that keeps most validation images when its class
    pairs are attacked; of equal ones, the one that survives more of the attacks. In a screening the
    criterion takes the place of attacks on class pairs.

    Args:
        run: of the candidate, under the threat.
        probed: of the same candidate.
        known: ``attained`` under a threat that this one contains; it counts here as well.
    """
    path, attacked = _path(run, probed, known)
    if run.setting.protocol.screens:
        tried = [_certain(one, attacked, path.projection) for one in path.frontier]
        return _fitted(path.heads(tried), attacked)
    with run.watch.stage("attack"):
        parts = [_tried(run, part, path.frontier, path.rounded) for part in attacked]
        return _fitted(path.heads([_kept(one, parts) for one in path.frontier]), parts)


def fit_for_look(run: Run, probed: Probed) -> Fitted:
    """About the same with less: only heads that may be recommended have their pairs attacked.

    What the attacks so far have left of a head is the most that can be left of it. So the head of
    which most is left is attacked, until that is one which was. Points that attacks on the others
    would have found count for none, so it may be another head than :func:`fit` recommends.
    """
    path, parts = _path(run, probed, ())
    attacked: set[int] = set()
    with run.watch.stage("attack"):
        while True:
            tried = [_kept(one, parts) for one in path.frontier]
            best = tried.index(max(tried))
            if best in attacked:
                return _fitted(path.heads(tried), parts)
            head = path.frontier[best : best + 1]
            parts = [_tried(run, part, head, path.rounded) for part in parts]
            attacked.add(best)


def _fitted(heads: Heads, parts: Sequence[_Attacked]) -> Fitted:
    return Fitted(heads, tuple(part.pool for part in parts))


def _path(run: Run, probed: Probed, known: Sequence[Pool]) -> tuple[_Path, list[_Attacked]]:
    """Heads against what an attack on T∘g attains on validation images, and these."""
    train, validation, rounded = probed.train, probed.validation, probed.rounded
    with run.watch.stage("attack"):
        attacked = [
            _Attacked(images, pool, validation.labels[rows])
            for images, pool, rows in attack_validation(run, validation.features, rounded, known)
        ]
        reach = torch.cat([part.pool.displacement(rounded) for part in attacked])
    with run.watch.stage("heads"):
        # Training images are not attacked: each counts as moved by what validation images attained
        # on average. How a head was found changes no promise about it, since every number is
        # computed from test images.
        path, bound_optimal = choose_path(
            _projected(train, rounded, reach.mean().expand(len(train.labels))),
            _projected(validation, rounded, reach),
            len(run.setting.task.classes),
            RADIUS_SCALES[1:],
        )
    # Mostly one of the path: the same object stays one, so that it is attacked once.
    on_features = {id(one): one.before(rounded) for one in (*path, bound_optimal)}
    frontier = (probed.probe, *(on_features[id(one)] for one in path))
    found = _Path(frontier, on_features[id(bound_optimal)], probed.projection, rounded)
    return found, attacked


def _tried(run: Run, part: _Attacked, heads: Sequence[ChosenHead], rounded: Tensor) -> _Attacked:
    """With what attacks on the class pairs of each head attained; it counts for every head."""
    pool = part.pool
    for one in heads:
        pool = attack_pairs(run, part.images, pool, one.head, part.labels, rounded)
    return replace(part, pool=pool)


def _kept(chosen: ChosenHead, parts: Sequence[_Attacked]) -> tuple[float, float]:
    """Share of validation images that a head keeps, and mean of what it survives of the attacks."""
    images = kept = survived = 0.0
    for part in parts:
        scores = part.pool.scores(chosen.head)
        images += len(part.labels)
        kept += scores.always_correct(part.labels).sum().item()
        survived += scores.tolerances(part.labels).sum().item()
    return kept / images, survived / images


def _certain(
    chosen: ChosenHead, parts: Sequence[_Attacked], projection: Tensor
) -> tuple[float, float]:
    """The same by the criterion on A∘g: share whose decision holds, mean of what it survives."""
    head, holds, survived = chosen.head, [], []
    for part in parts:
        displacement = part.pool.displacement(projection)
        given = (head(part.pool.clean), head.weight, part.labels, displacement)
        holds.append(bounds.criterion_holds(*given).double())
        survived.append(bounds.tolerances(*given))
    return torch.cat(holds).mean().item(), torch.cat(survived).mean().item()


def _projected(data: Labelled, projection: Tensor, reach: Tensor) -> Labelled:
    """The same images on a projection of g, movable by ``reach`` (n,)."""
    parts = (features @ projection.to(features).T for features, _, _ in data.chunks(AT_ONCE))
    return Labelled(collect(parts, len(data.labels)), data.labels, reach)
