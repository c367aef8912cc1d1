"""Where a search climbs from, how far, and what of it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import get_args

import pytest
import torch
from conftest import SHAPE, SIZE, normal
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from selector.ascent import Ascent
from selector.attacks import ATTACKS, Attack, annealed
from selector.batches import BatchSize, Features, Images, extract
from selector.budget import Budget
from selector.norms import NORMS, Norm
from selector.precision import Precision, PrecisionName
from selector.search import FAR, VALLEY, Group, _best_of, search
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
        mirrored_rise: what climbs from the first mirror images claim to have risen; 0: from black.
        begun: kind, start (n,3,2,2) and steps of each.
    """

    ends: list[list[float]]
    late: float = 0.0
    mirrored_rise: float = 0.0
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
            # From a random start, which is no plain grey, it counts as risen since black; the
            # mirror images, second and fourth of all, may be high up.
            random = (start.flatten(1).std(dim=1) > 1e-6)[:, None, None, None]
            rise = value - objective(torch.where(random, torch.zeros_like(start), start))
            if self.mirrored_rise and len(self.begun) in (2, 4):
                rise = torch.full_like(rise, self.mirrored_rise)
            return Ascent(end, value, rise, self.late * rise, no)

        return climb

    @property
    def kinds(self) -> list[tuple[str, int]]:
        return [(kind, steps) for kind, _, steps in self.begun]


def upwards(features: Tensor, index: Tensor) -> Tensor:
    """Ten times the grey level."""
    return 10 * features[:, 0]


# Two starts and their mirror images: the best is 0.3 and 0.5, the other start's 0.2 and 0.4.
FIRST = [[0.1, 0.5], [0.2, 0.3], [0.3, 0.2], [0.15, 0.4]]


def greys(start: Tensor) -> list[float]:
    """The first value of each of some images."""
    return [round(value, 6) for value in start[:, 0, 0, 0].tolist()]


def test_near_a_maximum_the_better_half_of_all_starts_and_then_between_the_best_is_gone_on_from():
    # The third start's mirror image is better than the second best of the first two for one image.
    more = [[0.25, 0.35], [0.1, 0.38]]
    plan = Planned([*FIRST, [0.32, 0.52], *more, [0.33, 0.51], [0.31, 0.65], [0.4, 0.6]])
    found = search(images(grey_level, 2), upwards, LINF, Budget(plan.attack(), 3, 6, 0))
    starts, on = [("short", 1)] * 2, ("short", 2)
    assert plan.kinds == [*starts, *starts, on, *starts, on, ("short", 2), ("long", 6)]
    assert greys(plan.begun[4][1]) == [0.3, 0.5]
    assert greys(plan.begun[7][1]) == [0.25, 0.4]
    # The best two, then with what was found from between them: 0.33 and 0.32, 0.65 and 0.52.
    assert greys(plan.begun[8][1]) == [0.325, 0.515]
    assert greys(plan.begun[9][1]) == [0.325, 0.585]
    torch.testing.assert_close(found.features, torch.tensor([[0.4], [0.65]]))
    assert found.far.tolist() == [False, False]
    expected = torch.tensor([[2.0, 5.0], [3.0, 4.0], [2.5, 3.8]])
    torch.testing.assert_close(found.restart_values, expected)


@pytest.mark.parametrize("shift", [0.0, -1000.0])
@pytest.mark.parametrize(("lost", "over"), [(VALLEY + 0.01, True), (VALLEY - 0.01, False)])
def test_over_a_valley_the_best_point_alone_is_gone_on_from(lost: float, over: bool, shift: float):
    def valley(features: Tensor, index: Tensor) -> Tensor:
        """1 at 0.5, which has risen by as much; less around 0.4, which is half way from 0.3."""
        height = torch.where((features[:, 0] - 0.4).abs() < 0.05, 1 - lost, 2 * features[:, 0])
        return shift + height

    plan = Planned([[0.5], *[[0.1]] * 3, [0.5], [0.3], [0.1], [0.3], [0.5]])
    search(images(grey_level, 1), valley, LINF, Budget(plan.attack(), 3, 8, 0))
    assert greys(plan.begun[-1][1]) == ([0.5] if over else [0.4])


def test_far_from_a_maximum_one_long_ascent_takes_all_remaining_steps():
    plan = Planned([*FIRST, [0.6, 0.9], [0.8, 0.4]])
    found = search(images(grey_level, 2), upwards, LINF, Budget(plan.attack(), 3, 6, 0))
    assert plan.kinds == [*[("short", 1)] * 4, ("short", 2), ("long", 12)]
    assert greys(plan.begun[5][1]) == [0.6, 0.9]
    # The last ascent was worse for the second image, which keeps what it had.
    torch.testing.assert_close(found.features, torch.tensor([[0.8], [0.9]]))
    assert found.far.tolist() == [True, True]
    assert found.restart_values.isnan().tolist() == [[False] * 2, [False] * 2, [True] * 2]


