"""Races: bounds that hold, the best first, nothing lost by being stopped, time kept."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from builders import evaluation, ranking
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats
from torch import Tensor
from typer.testing import CliRunner, Result

from selector import attacking, contest, entrants, fitting, screening
from selector.batches import Images
from selector.candidates import Candidate, Pinned
from selector.choosing import ChosenHead
from selector.cli import app
from selector.contest import Contest, Terms
from selector.entrants import passes_of
from selector.errors import CandidateError, UsageError
from selector.evaluation import evaluate
from selector.events import Event, Finished, Looked
from selector.fetching import FetchRules, prepare
from selector.heads import LinearHead
from selector.pairs import RIVALS
from selector.protocol import Protocol, Sizes
from selector.raceplan import plan_race
from selector.racing import ALLOWANCE, Field, Goal, Standing, parse_budget, upper_mean
from selector.records import (
    Cost,
    Evaluation,
    Plan,
    PlannedCandidate,
    RaceRecord,
    Screened,
    Skipped,
    Unsettled,
)
from selector.reports.document import json_schema, to_json
from selector.reports.plan import print_plan
from selector.reports.table import print_table
from selector.run import PREFLIGHT_IMAGES, Prepared, Run, load
from selector.scheduling import Kept
from selector.screening import Look, places, screen, shortened
from selector.sensitivity import Aim, Pool
from selector.tasks import Task, load_task
from selector.threat import ThreatModel
from selector.workload import PassCount, Setting, planned_passes

ZOO = Path(str(files("selector.demo") / "zoo"))
SIZES = Sizes(train=60, validation=10, test=24)
NOTHING = FetchRules()


# --- the bound -----------------------------------------------------------------------------------


def test_of_a_population_seen_whole_the_bound_is_the_mean() -> None:
    values = np.array([1.0, 0.0, 0.0, 1.0, 0.25])
    assert upper_mean(values, 5, 0.01) == values.mean()


def test_unseen_images_of_one_who_was_always_right_may_be_right() -> None:
    assert upper_mean(np.ones(10), 40, 0.05) == 1.0


@cache
def bound(drawn: tuple[float, ...], population: int, alpha: float) -> float:
    return upper_mean(np.array(drawn), population, alpha)


POPULATIONS = [
    *((*(1.0,) * ones, *(0.0,) * (9 - ones)) for ones in (1, 3, 5, 8)),
    (0.0, 0.1, 0.1, 0.4, 0.4, 0.9, 1.0),
]


@pytest.mark.parametrize("alpha", [0.1, 0.4])
@pytest.mark.parametrize("population", POPULATIONS, ids=str)
def test_over_all_orders_the_bound_fails_no_more_often_than_it_says_at_any_time(
    population: tuple[float, ...], alpha: float
) -> None:
    orders = Counter(permutations(population)) if len(set(population)) > 2 else None
    if orders is None:  # of ones and noughts, each choice of places is equally likely
        size, ones = len(population), int(sum(population))
        orders = Counter(
            tuple(float(place in chosen) for place in range(size))
            for chosen in combinations(range(size), ones)
        )
    size, mean = len(population), sum(population) / len(population)
    failed = sum(
        times
        for order, times in orders.items()
        if any(bound(order[:n], size, alpha) < mean - 1e-9 for n in range(1, size))
    )
    assert failed <= alpha * orders.total()


def test_bounds_do_fail_where_much_may_fail() -> None:
    assert any(bound((0.0,) * n, 9, 0.4) < 1 / 9 for n in range(1, 9))


def test_the_bound_is_not_idle() -> None:
    # Hypergeometric: none of 32 drawn from 128 refutes 15 % and more at the 2 % level.
    exact = next(hits / 128 for hits in range(128) if stats.hypergeom(128, hits, 32).cdf(0) < 0.02)
    assert exact < upper_mean(np.zeros(32), 128, 0.02) < exact + 0.08


VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30).map(np.array)


@given(VALUES, st.integers(0, 40), st.floats(0.01, 0.4))
def test_the_bound_lies_between_what_is_possible(
    values: np.ndarray, more: int, alpha: float
) -> None:
    population = len(values) + more
    bound = upper_mean(values, population, alpha)
    assert values.sum() / population - 1e-9 <= bound <= (values.sum() + more) / population + 1e-9


@given(VALUES, st.integers(1, 40), st.floats(0.01, 0.2))
def test_more_confidence_is_a_higher_bound(values: np.ndarray, more: int, alpha: float) -> None:
    population = len(values) + more
    assert upper_mean(values, population, alpha / 2) >= upper_mean(values, population, alpha)


# --- who is out ----------------------------------------------------------------------------------


def test_a_lower_tier_is_below_and_equals_are_not() -> None:
    sound, masked = Standing(0, 0.1, 16), Standing(1, 0.9, 16)
    assert masked.below(sound)
    assert not sound.below(masked)
    assert not sound.below(sound)
    assert Standing(0, 0.09, 16).below(sound)


def test_the_bar_is_the_last_of_the_wanted() -> None:
    rows = [evaluation(name, right(hits)) for name, hits in (("a", 9), ("b", 7), ("c", 8))]
    rows.append(evaluation("d", right(10), flags=["masked_gradients"]))
    field = Field(images=10, wanted=2, confidence=0.95)
    assert field.bar(rows[:1]) is None
    assert field.bar(rows) == Standing(0, 0.8, 10)
    assert replace(field, wanted=4).bar(rows) == Standing(1, 1.0, 10)


def right(hits: int, images: int = 10) -> tuple[bool, ...]:
    return (True,) * hits + (False,) * (images - hits)


@pytest.mark.parametrize(
    ("images", "looks"), [(128, (32, 64, 128)), (40, (16, 20, 40)), (16, (16,)), (5, (5,))]
)
def test_looks_end_with_all_images(images: int, looks: tuple[int, ...]) -> None:
    found = Field(images, 1, 0.95)
    assert found.looks == looks
    assert [found.next_look(n) for n in (0, *looks)] == [*looks, None]


@pytest.mark.parametrize(
    ("goal", "race"),
    [
        (Goal(), False),
        (Goal(top=5), False),
        (Goal(top=9), False),
        (Goal(top=4), True),
        (Goal(budget=60.0), True),
    ],
    ids=str,
)
def test_a_race_needs_something_to_save(goal: Goal, race: bool) -> None:
    assert goal.is_race(5) is race


@pytest.mark.parametrize("text", ["", "10", "m", "0s", "-5m", "ten minutes", "1e3s", f"{10**309}s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--budget must be a duration"):
        parse_budget(text)


# --- the race, with candidates whose results are known -------------------------------------------


@dataclass
class World:
    """Candidates that are made up, and a clock that moves when they are measured.

    Attributes:
        shares: per candidate and image, in the task's order, whether it withstands.
        flattery: of the images that do not, the share that a look takes for such as do.
        misses: of candidates, how many images that withstand the looks take for lost.
        masked: candidates whose gradients turn out masked.
        slow: how many times as long as others candidates take.
        broken: who fails, in a "look" or in "full".
    """

    shares: dict[str, np.ndarray]
    tmp_path: Path
    flattery: float = 0.0
    misses: dict[str, int] = field(default_factory=dict)
    masked: str = ""
    slow: dict[str, float] = field(default_factory=dict)
    seconds_full: float = 10.0
    seconds_look: float = 1.0
    time: float = 100.0
    done: list[tuple[str, str]] = field(default_factory=list)
    stop_after: float = math.inf
    broken: tuple[tuple[str, str], ...] = ()
    events: list[Event] = field(default_factory=list)

    def setting(self, seed: int = 0) -> Setting:
        images = len(next(iter(self.shares.values())))
        sizes = Sizes(train=40, validation=20, test=images)
        task = load_task("builtin:digits", image_size=32, sizes=sizes, seed=0)
        protocol = Protocol("quick", "apgd", restarts=2, steps=10, sizes=sizes, seed=seed)
        return Setting(task, ThreatModel("linf", 4 / 255), protocol, torch.device("cpu"))

    def race(self, goal: Goal, seed: int = 0) -> RaceRecord:
        """Run one, with the world in the place of networks."""
        setting = self.setting(seed)
        kept = Kept(self.tmp_path / "store.sqlite")
        terms = Terms(goal, self.time, lambda: self.time)
        pinned = [Pinned(Candidate(model=f"local-dir:/nets/{name}")) for name in self.shares]
        return Contest(setting, kept, terms, self.events.append).run(pinned, NOTHING)

    def evaluations(self) -> list[Evaluation]:
        outcomes = [event.outcome for event in self.events if isinstance(event, Finished)]
        return [one for one in outcomes if isinstance(one, Evaluation)]

    def spend(self, name: str, what: str, seconds: float, on_pass: Callable[[int], None]) -> Cost:
        if len(self.done) >= self.stop_after:
            raise KeyboardInterrupt
        if (name, what) in self.broken:
            raise CandidateError("keys_mismatch", "no.")
        self.done.append((name, what))
        seconds *= self.slow.get(name, 1.0)
        for _ in range(10):
            self.time += seconds / 10
            on_pass(1)
        return Cost(
            forward_passes=100 if what == "look" else 1000,
            backward_passes=0,
            seconds_load=0.0,
            seconds_features=0.0,
            seconds_attack=seconds,
            seconds_heads=0.0,
            batch_size=1,
            search_precision="fp32",
            peak_process_bytes=None,
            peak_device_bytes=None,
        )

    def evaluate(
        self, prepared: Prepared, setting: Setting, on_pass: Callable[[int], None]
    ) -> Evaluation:
        name = prepared.name
        cost = self.spend(name, "full", self.seconds_full, on_pass)
        made = evaluation(
            name,
            tuple(map(bool, self.shares[name])),
            flags=["masked_gradients"] if name in self.masked else (),
        )
        return made.model_copy(update={"cost": cost, "model": prepared.model})

    def screen(
        self,
        prepared: Prepared,
        setting: Setting,
        look: Look,
        fitting: None,
        on_pass: Callable[[int], None],
    ) -> tuple[Screened, None]:
        name = prepared.name
        cost = self.spend(name, "look", self.seconds_look, on_pass)
        order = np.random.default_rng(setting.protocol.seed).permutation(len(self.shares[name]))
        generator = np.random.default_rng([setting.protocol.seed, look.start])
        seen = self.shares[name][order[look.start : look.stop]]
        seen = np.maximum(seen, generator.random(len(seen)) < self.flattery)
        for place in np.flatnonzero(seen)[: self.misses.get(name, 0)]:
            seen[place] = 0
            self.misses[name] -= 1
        return Screened(
            name=name,
            model=prepared.model,
            withstood=tuple(bool(value) for value in seen),
            cost=cost,
        ), None


class Files:
    """What Ahead does, of candidates that have no files."""

    def __init__(self, candidates: Iterable[Pinned], *_: object) -> None:
        self._left = [one.candidate for one in candidates]

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is on its way."""

    def done(self) -> None:
        """Nothing was reserved."""

    def next(self) -> Future[Prepared]:
        one, future = self._left.pop(0), Future[Prepared]()

        def describe(*_: object) -> None:
            raise AssertionError

        future.set_result(Prepared(one.name, one.model, describe, {}, describe))
        return future


