"""Dry runs from Python: what the command says, and modules, which the command cannot name."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from fakehub import fixtures
from fakehub.server import FakeHub
from test_api import FEW, ORDINARY, ROBUST, THREAT, Maps, Random, Small, Uncopied, local, noise
from typer.testing import CliRunner

import selector
from selector.cli import app
from selector.errors import UsageError

fake_hub, hub_cache = fixtures.fake_hub, fixtures.hub_cache

NET = Path(str(files("selector.demo") / "zoo" / "tiny_vit.cifar10"))


def planned(**options: Any) -> selector.Plan:
    """Of two classes of noise, little effort, nothing kept."""
    given: dict[str, Any] = {"task": noise(), "threat": THREAT, "store": ":memory:"}
    return selector.plan(**given | {"device": "cpu"} | FEW | options)


def timeless(plan: selector.Plan) -> dict[str, Any]:
    """All of a plan but times."""
    found = plan.model_dump(mode="json")
    for row in found["candidates"]:
        assert row.pop("estimated_seconds") > 0
        assert row.pop("seconds_per_image") > 0
    for name in ("least_seconds", "most_seconds"):
        assert found["race"].pop(name) > 0
    return found


def test_the_plan_is_that_of_the_command(tmp_path: Path) -> None:
    output = tmp_path / "plan.json"
    arguments: list[Any] = ["--task", "builtin:digits", "--image-size", 32, "--device", "cpu"]
    arguments += ["--model", local(ROBUST), "--model", local(ORDINARY), "--top", 1]
    arguments += ["--store", tmp_path, "--dry-run", "-o", output]
    for name, value in FEW.items():
        arguments += [f"--{name.replace('_', '-')}", value]
    result = CliRunner().invoke(app, ["rank", *map(str, arguments)])
    assert result.exit_code == 0, result.stderr
    of_command = selector.Plan.model_validate(json.loads(output.read_text()))
    of_python = planned(
        task="builtin:digits", candidates=[local(ROBUST), local(ORDINARY)], image_size=32, top=1
    )
    assert timeless(of_python) == timeless(of_command)
    assert of_python.race is not None and of_python.race.top == 1


def test_passes_are_those_of_the_ranking_and_what_is_kept_is_said(tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    options: dict[str, Any] = {"candidates": [local(ORDINARY)], "store": store}
    (row,) = planned(**options).candidates
    assert (row.name, row.kept, row.bytes_to_fetch) == (ORDINARY, False, 0)
    ranking = selector.rank(task=noise(), threat=THREAT, device="cpu", **options | FEW)
    assert row.passes >= ranking.ranking[0].cost.backward_passes > 0
    (row,) = planned(**options).candidates
    assert (row.kept, row.passes, row.estimated_seconds) == (True, 0, 0)
    cost = ranking.ranking[0].cost
    pace = (cost.seconds_features + cost.seconds_attack) / cost.forward_passes
    assert row.seconds_per_image == pytest.approx(pace)
    for other in ({"fresh": True}, {"head": "probe"}, {"threat": ("linf", "2/255")}, {"seed": 1}):
        (row,) = planned(**options | other).candidates
        assert not row.kept and row.passes, other


def test_weights_are_not_fetched(fake_hub: FakeHub, hub_cache: Path) -> None:
    content = {name: (NET / name).read_bytes() for name in ("config.json", "model.safetensors")}
    fake_hub.add("acme/net", content)
    fake_hub.add("acme/gated", content, gated=True)
    rows = planned(candidates=["acme/net", "acme/gated"]).candidates
    assert [row.code for row in rows] == ["", "gated"]
    assert rows[0].bytes_to_fetch == sum(map(len, content.values()))
    assert not fake_hub.asked("cdn")


def test_modules_are_timed_and_checked_as_they_are() -> None:
    module = Small().train()
    bad = {"maps": Maps(), "random": Random(), "uncopied": Uncopied()}
    found = planned(candidates={"small": module, **bad}).candidates
    small, *others = found
    assert (small.name, small.model, small.code) == ("small", "module:small", "")
    assert not small.kept and small.bytes_to_fetch == 0 and 0 < small.estimated_seconds < 60
    assert [one.code for one in others] == [
        "no_pooled_features",
        "not_deterministic",
        "cannot_copy",
    ]
    assert all(one.reason and not one.passes for one in others)
    assert module.training and module.norm.num_batches_tracked == 0
    assert small.passes == planned(candidates=local(ORDINARY)).candidates[0].passes


def test_a_slower_module_is_planned_with_more_time() -> None:
    class Slow(Small):
        def forward(self, x: Any) -> Any:
            return sum(super(Slow, self).forward(x) for _ in range(30)) / 30

    quick, slow = planned(candidates={"quick": Small(), "slow": Slow()}).candidates
    assert slow.estimated_seconds > 2 * quick.estimated_seconds


class Few(Small):
    """More than five images at once are too many for it."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: Any) -> Any:
        if len(x) > 5:
            raise self.error
        return super().forward(x)


def test_a_batch_that_fails_is_a_row_unless_memory_lacks() -> None:
    bad = {"full": Few(MemoryError("no room")), "odd": Few(ValueError("six"))}
    full, odd = planned(candidates=bad).candidates
    assert full.code == "" and full.estimated_seconds > 0
    assert odd.code == "forward_failed"
    assert odd.reason.startswith("the network fails on a batch of ") and "six" in odd.reason


def test_progress_is_silent_unless_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    planned(candidates={"a": Small()})
    assert capsys.readouterr() == ("", "")
    planned(candidates={"a": Small()}, progress=True)
    said = capsys.readouterr()
    assert said.out == ""
    assert "a: looked up" in said.err


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: planned(candidates=[]), "candidates must be at least one"),
        (lambda: planned(candidates=["a/b"], task=7), "task must be a string"),
        (lambda: planned(candidates=["a/b"], threat=[]), "threat must name at least one"),
        (lambda: planned(candidates=["a/b"], top=0), "top must be at least 1, found 0"),
        (lambda: planned(candidates=["a/b"], budget=-1), "budget must be seconds above 0"),
        (lambda: planned(candidates=["a/b"], top=1, confidence=2), "confidence must be"),
        (lambda: planned(candidates=["a/b"], confidence=0.9), "confidence is of top K or budget"),
        (lambda: planned(candidates=["a/b"], preset="x"), "preset must be one of screen, quick"),
        (lambda: planned(candidates=["a/b"], device="abacus"), "device must name"),
        (lambda: planned(candidates=["a/b"], steps="2"), "steps must be a whole number"),
        (lambda: planned(candidates=["a/b"], lock="no.yaml"), "lock must be a lock file"),
        (lambda: planned(candidates=["a/b"], image_size=4), "image_size must be at least 8"),
        (
            lambda: planned(candidates=[local(ROBUST), local(ORDINARY)], top=1, preset="screen"),
            "top and budget need objective attacked",
        ),
    ],
)
def test_what_is_wrong_names_the_argument(make: Callable[[], object], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        make()
    assert "--" not in caught.value.message