def test_each_image_of_a_batch_goes_its_own_way():
    plan = Planned([*FIRST, [0.6, 0.5], [0.8], [0.55], [0.56], [0.57], [0.74], [0.7]])
    found = search(images(grey_level, 2), upwards, LINF, Budget(plan.attack(), 3, 6, 0))
    far, near = [("long", 12)], [*[("short", 1)] * 2, ("short", 2), ("short", 2), ("long", 6)]
    assert plan.kinds == [*[("short", 1)] * 4, ("short", 2), *far, *near]
    assert found.far.tolist() == [True, False]
    torch.testing.assert_close(found.features, torch.tensor([[0.8], [0.74]]))
    expected = torch.tensor([[2.0, 5.0], [3.0, 4.0], [torch.nan, 5.6]])
    torch.testing.assert_close(found.restart_values, expected, equal_nan=True)


def test_every_start_is_also_climbed_from_its_mirror_image_inside_the_threat_set():
    plan = Planned([*FIRST, [0.6, 0.9], [0.8, 0.4]])
    of = images(grey_level, 2)
    search(of, upwards, LINF, Budget(plan.attack(), 3, 6, 0))
    x, ends = of.pixels.float() / 255, torch.tensor(FIRST)
    for place in (0, 2):
        mirrored = LINF.project(2 * x - ends[place][:, None, None, None], x)
        torch.testing.assert_close(plan.begun[place + 1][1], mirrored)


def test_the_mirror_image_of_a_lesser_maximum_leads_to_the_largest():
    """Darker moves features ten times as far as brighter, and a gradient never changes sides."""
    middle = torch.full((1, *SHAPE), 128, dtype=torch.uint8)

    def lopsided(x: Tensor) -> Tensor:
        moved = x.mean(dim=(1, 2, 3))[:, None] - 128 / 255
        return torch.where(moved > 0, moved / 10, moved)

    of = Images(middle.repeat(8, 1, 1, 1), lopsided, torch.device("cpu"), BatchSize(8))

    def attained(restarts: int) -> Tensor:
        budget = Budget(ATTACKS["pgd"], restarts, 10, 0)
        aim = displacement_aim(extract(of))
        return displacement(search(of, aim, LINF, budget).features, extract(of))

    assert attained(restarts=1).min() < 0.11 * EPS
    torch.testing.assert_close(attained(restarts=2), torch.full((8,), EPS).double())


def test_rising_is_a_share_of_the_whole_climb_and_ends_where_going_on_brings_nothing():
    # Half of each ascent's rise is late. The last brings the first image 0.12 of 0.92 in all: late,
    # 0.06 of it. It brings the second nothing, and the third 0.02 of 0.82.
    first = [[0.2] * 3, *[[0.1] * 3] * 3]
    plan = Planned([*first, [0.8] * 3, [0.92, 0.8, 0.82]], late=0.5)
    found = search(images(grey_level, 3), upwards, LINF, Budget(plan.attack(), 3, 6, 0))
    assert found.far.all()
    assert found.rising.tolist() == [True, False, False]


def test_near_a_maximum_what_a_quarter_of_all_steps_brings_at_last_is_late():
    # 8 of 18 steps are last, so 4.5 / 8 counts: of 0.04 in 0.54 for the first image, of 0.05 in
    # 0.55 for the second.
    first, more = [[0.5] * 2, *[[0.1] * 2] * 3, [0.5] * 2], [[0.2] * 2] * 3
    plan = Planned([*first, *more, [0.51] * 2, [0.54, 0.55]])
    found = search(images(grey_level, 2), upwards, LINF, Budget(plan.attack(), 3, 6, 0))
    assert not found.far.any()
    assert found.rising.tolist() == [False, True]