Make = Callable[..., World]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr(contest, "Ahead", Files)
    task = load_task(
        "builtin:digits", image_size=32, sizes=Sizes(train=40, validation=20, test=64), seed=0
    )
    monkeypatch.setattr(sys.modules[__name__], "load_task", lambda *_, **__: task)

    def make(hits: Sequence[float], images: int = 64, seed: int = 0, **options: object) -> World:
        generator = np.random.default_rng(seed)
        names = "abcdefghijklmnopqrstuvwxyz"
        shares = {
            name: generator.permutation((np.arange(images) < share * images).astype(float))
            for name, share in zip(names, hits, strict=False)
        }
        made = World(shares, tmp_path, **options)  # type: ignore[arg-type]
        monkeypatch.setattr(contest, "evaluate", made.evaluate)
        monkeypatch.setattr(contest, "screen", made.screen)
        for module in (contest, entrants):
            monkeypatch.setattr(module, "planned_passes", lambda setting: PassCount(600, 400))
        return made

    return make


CLEAR = (0.02, 0.9, 0.05, 0.0, 0.8, 0.1, 0.03, 0.02)


def test_the_best_are_measured_in_full_and_the_others_are_not(world: Make) -> None:
    clear = world(CLEAR)
    race = clear.race(Goal(top=2))
    assert [name for name, what in clear.done if what == "full"] == ["b", "e"]
    assert {one.name for one in race.eliminated} == set("acdfgh")
    assert race.settled
    assert race.unsettled == ()
    for one in race.eliminated:
        assert one.upper < one.bar == pytest.approx(0.8, abs=0.02)
        assert f"at most {100 * one.upper:.0f} %" in one.reason
        assert one.reason.endswith(f"by {one.images} images; number 2 attains 81 %")
    assert race.sentence.startswith(
        "The best 2: b, e, with 95 % confidence. Measured in full: 2 of 8"
    )


