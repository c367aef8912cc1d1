"""``--preset screen``: one set of attacks on a representation serves every labelling."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import evaluation, ranking, right
from PIL import Image
from rich.console import Console
from test_memo import count_passes, measured
from typer.testing import CliRunner

from selector.cli import app
from selector.errors import UsageError
from selector.objectives import choose_objective
from selector.pairs import RIVALS
from selector.protocol import Overrides, choose_protocol
from selector.records import SCREENED, Evaluation
from selector.reports.card import require_sound
from selector.reports.table import print_table
from selector.run import PREFLIGHT_IMAGES
from selector.tasks import load_task
from selector.tasks.options import TaskOptions
from selector.threat import ThreatModel
from selector.workload import Setting, planned_passes

OVERRIDES = Overrides(restarts=2, steps=4, train_images=1000, test_images=1000)
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stripes and noise, told apart by two columns of labels that have nothing in common."""
    folder = tmp_path_factory.mktemp("relabelled")
    generator = np.random.default_rng(0)
    with (folder / "images.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "split", "colour", "stripes"])
        for number in range(48):
            red, vertical = generator.random() < 0.5, generator.random() < 0.5
            pixels = generator.integers(0, 80, (32, 32, 3), dtype=np.uint8)
            pixels[..., 0 if red else 2] += 100
            pixels[(slice(None), slice(None, None, 4)) if vertical else slice(None, None, 4)] += 60
            Image.fromarray(pixels).save(folder / f"{number}.png")
            row = [f"{number}.png", SPLITS[number % 3]]
            writer.writerow([*row, "red" if red else "blue", "down" if vertical else "across"])
    return folder / "images.csv"


def setting(manifest: Path, label: str, preset: str = "screen") -> Setting:
    protocol = choose_protocol(preset, "cpu", OVERRIDES, 0)  # type: ignore[arg-type]
    options = TaskOptions(label_column=label)
    task = load_task(str(manifest), image_size=32, sizes=protocol.sizes, seed=0, options=options)
    return Setting(task, ThreatModel("linf", 8 / 255), protocol, torch.device("cpu"))


def test_new_labels_of_the_same_images_make_no_attack_pass(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    colour, stripes = setting(manifest, "colour"), setting(manifest, "stripes")
    assert colour.task.fingerprint != stripes.task.fingerprint
    passes = count_passes(monkeypatch)
    first = measured(tmp_path / "store.sqlite", colour)
    assert sum(passes) > 20
    passes.clear()
    second = measured(tmp_path / "store.sqlite", stripes)
    # Loading checks whether gradients arrive and what folding changes, on a few images of the task.
    checks = len(passes)
    assert checks <= 8
    passes.clear()
    alone = measured(tmp_path / "alone.sqlite", stripes)
    assert len(passes) > 20 + checks
    assert second.per_image == alone.per_image
    assert second.head == alone.head
    assert second.cost.forward_passes == alone.cost.forward_passes
    assert first.sensitivity == second.sensitivity
    assert first.per_image != second.per_image


def test_what_a_screening_attained_counts_in_a_full_measurement(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = setting(manifest, "colour", "standard")
    passes = count_passes(monkeypatch)
    alone = measured(tmp_path / "alone.sqlite", full)
    whole = sum(passes)
    measured(tmp_path / "store.sqlite", setting(manifest, "colour"))
    passes.clear()
    found = measured(tmp_path / "store.sqlite", full)
    assert sum(passes) < whole
    assert found.per_image == alone.per_image
    assert found.sensitivity == alone.sensitivity


def test_a_screening_makes_the_passes_that_are_planned(manifest: Path, tmp_path: Path) -> None:
    asked = setting(manifest, "colour")
    cost = measured(tmp_path / "store.sqlite", asked).cost
    planned = planned_passes(asked)
    assert planned == planned_passes(asked, RIVALS)
    # The checks before it, and batch normalisations compared before and after they were folded.
    assert cost.backward_passes == planned.backward + 3 * PREFLIGHT_IMAGES
    # Images that are far from a maximum have fewer starts.
    most = planned.forward + 6 * PREFLIGHT_IMAGES
    assert 0.9 * planned.forward <= cost.forward_passes <= most
    assert planned.total < 0.5 * planned_passes(setting(manifest, "colour", "standard")).total


def test_a_screening_says_so(manifest: Path, tmp_path: Path) -> None:
    found = measured(tmp_path / "store.sqlite", setting(manifest, "colour"))
    assert found.screened
    assert [flag.code for flag in found.warnings].count(SCREENED) == 1


# --- what is made of it --------------------------------------------------------------------------


def screened(name: str, holds: int) -> Evaluation:
    return evaluation(name, right(holds, 10), flags=[SCREENED])


def test_it_is_ranked_by_the_criterion() -> None:
    assert choose_objective(None, "screen") == "criterion"
    assert choose_objective(None, "standard") == "attacked"
    assert choose_objective("clean", "screen") == "clean"
    with pytest.raises(UsageError, match="must not be attacked with --preset screen"):
        choose_objective("attacked", "screen")


def test_the_table_does_not_tell_what_heads_withstood() -> None:
    both = [screened("a", 8), screened("b", 3)]
    console = Console(width=100, record=True, file=io.StringIO())
    print_table(ranking(both, objective="criterion"), console)
    text = console.export_text()
    assert "withst" not in text.partition("Read with care")[0]
    assert "all: " in text
    assert "measure the first few with --preset standard" in text.replace("\n", " ")


def test_its_attacked_numbers_satisfy_no_policy(tmp_path: Path) -> None:
    document = ranking([screened("a", 8)], objective="criterion")
    path = tmp_path / "ranking.json"
    path.write_text(document.model_dump_json(), encoding="utf-8")
    asked = ["gate", str(path), "--min-attacked-accuracy", "0.1"]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 4
    assert "screened" in result.output


def test_it_is_not_published() -> None:
    (e,) = ranking([screened("a", 8)], objective="criterion").ranking
    with pytest.raises(UsageError, match="must not be published: it was screened"):
        require_sound(e)


def test_a_regression_is_not_screened(manifest: Path) -> None:
    asked = ["rank", "--task", str(manifest), "--target-column", "split", "--preset", "screen"]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 2
    assert "--preset screen must be left out with --target-column" in result.output