@pytest.mark.parametrize(("gain", "far"), [(FAR - 0.01, False), (FAR + 0.01, True)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_far_is_a_share_of_what_the_best_start_had_risen(gain: float, far: bool, mirrored: bool):
    # A mirror image has risen since the random start before it, too.
    best = [[0.1], [0.4]] if mirrored else [[0.4], [0.1]]
    plan = Planned([[0.2], [0.1], *best, [0.4 * (1 + gain)], [0.5]], mirrored_rise=0.01)
    found = search(images(grey_level, 1), upwards, LINF, Budget(plan.attack(), 2, 4, 0))
    assert plan.kinds == [*[("short", 1)] * 4, ("short", 2), ("long", 2)]
    assert found.far.tolist() == [far]


def test_what_little_is_left_at_last_counts_as_late_in_full():
    # 4 of 24 steps are last: of 0.03 in 0.53 and of 0.02 in 0.52 no more than that is late.
    first, more = [[0.5] * 2, *[[0.1] * 2] * 3, [0.5] * 2], [[0.2] * 2] * 3
    plan = Planned([*first, *more, [0.53, 0.52]])
    budget = Budget(plan.attack(), 3, 8, 0)
    assert budget.last_steps == (0, 4)
    assert search(images(grey_level, 2), upwards, LINF, budget).rising.tolist() == [True, False]


def test_random_starts_differ():
    plan = Planned([*FIRST, [0.32, 0.52], *[[0.25, 0.35]] * 6, *[[0.3, 0.5]] * 4])
    search(images(grey_level, 2), upwards, LINF, Budget(plan.attack(), 5, 6, 0))
    random = [plan.begun[place][1] for place in (0, 2, 5, 7, 9)]
    assert all((one != other).any() for n, one in enumerate(random) for other in random[:n])


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("restarts", [2, 5])
def test_images_of_black_and_white_alone_have_a_gradient_at_every_iterate(
    norm: Norm, restarts: int
):
    """They have no mirror image inside the box."""
    drawn = torch.Generator().manual_seed(0)
    pixels = 255 * torch.randint(0, 2, (5, *SHAPE), dtype=torch.uint8, generator=drawn)

    def gently_curved(x: Tensor) -> Tensor:
        return ((x.flatten(1) - 0.5) @ MATRIX.T / 10).tanh()

    of = Images(pixels, gently_curved, torch.device("cpu"), BatchSize(5))
    aim = displacement_aim(extract(of))
    found = search(of, aim, ThreatModel(norm, EPS), Budget(ATTACKS["annealed"], restarts, 10, 0))
    assert not found.stuck.any()


@pytest.mark.parametrize(
    ("restarts", "steps", "per_start", "gone_on_from", "last"),
    [
        (2, 10, 2, 1, (0, 8)),
        (5, 20, 4, 3, (9, 27)),
        (10, 50, 10, 5, (68, 132)),
        (3, 8, 2, 2, (0, 4)),
        (4, 13, 3, 2, (2, 14)),
        (2, 7, 1, 1, (2, 6)),
    ],
)
def test_how_budgets_are_divided(restarts, steps, per_start, gone_on_from, last):
    budget = Budget(ATTACKS["annealed"], restarts, steps, 0)
    assert budget.steps_per_start == per_start
    assert (budget.starts_gone_on_from, budget.last_steps) == (gone_on_from, last)


@given(st.integers(2, 50), st.integers(4, 500))
def test_a_budget_that_is_divided_always_leaves_steps_for_last(restarts: int, steps: int):
    budget = Budget(ATTACKS["annealed"], restarts, steps, 0)
    assert budget.steps_left(2, 1) >= sum(budget.last_steps) > 0
    assert budget.last_steps[0] >= 0


@pytest.mark.parametrize("name", get_args(PrecisionName))
@pytest.mark.parametrize("batch", [1, 2, 100])
def test_what_lies_between_is_seen_as_ascents_see_it(name: PrecisionName, batch: int):
    """As precisely, in batches no larger, and each image beside its own clean features."""
    seen: set[tuple[bool, str, bool]] = set()

    def noting(x: Tensor) -> Tensor:
        precision = torch.get_float32_matmul_precision()
        seen.add((len(x) <= batch, precision, torch.is_autocast_enabled("cpu")))
        return curved(x)

    of = replace(images(noting, batch=batch), precision=Precision(name))
    clean = extract(of)
    group = Group(
        of, displacement_aim(clean), LINF, Budget(ATTACKS["pgd"], 1, 2, 0), *of.part(slice(0, 7))
    )
    seen.clear()
    x = group.start(0).x
    climbing = seen.copy()
    seen.clear()
    values = group.values(x)
    assert seen == climbing
    assert len(seen) == 1
    expected = (of.precision.features(curved, x) - clean).square().sum(dim=1)
    torch.testing.assert_close(values, expected)


def test_a_point_between_that_is_not_finite_is_a_failure():
    def broken(features: Tensor, index: Tensor) -> Tensor:
        return torch.where((features[:, 0] - 0.4).abs() < 0.05, torch.nan, features[:, 0])

    plan = Planned([[0.5], *[[0.1]] * 3, [0.5], [0.3], [0.1], [0.3], [0.5]])
    with pytest.raises(FloatingPointError, match="not finite"):
        search(images(grey_level, 1), broken, LINF, Budget(plan.attack(), 3, 8, 0))


@pytest.mark.parametrize(("restarts", "steps"), [(1, 8), (3, 3)])
def test_where_there_is_nothing_to_divide_every_start_takes_all_its_steps(
    restarts: int, steps: int
):
    plan = Planned([[0.1, 0.5], [0.3, 0.2], [0.2, 0.4]][:restarts])
    found = search(images(grey_level, 2), upwards, LINF, Budget(plan.attack(), restarts, steps, 0))
    assert plan.kinds == [("short", steps)] * restarts
    best = torch.tensor(plan.ends).amax(dim=0)[:, None]
    torch.testing.assert_close(found.features, best)
    torch.testing.assert_close(found.restart_values, 10 * torch.tensor(plan.ends))


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
    # An image that is far has no further starts, no others gone on from, and one ascent at last.
    fewer = 0
    if budget.adapts:
        last = sum(taken > 0 for taken in budget.last_steps)
        between = last if restarts > 2 else 0
        near = 2 * (restarts - 2) + budget.starts_gone_on_from - 1 + last + between
        fewer = near - (budget.steps_left(2, 1) > 0)
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


RUGGED_SIDE = 16
RUGGED_FREQUENCIES = 200 + 100 * torch.rand(
    3 * RUGGED_SIDE**2, generator=torch.Generator().manual_seed(0)
)


def rugged(x: Tensor) -> Tensor:
    """Waves upon a slope: short ascents stop on the waves, all about equally high."""
    flat = x.flatten(1) - 0.5
    return torch.stack([(flat + 0.02 * (flat * RUGGED_FREQUENCIES).sin()).sum(dim=1)], dim=1)


def attained_on_rugged(attack: Attack) -> Tensor:
    """Displacement (12,) that a search attains."""
    pixels = torch.full((12, 3, RUGGED_SIDE, RUGGED_SIDE), 128, dtype=torch.uint8)
    of = Images(pixels, rugged, torch.device("cpu"), BatchSize(12))
    clean = extract(of)
    found = search(of, displacement_aim(clean), LINF, Budget(attack, 5, 8, 0))
    return displacement(found.features, clean)


def test_on_a_rugged_representation_the_long_ascent_goes_farther():
    farther = attained_on_rugged(ATTACKS["annealed"]) / attained_on_rugged(
        Attack(annealed, annealed)
    )
    assert farther.mean() > 1.3
    assert farther.min() > 1


@pytest.mark.parametrize(
    "attack", [ATTACKS["annealed"], Attack(annealed, annealed)], ids=["long", "short"]
)
def test_on_a_rugged_representation_what_lies_between_two_ends_leads_farther(
    attack: Attack, monkeypatch: pytest.MonkeyPatch
):
    between = attained_on_rugged(attack)
    monkeypatch.setattr("selector.search.VALLEY", float("-inf"))
    assert between.mean() > 1.1 * attained_on_rugged(attack).mean()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=6))
