"""Races: bounds that hold, the best first, nothing lost by being stopped, time kept."""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from builders import evaluation, ranking
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats
from typer.testing import CliRunner

from selector import contest
from selector.candidates import Candidate, Pinned
from selector.cli import app
from selector.contest import Contest, Terms, passes_of
from selector.errors import CandidateError, UsageError
from selector.evaluation import PREFLIGHT_IMAGES, Prepared, evaluate
from selector.fetching import FetchRules, prepare
from selector.protocol import Protocol, Sizes
from selector.racing import Field, Goal, Standing, parse_budget, upper_mean
from selector.records import Cost, Evaluation, RaceRecord, Screened, Skipped
from selector.reports.document import json_schema, to_json
from selector.reports.table import print_table
from selector.scheduling import Event, Finished, Kept, Looked
from selector.screening import Look, look_passes, screen, shortened
from selector.tasks import Task, load_task
from selector.threat import ThreatModel
from selector.workload import PassCount, Setting, planned_passes

ZOO = Path(str(files("selector.demo") / "zoo"))
BIN = Path(sys.executable).parent
SIZES = Sizes(train=60, validation=10, test=24)
NOTHING = FetchRules()


# --- the bound -----------------------------------------------------------------------------------


def test_of_a_population_seen_whole_the_bound_is_the_mean() -> None:
    values = np.array([1.0, 0.0, 0.0, 1.0, 0.25])
    assert upper_mean(values, 5, 0.01) == values.mean()


def test_unseen_images_of_one_who_was_always_right_may_be_right() -> None:
    assert upper_mean(np.ones(10), 40, 0.05) == 1.0


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9])
def test_the_bound_fails_at_most_as_often_as_it_says_at_all_looks_together(share: float) -> None:
    alpha, repeats, size = 0.1, 400, 48
    population = (np.arange(size) < round(share * size)).astype(float)
    generator = np.random.default_rng(7)
    failures = 0
    for _ in range(repeats):
        drawn = generator.permutation(population)
        failures += any(upper_mean(drawn[:n], size, alpha) < population.mean() for n in (12, 24))
    assert failures <= stats.binom.ppf(0.999, repeats, alpha)


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
    sound, vacuous = Standing(0, 0.1, 16), Standing(1, 0.9, 16)
    assert vacuous.below(sound)
    assert not sound.below(vacuous)
    assert not sound.below(sound)
    assert Standing(0, 0.09, 16).below(sound)


def test_the_bar_is_the_last_of_the_wanted() -> None:
    rows = [evaluation(name, right(hits)) for name, hits in (("a", 9), ("b", 7), ("c", 8))]
    rows.append(evaluation("d", right(10), flags=["masked_gradients"]))
    field = Field(images=10, wanted=2, confidence=0.95)
    assert field.bar(rows[:1]) is None
    assert field.bar(rows) == Standing(0, 0.8, 10)
    assert replace(field, wanted=4).bar(rows) == Standing(2, 1.0, 10)


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


