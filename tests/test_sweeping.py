"""Several threats in one run: nothing is lost against one at a time, and more is known of each."""

from __future__ import annotations

import io
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from builders import evaluation, ranking, right
from rich.console import Console
from torch import Tensor
from typer.testing import CliRunner

from selector import attacking, run
from selector.batches import Images, extract
from selector.budget import Budget
from selector.candidates import Candidate, Pinned
from selector.cli import app
from selector.controls import Controls
from selector.curves import curves
from selector.errors import UsageError
from selector.evaluation import evaluate, evaluate_each
from selector.events import Event, Finished
from selector.fetching import FetchRules, prepare
from selector.keys import measurement
from selector.norms import parse_threats
from selector.pairs import RIVALS, Doubts
from selector.protocol import Protocol, Sizes
from selector.records import Evaluation, Ranking, Sweep, ThreatRecord
from selector.reports.document import read_ranking
from selector.reports.explain import explain
from selector.reports.markdown import to_markdown
from selector.reports.table import print_table
from selector.run import PREFLIGHT_IMAGES, Prepared
from selector.scheduling import measure_all, measuring_classes
from selector.search import Search
from selector.sensitivity import Aim
from selector.sweeping import sweep
from selector.tasks import Task, load_task
from selector.threat import ThreatModel
from selector.workload import Setting, planned_passes

ZOO = Path(str(files("selector.demo") / "zoo"))
NAMES = ("tiny_resnet.cifar10_linf_4", "tiny_vit.random")
SIZES = Sizes(train=80, validation=12, test=20)
SMALL, MIDDLE, LARGE = (ThreatModel("linf", step / 255) for step in (1, 2, 4))
ROUND = ThreatModel("l2", 0.5)


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("builtin:digits", image_size=32, sizes=SIZES, seed=0)


@pytest.fixture(scope="module")
def setting(task: Task) -> Setting:
    """Ranked under the one in the middle."""
    protocol = Protocol("quick", "annealed", restarts=1, steps=3, sizes=SIZES, seed=0)
    cpu = torch.device("cpu")
    return Setting(task, MIDDLE, protocol, cpu, others=(LARGE, ROUND, SMALL))


def candidate(name: str) -> Pinned:
    return Pinned(Candidate(model=f"local-dir:{ZOO / name}"))


def its_files(name: str) -> Prepared:
    return prepare(candidate(name), None, lambda count: None)


@pytest.fixture(scope="module")
def swept(setting: Setting) -> Sweep:
    return sweep(its_files(NAMES[0]), setting)


@pytest.fixture(scope="module")
def alone(setting: Setting) -> list[Evaluation]:
    return [evaluate(its_files(NAMES[0]), setting.under(threat)) for threat in setting.threats]


def clean_images(setting: Setting) -> int:
    task = setting.task
    return len(task.train) + len(task.validation) + len(task.test)


def of(threat: ThreatModel, found: Sweep | list[Evaluation], setting: Setting) -> Evaluation:
    each = found.evaluations if isinstance(found, Sweep) else found
    return each[setting.threats.index(threat)]


@pytest.mark.parametrize("threat", [SMALL, ROUND])
def test_the_smallest_of_each_norm_is_measured_as_alone(
    threat: ThreatModel, swept: Sweep, alone: list[Evaluation], setting: Setting
) -> None:
    ours, expected = of(threat, swept, setting), of(threat, alone, setting)
    assert ours.model_copy(update={"cost": expected.cost}) == expected


def test_displacement_never_falls_with_eps(swept: Sweep, setting: Setting) -> None:
    upwards = [of(threat, swept, setting).probe for threat in (SMALL, MIDDLE, LARGE)]
    for less, more in pairwise(upwards):
        for side in ("on_representation", "on_task"):
            before, after = getattr(less, side), getattr(more, side)
            assert before.displacement.value <= after.displacement.value
        assert less.attacked_accuracy.value >= more.attacked_accuracy.value
        assert less.attacked_loss.value <= more.attacked_loss.value


def test_a_sweep_attains_no_less_than_each_threat_alone(
    swept: Sweep, alone: list[Evaluation], setting: Setting
) -> None:
    for threat in (MIDDLE, LARGE):
        ours, expected = of(threat, swept, setting), of(threat, alone, setting)
        assert ours.sensitivity.mean.value >= expected.sensitivity.mean.value
        assert ours.task_sensitivity.mean.value >= expected.task_sensitivity.mean.value


