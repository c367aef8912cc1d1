"""What is read off some images at a time is what is read off all of them."""

from __future__ import annotations

from dataclasses import fields

import torch
from conftest import normal
from features import head_of
from hypothesis import given
from hypothesis import strategies as st

from selector import bounds
from selector.choosing import RADIUS_SCALES, ChosenHead, Heads
from selector.controls import Controls
from selector.diagnostics import Signs, signs
from selector.heads import task_projection
from selector.outcomes import Estimates, HeadOutcomes, Outcomes, joined, outcomes
from selector.search import Search
from selector.sensitivity import Pool
from selector.shapes import Shapes

IMAGES, DIMENSIONS, CLASSES = 9, 5, 3


def heads() -> Heads:
    probe = ChosenHead(head_of(CLASSES, DIMENSIONS, seed=10), 1e-3, 0.0, 0.5)
    projection = task_projection(probe.head)
    *others, best = (
        ChosenHead(head_of(CLASSES, CLASSES - 1, seed=10 + place), 1e-3, scale, 0.5)
        for place, scale in enumerate((*RADIUS_SCALES[1:], 1.0), start=1)
    )
    frontier = (probe, *(one.before(projection) for one in others))
    return Heads(frontier, (0.5,) * 5, frontier[1], best.before(projection), projection, projection)


def pool(part: slice = slice(IMAGES)) -> Pool:
    """Of some of nine images, three times attacked."""
    clean, *attained = (
        normal(IMAGES, DIMENSIONS, seed=0) + reach * normal(IMAGES, DIMENSIONS, seed=seed)
        for seed, reach in ((0, 0.0), (1, 0.1), (2, 0.5), (3, 0.3))
    )
    return Pool(clean[part], tuple(points[part] for points in attained))


LABELS = torch.arange(IMAGES) % CLASSES


# Long in one direction, flat in the other.
SHAPES = Shapes(
    torch.eye(2).double().expand(IMAGES, 2, 2),
    torch.diag_embed(torch.tensor([0.3, 1.7]).double()).expand(IMAGES, 2, 2),
    torch.ones(IMAGES).double(),
)


def read_off(part: slice = slice(IMAGES), shapes: Shapes | None = None) -> Outcomes:
    some = pool(part)
    found = Search(
        some.attained[0],
        normal(2, IMAGES, seed=4).square()[:, part],
        (LABELS == 2)[part],
        (LABELS == 0)[part],
        (LABELS == 1)[part],
    )
    controls = Controls(some.attained[1], some.attained[2])
    of = signs(found, some.clean, controls)
    return outcomes(some, heads(), heads().recommended.head, LABELS[part], of, shapes)


def every_head(found: Outcomes) -> list[HeadOutcomes]:
    return [found.picked, found.probe, found.bound_optimal, *found.frontier]


def names(kind: type) -> list[str]:
    return [each.name for each in fields(kind)]


@given(st.integers(1, IMAGES))
def test_parts_join_to_the_whole(at_once: int) -> None:
    whole = read_off()
    parts = [read_off(slice(i, i + at_once)) for i in range(0, IMAGES, at_once)]
    found = joined(parts)
    for ours, theirs in zip(every_head(found), every_head(whole), strict=True):
        for estimate in ("on_representation", "on_task"):
            for name in names(Estimates):
                value = getattr(getattr(ours, estimate), name)
                assert len(value) == IMAGES
                torch.testing.assert_close(value, getattr(getattr(theirs, estimate), name))
        for name in set(names(HeadOutcomes)) - {"on_representation", "on_task"}:
            torch.testing.assert_close(getattr(ours, name), getattr(theirs, name))
    for name in names(Signs):
        torch.testing.assert_close(getattr(found.signs, name), getattr(whole.signs, name))


def test_displacement_on_g_and_on_the_task_are_not_mixed_up() -> None:
    for found in every_head(read_off()):
        assert (found.on_task.displacement < found.on_representation.displacement).all()
        assert (found.on_task.tolerance >= found.on_representation.tolerance).all()
        assert (found.on_task.smooth >= found.on_representation.smooth).all()


def test_numbers_are_those_of_their_own_head() -> None:
    found, of, attacked = read_off(), heads(), pool()
    expected = [of.recommended, of.probe, of.bound_optimal, *of.frontier]
    s = attacked.displacement(of.projection)
    for outcome, chosen in zip(every_head(found), expected, strict=True):
        head, logits = chosen.head, chosen.head(attacked.clean)
        given_ = (logits, head.weight, LABELS, s)
        right = logits.argmax(dim=1) == LABELS
        assert torch.equal(outcome.clean_correct, right)
        assert torch.equal(outcome.attacked_correct, attacked.scores(head).always_correct(LABELS))
        assert torch.equal(outcome.attacked_tolerance, attacked.scores(head).tolerances(LABELS))
        assert torch.equal(outcome.attacked_loss, attacked.scores(head).worst_losses(LABELS))
        assert torch.equal(outcome.on_task.displacement, s)
        assert torch.equal(outcome.on_task.robust, bounds.criterion_holds(*given_))
        for found_, expected_ in (
            (outcome.on_task.tolerance, bounds.tolerances(*given_)),
            (outcome.on_task.smooth, bounds.smooth_robustness(*given_)),
            (outcome.on_task.margin_loss, bounds.margin_losses(*given_)),
            (outcome.on_task.worst_case_loss, bounds.worst_case_losses(*given_)),
        ):
            torch.testing.assert_close(found_, expected_)


def test_shapes_grant_pairs_less_on_the_task_and_change_nothing_else() -> None:
    plain, shaped = every_head(read_off()), every_head(read_off(shapes=SHAPES))
    for without, with_ in zip(plain, shaped, strict=True):
        assert torch.equal(with_.on_task.displacement, without.on_task.displacement)
        for name in ("robust", "tolerance", "smooth"):
            assert (getattr(with_.on_task, name) >= getattr(without.on_task, name)).all()
        for name in ("margin_loss", "worst_case_loss"):
            assert (getattr(with_.on_task, name) <= getattr(without.on_task, name)).all()
        assert (with_.on_task.worst_case_loss < without.on_task.worst_case_loss).any()
        assert (with_.attacked_correct | ~with_.on_task.robust).all()
        assert (with_.attacked_loss <= with_.on_task.worst_case_loss + 1e-9).all()
        for name in names(Estimates):
            ours, theirs = with_.on_representation, without.on_representation
            assert torch.equal(getattr(ours, name), getattr(theirs, name))
        assert torch.equal(with_.attacked_loss, without.attacked_loss)


def test_what_the_criterion_grants_is_withstood() -> None:
    for found in every_head(read_off()):
        assert (found.attacked_correct | ~found.on_task.robust).all()
        assert (found.on_task.robust | ~found.on_representation.robust).all()
        assert (found.clean_correct | ~found.attacked_correct).all()
        assert (found.attacked_tolerance >= found.on_task.tolerance - 1e-9).all()