@pytest.mark.parametrize("text", ["", "10", "m", "0s", "-5m", "ten minutes", "1e3s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--budget must be a duration"):
        parse_budget(text)


# --- the race, with candidates whose results are known -------------------------------------------


@dataclass
class World:
    """Candidates that are made up, and a clock that moves when they are measured.

    Attributes:
        shares: per candidate and image, in the task's order, whether the criterion holds.
        flattery: of the images that are not right, the share that a look takes for right.
        tiers: of candidates other than 0.
    """

    shares: dict[str, np.ndarray]
    tmp_path: Path
    flattery: float = 0.0
    tiers: dict[str, int] = field(default_factory=dict)
    seconds_full: float = 10.0
    seconds_look: float = 1.0
    time: float = 100.0
    done: list[tuple[str, str]] = field(default_factory=list)
    stop_after: float = math.inf
    broken: tuple[str, ...] = ()
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
        if name in self.broken:
            raise CandidateError("keys_mismatch", "no.")
        self.done.append((name, what))
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
        tier = self.tiers.get(name, 0)
        made = evaluation(
            name,
            tuple(map(bool, self.shares[name])),
            tolerance=self.shares[name].tolist(),
            vacuous=tier == 1,
            flags=["masked_gradients"] if tier == 2 else (),
        )
        return made.model_copy(update={"cost": cost, "model": prepared.model})

    def screen(
        self,
        prepared: Prepared,
        setting: Setting,
        look: Look,
        heads: None,
        on_pass: Callable[[int], None],
    ) -> tuple[Screened, None]:
        name = prepared.name
        cost = self.spend(name, "look", self.seconds_look, on_pass)
        order = np.random.default_rng(setting.protocol.seed).permutation(len(self.shares[name]))
        generator = np.random.default_rng([setting.protocol.seed, look.start])
        seen = self.shares[name][order[look.start : look.stop]]
        seen = np.maximum(seen, generator.random(len(seen)) < self.flattery)
        return Screened(
            name=name,
            model=prepared.model,
            vacuous=self.tiers.get(name, 0) == 1,
            robust_correct=tuple(bool(value) for value in seen),
            tolerance=tuple(seen.tolist()),
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

        future.set_result(Prepared(one.name, one.model, one.directory, {}, describe))
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
        monkeypatch.setattr(contest, "planned_passes", lambda setting: PassCount(600, 400))
        monkeypatch.setattr(contest, "look_passes", lambda *_, heads_known: 100)
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
    assert "The best 2 are among them, with 95 % confidence" in race.sentence


def test_passes_are_those_of_looks_and_full_measurements(world: Make) -> None:
    clear = world(CLEAR)
    race = clear.race(Goal(top=2))
    assert race.passes == sum(100 if what == "look" else 1000 for _, what in clear.done)
    assert race.exhaustive_passes == len(CLEAR) * 1000


def test_without_anyone_to_eliminate_all_are_measured(world: Make) -> None:
    clear = world(CLEAR)
    race = clear.race(Goal(top=8, budget=1e6))
    assert len(clear.evaluations()) == 8
    assert (race.eliminated, race.unsettled) == ((), ())


def test_equals_are_not_eliminated(world: Make) -> None:
    clear = world((0.5, 0.5, 0.5, 0.0))
    clear.race(Goal(top=1))
    assert {one.name for one in clear.evaluations()} == set("abc")


def test_the_vacuous_are_below_the_sound_and_raced_by_tolerance_among_themselves(
    world: Make,
) -> None:
    mixed = world((0.9, 0.2, 0.8), tiers={"a": 1, "c": 1})
    race = mixed.race(Goal(top=1))
    assert [one.name for one in mixed.evaluations()] == ["b"]
    assert all(one.vacuous and not one.bar_vacuous for one in race.eliminated)

    vacuous = world((0.9, 0.1, 0.05), tiers=dict.fromkeys("abc", 1), seed=1)
    race = vacuous.race(Goal(top=1), seed=1)
    assert [one.name for one in vacuous.evaluations()] == ["a"]
    assert all(one.vacuous and one.bar_vacuous for one in race.eliminated)


def test_one_whose_gradient_turns_out_masked_takes_nobodys_place(world: Make) -> None:
    masked = world((0.95, 0.6, 0.05), tiers={"a": 2})
    race = masked.race(Goal(top=1))
    assert [one.name for one in masked.evaluations()] == ["a", "b"]
    assert [one.name for one in race.eliminated] == ["c"]


def test_one_that_fails_is_a_row_and_takes_nobodys_place(world: Make) -> None:
    broken = world((0.9, 0.8, 0.1, 0.0), broken=("a",))
    broken.race(Goal(top=1))
    outcomes = [event.outcome for event in broken.events if isinstance(event, Finished)]
    assert [(one.name, isinstance(one, Skipped)) for one in outcomes] == [("a", True), ("b", False)]


@pytest.mark.parametrize("flattery", [0.0, 0.1])
def test_the_best_are_lost_no_more_often_than_stated(
    world: Make, flattery: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forgetful:
        def __init__(self, path: Path) -> None:
            self.get = self.get_screened = lambda key: None
            self.put = lambda key, record: None
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
    assert ("Not settled within" in race.sentence) == (not race.settled)
    assert race.settled == (budget == 60)
    if budget >= 14:
        assert full


def test_a_budget_alone_ranks_the_most_promising(world: Make) -> None:
    timed = world(CLEAR)
    race = timed.race(Goal(budget=29.0))
    assert [one.name for one in timed.evaluations()] == ["b", "e"]
    assert {one.name for one in race.unsettled} == set("acdfgh")
    assert "have no place in the ranking" in race.sentence


def test_a_measurement_that_takes_longer_than_estimated_is_broken_off(world: Make) -> None:
    slow = world(CLEAR, seconds_look=0.1, seconds_full=500.0)
    race = slow.race(Goal(top=1, budget=60.0))
    assert slow.evaluations() == []
    assert race.seconds == pytest.approx(60, abs=50)
    assert "b" in {one.name for one in race.unsettled}


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


def test_a_look_flatters_and_its_passes_are_those_planned(
    prepared: Prepared, setting: Setting
) -> None:
    first, heads = screen(prepared, setting, Look(0, 16))
    second, same = screen(prepared, setting, Look(16, 24), heads)
    assert same is heads
    preflight = 4 * PREFLIGHT_IMAGES
    known = [look_passes(setting, look, heads_known=k) for look, k in LOOKS]
    assert [passes_of(one.cost) - preflight for one in (first, second)] == known
    full = evaluate(prepared, setting)
    assert passes_of(full.cost) - preflight == planned_passes(setting).total
    looked = (*first.robust_correct, *second.robust_correct)
    assert sum(looked) >= sum(full.per_image.robust_correct)
    assert sum(first.tolerance) + sum(second.tolerance) >= sum(full.per_image.tolerance)


LOOKS = ((Look(0, 16), False), (Look(16, 24), True))


def test_looks_are_at_the_same_images_for_all_and_at_all_of_them(setting: Setting) -> None:
    from selector import screening

    parts = [screening._part(setting, look) for look, _ in LOOKS]
    looked = torch.cat([part.pixels[:] for part in parts]).flatten(1).long().sum(dim=1)
    there = setting.task.test.pixels.flatten(1).long().sum(dim=1)
    assert sorted(looked.tolist()) == sorted(there.tolist())
    again = screening._part(setting, Look(0, 16))
    assert torch.equal(parts[0].pixels[:], again.pixels[:])
    other = replace(setting, protocol=replace(setting.protocol, seed=1))
    assert not torch.equal(screening._part(other, Look(0, 16)).labels, again.labels)


def test_the_attack_of_a_look_is_never_longer_than_the_protocols(setting: Setting) -> None:
    assert shortened(setting).protocol.steps == 5
    few = replace(setting, protocol=replace(setting.protocol, steps=2))
    assert shortened(few).protocol.steps == 2


# --- as a person sees it -------------------------------------------------------------------------


def test_the_command_finds_what_the_exhaustive_run_finds(tmp_path: Path) -> None:
    names = [
        f"tiny_{kind}.{data}"
        for kind in ("resnet", "vit")
        for data in ("cifar10", "cifar10_linf_8")
    ]
    models = [f"--model=local-dir:{ZOO / name}" for name in names]
    small = "--preset=quick --steps=5 --restarts=2 --test-images=24 --train-images=60"
    command = ["rank", "--task=builtin:digits", "--image-size=32", *small.split(), *models]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NO_COLOR": "1", "TERM": "dumb"}

    def run(*more: str, cache: str) -> tuple[str, str]:
        done = subprocess.run(
            [str(BIN / "selector"), *command, *more],
            capture_output=True,
            text=True,
            env=environment | {"SELECTOR_CACHE": str(tmp_path / cache)},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr

    document = json.loads(run("--top=2", "--json", cache="race")[0])
    jsonschema.validate(document, json.loads(json_schema()))
    race = document["race"]
    assert race["settled"]
    assert race["eliminated"]
    assert race["passes"] < race["exhaustive_passes"]

    exhaustive = json.loads(run("--json", cache="all")[0])
    assert exhaustive["race"] is None
    for raced, whole in zip(document["ranking"][:2], exhaustive["ranking"][:2], strict=True):
        same = ("name", "bound_optimal", "probe", "per_image", "diagnostics")
        assert [raced[key] for key in same] == [whole[key] for key in same]

    table, progress = run("--top=2", cache="race")
    assert "Eliminated early" in table
    assert race["sentence"] in " ".join(table.split())
    assert progress.count("kept from an earlier run") == len(document["ranking"])


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
