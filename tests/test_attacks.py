"""Every attack has every property, and reaches what can be computed exactly."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from conftest import DEVICES, SHAPE, SIZE, LinearBackbone, grey, normal
from torch import Tensor, nn

from selector.ascent import Ascent, Best, Climb, Objective
from selector.attacks import (
    ATTACKS,
    CLIMBS,
    Attack,
    _checkpoints,
    annealed,
    apgd,
    momentum,
    pgd,
)
from selector.norms import NORMS, Norm
from selector.threat import ThreatModel

EPS = 0.1
STEPS = 12

# A fixed step crosses a flat ball only as far as its steps add up to; on an l2 sphere 2.5 eps of
# them leave an angle of some ten degrees, whatever their number.
REACH = {("pgd", "l2"): 0.93}

each_attack = pytest.mark.parametrize("attack", CLIMBS.values(), ids=CLIMBS)
each_norm = pytest.mark.parametrize("norm", NORMS)


def images(count: int = 4) -> Tensor:
    """Images (n,3,2,2), many of whose values are on the border of the box."""
    return (0.5 + 0.5 * normal(count, *SHAPE, seed=1)).clamp(0, 1)


def rugged(x: Tensor) -> Tensor:
    """An objective with many local maxima (n,); a sum per image, so that batching is exact."""
    waves = torch.linspace(3, 40, SIZE, dtype=x.dtype, device=x.device)
    flat = x.flatten(1)
    return ((flat * waves).sin() + flat.roll(1, 1) * flat * 3).sum(dim=1)


def squared_distance(backbone: Callable[[Tensor], Tensor], x: Tensor) -> Objective:
    """||g(x') - g(x)||^2, as displacement is searched."""
    clean = backbone(x).detach()
    return lambda ahead: (backbone(ahead) - clean).square().sum(dim=1)


def best_of(
    attack: Climb, objective: Objective, x: Tensor, threat: ThreatModel, restarts: int, steps: int
) -> Tensor:
    """Largest value (n,) over random starts."""
    starts = [
        threat.random_start(x, range(1000 * restart, 1000 * restart + len(x)))
        for restart in range(restarts)
    ]
    return torch.stack([attack(objective, x, s, threat, steps).value for s in starts]).amax(dim=0)


def reach(attack: Climb, norm: Norm, share: float) -> float:
    """Share of a closed form that an attack must attain: ``share``, except where it cannot."""
    (name,) = (key for key, value in CLIMBS.items() if value is attack)
    return REACH.get((name, norm), share)


def assert_reaches(attained: Tensor, exact: float | Tensor, share: float) -> None:
    """At least this share of the maximum, and never more than the maximum."""
    assert (attained >= share * exact).all()
    assert (attained <= exact * (1 + 1e-12)).all()


def assert_same(a: Ascent, b: Ascent) -> None:
    torch.testing.assert_close(a.x, b.x, rtol=0, atol=1e-12)
    torch.testing.assert_close(a.value, b.value, rtol=0, atol=1e-9)
    torch.testing.assert_close(a.rise, b.rise, rtol=0, atol=1e-9)
    torch.testing.assert_close(a.late, b.late, rtol=0, atol=1e-9)
    assert torch.equal(a.stuck, b.stuck)


class Recorder:
    """An objective that keeps what it was asked for."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.asked: list[Tensor] = []
        self.gradients = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.asked.append(x.detach().clone())
        if x.requires_grad:
            x.register_hook(self._count)
        return self.objective(x)

    def _count(self, gradient: Tensor) -> None:
        self.gradients += 1


# What holds for every attack.


@each_attack
@each_norm
@pytest.mark.parametrize("steps", [1, 2, 13])
def test_every_iterate_stays_inside_the_threat_set(attack: Climb, norm: Norm, steps: int):
    threat, x = ThreatModel(norm, EPS), images()
    objective = Recorder(rugged)
    result = attack(objective, x, threat.random_start(x, range(4)), threat, steps)
    for point in (*objective.asked, result.x):
        size = torch.linalg.vector_norm(
            (point - x).flatten(1), ord=math.inf if norm == "linf" else 2, dim=1
        )
        assert (size <= EPS * (1 + 1e-12)).all()
        assert point.min() >= 0
        assert point.max() <= 1


@each_attack
@each_norm
@pytest.mark.parametrize("steps", [1, 2, 13])
def test_the_value_is_that_of_the_best_point_asked_for(attack: Climb, norm: Norm, steps: int):
    threat, x = ThreatModel(norm, EPS), images()
    objective = Recorder(rugged)
    start = threat.random_start(x, range(4))
    result = attack(objective, x, start, threat, steps)
    assert torch.equal(result.value, torch.stack([rugged(p) for p in objective.asked]).amax(dim=0))
    assert torch.equal(result.value, rugged(result.x))
    assert torch.equal(result.rise, result.value - rugged(start))
    assert (result.value > rugged(start)).all()


@each_attack
@each_norm
def test_an_image_where_every_step_is_a_loss_keeps_its_start(attack: Climb, norm: Norm):
    threat, x = ThreatModel(norm, EPS), grey(2)
    start = threat.random_start(x, [0, 1])

    def only_here(points: Tensor) -> Tensor:
        # A slope up, but the ground drops as soon as the start is left.
        away = (points - start).detach().flatten(1).abs().amax(dim=1) > 0
        return points.flatten(1).sum(dim=1) - 100 * away

    result = attack(only_here, x, start, threat, 7)
    assert torch.equal(result.x, start)
    assert torch.equal(result.value, only_here(start))
    assert not result.rising.any()


@each_attack
@each_norm
def test_the_same_start_gives_the_same_result(attack: Climb, norm: Norm):
    threat, x = ThreatModel(norm, EPS), images()
    start = threat.random_start(x, range(4))
    results = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        results.append(attack(rugged, x, start, threat, 9))
    assert torch.equal(results[0].x, results[1].x)
    assert torch.equal(results[0].value, results[1].value)


@each_attack
@each_norm
def test_a_batch_gives_what_single_images_give(attack: Climb, norm: Norm):
    threat, x = ThreatModel(norm, EPS), images()
    start = threat.random_start(x, range(4))
    together = attack(rugged, x, start, threat, 20)
    for i in range(4):
        alone = attack(rugged, x[i : i + 1], start[i : i + 1], threat, 20)
        assert_same(together.of(torch.arange(4) == i), alone)


@each_attack
@each_norm
def test_parameters_inputs_and_gradient_mode_are_left_as_they_were(attack: Climb, norm: Norm):
    threat, x = ThreatModel(norm, EPS), images()
    start = threat.random_start(x, range(4))
    module = nn.Sequential(nn.Flatten(), nn.Linear(SIZE, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    before = [value.detach().clone() for value in (*module.parameters(), x, start)]
    result = attack(lambda ahead: module(ahead)[:, 0], x, start, threat, 5)
    after = [*module.parameters(), x, start]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(p.grad is None and p.requires_grad for p in module.parameters())
    assert not any(t.requires_grad for t in (x, start, result.x, result.value))
    assert torch.is_grad_enabled()


@each_attack
@each_norm
@pytest.mark.parametrize("steps", [1, 2, 10])
def test_steps_gradients_and_one_forward_pass_more(attack: Climb, norm: Norm, steps: int):
    threat, x = ThreatModel(norm, EPS), images()
    objective = Recorder(rugged)
    attack(objective, x, threat.random_start(x, range(4)), threat, steps)
    assert objective.gradients == steps
    assert len(objective.asked) == steps + 1


@each_attack
@each_norm
def test_a_random_start_is_left_and_a_stationary_one_is_flagged(attack: Climb, norm: Norm):
    threat, x = ThreatModel(norm, EPS), grey(2)
    start = threat.random_start(x, [0, 1])
    start[1] = x[1]
    backbone = LinearBackbone(normal(4, SIZE, seed=2))
    result = attack(squared_distance(backbone, x), x, start, threat, 10)
    assert result.stuck.tolist() == [False, True]
    assert result.value[0] > squared_distance(backbone, x)(start)[0]
    assert result.value[1] == 0


@each_attack
@each_norm
def test_a_gradient_that_vanishes_on_the_way_is_flagged(attack: Climb, norm: Norm):
    threat, x = ThreatModel(norm, EPS), grey(2)
    heights = torch.tensor([1e-3, 1e3]).double()

    def plateau(points: Tensor) -> Tensor:
        return torch.minimum((points - x).flatten(1).sum(dim=1), heights)

    start = x - EPS / 100
    assert attack(plateau, x, start, threat, 8).stuck.tolist() == [True, False]


@each_attack
@each_norm
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("when", [0, 1, 2, 3])
def test_an_objective_that_is_not_finite_is_an_error(attack, norm, bad: float, when: int):
    threat, x = ThreatModel(norm, EPS), grey(3)
    calls = []

    def objective(points: Tensor) -> Tensor:
        calls.append(points)
        spoil = torch.zeros(3).double()
        if len(calls) == when + 1:
            spoil[1] = bad
        return points.flatten(1).sum(dim=1) + spoil

    with pytest.raises(FloatingPointError, match="not finite"):
        attack(objective, x, threat.random_start(x, range(3)), threat, 3)


# Closed forms.


@each_attack
@each_norm
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("eps", [1 / 255, 0.3], ids="eps={:.3f}".format)
def test_a_linear_objective_reaches_its_dual_norm(attack: Climb, norm: Norm, device, eps: float):
    a = normal(*SHAPE, seed=3).to(device)
    threat, x = ThreatModel(norm, eps), grey(3).to(device)
    result = attack(
        lambda ahead: ((ahead - x) * a).sum(dim=(1, 2, 3)),
        x,
        threat.random_start(x, range(3)),
        threat,
        40,
    )
    closed_form = eps * a.abs().sum() if norm == "linf" else eps * a.norm()
    assert_reaches(result.value, closed_form, reach(attack, norm, 0.999))


@each_attack
@each_norm
@pytest.mark.parametrize("seed", range(5))
def test_displacement_of_a_linear_representation_is_found(attack: Climb, norm: Norm, seed: int):
    backbone = LinearBackbone(normal(6, SIZE, seed=seed))
    threat, x = ThreatModel(norm, EPS), grey(3)
    attained = best_of(attack, squared_distance(backbone, x), x, threat, restarts=10, steps=20)
    share = 0.99 if norm == "l2" else 0.9
    exact = backbone.largest_displacement(norm, EPS)
    assert_reaches(attained.sqrt(), exact, reach(attack, norm, share))


@each_attack
@each_norm
def test_a_single_row_reaches_its_dual_norm_in_either_direction(attack: Climb, norm: Norm):
    row = normal(1, SIZE, seed=4)
    threat, x = ThreatModel(norm, EPS), grey(6)
    start = threat.random_start(x, range(6))
    result = attack(squared_distance(LinearBackbone(row), x), x, start, threat, 40)
    closed_form = EPS * row.norm(p=1 if norm == "linf" else 2)
    assert_reaches(result.value.sqrt(), closed_form, reach(attack, norm, 0.999))
    # Both ends of the ball are maxima; where it went shows that the start decided.
    sides = ((result.x - x).flatten(1) @ row[0]).sign()
    assert torch.equal(sides, ((start - x).flatten(1) @ row[0]).sign())
    assert len(sides.unique()) == 2


@each_attack
@each_norm
def test_displacement_of_a_linear_representation_grows_in_proportion_to_eps(attack, norm: Norm):
    backbone, x = LinearBackbone(normal(6, SIZE, seed=0)), grey(3)
    objective = squared_distance(backbone, x)
    attained = [
        best_of(attack, objective, x, ThreatModel(norm, eps), restarts=2, steps=10).sqrt() / eps
        for eps in (0.01, 0.1, 0.4)
    ]
    torch.testing.assert_close(attained[1], attained[0])
    torch.testing.assert_close(attained[2], attained[0])


@each_attack
@each_norm
def test_more_eps_attains_more_on_a_curved_representation(attack: Climb, norm: Norm):
    first, second = normal(8, SIZE, seed=5), normal(4, 8, seed=6)

    def curved(points: Tensor) -> Tensor:
        return ((points.flatten(1) - 0.5) @ first.T).tanh() @ second.T

    x = images()
    objective = squared_distance(curved, x)
    attained = [
        best_of(attack, objective, x, ThreatModel(norm, eps), restarts=3, steps=20)
        for eps in (0.005, 0.02, 0.08, 0.3)
    ]
    for less, more in itertools.pairwise(attained):
        assert (more > less).all()


# The algorithms, step by step, against an independent account of each for one image.


def objective_of(seed: int) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """(value, gradient) of :func:`rugged` plus a slope, for one image as a flat array."""
    slope = normal(*SHAPE, seed=seed)

    def ask(point: np.ndarray) -> tuple[float, np.ndarray]:
        x = torch.from_numpy(point).view(1, *SHAPE).requires_grad_(True)
        value = rugged(x) + (slope * x).sum()
        value.sum().backward()
        return value.item(), x.grad.flatten().numpy()

    return ask


def project(point: np.ndarray, x: np.ndarray, norm: Norm) -> np.ndarray:
    delta = point - x
    if norm == "linf":
        delta = delta.clip(-EPS, EPS)
    elif np.linalg.norm(delta) > EPS:
        delta = delta * EPS / np.linalg.norm(delta)
    return (x + delta).clip(0, 1)


def direction(gradient: np.ndarray, norm: Norm) -> np.ndarray:
    return np.sign(gradient) if norm == "linf" else gradient / np.linalg.norm(gradient)


def pgd_by_the_paper(ask, x: np.ndarray, start: np.ndarray, norm: Norm):
    """Iterates of projected gradient ascent."""
    visited = [start]
    for _ in range(STEPS):
        _, gradient = ask(visited[-1])
        step = 2.5 * EPS / STEPS * direction(gradient, norm)
        visited.append(project(visited[-1] + step, x, norm))
    return visited


def remembering(ask, x: np.ndarray, start: np.ndarray, norm: Norm, share: float, size):
    """Iterates along decaying sums of normalised gradients, by sizes of all values so far."""
    sums, visited, values = np.zeros_like(x), [start], []
    for _ in range(STEPS):
        value, gradient = ask(visited[-1])
        values.append(value)
        sums = share * sums + gradient / np.abs(gradient).mean()
        visited.append(project(visited[-1] + size(values) * direction(sums, norm), x, norm))
    return visited


def annealed_by_definition(ask, x: np.ndarray, start: np.ndarray, norm: Norm):
    """From 2.5 eps down in equal parts, and by three tenths at each fall."""

    def size(values: list[float]) -> float:
        falls = sum(after < before for before, after in itertools.pairwise(values))
        return 2.5 * EPS * 0.7**falls * (STEPS + 1 - len(values)) / STEPS

    return remembering(ask, x, start, norm, 0.3, size)


def momentum_by_definition(ask, x: np.ndarray, start: np.ndarray, norm: Norm):
    """From eps down as half a cosine."""

    def size(values: list[float]) -> float:
        return EPS * np.cos(np.pi / 2 * (len(values) - 1) / STEPS) ** 2

    return remembering(ask, x, start, norm, 0.75, size)


@dataclass
class Halvings:
    """Why Algorithm 1 halved its step, and where only the step before kept it from halving."""

    too_few: int = 0
    no_gain: int = 0
    spared: int = 0


def apgd_by_the_paper(ask, x: np.ndarray, start: np.ndarray, norm: Norm, steps: int):
    """Iterates of Algorithm 1 of Croce and Hein 2020, and its halvings.

    As in the authors' code, the second condition needs a checkpoint before it.
    """
    percents = [0, 22]
    while percents[-1] < 100:
        percents.append(percents[-1] + max(percents[-1] - percents[-2] - 3, 6))
    checkpoints = [-(-percent * steps // 100) for percent in percents]
    visited, halvings = [start], Halvings()
    step_size, just_halved = 2 * EPS, True
    value, gradient = ask(start)
    best, best_at_checkpoint = (value, start, gradient), value
    behind, here, increases, last = start, start, 0, 0
    for k in range(1, steps + 1):
        z = project(here + step_size * direction(gradient, norm), x, norm)
        inertia = 0.0 if k == 1 else 0.25
        ahead = project(here + (1 - inertia) * (z - here) + inertia * (here - behind), x, norm)
        visited.append(ahead)
        before = value
        value, gradient = ask(ahead)
        increases += value > before
        if value > best[0]:
            best = (value, ahead, gradient)
        behind, here = here, ahead
        if k in checkpoints:
            too_few = increases <= 0.75 * (k - last)
            no_gain = best_at_checkpoint == best[0]
            halvings.too_few += too_few
            halvings.no_gain += no_gain and not too_few and not just_halved
            halvings.spared += no_gain and not too_few and just_halved
            just_halved = too_few or (no_gain and not just_halved)
            if just_halved:
                step_size /= 2
                value, here, gradient = best
                behind = here
            increases, last, best_at_checkpoint = 0, k, best[0]
    return visited, halvings


def visited_by(attack: Climb, seed: int, x: Tensor, start: Tensor, threat, steps: int):
    """Points that an attack asks for, on the objective of :func:`objective_of`."""
    slope = normal(*SHAPE, seed=seed)
    objective = Recorder(lambda points: rugged(points) + (slope * points).sum(dim=(1, 2, 3)))
    attack(objective, x, start, threat, steps)
    return [point.flatten().numpy() for point in objective.asked]


@each_norm
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("attack", "account"),
    [
        (pgd, pgd_by_the_paper),
        (annealed, annealed_by_definition),
        (momentum, momentum_by_definition),
    ],
)
def test_an_attack_is_its_published_algorithm(attack: Climb, account, norm: Norm, seed: int):
    threat, x = ThreatModel(norm, EPS), images()[seed : seed + 1]
    start = threat.random_start(x, [seed])
    ask = objective_of(seed)
    expected = account(ask, x.flatten().numpy(), start.flatten().numpy(), norm)
    visited = visited_by(attack, seed, x, start, threat, STEPS)
    np.testing.assert_allclose(visited, expected, rtol=0, atol=1e-9)


@each_norm
@pytest.mark.parametrize("steps", [7, 20, 50, 100])
def test_apgd_is_the_published_algorithm(norm: Norm, steps: int):
    threat, x = ThreatModel(norm, EPS), images()
    start = threat.random_start(x, range(4))
    halved = 0
    for i in range(4):
        one = slice(i, i + 1)
        expected, halvings = apgd_by_the_paper(
            objective_of(i), x[i].flatten().numpy(), start[i].flatten().numpy(), norm, steps
        )
        halved += halvings.too_few
        visited = visited_by(apgd, i, x[one], start[one], threat, steps)
        np.testing.assert_allclose(visited, expected, rtol=0, atol=1e-9)
    assert halved > 0


def test_apgd_halves_its_step_for_the_published_reasons():
    """On values that are drawn, not computed: mostly small rises, and now and then a deep fall."""
    threat, x = ThreatModel("l2", EPS), grey(1)
    start, slope = threat.random_start(x, [0]), normal(*SHAPE, seed=0)
    gradient_of, seen = objective_of(0), Halvings()
    for seed in range(40):
        draw = np.random.default_rng(seed)
        values = np.where(draw.random(101) < 0.9, 1.0, -4.0).cumsum()
        for_torch, for_numpy = iter(values), iter(values)

        def objective(points: Tensor, values=for_torch) -> Tensor:
            landscape = rugged(points) + (slope * points).sum(dim=(1, 2, 3))
            return landscape - landscape.detach() + next(values)

        def ask(point: np.ndarray, values=for_numpy) -> tuple[float, np.ndarray]:
            return next(values), gradient_of(point)[1]

        expected, halvings = apgd_by_the_paper(
            ask, x.flatten().numpy(), start.flatten().numpy(), "l2", 100
        )
        recorder = Recorder(objective)
        apgd(recorder, x, start, threat, 100)
        visited = [point.flatten().numpy() for point in recorder.asked]
        np.testing.assert_allclose(visited, expected, rtol=0, atol=1e-9)
        for reason in vars(seen):
            setattr(seen, reason, getattr(seen, reason) + getattr(halvings, reason))
    assert min(vars(seen).values()) > 0, seen


@pytest.mark.parametrize(
    ("steps", "checkpoints"),
    [
        (100, {22, 41, 57, 70, 80, 87, 93, 99}),
        (20, {5, 9, 12, 14, 16, 18, 19, 20}),
        (10, {3, 5, 6, 7, 8, 9, 10}),
    ],
)
def test_apgd_checkpoints_are_those_of_the_paper(steps: int, checkpoints: set[int]):
    assert _checkpoints(steps) == checkpoints


# Diagnostics.


@each_attack
def test_rising_tells_whether_the_last_quarter_of_the_steps_still_brought_gain(attack: Climb):
    """Two images on one slope: steep all along, or flat but for the first metre."""
    threat, x = ThreatModel("linf", EPS), grey(2)
    start = x - EPS

    def slope(points: Tensor) -> Tensor:
        height = (points - start).flatten(1).mean(dim=1)
        return torch.stack([height[0], 1 - (-1000 * height[1]).exp()])

    short = attack(slope, x, start, threat, 1)
    assert short.rising.tolist() == [True, True]
    long = pgd(slope, x, start, threat, 8)
    assert long.rising.tolist() == [True, False]


@each_attack
def test_an_ascent_that_arrived_is_not_rising(attack: Climb):
    threat, x = ThreatModel("linf", EPS), grey(3)
    result = attack(lambda p: p.sum(dim=(1, 2, 3)), x, threat.random_start(x, range(3)), threat, 20)
    assert not result.rising.any()
    assert not result.stuck.any()


def test_the_table_names_the_attacks():
    assert ATTACKS["apgd"] == Attack(apgd, apgd)
    assert ATTACKS["pgd"] == Attack(pgd, pgd)
    assert {climb for attack in ATTACKS.values() for climb in (attack.short, attack.long)} == set(
        CLIMBS.values()
    )


def test_an_image_is_stuck_where_all_of_its_gradient_is_zero_and_not_where_a_part_is():
    gradient = torch.zeros(3, 3, 2, 2)
    gradient[0, 0, 0, 0], gradient[1, 0, 0, 0] = -1, 1
    best = Best(torch.zeros_like(gradient), torch.zeros(3), gradient)
    best.update(torch.zeros_like(gradient), torch.ones(3))
    assert best.ascent().stuck.tolist() == [False, False, True]


@pytest.mark.parametrize("norm", NORMS)
def test_gradients_whose_sum_leaves_float32_are_climbed_like_others(norm: Norm) -> None:
    """Alternating slopes: their sum at grey images is 0, that of their absolute values inf."""
    signs = torch.tensor([1.0, -1.0]).repeat(1, 3, 8, 4)
    assert (2e37 * signs).abs().sum().isinf()
    even, threat = torch.full((2, 3, 8, 8), 0.5), ThreatModel(norm, 0.02)
    found = []
    for scale in (1.0, 2e37):

        def objective(x: Tensor, scale: float = scale) -> Tensor:
            return (scale * (signs * (x - 0.5))).sum(dim=(1, 2, 3))

        start = threat.random_start(even, range(2))
        found.append(annealed(objective, even, start, threat, 4))
    torch.testing.assert_close(found[0].x, found[1].x)
    assert (found[1].value > 0).all()
