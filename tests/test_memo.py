"""What passes gave is kept: nothing is measured twice, and no number shows that it was not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from selector import run as running
from selector.backbones import Backbone, Passes
from selector.batches import BatchSize, Images
from selector.candidates import Pinned, builtin_zoo
from selector.events import Event, Finished, Recalled
from selector.fetching import FetchRules
from selector.memo import Memo, recall
from selector.protocol import Overrides, choose_protocol
from selector.records import Evaluation
from selector.scheduling import measure_all, measuring_classes
from selector.store import Store
from selector.tasks import load_task
from selector.threat import ThreatModel
from selector.workload import Setting

ZOO = {one.name: one for one in builtin_zoo()}
CANDIDATE = Pinned(ZOO["tiny_resnet.cifar10_linf_8"])
OTHER = Pinned(ZOO["tiny_vit.cifar10_linf_8"])
OVERRIDES = Overrides(restarts=2, steps=4, train_images=30, test_images=20)
PROTOCOL = choose_protocol("quick", "cpu", OVERRIDES, 0)


# Batches that are run before anything is measured.
PREFLIGHT = 8


class Killed(BaseException):
    """As if the process were gone."""


def count_passes(patch: pytest.MonkeyPatch) -> list[bool]:
    """One entry for each batch that really goes through a backbone: whether it went back."""
    made: list[bool] = []
    forward = Backbone.forward

    def counted(self: Backbone, x: Tensor) -> Tensor:
        made.append(x.requires_grad)
        return forward(self, x)

    patch.setattr(Backbone, "forward", counted)
    return made


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    return count_passes(monkeypatch)


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


@dataclass(frozen=True)
class Undisturbed:
    """A measurement that nothing came between.

    Attributes:
        evaluation: the record.
        passes: batches that it took.
        path: of its store.
    """

    evaluation: Evaluation
    passes: tuple[bool, ...]
    path: Path

    def copied(self, folder: Path) -> Path:
        """A store of its own for one test."""
        return Path(shutil.copy(self.path, folder / "copied.sqlite"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    path = tmp_path_factory.mktemp("undisturbed") / "store.sqlite"
    with pytest.MonkeyPatch.context() as patch:
        made = count_passes(patch)
        evaluation = measured(path, setting())
    return Undisturbed(evaluation, tuple(made), path)


def test_a_killed_measurement_goes_on_where_it_was(
    undisturbed: Undisturbed,
    tmp_path: Path,
    passes: list[bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
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
    assert numbers(resumed) == numbers(undisturbed.evaluation)
    assert recalled > 0
    assert before > 10
    # Loading checks a few images, whatever is known.
    assert before + len(passes) - len(undisturbed.passes) <= PREFLIGHT


def test_what_is_finished_is_not_measured_again(
    undisturbed: Undisturbed, tmp_path: Path, passes: list[bool]
) -> None:
    assert measured(undisturbed.copied(tmp_path), setting()) == undisturbed.evaluation
    assert passes == []


def test_fresh_measures_again(undisturbed: Undisturbed, tmp_path: Path, passes: list[bool]) -> None:
    again = measured(undisturbed.copied(tmp_path), setting(), fresh=True)
    # Where two heads are the same, the second had no attack of its own.
    assert len(passes) >= len(undisturbed.passes)
    assert numbers(again) == numbers(undisturbed.evaluation)


def test_another_head_makes_only_the_attacks_on_it(
    undisturbed: Undisturbed, tmp_path: Path, passes: list[bool]
) -> None:
    other = setting(protocol=replace(PROTOCOL, head="probe"))
    found = measured(undisturbed.copied(tmp_path), other)
    made = len(passes)
    assert made < len(undisturbed.passes) / 3
    assert numbers(found) == numbers(measured(tmp_path / "alone.sqlite", other))


@pytest.mark.parametrize(
    "change",
    [{"threat": ThreatModel("linf", 7 / 255)}, {"protocol": replace(PROTOCOL, seed=1)}],
    ids=["eps", "seed"],
)
def test_another_attack_is_never_taken_for_this_one(
    undisturbed: Undisturbed, tmp_path: Path, passes: list[bool], change: dict[str, Any]
) -> None:
    other = setting(**change)
    found = measured(undisturbed.copied(tmp_path), other)
    attacked = sum(passes)
    passes.clear()
    assert numbers(found) == numbers(measured(tmp_path / "alone.sqlite", other))
    # The shapes of validation and of test images do not depend on either.
    assert attacked == sum(passes) - 2


def test_another_backbone_is_never_taken_for_this_one(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    found = measured(undisturbed.copied(tmp_path), setting(), pinned=OTHER)
    assert numbers(found) == numbers(measured(tmp_path / "alone.sqlite", setting(), pinned=OTHER))


def test_a_halved_batch_is_remembered(tmp_path: Path) -> None:
    """What follows is run as it was, to the last bit."""
    images = setting().task.test
    halved = {"size": 0}

    def smaller(given: Any) -> Tensor:
        given.batch_size.halve(given.batch_size.value)
        halved["size"] = given.batch_size.value
        return torch.zeros(len(given.pixels), 2)

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
