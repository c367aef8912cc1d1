"""Certificates of the built-in zoo: one candidate, many, and the commands as people meet them."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import builders
import jsonschema
import pytest
import torch
from rich.console import Console
from torch import Tensor
from typer.testing import CliRunner, Result

from selector import certifying as certifying_module
from selector import choosing, spool
from selector import run as running
from selector.candidates import Candidate, Pinned
from selector.certification import order_key
from selector.certifying import (
    certify_candidate,
    certifying,
    planned_certification,
)
from selector.cli import app
from selector.errors import CandidateError
from selector.events import Event, Finished
from selector.fetching import FetchRules, prepare
from selector.heads import Labelled
from selector.keys import certification, measurement
from selector.protocol import Protocol, Sizes
from selector.radii import Smoothing
from selector.records import CertifiedCandidate, Ranking, Skipped
from selector.reports.document import SCHEMAS, json_schema
from selector.reports.table import print_table
from selector.run import Prepared
from selector.scheduling import Kept, measure_all
from selector.smoothing import Noise
from selector.tasks import load_task
from selector.threat import ThreatModel
from selector.workload import Setting

ZOO = Path(str(files("selector.demo") / "zoo"))
ROBUST, ORDINARY = "tiny_vit.cifar10_linf_8", "tiny_vit.cifar10"
SMOOTHING = Smoothing(0.25, (0.125, 0.25, 0.35), draws=120)
SIZES = Sizes(train=120, validation=30, test=20)


@pytest.fixture(scope="module")
def setting() -> Setting:
    task = load_task("builtin:digits", image_size=32, sizes=SIZES, seed=0)
    protocol = Protocol("quick", "annealed", restarts=1, steps=2, sizes=SIZES, seed=0)
    return Setting(task, ThreatModel("l2", 0.125), protocol, torch.device("cpu"))


def candidate(name: str) -> Candidate:
    return Candidate(model=f"local-dir:{ZOO / name}")


def prepared(name: str) -> Prepared:
    return prepare(Pinned(candidate(name)), None, lambda count: None)


@pytest.fixture(scope="module")
def certified(setting: Setting) -> CertifiedCandidate:
    return certify_candidate(prepared(ROBUST), setting, SMOOTHING)


@pytest.fixture(scope="module")
def ordinary(setting: Setting) -> CertifiedCandidate:
    return certify_candidate(prepared(ORDINARY), setting, SMOOTHING)


def numbers(of: CertifiedCandidate) -> dict[str, object]:
    """All but what it took."""
    return of.model_dump(exclude={"cost"})


# --- one candidate -------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["certified", "ordinary"])
def test_what_is_told_of_all_images_is_what_is_told_of_each(
    which: str, request: pytest.FixtureRequest
) -> None:
    certified: CertifiedCandidate = request.getfixturevalue(which)
    images = list(zip(certified.per_image.radius, certified.per_image.correct, strict=True))
    n = len(images)
    assert n == SIZES.test
    right = [radius for radius, correct in images if correct and radius > 0]
    assert certified.smoothed_accuracy.value == len(right) / n
    if which == "ordinary":
        # Or abstaining could count as being right.
        assert len(right) < sum(correct for _, correct in images)
    assert certified.abstained.value == sum(radius == 0 for radius, _ in images) / n
    assert [one.radius for one in certified.certified_accuracy] == list(SMOOTHING.radii)
    for one in certified.certified_accuracy:
        assert one.value == sum(radius >= one.radius for radius in right) / n
        assert (one.low <= one.value <= one.high, one.n) == (True, n)
    largest = certified.smoothing.largest_radius
    assert max(certified.per_image.radius) <= largest + 1e-9
    assert largest == pytest.approx(SMOOTHING.largest_radius)


def test_the_robust_backbone_certifies_more(
    certified: CertifiedCandidate, ordinary: CertifiedCandidate
) -> None:
    for robust, other in zip(
        certified.certified_accuracy, ordinary.certified_accuracy, strict=True
    ):
        assert robust.value > other.value
    assert certified.noisy_accuracy.low > ordinary.noisy_accuracy.high
    assert sorted([ordinary, certified], key=order_key) == [certified, ordinary]


def test_planned_passes_are_the_passes_made(
    certified: CertifiedCandidate, setting: Setting
) -> None:
    planned = planned_certification(setting, SMOOTHING)
    assert planned == 4 * (120 + 30) + 20 * (100 + 120)
    assert certified.cost.forward_passes == planned + 4 * running.PREFLIGHT_IMAGES
    assert certified.cost.seconds > 0


def test_heads_see_noise_of_their_own_and_no_draw_chooses_and_counts(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Noise] = []
    true = certifying_module.noisy_features

    def note(images: object, noise: Noise) -> object:
        drawn.append(noise)
        return true(images, noise)  # type: ignore[arg-type]

    monkeypatch.setattr(certifying_module, "noisy_features", note)
    monkeypatch.setattr("selector.smoothing.noisy_features", note)
    seeded = replace(setting, protocol=replace(setting.protocol, seed=3))
    certify_candidate(prepared(ORDINARY), seeded, SMOOTHING)
    assert [(one.part, one.draws) for one in drawn] == [
        ("train", range(4)),
        ("validation", range(4)),
        ("test", range(100)),
        ("test", range(100, 220)),
    ]
    assert {(one.sigma, one.seed) for one in drawn} == {(SMOOTHING.sigma, 3)}


def test_a_head_fitted_without_noise_would_certify_less(
    certified: CertifiedCandidate, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = Noise(1e-6, 0, "train", range(4))
    true = certifying_module.noisy_features
    monkeypatch.setattr(
        certifying_module, "noisy_features", lambda images, noise: true(images, replace(calm))
    )
    other = certify_candidate(prepared(ROBUST), setting, SMOOTHING)
    assert other.certified_accuracy[1].value < certified.certified_accuracy[1].value


def test_same_seed_same_certificates_whatever_the_batch_size_and_wherever_features_lie(
    certified: CertifiedCandidate, setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert numbers(certify_candidate(prepared(ROBUST), setting, SMOOTHING)) == numbers(certified)
    monkeypatch.setattr(spool, "IN_MEMORY", 0)
    assert numbers(certify_candidate(prepared(ROBUST), setting, SMOOTHING)) == numbers(certified)
    monkeypatch.setattr(running, "_LARGEST_BATCH", {"cpu": 7})
    found = certify_candidate(prepared(ROBUST), setting, SMOOTHING)
    assert found.cost.batch_size == 7
    # Sums of floats in another order may turn a vote, which moves a radius by little.
    assert found.per_image.correct == certified.per_image.correct
    assert found.per_image.radius == pytest.approx(certified.per_image.radius, abs=0.02)


def test_other_seeds_draw_other_noise(certified: CertifiedCandidate, setting: Setting) -> None:
    seeded = replace(setting, protocol=replace(setting.protocol, seed=1))
    found = certify_candidate(prepared(ROBUST), seeded, SMOOTHING)
    assert found.per_image.radius != certified.per_image.radius
    assert found.smoothing.seed == 1


def test_running_out_of_memory_at_one_image_is_the_candidates_own_row(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*arguments: object) -> Tensor:
        raise torch.OutOfMemoryError("planted")

    monkeypatch.setattr("selector.backbones.Backbone.forward", no_memory)
    with pytest.raises(CandidateError) as caught:
        certify_candidate(prepared(ROBUST), setting, SMOOTHING)
    assert caught.value.code == "out_of_memory"


# --- many ----------------------------------------------------------------------------------------


def finished(
    setting: Setting, smoothing: Smoothing, kept: Kept, *names: str
) -> list[tuple[CertifiedCandidate | Skipped, bool]]:
    events: list[Event] = []
    pinned = [Pinned(candidate(name)) for name in names]
    how = certifying(setting, smoothing, fresh=kept.fresh)
    measure_all(pinned, how, kept.path, FetchRules(), events.append)
    done = [event for event in events if isinstance(event, Finished)]
    return [(one.outcome, one.reused) for one in done]  # type: ignore[misc]


def test_certificates_are_kept(setting: Setting, tmp_path: Path) -> None:
    kept = Kept(tmp_path / "store.sqlite")
    short = Smoothing(0.25, (0.125,), draws=30)
    ((first, reused),) = finished(setting, short, kept, ORDINARY)
    assert not reused
    assert finished(setting, short, kept, ORDINARY) == [(first, True)]
    ((again, reused),) = finished(setting, short, replace(kept, fresh=True), ORDINARY)
    assert not reused
    assert isinstance(again, CertifiedCandidate)
    assert numbers(again) == numbers(first)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"sigma": 0.3},
        {"radii": (0.1,)},
        {"draws": 31},
        {"alpha": 0.002},
        {"selection_draws": 10},
        {"training_draws": 1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_they_are_kept_under_everything_they_depend_on(
    setting: Setting, change: dict[str, object]
) -> None:
    one, its_files = candidate(ORDINARY), prepared(ORDINARY)
    key = certification(one, its_files, setting, SMOOTHING)
    assert key == certification(one, prepared(ORDINARY), setting, SMOOTHING)
    assert key != certification(one, its_files, setting, replace(SMOOTHING, **change))
    assert key != certification(one, prepared(ROBUST), setting, SMOOTHING)
    assert key != measurement(one, its_files, setting)
    seeded = replace(setting, protocol=replace(setting.protocol, seed=1))
    assert key != certification(one, its_files, seeded, SMOOTHING)
    # The threat is for the checks before alone.
    other = replace(setting, threat=ThreatModel("l2", 0.5))
    assert key == certification(one, its_files, other, SMOOTHING)


def test_a_candidate_that_fails_leaves_the_others(setting: Setting, tmp_path: Path) -> None:
    short = Smoothing(0.25, (0.125,), draws=30)
    (broken, _), (good, _) = finished(
        setting, short, Kept(tmp_path / "store.sqlite"), "none", ORDINARY
    )
    assert isinstance(broken, Skipped)
    assert broken.code == "not_found"
    assert isinstance(good, CertifiedCandidate)


# --- the commands --------------------------------------------------------------------------------

TASK = ("--task=builtin:digits", "--image-size=32", "--train-images=60", "--test-images=20")
CERTIFY = ("certify", *TASK, "--draws=120", "--radii=0.125,0.25", "--device=cpu")
RANK = (
    *("rank", *TASK, "--norm=l2", "--eps=0.25", "--preset=quick", "--restarts=1", "--steps=2"),
    "--device=cpu",
)
MODELS = (f"--model=local-dir:{ZOO / ORDINARY}", f"--model=local-dir:{ZOO / ROBUST}")

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A command, with the exit code that it must have."""

    def invoke(*arguments: str, code: int = 0) -> Result:
        environment = {"SELECTOR_CACHE": str(tmp_path), "NO_COLOR": "1", "TERM": "dumb"}
        result = CliRunner().invoke(app, arguments, env=environment)
        assert result.exit_code == code, result.output
        return result

    return invoke