def test_what_a_smaller_perturbation_attained_counts_under_a_larger_one(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every attack under the largest one finds nothing of its own."""
    search, controls = run.search, attacking.gradient_free
    pairs = attacking.search_pairs

    def searched(images: Images, aim: Aim, threat: ThreatModel, budget: Budget) -> Search:
        found = search(images, aim, threat, budget)
        return replace(found, features=extract(images)) if threat == LARGE else found

    def free(images: Images, clean: Tensor, threat: ThreatModel, seed: int) -> Controls:
        found = controls(images, clean, threat, seed)
        return replace(found, noise=clean, searched=clean) if threat == LARGE else found

    def paired(images: Images, doubts: Doubts, threat: ThreatModel, budget: Budget) -> Tensor:
        return doubts.clean if threat == LARGE else pairs(images, doubts, threat, budget)

    monkeypatch.setattr(run, "search", searched)
    monkeypatch.setattr(attacking, "gradient_free", free)
    monkeypatch.setattr(attacking, "search_pairs", paired)
    settings = [setting.under(threat) for threat in (SMALL, LARGE)]
    small, large = evaluate_each(its_files(NAMES[0]), settings)
    assert large.sensitivity.mean.value == pytest.approx(small.sensitivity.mean.value)
    assert large.task_sensitivity.mean.value == pytest.approx(small.task_sensitivity.mean.value)
    assert large.probe.attacked_accuracy == small.probe.attacked_accuracy
    assert small.probe.attacked_accuracy.value < small.probe.clean_accuracy.value


def test_what_no_threat_changes_is_done_once(
    swept: Sweep, alone: list[Evaluation], setting: Setting
) -> None:
    clean = clean_images(setting)
    one_by_one = sum(one.cost.forward_passes for one in alone)
    # Loading checks a few images, too; and what is lost under less needs no attack under more.
    saved = (len(setting.threats) - 1) * (clean + PREFLIGHT_IMAGES)
    assert swept.cost.forward_passes <= one_by_one - saved
    assert (
        swept.cost.forward_passes <= planned_passes(setting, RIVALS).forward + 4 * PREFLIGHT_IMAGES
    )
    assert {one.cost.forward_passes for one in swept.evaluations} == {swept.cost.forward_passes}
    assert {one.baselines for one in swept.evaluations} == {alone[0].baselines}


def test_planned_passes_count_clean_images_and_their_shapes_once(setting: Setting) -> None:
    one, all_four = planned_passes(setting.under(SMALL)), planned_passes(setting)
    shapes = len(setting.task.validation) + len(setting.task.test)
    once = clean_images(setting) + shapes
    assert all_four.forward == once + 4 * (one.forward - once)
    assert all_four.backward == 9 * shapes + 4 * (one.backward - 9 * shapes)


def test_a_sweep_is_kept_under_a_key_of_its_own(setting: Setting, tmp_path: Path) -> None:
    prepared, pinned = its_files(NAMES[1]), candidate(NAMES[1])
    contents = [
        measurement(pinned.candidate, prepared, one)
        for one in (setting, setting.under(MIDDLE), setting.under(LARGE))
    ]
    assert len({one.key for one in contents if one}) == 3
    first, again = (_run(setting, tmp_path / "kept.sqlite") for _ in range(2))
    assert (first.reused, again.reused) == (False, True)
    assert again.outcome == first.outcome
    assert isinstance(first.outcome, Sweep)
    assert len(first.outcome.evaluations) == 4


def _run(setting: Setting, path: Path) -> Finished:
    heard: list[Event] = []
    how = measuring_classes(setting)
    measure_all([candidate(NAMES[1])], how, path, FetchRules(), heard.append)
    (done,) = (event for event in heard if isinstance(event, Finished))
    return done


# --- curves -------------------------------------------------------------------------------------


def with_curves(setting: Setting) -> Ranking:
    """b is first under the threat that ranks, a under the next; the others are alike."""
    kept = {"a": (60, 40, 70, 80), "b": (80, 10, 70, 80)}
    sweeps = [
        Sweep(
            name=name,
            evaluations=tuple(evaluation(name, right(10), attacked=right(n)) for n in shares),
        )
        for name, shares in kept.items()
    ]
    document = ranking([one.evaluations[0] for one in sweeps])
    made = curves(document.ranking, sweeps, setting, seed=0, objective="attacked")
    threat = ThreatRecord(norm=MIDDLE.norm, eps=MIDDLE.eps)
    return document.model_copy(update={"curves": made, "threat": threat})


def test_curves_are_in_the_rankings_order_and_by_size(setting: Setting) -> None:
    document = with_curves(setting)
    assert document.curves is not None
    assert [one.name for one in document.ranking] == ["b", "a"]
    assert [one.name for one in document.curves] == ["b", "a"]
    for curve in document.curves:
        sizes = [(point.threat.norm, point.threat.eps) for point in curve.points]
        assert sizes == [("l2", 0.5), ("linf", 1 / 255), ("linf", 2 / 255), ("linf", 4 / 255)]
    places = {one.name: [point.rank for point in one.points] for one in document.curves}
    assert places == {"b": [2, 2, 1, 2], "a": [1, 1, 2, 1]}
    first = document.curves[0].points[2]
    assert first.attacked_accuracy == document.ranking[0].head.attacked_accuracy


def test_the_table_has_a_column_for_each_threat(setting: Setting) -> None:
    console = Console(file=io.StringIO(), width=100)
    print_table(with_curves(setting), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    header = next(line for line in text.splitlines() if "linf 1/255" in line)
    assert header.index("l2 0.5") < header.index("linf 1/255") < header.index("linf 4/255")
    below = text.partition("Under every perturbation")[2]
    row = next(line for line in below.splitlines() if line.startswith("│b"))
    assert "80.0" in row
    assert "10.0 #2" in row


# --- the command line ---------------------------------------------------------------------------


def test_sizes_may_name_a_norm_of_their_own() -> None:
    found = parse_threats("4/255, l2:0.5 ,linf:1/255", "linf")
    assert found == (("linf", 4 / 255), ("l2", 0.5), ("linf", 1 / 255))
    assert parse_threats("0.5", "l2") == (("l2", 0.5),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1/255,1/255", "linf 1/255 twice"),
        ("1/255,linf:1/255", "linf 1/255 twice"),
        ("l1:3", "with a norm of linf, l2, found 'l1:3'"),
        ("1/255,", "found ''"),
        (":1/255", "found ':1/255'"),
    ],
)
def test_what_is_no_list_of_threats_is_named(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_threats(text, "linf")


@pytest.mark.parametrize("option", [("--top", "1"), ("--budget", "1h")])
def test_a_race_has_one_threat(option: tuple[str, str]) -> None:
    models = [part for name in NAMES for part in ("--model", f"local-dir:{ZOO / name}")]
    arguments = ["rank", "--task", "builtin:digits", "--image-size", "32", *models, *option]
    result = CliRunner().invoke(app, [*arguments, "--eps", "1/255,2/255"])
    assert result.exit_code == 2
    assert "--top and --budget need one --eps, found 2" in result.stderr


def test_a_run_with_several_writes_its_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECTOR_CACHE", str(tmp_path / "cache"))
    target = tmp_path / "ranking.json"
    arguments = ["rank", "--task", "builtin:digits", "--image-size", "32", "--preset", "quick"]
    arguments += ["--steps", "2", "--test-images", "20", "--train-images", "100"]
    arguments += ["--model", f"local-dir:{ZOO / NAMES[1]}", "--eps", "2/255,l2:0.5"]
    result = CliRunner().invoke(app, [*arguments, "-o", str(target)])
    assert result.exit_code == 0, result.output
    document = read_ranking(target)
    assert document.curves is not None
    (curve,) = document.curves
    assert [point.threat.norm for point in curve.points] == ["l2", "linf"]
    assert (document.threat.norm, document.threat.eps) == ("linf", 2 / 255)
    assert "Under every perturbation" in result.stdout


def test_markdown_has_a_column_for_each_threat(setting: Setting) -> None:
    text = to_markdown(with_curves(setting))
    assert "| # | backbone | l2 0.5 | linf 1/255 | linf 2/255 | linf 4/255 |" in text
    assert "| 1 | `b` | 70.0 #2 | 80.0 #2 | 80.0 #1 | 10.0 #2 |" in text


def test_explaining_tells_the_other_perturbations(setting: Setting) -> None:
    text = " ".join(explain(with_curves(setting), "b").split())
    assert (
        "With the head picked for each, it withstands on, of 100, at l2 0.5 70 (number 2),"
        " linf 1/255 80 (number 2), linf 4/255 10 (number 2)." in text
    )
    assert "With the head picked for each" not in explain(ranking([evaluation("a")]), "a")
