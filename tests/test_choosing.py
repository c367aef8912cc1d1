"""Which head is chosen, against every head of the grid fitted and judged by itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import normal
from features import CLASSES, clusters, head_of, mean_worst_case

from selector import choosing, heads
from selector.choosing import (
    HEADS,
    RADIUS_SCALES,
    ChosenHead,
    Heads,
    choose_path,
    choose_probe,
)
from selector.heads import L2_GRID, Labelled, fit_head

# The grid is fitted along a path, so that nearly equal heads may change places.
NEARLY = 2e-3
# Of little data that move far, a head for a quarter of it wants less regularisation than for all.
FIT, VALIDATION = clusters(30, 10, reach=4.0), clusters(45, 10, seed=7, reach=8.0)


def scaled(data: Labelled, scale: float) -> Labelled:
    return Labelled(data.features, data.labels, data.displacement * scale)


def grid(fit: Labelled, validation: Labelled, scale: float, judged_at: float) -> list[float]:
    """Of a radius scale, the validated loss of each l2 at a share of the displacement."""
    return [
        mean_worst_case(fit_head(scaled(fit, scale), CLASSES, l2), scaled(validation, judged_at))
        for l2 in L2_GRID
    ]


# The probe.


@pytest.mark.parametrize(("spread", "l2"), [(0.3, 1e-6), (3.0, 1e-3), (6.0, 1e-2)])
def test_the_probe_is_the_one_of_the_grid_with_the_smallest_validation_loss(spread, l2: float):
    fit = clusters(45, 20, spread, reach=1.0)
    validation = clusters(60, 20, spread, seed=7, reach=1.0)
    chosen = choose_probe(fit, validation, CLASSES)
    clean_fit = Labelled.clean(fit.features, fit.labels)
    clean_validation = Labelled.clean(validation.features, validation.labels)
    losses = [
        mean_worst_case(fit_head(clean_fit, CLASSES, each), clean_validation) for each in L2_GRID
    ]
    assert chosen.l2 == L2_GRID[int(np.argmin(losses))] == l2
    assert chosen.validation_loss == pytest.approx(min(losses), abs=1e-3)
    assert chosen.validation_loss == pytest.approx(
        mean_worst_case(chosen.head, clean_validation), rel=1e-9
    )
    assert chosen.radius_scale == 0


def test_once_the_validated_loss_has_risen_no_further_head_is_fitted(
    monkeypatch: pytest.MonkeyPatch,
):
    fitted = []

    def counted(data: Labelled, classes: int):
        for head in heads.fit_path(data, classes):
            fitted.append(head)
            yield head

    monkeypatch.setattr(choosing, "fit_path", counted)
    fit, validation = clusters(45, 20, 6.0), clusters(60, 20, 6.0, seed=7)
    chosen = choose_probe(fit, validation, CLASSES)
    assert L2_GRID.index(chosen.l2) == len(fitted) - 2 == 1
    assert torch.equal(chosen.head.weight, fitted[1].weight)


def test_in_parts_the_heads_are_chosen_by_the_same_losses(monkeypatch: pytest.MonkeyPatch):
    fit, validation = clusters(reach=1.0), clusters(45, seed=7, reach=1.0)

    def chosen() -> list[ChosenHead]:
        path, best = choose_path(fit, validation, CLASSES, (0.5, 1.0))
        return [choose_probe(fit, validation, CLASSES), *path, best]

    monkeypatch.setattr(heads, "_VALUES_AT_ONCE", {"cpu": 4 * 25})
    in_parts = chosen()
    monkeypatch.setattr(heads, "_VALUES_AT_ONCE", {"cpu": 10**6})
    for part, whole in zip(in_parts, chosen(), strict=True):
        assert (part.l2, part.radius_scale) == (whole.l2, whole.radius_scale)
        assert part.validation_loss == pytest.approx(whole.validation_loss, abs=1e-4)


# The path.


def test_each_head_of_the_path_is_the_best_at_its_own_share_of_the_displacement():
    path, _ = choose_path(FIT, VALIDATION, CLASSES, RADIUS_SCALES[1:])
    assert tuple(one.radius_scale for one in path) == RADIUS_SCALES[1:] == (0.25, 0.5, 0.75, 1.0)
    for one in path:
        losses = grid(FIT, VALIDATION, one.radius_scale, one.radius_scale)
        assert losses[L2_GRID.index(one.l2)] == pytest.approx(min(losses), abs=NEARLY)
        assert mean_worst_case(one.head, scaled(VALIDATION, one.radius_scale)) == pytest.approx(
            min(losses), abs=NEARLY
        )
        # What is said of it is at the full displacement.
        full = mean_worst_case(one.head, VALIDATION)
        assert one.validation_loss == pytest.approx(full, rel=1e-9)
    # At a quarter, who is best in full is another one.
    full = grid(FIT, VALIDATION, 0.25, 1.0)
    assert full[L2_GRID.index(path[0].l2)] > min(full) + 0.1


def test_the_bound_optimal_head_is_the_best_of_the_whole_grid_at_the_full_displacement():
    path, chosen = choose_path(FIT, VALIDATION, CLASSES, RADIUS_SCALES[1:])
    losses = {
        (scale, l2): loss
        for scale in RADIUS_SCALES[1:]
        for l2, loss in zip(L2_GRID, grid(FIT, VALIDATION, scale, 1.0), strict=True)
    }
    least = min(losses.values())
    assert losses[chosen.radius_scale, chosen.l2] == pytest.approx(least, abs=NEARLY)
    assert chosen.validation_loss == pytest.approx(least, abs=NEARLY)
    assert chosen.validation_loss == pytest.approx(
        mean_worst_case(chosen.head, VALIDATION), rel=1e-9
    )
    assert np.quantile(list(losses.values()), 0.5) > least + 5e-3
    # It need not lie on the path, where each was best for less.
    assert min(one.validation_loss for one in path) > chosen.validation_loss + 0.01


def test_a_fit_against_part_of_the_displacement_can_be_bound_optimal():
    fit, validation = clusters(45, 5, 2, reach=8.0), clusters(45, 5, 2, seed=7, reach=1.0)
    _, chosen = choose_path(fit, validation, CLASSES, RADIUS_SCALES[1:])
    assert chosen.radius_scale == 0.5
    _, with_all = choose_path(fit, validation, CLASSES, (1.0,))
    assert with_all.radius_scale == 1
    assert with_all.validation_loss > chosen.validation_loss + 0.05


# Which of them is meant.


def frontier() -> tuple[ChosenHead, ...]:
    return tuple(
        ChosenHead(head_of(3, 5, seed=place), 1e-3, scale, 1.0)
        for place, scale in enumerate(RADIUS_SCALES)
    )


def test_every_name_of_a_head_picks_the_head_that_it_names():
    path = frontier()
    best = ChosenHead(head_of(3, 5, seed=50), 1e-4, 0.5, 0.9)
    found = Heads(path, (0.1,) * 5, path[3], best, *(normal(2, 5, seed=seed) for seed in (9, 10)))
    expected = {
        "recommended": path[3],
        "probe": path[0],
        "bound-optimal": best,
        "0": path[0],
        "0.25": path[1],
        "0.5": path[2],
        "0.75": path[3],
        "1": path[4],
    }
    assert set(HEADS) == set(expected)
    for name in HEADS:
        assert found.picked(name) is expected[name], name
    assert found.probe is path[0]


def test_a_head_before_a_projection_keeps_what_validation_images_said():
    projection, one = normal(5, 12, seed=9), frontier()[2]
    found = one.before(projection)
    assert (found.l2, found.radius_scale, found.validation_loss) == (1e-3, 0.5, 1.0)
    torch.testing.assert_close(found.head.weight, one.head.weight @ projection)
    torch.testing.assert_close(found.head.bias, one.head.bias)