def test_passes_are_those_of_looks_and_full_measurements(world: Make) -> None:
    clear = world(CLEAR)
    race = clear.race(Goal(top=2))
    assert race.passes == sum(100 if what == "look" else 1000 for _, what in clear.done)
    assert race.exhaustive_passes == len(CLEAR) * 1000


@pytest.mark.parametrize(("budget", "each"), [(None, 1000), (0.5, 1300)])
def test_what_measuring_all_takes_is_told_by_those_that_were_or_by_the_plan(
    world: Make, monkeypatch: pytest.MonkeyPatch, budget: float | None, each: int
) -> None:
    clear = world(CLEAR)
    monkeypatch.setattr("selector.contest.planned_passes", lambda setting: PassCount(900, 400))
    race = clear.race(Goal(top=2, budget=budget))
    assert bool(clear.evaluations()) == (budget is None)
    assert race.exhaustive_passes == len(CLEAR) * each
    share = 100 * race.passes / race.exhaustive_passes
    assert f"; about {share:.0f} % of the passes that measuring all in full" in race.sentence


def test_without_anyone_to_eliminate_all_are_measured(world: Make) -> None:
    clear = world(CLEAR)
    race = clear.race(Goal(top=8, budget=1e6))
    assert len(clear.evaluations()) == 8
    assert (race.eliminated, race.unsettled) == ((), ())


@pytest.mark.parametrize(("missed", "lost"), [(1, False), (2, False), (3, True)])
def test_looks_may_fall_behind_as_far_as_is_allowed_for(
    world: Make, missed: int, lost: bool
) -> None:
    # a has 33 of 64 images, b 32; to fall behind by two of a's is to fall below b by 1/64 < 2 %.
    behind = world((33 / 64, 0.5), misses={"a": missed})
    race = behind.race(Goal(top=1))
    assert (("a", "full") in behind.done) is not lost
    assert [one.name for one in race.eliminated] == (["a"] if lost else [])


def test_shares_are_raised_by_what_is_allowed_for() -> None:
    field = Field(images=4, wanted=1, confidence=0.95)
    cost = evaluation().cost

    def seen(*withstood: bool) -> Screened:
        return Screened(name="a", model="a", withstood=withstood, cost=cost)

    assert field.standing([seen(True, False, False, False)]).share == 0.25 + ALLOWANCE
    parts = field.standing([seen(True, False), seen(True, False)])
    assert parts == Standing(0, 0.5 + ALLOWANCE, 4)
    assert field.standing([seen(True, True, True, True)]).share == 1


