"""``selector rank --target-column`` from a manifest of drawn discs to its document."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from selector.cli import app
from selector.demo.discs import draw_discs

ZOO = Path(str(files("selector.demo") / "zoo"))
ROBUST, ORDINARY = "tiny_resnet.cifar10_linf_8", "tiny_vit.cifar10"
IMAGES, TEST = 60, 15
SMALL = ("--preset", "quick", "--steps", "4", "--restarts", "1", "--image-size", "32")


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of discs, with a column more that is constant."""
    manifest = draw_discs(tmp_path_factory.mktemp("discs"), IMAGES)
    first, *rows = manifest.read_text().splitlines()
    manifest.write_text("\n".join([f"{first},flat", *(f"{row},1" for row in rows)]))
    return manifest


def rank(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["rank", *map(str, arguments)])


def models(*names: str) -> tuple[str, ...]:
    return tuple(part for name in names for part in ("--model", f"local-dir:{ZOO / name}"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def first(discs: Path, cache: Path) -> tuple[Result, dict[str, Any]]:
    """Two backbones and one that is broken."""
    broken = cache / "broken"
    shutil.copytree(ZOO / ORDINARY, broken)
    (broken / "model.safetensors").write_bytes(b"damaged")
    output = cache / "ranking.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELECTOR_CACHE", str(cache))
        result = rank(
            *("--task", discs, "--target-column", "x", "--target-column", "radius", *SMALL),
            *models(ORDINARY, ROBUST),
            *("--model", f"local-dir:{broken}", "-o", output),
        )
    assert result.exit_code == 3, result.output
    return result, json.loads(output.read_text())


def test_the_document_follows_its_schema(first: tuple[Result, dict[str, Any]]) -> None:
    document = first[1]
    schema = CliRunner().invoke(app, ["schema", "regression"])
    jsonschema.validate(document, json.loads(schema.stdout))
    assert document["kind"] == "regression"
    assert [column["name"] for column in document["task"]["columns"]] == ["x", "radius"]
    assert document["task"]["test_images"] == TEST


def test_means_and_deviations_are_in_the_units_of_the_table(
    first: tuple[Result, dict[str, Any]], discs: Path
) -> None:
    x, radius = first[1]["task"]["columns"]
    values = np.genfromtxt(discs, delimiter=",", skip_header=1)[:, [1, 3]]
    for column, own in zip((x, radius), values.T, strict=True):
        assert column["mean"] == pytest.approx(own.mean(), abs=0.2 * own.std())
        assert column["sd"] == pytest.approx(own.std(), rel=0.2)


def test_the_robust_backbone_wins_and_the_broken_one_is_a_row(
    first: tuple[Result, dict[str, Any]],
) -> None:
    result, document = first
    assert [e["name"] for e in document["ranking"]] == [ROBUST, ORDINARY]
    assert [s["name"] for s in document["skipped"]] == ["broken"]
    assert "Not ranked" in result.stdout and "attacked error" in result.stdout
    best, worst = document["ranking"]
    assert best["head"]["attacked_squared_error"]["value"] < 0.9
    assert not best["vacuous"] and worst["vacuous"]
    assert best["rank_interval"] == [1, 1]


def test_clean_attacked_and_bound_are_ordered_on_every_image(
    first: tuple[Result, dict[str, Any]],
) -> None:
    for e in first[1]["ranking"]:
        clean, attacked, bound = (
            np.array(e["per_image"][name]) for name in ("clean", "attacked", "bound")
        )
        assert len(clean) == TEST
        assert (clean <= attacked).all() and (attacked <= bound * (1 + 1e-6) + 1e-9).all()
        assert e["score"] == pytest.approx(attacked.mean())


def test_estimates_are_ordered_for_every_head(first: tuple[Result, dict[str, Any]]) -> None:
    for e in first[1]["ranking"]:
        for name in ("head", "probe", "bound_optimal"):
            head = e[name]
            for kind in ("squared", "absolute"):
                values = [
                    head[f"clean_{kind}_error"],
                    head[f"attacked_{kind}_error"],
                    head["on_task"][f"estimated_{kind}_error"],
                    head["on_representation"][f"estimated_{kind}_error"],
                ]
                means = [value["value"] for value in values]
                assert means == sorted(means)
            assert np.mean(head["clean_by_column"]) == pytest.approx(
                head["clean_squared_error"]["value"]
            )
            absolute = head["on_task"]["estimated_absolute_error"]["value"]
            theorem = head["on_task"]["estimated_theorem1_error"]
            # The finite-sample term of 15 images: 2 sqrt(log(40) / 30).
            assert theorem <= absolute + 2 * np.sqrt(np.log(40) / 30) + 1e-9
        attack, ridge = e["head"], e["probe"]
        assert attack["attacked_squared_error"] != ridge["attacked_squared_error"]
        assert 0 < e["task_sensitivity"]["mean"]["value"] <= e["sensitivity"]["mean"]["value"]


def test_the_recommended_head_is_the_least_hurt_on_validation_images(
    first: tuple[Result, dict[str, Any]],
) -> None:
    for e in first[1]["ranking"]:
        frontier = e["frontier"]
        assert [point["radius_scale"] for point in frontier] == [0, 0.25, 0.5, 0.75, 1]
        best = min(frontier, key=lambda point: point["validation_attacked_error"])
        assert e["head"]["radius_scale"] == best["radius_scale"]
        assert frontier[0]["validation_attacked_error"] > best["validation_attacked_error"]


def test_the_store_answers_the_same_and_not_for_other_targets(
    first: tuple[Result, dict[str, Any]],
    discs: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SELECTOR_CACHE", str(cache))
    columns = ("--target-column", "x", "--target-column", "radius")
    same = rank("--task", discs, *columns, *SMALL, *models(ROBUST), "--json")
    assert same.exit_code == 0 and "kept from an earlier run" in same.stderr
    (found,) = json.loads(same.stdout)["ranking"]
    assert found["per_image"] == first[1]["ranking"][0]["per_image"]

    text = discs.read_text().splitlines()
    changed = discs.with_name("changed.csv")
    changed.write_text(
        "\n".join([text[0], *(line.replace(".png,", ".png,1") for line in text[1:])])
    )
    one = ("--target-column", "radius", "--head", "probe", "--objective", "clean")
    for table, wanted in ((changed, columns), (discs, one)):
        other = rank("--task", table, *wanted, *SMALL, *models(ROBUST), "--json")
        assert other.exit_code == 0 and "measured in" in other.stderr, other.stderr
    document = json.loads(other.stdout)
    (row,) = document["ranking"]
    assert row["head"] == row["probe"]
    assert row["score"] == pytest.approx(row["probe"]["clean_squared_error"]["value"])
    assert document["objective_kind"] == "clean"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--top", "1"), "--top must be left out with --target-column"),
        (("--budget", "1m"), "--budget must be left out with --target-column"),
        (("--dry-run",), "--dry-run must be left out with --target-column"),
        (("--eps", "1/255,2/255"), "tasks of classes. Rank once for each."),
        (("--objective", "knn"), "must be one of attacked, bound, clean"),
        (("--head", "best"), "--head must be one of"),
        (("--label-column", "x"), "--label-column and --target-column exclude each other"),
        (("--target-column", "flat"), "flat must vary"),
        (("--target-column", "z"), "must name a column"),
    ],
)
def test_what_does_not_go_together_is_refused(
    discs: Path, arguments: tuple[str, ...], says: str
) -> None:
    result = rank(
        *("--task", discs, "--target-column", "radius", *SMALL), *models(ROBUST), *arguments
    )
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.split())