def test_of_two_ascents_one_is_the_better_and_the_other_the_worse(pairs: list[tuple[int, int]]):
    def ascent(values: list[int], mark: float) -> Ascent:
        value = torch.tensor(values, dtype=torch.float32)
        marks = torch.full_like(value, mark)
        x = marks[:, None, None, None].expand(-1, *SHAPE)
        return Ascent(x, value, marks, marks, torch.zeros(len(values), dtype=torch.bool))

    one, other = (ascent([pair[side] for pair in pairs], side) for side in (0, 1))
    better, worse = one.or_better(other), one.or_worse(other)
    assert better.value.tolist() == [max(pair) for pair in pairs]
    assert worse.value.tolist() == [min(pair) for pair in pairs]
    for part in ("x", "rise", "late"):
        both = getattr(better, part) + getattr(worse, part)
        torch.testing.assert_close(both, torch.ones_like(both))


def ascents_of(values: list[list[int]], stuck: int) -> list[Ascent]:
    """Ascents whose points are as grey as they are good, one of them stuck."""
    return [
        Ascent(
            torch.tensor(each).float()[:, None, None, None].expand(-1, *SHAPE),
            *[torch.tensor(each).float()] * 3,
            torch.full((len(each),), number == stuck),
        )
        for number, each in enumerate(values)
    ]


@given(st.data(), st.integers(1, 5), st.integers(1, 4))
def test_the_best_of_some_ascents_are_kept_in_order(data: st.DataObject, count: int, images: int):
    row = st.lists(st.integers(0, 5), min_size=images, max_size=images)
    values = data.draw(st.lists(row, min_size=count, max_size=6))
    stuck = data.draw(st.integers(0, len(values) - 1))
    found = _best_of(ascents_of(values, stuck), count)
    expected = torch.tensor(values).float().sort(dim=0, descending=True).values[:count]
    torch.testing.assert_close(torch.stack([one.value for one in found]), expected)
    torch.testing.assert_close(torch.stack([one.x[:, 0, 0, 0] for one in found]), expected)
    # That a gradient was zero somewhere is never forgotten.
    assert torch.stack([one.stuck for one in found]).any(dim=0).all()
