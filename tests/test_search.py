"""Where a search climbs from, how far, and what of it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from conftest import SHAPE, SIZE, normal
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from selector.ascent import Ascent
from selector.attacks import ATTACKS, Attack, annealed
from selector.batches import BatchSize, Features, Images, extract
from selector.norms import NORMS, Norm
from selector.search import FAR, Budget, Search, search
from selector.sensitivity import displacement, displacement_aim
from selector.threat import ThreatModel

EPS = 0.1
LINF = ThreatModel("linf", EPS)
MATRIX = normal(6, SIZE, seed=1).float()


def images(backbone: Features, count: int = 7, batch: int = 100) -> Images:
    """Different images far enough from black and white for the box not to cut."""
    drawn = torch.Generator().manual_seed(0)
    pixels = torch.randint(100, 156, (count, *SHAPE), dtype=torch.uint8, generator=drawn)
    return Images(pixels, backbone, torch.device("cpu"), BatchSize(batch))


def curved(x: Tensor) -> Tensor:
    """A representation (n,6) that is not linear."""
    return (30 * (x.flatten(1) - 0.5) @ MATRIX.T).tanh()


def grey_level(x: Tensor) -> Tensor:
    """A representation (n,1): the first value of an image."""
    return x.flatten(1)[:, :1]


@dataclass
class Planned:
    """An attack whose ascents end where they are told to, (n,) per ascent, and that remembers.

    Attributes:
        ends: of each ascent in turn, of the images that are in it.
        late: share of its rise that each claims for its last quarter.
        begun: kind, start (n,3,2,2) and steps of each.
    """

    ends: list[list[float]]
    late: float = 0.0
    begun: list[tuple[str, Tensor, int]] = field(default_factory=list)

    def attack(self) -> Attack:
        return Attack(self._climb("short"), self._climb("long"))

    def _climb(self, kind: str) -> Callable[..., Ascent]:
        def climb(objective, x: Tensor, start: Tensor, threat, steps: int) -> Ascent:
            ends = torch.tensor(self.ends[len(self.begun)])
            self.begun.append((kind, start.clone(), steps))
            end = ends[:, None, None, None].expand_as(x)
            no = torch.zeros(len(x), dtype=torch.bool)
            value = objective(end)
            # From a random start, which is no plain grey, all of it counts as risen.
            random = start.flatten(1).std(dim=1) > 1e-6
            rise = torch.where(random, value, value - objective(start))
            return Ascent(end, value, rise, self.late * rise, no)

        return climb

    @property
    def kinds(self) -> list[tuple[str, int]]:
        return [(kind, steps) for kind, _, steps in self.begun]


def upwards(features: Tensor, index: Tensor) -> Tensor:
    """Ten times the grey level."""
    return 10 * features[:, 0]


def test_near_a_maximum_all_starts_are_made_and_the_best_is_gone_on_from_in_both_ways():
    plan = Planned([[0.1, 0.5], [0.3, 0.2], [0.3, 0.5], [0.2, 0.6], [0.35, 0.6], [0.3, 0.7]])
    budget = Budget(plan.attack(), restarts=3, steps=6, seed=0)
    found = search(images(grey_level, 2), upwards, LINF, budget)
    assert plan.kinds == [*[("short", 3)] * 2, ("long", 3), *[("short", 3)] * 2, ("long", 3)]
    torch.testing.assert_close(plan.begun[2][1][:, 0, 0, 0], torch.tensor([0.3, 0.5]))
    torch.testing.assert_close(plan.begun[4][1][:, 0, 0, 0], torch.tensor([0.3, 0.6]))
    torch.testing.assert_close(plan.begun[5][1][:, 0, 0, 0], torch.tensor([0.35, 0.6]))
    torch.testing.assert_close(found.features, torch.tensor([[0.35], [0.7]]))
    assert found.far.tolist() == [False, False]
    torch.testing.assert_close(
        found.restart_values, torch.tensor([[1.0, 5.0], [3.0, 2.0], [2.0, 6.0]])
    )


def test_far_from_a_maximum_one_long_ascent_takes_all_remaining_steps():
    plan = Planned([[0.1, 0.5], [0.3, 0.2], [0.6, 0.9], [0.8, 0.4]])
    budget = Budget(plan.attack(), restarts=3, steps=6, seed=0)
    found = search(images(grey_level, 2), upwards, LINF, budget)
    assert plan.kinds == [("short", 3), ("short", 3), ("long", 3), ("long", 9)]
    torch.testing.assert_close(plan.begun[3][1][:, 0, 0, 0], torch.tensor([0.6, 0.9]))
    # The last ascent was worse for the second image, which keeps what it had.
    torch.testing.assert_close(found.features, torch.tensor([[0.8], [0.9]]))
    assert found.far.tolist() == [True, True]
    assert found.restart_values.isnan().tolist() == [[False] * 2, [False] * 2, [True] * 2]


def test_each_image_of_a_batch_goes_its_own_way():
    plan = Planned([[0.1, 0.5], [0.3, 0.2], [0.6, 0.5], [0.8], [0.7], [0.75], [0.74]])
    budget = Budget(plan.attack(), restarts=3, steps=6, seed=0)
    found = search(images(grey_level, 2), upwards, LINF, budget)
    assert plan.kinds == [
        ("short", 3),
        ("short", 3),
        ("long", 3),
        ("long", 9),
        ("short", 3),
        ("short", 3),
        ("long", 3),
    ]
    assert found.far.tolist() == [True, False]
    torch.testing.assert_close(found.features, torch.tensor([[0.8], [0.75]]))
    expected = torch.tensor([[1.0, 5.0], [3.0, 2.0], [torch.nan, 7.0]])
    torch.testing.assert_close(found.restart_values, expected, equal_nan=True)


def test_rising_is_a_share_of_the_whole_climb_and_ends_where_going_on_brings_nothing():
    # Half of each ascent's rise is late. The last brings the first image 0.1 of 0.9 in all: late,
    # 0.05 of it. It brings the second nothing, and the third 0.02 of 0.82.
    plan = Planned([[0.2] * 3, [0.1] * 3, [0.8] * 3, [0.92, 0.8, 0.82]], late=0.5)
    found = search(images(grey_level, 3), upwards, LINF, Budget(plan.attack(), 3, 6, 0))
    assert found.far.all()
    assert found.rising.tolist() == [True, False, False]


def test_near_a_maximum_all_that_the_last_ascents_bring_is_late():
    # 0.02 of 0.52 for the first image, 0.03 of 0.53 for the second.
    plan = Planned([[0.5] * 2, [0.1] * 2, [0.5] * 2, [0.2] * 2, [0.51] * 2, [0.52, 0.53]])
    found = search(images(grey_level, 2), upwards, LINF, Budget(plan.attack(), 3, 6, 0))
    assert not found.far.any()
    assert found.rising.tolist() == [False, True]


@pytest.mark.parametrize(("gain", "far"), [(FAR - 0.01, False), (FAR + 0.01, True)])
def test_far_is_a_share_of_what_the_best_start_had_risen(gain: float, far: bool):
    plan = Planned([[0.2], [0.4], [0.4 * (1 + gain)], [0.5], [0.5]])
    found = search(images(grey_level, 1), upwards, LINF, Budget(plan.attack(), 2, 4, 0))
    assert found.far.tolist() == [far]


def test_the_point_that_counts_is_scored_by_a_pass_of_its_own():
    def boastful(objective, x: Tensor, start: Tensor, threat, steps: int) -> Ascent:
        no = torch.zeros(len(x), dtype=torch.bool)
        return Ascent(
            start, torch.full((len(x),), 1e9), torch.ones(len(x)), torch.zeros(len(x)), no
        )

    of = images(curved)
    clean = extract(of)
    attack = Attack(boastful, boastful)
    found = search(of, displacement_aim(clean), LINF, Budget(attack, 2, 4, 0))
    assert (displacement(found.features, clean) < 10).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_start_of_a_search_beats_its_result(norm: Norm, attack: str):
    of = images(curved, batch=3)
    clean = extract(of)
    budget = Budget(ATTACKS[attack], 4, 5, 0)
    found = search(of, displacement_aim(clean), ThreatModel(norm, EPS), budget)
    attained = displacement(found.features, clean).square()
    best = found.restart_values.nan_to_num(0).double().amax(dim=0)
    assert (attained >= best * (1 - 1e-6)).all()


@given(st.integers(1, 6), st.integers(1, 24))
@settings(max_examples=40, deadline=None)
def test_a_search_makes_the_passes_that_its_budget_says(restarts: int, steps: int):
    backbone = Counter(curved)
    of = images(backbone, count=3)
    aim = displacement_aim(extract(of))
    backbone.forward = 0
    budget = Budget(ATTACKS["annealed"], restarts, steps, 0)
    found = search(of, aim, LINF, budget)
    assert backbone.backward == 3 * budget.backward_passes == 3 * restarts * steps
    # Of an image that is far: no further starts, and one last ascent instead of up to two.
    fewer = restarts - 2 + min(2, budget.steps_left(restarts)) - min(1, budget.steps_left(2))
    assert 3 * budget.forward_passes - int(found.far.sum()) * fewer == backbone.forward


@dataclass
class Counter:
    """A backbone that counts the images that go through it and back."""

    backbone: Features
    forward: int = 0
    backward: int = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.forward += len(x)
        if x.requires_grad:
            self.backward += len(x)
        return self.backbone(x)


def test_on_a_rugged_representation_a_long_ascent_is_chosen_and_goes_farther():
    """Waves upon a slope: short ascents stop on the waves, all about equally high."""
    side = 16
    frequencies = 200 + 100 * torch.rand(
        3 * side * side, generator=torch.Generator().manual_seed(0)
    )

    def wavy(x: Tensor) -> Tensor:
        flat = x.flatten(1) - 0.5
        return torch.stack([(flat + 0.02 * (flat * frequencies).sin()).sum(dim=1)], dim=1)

    pixels = torch.full((4, 3, side, side), 128, dtype=torch.uint8)
    of = Images(pixels, wavy, torch.device("cpu"), BatchSize(4))
    clean = extract(of)

    def found(attack: Attack) -> Search:
        return search(of, displacement_aim(clean), LINF, Budget(attack, 5, 8, 0))

    adaptive, short = found(ATTACKS["annealed"]), found(Attack(annealed, annealed))
    assert adaptive.far.all()
    farther = displacement(adaptive.features, clean) / displacement(short.features, clean)
    assert (farther > 1.5).all()