def test_equals_are_not_eliminated(world: Make) -> None:
    clear = world((0.5, 0.5, 0.5, 0.0))
    clear.race(Goal(top=1))
    assert {one.name for one in clear.evaluations()} == set("abc")


def test_where_nobody_withstands_anything_nobody_is_eliminated(world: Make) -> None:
    """What the usual probe survives decides between them, and no look has shown that."""
    lost = world((0.0, 0.0, 0.0))
    race = lost.race(Goal(top=1))
    assert {one.name for one in lost.evaluations()} == set("abc")
    assert race.eliminated == ()


def test_of_the_best_those_that_were_not_measured_soundly_are_named(world: Make) -> None:
    sentence = world((0.95, 0.9, 0.6, 0.05), masked="ab").race(Goal(top=3)).sentence
    assert sentence.startswith(
        "The best 3: c, d, a. Not measured soundly, since attacks were blind: a. Measured"
    )


def test_one_whose_gradient_turns_out_masked_takes_nobodys_place(world: Make) -> None:
    masked = world((0.95, 0.6, 0.05), masked="a")
    race = masked.race(Goal(top=1))
    assert [one.name for one in masked.evaluations()] == ["a", "b"]
    assert [one.name for one in race.eliminated] == ["c"]


@pytest.mark.parametrize("stage", ["look", "full"])
def test_one_that_fails_is_a_row_and_takes_nobodys_place(world: Make, stage: str) -> None:
    broken = world((0.9, 0.8, 0.1, 0.0), broken=(("a", stage),))
    race = broken.race(Goal(top=1))
    outcomes = [event.outcome for event in broken.events if isinstance(event, Finished)]
    assert [(one.name, isinstance(one, Skipped)) for one in outcomes] == [("a", True), ("b", False)]
    assert race.sentence.startswith("The best: b, with 95 % confidence.")
    assert {one.name for one in race.eliminated} == {"c", "d"}
    assert race.exhaustive_passes == 3000


def test_fewer_than_wanted_that_can_be_measured_are_said_to_be_fewer(world: Make) -> None:
    broken = world((0.9, 0.8, 0.1), broken=(("a", "full"), ("c", "full")))
    race = broken.race(Goal(top=2))
    assert race.settled
    assert race.sentence.startswith("Fewer than 2 could be measured: b. Measured in full: 1 of 3")


def test_those_as_good_as_the_last_of_the_best_are_named(world: Make) -> None:
    close = world((0.9, 0.5, 0.5, 0.45, 0.0))
    race = close.race(Goal(top=2))
    (last, other), eliminated = ("b", "c"), {one.name for one in race.eliminated}
    assert {one.name for one in close.evaluations()} == {"a", last, other}
    assert eliminated == {"d", "e"}
    assert race.sentence.startswith(
        f"The best 2: a, {last}, with 95 % confidence. Cannot be told apart from {last}: {other}."
        " On other test images some that were eliminated may be as good: d. Measured in full: 3"
    )


def test_without_confidence_where_nobody_was_eliminated(world: Make) -> None:
    close = world((0.5, 0.5, 0.5))
    assert "confidence" not in close.race(Goal(top=2)).sentence


