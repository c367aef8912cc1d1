"""What is read off some images at a time is what is read off all of them."""

from __future__ import annotations

import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st

from selector.controls import Controls
from selector.diagnostics import signs
from selector.heads import ChosenHead, Heads, LinearHead, task_projection
from selector.outcomes import Outcomes, joined, outcomes
from selector.search import Search
from selector.sensitivity import Pool

IMAGES, DIMENSIONS, CLASSES = 9, 5, 3


def heads() -> Heads:
    probe, other = (
        LinearHead(normal(CLASSES, DIMENSIONS, seed=seed), normal(CLASSES, seed=seed + 1))
        for seed in (10, 20)
    )
    chosen = [ChosenHead(head, 1e-3, 1.0, 0.5) for head in (probe, other)]
    return Heads(chosen[0], chosen[1], task_projection(probe))


def read_off(part: slice) -> Outcomes:
    """Of some of nine images, three times attacked."""
    clean, *attained = (
        normal(IMAGES, DIMENSIONS, seed=0) + reach * normal(IMAGES, DIMENSIONS, seed=seed)
        for seed, reach in ((0, 0.0), (1, 0.1), (2, 0.5), (3, 0.3))
    )
    labels = torch.arange(IMAGES) % CLASSES
    found = Search(
        attained[0][part],
        normal(2, IMAGES, seed=4).square()[:, part],
        (labels == 2)[part],
        (labels == 0)[part],
        (labels == 1)[part],
    )
    controls = Controls(attained[1][part], attained[2][part])
    pool = Pool(clean[part], tuple(points[part] for points in attained))
    return outcomes(pool, heads(), labels[part], signs(found, clean[part], controls))


@given(st.integers(1, IMAGES))
def test_parts_join_to_the_whole(at_once: int) -> None:
    whole = read_off(slice(IMAGES))
    parts = [read_off(slice(i, i + at_once)) for i in range(0, IMAGES, at_once)]
    found = joined(parts)
    for head in ("probe", "bound_optimal"):
        for estimate in ("on_representation", "on_task"):
            for name in ("displacement", "robust", "tolerance", "margin_loss", "worst_case_loss"):
                ours, theirs = (
                    getattr(getattr(getattr(of, head), estimate), name) for of in (found, whole)
                )
                assert len(ours) == IMAGES
                torch.testing.assert_close(ours, theirs)
        for name in ("clean_correct", "clean_loss", "attacked_correct", "attacked_loss"):
            ours, theirs = (getattr(getattr(of, head), name) for of in (found, whole))
            torch.testing.assert_close(ours, theirs)
    for name in ("attained", "by_noise", "by_search", "restart_spread", "rising", "stuck"):
        torch.testing.assert_close(getattr(found.signs, name), getattr(whole.signs, name))


def test_displacement_on_g_and_on_the_task_are_not_mixed_up() -> None:
    found = read_off(slice(IMAGES)).probe
    assert (found.on_task.displacement < found.on_representation.displacement).all()
    assert (found.on_task.tolerance >= found.on_representation.tolerance).all()