def test_certificates_in_all_their_forms(run: Run, tmp_path: Path) -> None:
    output = tmp_path / "certificates.json"
    first = run(*CERTIFY, *MODELS, "--json", "-o", str(output))
    document = json.loads(first.stdout)
    assert json.loads(output.read_text()) == document
    jsonschema.validate(document, json.loads(json_schema(SCHEMAS["certification"])))
    assert [one["name"] for one in document["certified"]] == [ROBUST, ORDINARY]
    assert document["smoothing"]["draws"] == 120
    assert document["task"]["validation_images"] == 15
    assert first.stderr.count("certified in") == 2

    again = run(*CERTIFY, *MODELS)
    assert again.stderr.count("kept from an earlier run") == 2
    said = " ".join(again.stdout.split())
    for words in (ROBUST, "l2 0.125", "l2 0.25", "100 + 120 draws, alpha 0.001", "99.9 %"):
        assert words in said
    for one in document["certified"]:
        share = f"{100 * one['certified_accuracy'][0]['value']:.1f}"
        assert f"{one['name']} │ {share}" in said
    assert max(map(len, again.stdout.splitlines())) <= 100


def test_broken_candidates_are_rows_and_the_rest_is_certified(run: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(ZOO / ORDINARY, broken)
    (broken / "model.safetensors").write_bytes(b"nothing")
    result = run(*CERTIFY, MODELS[1], f"--model=local-dir:{broken}", code=3)
    assert "Not certified broken [unreadable_weights]" in " ".join(result.stdout.split())
    assert ROBUST in result.stdout
    nothing = run(*CERTIFY, "--model=local-dir:/nowhere", code=1)
    assert "not_found" in nothing.stdout


def test_the_first_of_a_ranking_is_certified(run: Run) -> None:
    document = json.loads(run(*RANK, *MODELS, "--certify=1", "--sigma=0.3", "--json").stdout)
    jsonschema.validate(document, json.loads(json_schema()))
    (first,) = document["certified"]
    assert first["name"] == document["ranking"][0]["name"] == ROBUST
    assert (first["smoothing"]["sigma"], first["smoothing"]["draws"]) == (0.3, 1000)
    assert [one["radius"] for one in first["certified_accuracy"]] == [0.25]
    assert len(first["per_image"]["radius"]) == document["task"]["test_images"]

    planned = run(*RANK, *MODELS, "--certify=1", "--dry-run")
    # 60 training images and 10 validation images four times, 20 test images 1,100 times.
    assert "--certify comes on top: 22,280 passes" in " ".join(planned.stderr.split())


def test_without_asking_nothing_is_certified(run: Run) -> None:
    document = json.loads(run(*RANK, MODELS[1], "--json").stdout)
    assert document["certified"] is None


def shown(document: Ranking) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_table(document, console)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 100
    return " ".join(text.split())


def test_leaders_stand_below_the_ranking_in_its_order() -> None:
    ranked = builders.ranking([builders.evaluation("a"), builders.evaluation("b")])
    rows = (
        builders.certified("a", (0.0, 0.0, 0.0, 0.5)),
        builders.skipped("c"),
        builders.certified("b", (0.5, 0.5, 0.25, 0.0)),
    )
    text = shown(ranked.model_copy(update={"certified": rows}))
    below = text.partition("Certified, in the order of the ranking")[2]
    assert "│1 │ a │ 0.0 ( 0- 10) │ 0.0 │ 0.0 │ 75.0 │ 5,200│" in below
    assert "│2 │ b │ 75.0 ( 65- 85) │ 50.0 │ 75.0 │ 25.0 │ 5,200│" in below
    assert "c [keys_mismatch]" in below
    assert "1000 draws certify no radius above 0.616" in below
    assert "Certified" not in shown(ranked)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("certify", "--sigma=0"), ("--sigma", "above 0")),
        (("certify", "--sigma=much"), ("--sigma", "much")),
        (("certify", "--radii=1"), ("--radii", "0.6158", "218105 draws", "found 1")),
        (("certify", "--radii=0"), ("--radii", "above 0")),
        (("certify", "--draws=0"), ("--draws", "at least 1")),
        (("certify", "--draws=10"), ("--radii", "at most 0.0007", "found 0.5")),
        (("certify", "--alpha=2"), ("--alpha", "between 0 and 0.5")),
        (("certify", "--test-images=0"), ("--test-images", "at least 1")),
        (("certify", "--task=/nowhere"), ("--task", "/nowhere")),
        (("certify", "-o", "/nowhere/c.json"), ("--output", "/nowhere")),
        (("rank", "--certify=1"), ("--certify", "--norm l2", "linf 4/255", "32 px", "0.869")),
        (("rank", "--certify=1", "--task=/t"), ("--certify", "--norm l2", "224 px", "6.09")),
        (("rank", "--certify=0", "--norm=l2"), ("--certify", "at least 1")),
        (("rank", "--certify=1", "--norm=l2", "--eps=0"), ("--eps", "above 0")),
        (("rank", "--certify=1", "--norm=l2", "--sigma=0.1"), ("--eps", "at most", "--sigma")),
        (("rank", "--norm=l2", "--sigma=0.1"), ("--sigma", "--certify")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_wrong_arguments_are_named_with_the_way_out(
    run: Run, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    result = run(*arguments, code=2)
    assert result.stdout == ""
    for word in words:
        assert word in " ".join(result.stderr.split())


def test_the_choice_of_l2_is_made_on_validation_images(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[int] = []
    true = choosing.choose_probe

    def note(fit: Labelled, validation: Labelled, classes: int) -> choosing.ChosenHead:
        shown.extend((len(fit.labels), len(validation.labels)))
        return true(fit, validation, classes)

    monkeypatch.setattr(certifying_module, "choose_probe", note)
    certify_candidate(prepared(ORDINARY), setting, SMOOTHING)
    assert shown == [4 * SIZES.train, 4 * SIZES.validation]