@pytest.mark.parametrize("flattery", [0.0, 0.1])
def test_the_best_are_lost_no_more_often_than_stated(
    world: Make, flattery: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forgetful:
        def __init__(self, path: Path) -> None:
            self.get = lambda content, form: None
            self.put = lambda content, record: None
            self.get_part = lambda key: None
            self.put_part = lambda key, label, part: None
            self.close = lambda: None

    monkeypatch.setattr(contest, "Store", Forgetful)
    confidence, repeats, lost, spared = 0.8, 40, 0, 0
    for seed in range(repeats):
        close = world((0.5, 0.45, 0.42, 0.3, 0.2, 0.1), 64, seed, flattery=flattery)
        race = close.race(Goal(top=2, confidence=confidence), seed)
        lost += bool({one.name for one in race.eliminated} & set("ab"))
        spared += len(race.eliminated)
    assert lost <= stats.binom.ppf(0.999, repeats, 1 - confidence)
    assert spared > repeats


# --- interruption and time -----------------------------------------------------------------------


@pytest.mark.parametrize("stop", [3, 9, 10])
def test_a_race_that_was_stopped_goes_on_where_it_was(world: Make, stop: int) -> None:
    reference = world(CLEAR)
    whole = reference.race(Goal(top=2))
    (reference.tmp_path / "store.sqlite").unlink()

    stopped = world(CLEAR, stop_after=stop)
    with pytest.raises(KeyboardInterrupt):
        stopped.race(Goal(top=2))
    resumed = world(CLEAR)
    race = resumed.race(Goal(top=2))
    assert stopped.done + resumed.done == reference.done
    assert race.model_copy(update={"seconds": 0.0}) == whole.model_copy(update={"seconds": 0.0})


@pytest.mark.parametrize("budget", [0.5, 5.0, 14.0, 25.0, 31.0, 60.0])
def test_a_budget_is_kept_and_what_it_left_open_is_said(world: Make, budget: float) -> None:
    timed = world(CLEAR)
    race = timed.race(Goal(top=3, budget=budget))
    # A pass that is under way is finished.
    assert race.seconds <= budget + timed.seconds_full / 10
    assert race.seconds == timed.time - 100
    full = {one.name for one in timed.evaluations()}
    others = {one.name for one in (*race.eliminated, *race.unsettled)}
    assert full | others == set(timed.shares)
    assert not full & others
    assert race.settled == (not race.unsettled)
    assert race.settled == (budget == 60)
    assert bool(full) == (budget >= 14)
    if not full:
        assert race.sentence.startswith("No candidate could be measured in full within")
    elif not race.settled:
        assert race.sentence.startswith("Not settled within")


def test_a_budget_alone_ranks_the_most_promising(world: Make) -> None:
    timed = world(CLEAR)
    race = timed.race(Goal(budget=29.0))
    assert [one.name for one in timed.evaluations()] == ["b", "e"]
    assert {one.name for one in race.unsettled} == set("acdfgh")
    uppers = [one.upper for one in race.unsettled]
    assert uppers == sorted(uppers, key=lambda upper: -(upper or 0))
    assert "have no place in the ranking" in race.sentence


def test_time_is_kept_back_for_the_most_promising_so_far(world: Make) -> None:
    timed = world(CLEAR, slow=dict.fromkeys("bcdefgh", 2.0) | {"a": 0.4})
    race = timed.race(Goal(budget=30.0))
    # Looks at all would have left 15 seconds, enough for the quick and poor one alone.
    assert [one.name for one in timed.evaluations()] == ["b"]
    assert {one.name for one in race.unsettled if one.upper is None} == set("fgh")


def test_one_that_takes_more_time_than_there_is_leaves_the_race_to_others(world: Make) -> None:
    timed = world((0.95, 0.9, 0.5), slow={"a": 9.0})
    timed.race(Goal(budget=30.0))
    assert [one.name for one in timed.evaluations()] == ["b"]


def test_time_that_is_left_goes_to_the_most_promising_though_estimates_say_no(
    world: Make,
) -> None:
    # Estimates are ten looks: 15 seconds for what takes 10.
    timed = world((0.9,), seconds_look=1.5)
    timed.race(Goal(budget=12.0))
    assert [one.name for one in timed.evaluations()] == ["a"]


def test_estimates_are_corrected_by_what_was_measured(world: Make) -> None:
    # Of 30 seconds looks take 10.4, b 10 and not 15; with 9.6 left, e takes 8 and not 12, and a 1.
    timed = world(CLEAR, seconds_look=1.5, slow={"a": 0.1, "e": 0.8})
    timed.race(Goal(budget=30.0))
    assert [one.name for one in timed.evaluations()] == ["b", "e", "a"]


def test_whom_there_was_no_time_to_look_at_is_looked_at_when_there_is(world: Make) -> None:
    timed = world(CLEAR, seconds_look=1.5)
    race = timed.race(Goal(budget=24.0))
    # Five looks, then b, which took 10 seconds and not 15.
    assert [what for _, what in timed.done[:9]] == ["look"] * 5 + ["full"] + ["look"] * 3
    assert [one.name for one in timed.evaluations()] == ["b"]
    assert all(one.upper is not None for one in race.unsettled)


def test_a_download_that_does_not_end_leaves_time_for_those_that_are_here(
    world: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stuck(Files):
        def next(self) -> Future[Prepared]:
            here = super().next()
            return Future() if here.result().name == "c" else here

    def waiting(some: list[Future[Prepared]], timeout: float) -> None:
        timed.time += 0 if some[0].done() else timeout

    monkeypatch.setattr(contest, "Ahead", Stuck)
    monkeypatch.setattr(contest, "wait", waiting)
    timed = world((0.5, 0.9, 1.0))
    race = timed.race(Goal(budget=60.0))
    assert [one.name for one in timed.evaluations()] == ["b"]
    assert [(one.name, one.images) for one in race.unsettled] == [("a", 16), ("c", 0)]


@pytest.mark.parametrize("budget", [3e9, 1e10, 1e300])
def test_a_budget_may_be_longer_than_a_clock_counts(
    world: Make, monkeypatch: pytest.MonkeyPatch, budget: float
) -> None:
    def waiting(some: list[Future[Prepared]], timeout: float) -> None:
        # What waiting for files that are not here yet does.
        assert threading.Lock().acquire(timeout=timeout)

    monkeypatch.setattr(contest, "wait", waiting)
    timed = world((0.5, 0.9))
    assert timed.race(Goal(budget=budget)).settled


def test_what_is_kept_takes_no_time(world: Make) -> None:
    first = world(CLEAR)
    first.race(Goal())
    again = world(CLEAR)
    race = again.race(Goal(budget=5.0))
    assert (race.settled, again.done) == (True, [])
    assert len(again.evaluations()) == len(CLEAR)


def test_no_time_is_kept_back_for_what_is_kept(world: Make) -> None:
    world((0.9,)).race(Goal())
    again = world((0.9, 0.1, 0.1, 0.1))
    again.race(Goal(budget=9.0))
    assert again.done[:3] == [("b", "look"), ("c", "look"), ("d", "look")]


@pytest.mark.parametrize("seconds_look", [0.1, 2.0], ids=["b is tried", "b does not fit"])
def test_what_is_kept_has_its_place_though_another_takes_all_the_time(
    world: Make, seconds_look: float
) -> None:
    world((0.1,)).race(Goal())
    again = world((0.1, 0.9), seconds_look=seconds_look, seconds_full=500.0)
    again.race(Goal(budget=15.0))
    assert [one.name for one in again.evaluations()] == ["a"]
    assert again.done[-1] == ("b", "full")


@pytest.mark.parametrize("budget", [0.05, 60.0])
def test_a_measurement_that_takes_longer_than_estimated_is_broken_off(
    world: Make, budget: float
) -> None:
    slow = world(CLEAR, seconds_look=0.1, seconds_full=500.0)
    race = slow.race(Goal(top=1, budget=budget))
    assert slow.evaluations() == []
    assert race.seconds == pytest.approx(budget, abs=50)
    assert {one.name for one in race.unsettled} == set(slow.shares)
    assert race.sentence.startswith(f"No candidate could be measured in full within {budget:g} s")
    assert race.passes == sum(one.passes for one in race.unsettled)


def test_a_budget_that_not_even_the_task_leaves_time_for(world: Make) -> None:
    late = world(CLEAR)
    terms = Terms(Goal(budget=5.0), late.time - 6, lambda: late.time)
    pinned = [Pinned(Candidate(model=f"local-dir:/nets/{name}")) for name in late.shares]
    kept = Kept(late.tmp_path / "store.sqlite")
    race = Contest(late.setting(), kept, terms, late.events.append).run(pinned, NOTHING)
    assert (late.done, race.passes) == ([], 0)
    assert {one.reason for one in race.unsettled} == {
        "not looked at, no time to measure it in full"
    }


# --- looks at real networks ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("builtin:digits", image_size=32, sizes=SIZES, seed=0)


@pytest.fixture(scope="module")
def setting(task: Task) -> Setting:
    protocol = Protocol("quick", "apgd", restarts=2, steps=6, sizes=SIZES, seed=0)
    return Setting(task, ThreatModel("linf", 4 / 255), protocol, torch.device("cpu"))


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    one = Candidate(model=f"local-dir:{ZOO / 'tiny_vit.cifar10_linf_8'}")
    return prepare(Pinned(one), None, lambda count: None)


def test_a_look_flatters_and_its_passes_are_those_of_a_short_attack(
    prepared: Prepared, setting: Setting
) -> None:
    first, fitting = screen(prepared, setting, Look(0, 16))
    second, same = screen(prepared, setting, Look(16, 24), fitting)
    assert same is fitting
    preflight = 5 * PREFLIGHT_IMAGES
    # One clean pass, and twelve for the displacement of an image that is attacked; twelve for each
    # pair in doubt, of five heads on validation images and of one on test images. Shapes take of
    # validation images one pass forward and nine back.
    known = (60 + 10 * 10 + 13 * (10 + 16), 13 * 8)
    for look, plain, attacked in zip((first, second), known, (10 * 5 + 16, 8), strict=True):
        pairs, rest = divmod(passes_of(look.cost) - preflight - plain, 12)
        assert rest == 0
        assert 0 <= pairs <= 9 * attacked
    full = evaluate(prepared, setting)
    assert passes_of(full.cost) - preflight <= planned_passes(setting, RIVALS).total
    looked = (*first.withstood, *second.withstood)
    assert len(looked) == 24
    assert 0 < sum(full.per_image.attacked_correct) <= sum(looked) < 24


def test_a_look_measures_displacement_where_heads_were_fitted(
    prepared: Prepared, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, fitting_ = screen(prepared, setting, Look(0, 8))
    heads, aimed, granted = fitting_.heads, [], []
    aim, attack = screening.displacement_aim, screening.attack_pairs

    def aim_at(clean: Tensor, projection: Tensor) -> Aim:
        aimed.append(projection)
        return aim(clean, projection)

    def attack_with(run: Run, images: Images, pool: Pool, head: LinearHead, *more: Tensor) -> Pool:
        _, projection = more
        granted.append(projection)
        return attack(run, images, pool, head, *more)

    monkeypatch.setattr(screening, "displacement_aim", aim_at)
    monkeypatch.setattr(screening, "attack_pairs", attack_with)
    screen(prepared, setting, Look(8, 16), fitting_)
    assert len(aimed) == len(granted) == 1
    assert aimed[0] is granted[0] is heads.rounded
    assert not torch.equal(heads.rounded, heads.projection)


def test_a_look_attacks_heads_until_the_best_is_one_that_was_attacked(
    prepared: Prepared, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of the heads along the path, before their own attack and after it.
    left = {0.0: (0.7, 0.1), 0.25: (0.9, 0.6), 0.5: (0.8, 0.75), 0.75: (0.74, 0.2), 1.0: (0.3, 0.3)}
    attacked: list[LinearHead] = []

    def noted(run: Run, images: Any, pool: Any, head: LinearHead, *rest: Any) -> Any:
        attacked.append(head)
        return pool

    def kept(one: ChosenHead, parts: Any) -> tuple[float, float]:
        return left[one.radius_scale][any(one.head is head for head in attacked)], 0.0

    monkeypatch.setattr(fitting, "attack_pairs", noted)
    monkeypatch.setattr(fitting, "_kept", kept)
    run = load(prepared, setting)
    heads = fitting.fit_for_look(run, fitting.find_probe(run)).heads
    assert heads.recommended.radius_scale == 0.5
    assert [id(head) for head in attacked] == [id(heads.frontier[k].head) for k in (1, 2)]
    assert heads.validated == (0.7, 0.6, 0.75, 0.74, 0.3)


@pytest.mark.parametrize("tensor_cores", [False, True])
def test_a_later_look_is_the_same_where_the_run_was_interrupted_before_it(
    prepared: Prepared, setting: Setting, monkeypatch: pytest.MonkeyPatch, tensor_cores: bool
) -> None:
    monkeypatch.setattr(attacking, "has_tensor_cores", lambda device: tensor_cores)
    first, fitting = screen(prepared, setting, Look(0, 8))
    usual, _ = screen(prepared, setting, Look(8, 16), fitting)
    interrupted, _ = screen(prepared, setting, Look(8, 16))
    looks = (first, usual, interrupted)
    precision = "bf16" if tensor_cores else "fp32"
    assert [look.cost.search_precision for look in looks] == [precision] * 3
    assert interrupted.withstood == usual.withstood
    assert passes_of(interrupted.cost) == passes_of(usual.cost) < passes_of(first.cost)


def test_a_look_is_at_the_head_that_is_ranked_by(prepared: Prepared, setting: Setting) -> None:
    # Whoever always names class 3 is right on its images, and withstands every attack there.
    look = Look(4, 24)
    few = replace(setting, protocol=replace(setting.protocol, steps=1))
    _, fitting = screen(prepared, few, look)
    heads = fitting.heads
    head = heads.probe.head
    constant = LinearHead(torch.zeros_like(head.weight), torch.eye(10).double()[3])
    planted = (*heads.frontier[:-1], replace(heads.frontier[-1], head=constant))
    asked = replace(few, protocol=replace(few.protocol, head="1"))
    there = replace(fitting, heads=replace(heads, frontier=planted))
    found, _ = screen(prepared, asked, look, there)
    expected = setting.task.test.labels[places(setting, look)] == 3
    assert found.withstood == tuple(expected.tolist())
    assert expected.any()


def test_looks_are_at_the_same_images_for_all_and_at_all_of_them(setting: Setting) -> None:
    first, rest = places(setting, Look(0, 16)), places(setting, Look(16, 24))
    assert sorted([*first.tolist(), *rest.tolist()]) == list(range(24))
    assert torch.equal(first, places(setting, Look(0, 16)))
    other = replace(setting, protocol=replace(setting.protocol, seed=1))
    assert not torch.equal(first, places(other, Look(0, 16)))


def test_the_attack_of_a_look_is_never_longer_than_the_protocols(setting: Setting) -> None:
    assert shortened(setting).protocol.steps == 5
    few = replace(setting, protocol=replace(setting.protocol, steps=2))
    assert shortened(few).protocol.steps == 2


# --- beforehand ----------------------------------------------------------------------------------


def test_a_plan_says_the_least_and_the_most_that_a_race_takes(setting: Setting) -> None:
    def row(name: str, **more: object) -> PlannedCandidate:
        return PlannedCandidate.model_validate({"name": name, "model": name} | more)

    dear, cheap = (
        {"passes": 1000, "estimated_seconds": 10 * pace, "seconds_per_image": pace / 50}
        for pace in (3, 1)
    )
    kept = row("c", kept=True, seconds_per_image=0.1)
    rows = [row("a", **dear), row("b", **cheap), kept, row("d", code="gated")]
    race = plan_race(rows, setting, Goal(top=2, budget=60.0))
    # Per image one clean pass, seven forward and five back, and as many for about one pair in
    # doubt of each head: one on test images, one to five on validation images, whose shapes take
    # ten; 60 train images.
    least, most = (60 + 10 * (1 + 10 + 12 + heads * 12) for heads in (1, 5))
    first, whole = least + 16 * (1 + 12 + 12), most + 24 * (1 + 12 + 12)
    assert (race.least_passes, race.most_passes) == (2 * first + 1000, 3 * whole + 2000)
    # Of the timing, a pass forward and back is one.
    least, most = (60 + 10 * (1 + 1 + 7 + heads * 7) for heads in (1, 5))
    first, whole = least + 16 * (1 + 7 + 7), most + 24 * (1 + 7 + 7)
    assert race.least_seconds == pytest.approx((0.06 + 0.02) * first + 10)
    assert race.most_seconds == pytest.approx((0.06 + 0.02 + 0.1) * whole + 40)
    assert (race.top, race.budget_seconds) == (2, 60)

    everyone = plan_race(rows, setting, Goal(budget=60.0))
    assert everyone.most_seconds == pytest.approx(0.18 * (most + 16 * (1 + 7 + 7)) + 40)

    console = Console(width=80, record=True, file=io.StringIO())
    print_plan(Plan(candidates=tuple(rows), race=race), console)
    text = " ".join(console.export_text().split())
    assert f"race, at least │ │ {race.least_passes:,}" in text
    assert "It ends after 1 min 0 s in any case." in text


def test_a_race_of_those_that_are_all_measured_takes_looks_at_most(setting: Setting) -> None:
    kept = PlannedCandidate(name="a", model="a", kept=True, seconds_per_image=0.1)
    race = plan_race([kept, kept], setting, Goal(top=1))
    assert (race.least_passes, race.least_seconds) == (0, 0)
    assert race.most_seconds == pytest.approx(0.2 * (60 + 10 * 44 + 24 * 15))


# --- as a person sees it -------------------------------------------------------------------------


NETS = ("tiny_vit.cifar10", "tiny_vit.cifar10_linf_8")
COMMAND = (
    *("rank", "--task=builtin:digits", "--image-size=32", "--preset=quick", "--restarts=1"),
    *("--steps=5", "--test-images=20", "--train-images=60", "--device=cpu"),
    *(f"--model=local-dir:{ZOO / name}" for name in NETS),
)


def run(cache: Path, *more: str, code: int = 0) -> Result:
    environment = {"SELECTOR_CACHE": str(cache), "NO_COLOR": "1", "TERM": "dumb"}
    result = CliRunner().invoke(app, [*COMMAND, *more], env=environment)
    assert result.exit_code == code, result.output
    return result


def test_of_a_race_that_had_no_time_for_all_the_choice_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ended(Contest):
        def run(self, candidates: Sequence[Pinned], rules: FetchRules) -> RaceRecord:
            race = super().run(candidates[:1], rules)
            late = {"name": "late", "model": "late", "images": 0, "passes": 0, "upper": None}
            unsettled = Unsettled.model_validate(late | {"reason": "not looked at"})
            return race.model_copy(update={"settled": False, "unsettled": (unsettled,)})

    monkeypatch.setattr("selector.session.Contest", Ended)
    document = json.loads(run(tmp_path, "--budget=10m", "--json").stdout)
    assert document["choice"]["sentence"].startswith("None of the 1 measured clearly withstands")


def test_the_command_finds_what_the_exhaustive_run_finds(tmp_path: Path) -> None:
    document = json.loads(run(tmp_path, "--top=1", "--json").stdout)
    jsonschema.validate(document, json.loads(json_schema()))
    race = document["race"]
    assert race["settled"]
    assert [one["name"] for one in race["eliminated"]] == [NETS[0]]
    assert race["passes"] < race["exhaustive_passes"]

    again = run(tmp_path, "--top=1")
    assert "Eliminated early" in again.stdout
    assert race["sentence"] in " ".join(again.stdout.split())
    assert again.stderr.count("kept from an earlier run") == 1

    exhaustive = json.loads(run(tmp_path, "--json").stdout)
    assert exhaustive["race"] is None
    first, *others = exhaustive["ranking"]
    assert {key: first[key] for key in document["ranking"][0] if key != "rank_interval"} == {
        key: value for key, value in document["ranking"][0].items() if key != "rank_interval"
    }
    for one in others:
        (out,) = (e for e in race["eliminated"] if e["name"] == one["name"])
        assert (
            out["upper"] < out["bar"] == pytest.approx(first["head"]["attacked_accuracy"]["value"])
        )
        assert one["head"]["attacked_accuracy"]["value"] <= out["upper"]


def test_no_time_at_all_is_an_exit_code_of_its_own_and_says_what_to_do(tmp_path: Path) -> None:
    result = run(tmp_path, "--budget=0.001s", code=1)
    said = " ".join(result.stdout.split())
    assert "No candidate could be measured in full within 0.001 s: give a longer" in said
    document = json.loads(run(tmp_path, "--budget=0.001s", "--json", code=1).stdout)
    jsonschema.validate(document, json.loads(json_schema()))
    assert (document["ranking"], document["choice"]) == ([], None)
    assert [one["name"] for one in document["race"]["unsettled"]] == list(NETS)


def test_the_end_does_not_wait_for_a_download() -> None:
    program = """
import threading, time
from selector.cli.exits import end
threading.Thread(target=lambda: time.sleep(60)).start()
print("ranked")
end(3)
"""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "ranked\n")
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--top", "0"), "--top must be at least 1, found 0"),
        (("--top", "2", "--confidence", "1"), "--confidence must be at least 0.5"),
        (("--budget", "soon"), "--budget must be a duration"),
    ],
    ids=["top", "confidence", "budget"],
)
def test_arguments_that_make_no_sense_are_refused(arguments: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(app, ["rank", *arguments])
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


def test_the_table_and_the_document_say_what_was_not_settled(world: Make) -> None:
    timed = world(CLEAR)
    race = timed.race(Goal(top=3, budget=25.0))
    document = ranking(timed.evaluations()).model_copy(update={"race": race})
    jsonschema.validate(json.loads(to_json(document)), json.loads(json_schema()))
    console = Console(width=100, record=True, file=io.StringIO())
    print_table(document, console)
    text = " ".join(console.export_text().split())
    assert "Not settled" in text
    assert race.sentence in text
    for one in race.unsettled:
        assert f"{one.name} {one.reason}." in text


def test_progress_tells_of_every_look(world: Make) -> None:
    clear = world(CLEAR)
    clear.race(Goal(top=2))
    looks = [event for event in clear.events if isinstance(event, Looked)]
    assert len(looks) == sum(what == "look" for _, what in clear.done)
    assert {one.name for one in looks} == set(clear.shares)
