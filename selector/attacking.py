"""The attacks on one candidate's images; what they attain is pooled and counts for all numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from selector.batches import AT_ONCE, BatchSize, Images, lacks_memory
from selector.controls import Controls, gradient_free
from selector.diagnostics import Signs, signs
from selector.heads import LinearHead
from selector.pairs import in_doubt, search_pairs
from selector.precision import PROBED, TRIED, Precision, has_tensor_cores
from selector.rows import Rows, ranges, spread
from selector.run import Run
from selector.sensitivity import Aim, Pool, displacement, displacement_aim
from selector.shapes import Extent, Shapes, directions, length_aim, measure_grams, shapes_of
from selector.workload import probe_budget


def attack_validation(
    run: Run, features: Rows, projection: Tensor, known: Sequence[Pool] = ()
) -> list[tuple[Images, Pool, slice]]:
    """Attack validation images on A∘g, or on other coordinates of it.

    A screening attacks them on g.

    Args:
        run: of the candidate.
        features: of the validation images (n,d).
        projection: of g (r,d).
        known: what was attained on each AT_ONCE images under a threat that this one contains; it
            counts here as well.

    Returns:
        AT_ONCE images at a time, what was attained on them, and which of the n they are.
    """
    split, screens = run.setting.task.validation, run.setting.protocol.screens
    if has_tensor_cores(run.setting.device):
        _choose_precision(run, features)
    found = []
    parts = zip(run.images(split).chunks(AT_ONCE), ranges(len(split), AT_ONCE), strict=True)
    for number, (images, rows) in enumerate(parts):
        clean = features[rows].to(run.setting.device, torch.float32)
        aim = displacement_aim(clean, None if screens else projection)
        attained = run.search(images, aim, run.budget)
        before = known[number].attained if known else ()
        found.append((images, Pool(clean, (*before, attained.features)), rows))
    return found


def _choose_precision(run: Run, features: Rows) -> None:
    """Of all searches that follow, by a short one of few validation images on g.

    A network may mix what autocast gives it with what it keeps in fp32, and fail in bf16; not in
    TF32.
    """
    split = run.setting.task.validation
    places = spread(len(split), PROBED)
    clean = features[places].to(run.setting.device, torch.float32)
    aim, budget = displacement_aim(clean), probe_budget(run.setting.protocol)
    found = run.search(run.images(split.at(places)), aim, budget)
    norms = torch.linalg.vector_norm(clean.double(), dim=1)
    run.precision.choose(displacement(found.features, clean), norms)
    if run.precision.search == "bf16":
        tried = run.images(split.at(places[:TRIED]))
        try:
            run.search(tried, displacement_aim(clean[:TRIED]), replace(budget, steps=1))
        except (RuntimeError, TypeError, FloatingPointError) as error:
            if lacks_memory(error):
                raise
            run.precision.search = "tf32"


def find_shapes(
    run: Run, images: Images, clean: Tensor, labels: Tensor, probe: LinearHead, projection: Tensor
) -> Shapes | None:
    """The shapes of some images on A∘g; None for a screening, or if there are not two directions.

    Args:
        run: of the candidate, under any threat.
        images: n of them.
        clean: their features (n,d).
        labels: (n,) int64.
        probe: whose rivals count where A has many directions.
        projection: A (r,d), orthonormal rows.
    """
    if run.setting.protocol.screens or len(projection) < 2:
        return None
    along = directions(clean, probe, labels, projection, run.setting.protocol.seed)
    # What searches compute in changes nothing here, so it must not count in what is kept either.
    # And rows of J take memory that searches do not: where it runs out, those keep their batches.
    own = BatchSize(images.batch_size.value)
    plain = replace(images, precision=Precision(), batch_size=own)
    return shapes_of(run.recalled(measure_grams, Tensor, plain, along), along)


def attack_test(
    run: Run,
    images: Images,
    known: Pool,
    projection: Tensor,
    aims: Iterable[Aim],
    shapes: Shapes | None = None,
) -> tuple[Pool, Signs]:
    """Attack some test images on g, on A∘g and with more aims; and how the attack on g went.

    A screening attacks them on g alone.

    Args:
        run: of the candidate.
        images: which.
        known: their features (n,d) float32, and what was attained under a threat that this one
            contains, which counts here as well.
        projection: A (r,d).
        aims: of heads, each at half the budget.
        shapes: of the images; length in these is attacked as well.
    """
    threat, clean = run.setting.threat, known.clean
    on_g = run.search(images, displacement_aim(clean), run.budget)
    seed = run.setting.protocol.seed
    controls = run.recalled(gradient_free, Controls, images, clean, threat, seed)
    found = [on_g]
    if not run.setting.protocol.screens:
        found.append(run.search(images, displacement_aim(clean, projection), run.budget))
        if shapes is not None:
            found.append(run.search(images, length_aim(clean, projection, shapes), run.budget))
        found += [run.search(images, aim, run.half_budget) for aim in aims]
    attained = (one.features for one in found)
    pool = Pool(clean, (*known.attained, *attained, controls.noise, controls.searched))
    return pool, signs(on_g, clean, controls)


def attack_pairs(
    run: Run,
    images: Images,
    pool: Pool,
    head: LinearHead,
    labels: Tensor,
    projection: Tensor,
    shapes: Shapes | None = None,
) -> Pool:
    """The pool with what attacks attain on those of a head's class pairs that are in doubt.

    A screening leaves it as it is.

    Args:
        run: of the candidate.
        images: n of them.
        pool: what earlier attacks attained on them.
        head: reads the projection alone.
        labels: (n,) int64.
        projection: of g (r,d), on which displacement leaves pairs in doubt or not.
        shapes: of the images, which may settle more; only with A as the projection.
    """
    if run.setting.protocol.screens:
        return pool
    lost = ~pool.scores(head).always_correct(labels)
    reach = Extent.of(pool, projection, shapes).reach(head, labels)
    doubts = in_doubt(pool.clean, head, labels, reach, lost)
    threat, budget = run.setting.threat, run.pair_budget
    return pool.with_points(run.recalled(search_pairs, Tensor, images, doubts, threat, budget))
