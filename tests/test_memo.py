"""What passes gave is kept: nothing is measured twice, and no number shows that it was not."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from selector import run as running
from selector.backbones import Backbone
from selector.candidates import Pinned, builtin_zoo
from selector.events import Event, Finished, Recalled
from selector.fetching import FetchRules
from selector.protocol import Overrides, Sizes, choose_protocol
from selector.records import Evaluation
from selector.scheduling import measure_all, measuring_classes
from selector.search import Budget
from selector.tasks import load_task
from selector.tasks.options import TaskOptions
from selector.threat import ThreatModel
from selector.workload import Setting

ZOO = {one.name: one for one in builtin_zoo()}
CANDIDATE = Pinned(ZOO["tiny_resnet.cifar10_linf_8"])
OTHER = Pinned(ZOO["tiny_vit.cifar10_linf_8"])
OVERRIDES = Overrides(restarts=2, steps=4, train_images=60, test_images=24)
PROTOCOL = choose_protocol("quick", "cpu", OVERRIDES, 0)


class Killed(BaseException):
    """As if the process were gone."""


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """One entry for each batch that really went through a backbone: whether it went back."""
    made: list[bool] = []
    forward = Backbone.forward

    def counted(self: Backbone, x: Tensor) -> Tensor:
        made.append(x.requires_grad)
        return forward(self, x)

    monkeypatch.setattr(Backbone, "forward", counted)
    yield made


def setting(**change: Any) -> Setting:
    task = load_task("builtin:digits", image_size=32, sizes=PROTOCOL.sizes, seed=0)
    return replace(
        Setting(task, ThreatModel("linf", 8 / 255), PROTOCOL, torch.device("cpu")), **change
    )


def measured(
    path: Path,
    asked: Setting,
    emit: Callable[[Event], None] = lambda event: None,
    *,
    fresh: bool = False,
    pinned: Pinned = CANDIDATE,
) -> Evaluation:
    heard: list[Event] = []

    def hear(event: Event) -> None:
        heard.append(event)
        emit(event)

    measure_all([pinned], measuring_classes(asked, fresh=fresh), path, FetchRules(), hear)
    (done,) = (event for event in heard if isinstance(event, Finished))
    assert isinstance(done.outcome, Evaluation)
    return done.outcome


def numbers(evaluation: Evaluation) -> dict[str, Any]:
    """Everything but times and memory."""
    found: dict[str, Any] = json.loads(evaluation.model_dump_json())
    found["cost"] = {
        name: value
        for name, value in found["cost"].items()
        if not name.startswith(("seconds", "peak"))
    }
    return found


def test_a_killed_measurement_goes_on_where_it_was(
    tmp_path: Path, passes: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = measured(tmp_path / "undisturbed.sqlite", setting())
    whole = len(passes)
    passes.clear()
    search, searches = running.search, 0

    def stops(*arguments: Any) -> Any:
        nonlocal searches
        searches += 1
        if searches == 4:
            raise Killed
        return search(*arguments)

    stops.__name__ = "search"
    monkeypatch.setattr(running, "search", stops)
    path, recalled = tmp_path / "killed.sqlite", 0
    with pytest.raises(Killed):
        measured(path, setting())
    before = len(passes)
    passes.clear()
    monkeypatch.setattr(running, "search", search)

    def hear(event: Event) -> None:
        nonlocal recalled
        recalled += event.images if isinstance(event, Recalled) else 0

    resumed = measured(path, setting(), hear)
    assert numbers(resumed) == numbers(undisturbed)
    assert recalled > 0
    # Loading checks a few images, whatever is known.
    assert before + len(passes) - whole <= 3
    assert before > 10


def test_what_is_finished_is_not_measured_again(tmp_path: Path, passes: list[bool]) -> None:
    first = measured(tmp_path / "store.sqlite", setting())
    passes.clear()
    assert measured(tmp_path / "store.sqlite", setting()) == first
    assert passes == []


def test_fresh_measures_again(tmp_path: Path, passes: list[bool]) -> None:
    first = measured(tmp_path / "store.sqlite", setting())
    made = len(passes)
    again = measured(tmp_path / "store.sqlite", setting(), fresh=True)
    assert len(passes) == 2 * made
    assert numbers(again) == numbers(first)


def test_another_head_makes_only_the_attacks_on_it(tmp_path: Path, passes: list[bool]) -> None:
    path = tmp_path / "store.sqlite"
    other = setting(protocol=replace(PROTOCOL, head="probe"))
    alone = measured(tmp_path / "alone.sqlite", other)
    whole = len(passes)
    measured(path, setting())
    passes.clear()
    found = measured(path, other)
    assert numbers(found) == numbers(alone)
    assert len(passes) < whole / 4


@pytest.mark.parametrize(
    "change",
    [
        {"threat": ThreatModel("linf", 7 / 255)},
        {"threat": ThreatModel("l2", 8 / 255)},
        {"protocol": replace(PROTOCOL, seed=1)},
        {"protocol": replace(PROTOCOL, steps=5)},
        {"protocol": replace(PROTOCOL, restarts=3)},
        {"protocol": replace(PROTOCOL, attack="apgd")},
    ],
    ids=str,
)
def test_another_attack_is_never_taken_for_this_one(
    tmp_path: Path, passes: list[bool], change: dict[str, Any]
) -> None:
    path, other = tmp_path / "store.sqlite", setting(**change)
    measured(path, setting())
    passes.clear()
    found = measured(path, other)
    attacked = sum(passes)
    passes.clear()
    assert numbers(found) == numbers(measured(tmp_path / "alone.sqlite", other))
    assert attacked == sum(passes)


def test_another_backbone_is_never_taken_for_this_one(
    tmp_path: Path, passes: list[bool]
) -> None:
    path = tmp_path / "store.sqlite"
    measured(path, setting())
    passes.clear()
    measured(path, setting(), pinned=OTHER)
    made = len(passes)
    passes.clear()
    measured(tmp_path / "alone.sqlite", setting(), pinned=OTHER)
    assert made == len(passes)


def test_a_halved_batch_is_remembered(tmp_path: Path) -> None:
    """What follows is run as it was, to the last bit."""
    images = setting().task.test
    halved = {"size": 0}

    def smaller(given: Any) -> Tensor:
        given.batch_size.halve()
        halved["size"] = given.batch_size.value
        return torch.zeros(len(given.pixels), 2)

    from selector.backbones import Passes
    from selector.batches import BatchSize, Images
    from selector.memo import Memo, recall
    from selector.store import Store

    store = Store(tmp_path / "store.sqlite")
    memo, passes = Memo("owner", "model", store), Passes()

    def given() -> Images:
        return Images(
            images.pixels, lambda x: x, torch.device("cpu"), BatchSize(8), digests=images.digests
        )

    recall(memo, passes, smaller, Tensor, given(), ())
    again = given()
    recall(memo, passes, smaller, Tensor, again, ())
    store.close()
    assert again.batch_size.value == halved["size"] == 4
