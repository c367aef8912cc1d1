"""The benchmark of ranking quality: its statistics by hand and by scipy, its files, its cells."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SHAPE, SIZE, LinearBackbone, normal
from scipy import stats
from torch import Tensor, nn

from selector.heads import LinearHead
from selector.protocol import Sizes
from selector.tasks import load_task
from selector.threat import ThreatModel

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
PARTS = ("autoattack", "statistics", "truth", "sprites", "boards", "cells", "scores", "tables")
THREAT = ThreatModel("linf", 0.1)


@pytest.fixture
def quality(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The modules, imported as the script imports them: from its own folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    script = import_module("ranking_quality")
    yield SimpleNamespace(
        script=script, **{name: import_module(f"quality.{name}") for name in PARTS}
    )
    for name in list(sys.modules):
        if name.split(".")[0] in ("ranking_quality", "quality", "provenance"):
            del sys.modules[name]


# --- statistics ----------------------------------------------------------------------------------


def test_weighted_tau_by_hand(quality: Any) -> None:
    """Pairs weigh 1 + 1/2, 1 + 1/3 and 1/2 + 1/3; the first is the wrong way round."""
    found = quality.statistics.weighted_tau(np.array([3, 2, 1]), np.array([2, 3, 1]))
    assert found == pytest.approx((-3 / 2 + 4 / 3 + 5 / 6) / (3 / 2 + 4 / 3 + 5 / 6))


def test_a_mistake_among_the_best_costs_more(quality: Any) -> None:
    truth = np.array([4, 3, 2, 1])
    at_the_top = quality.statistics.weighted_tau(truth, np.array([3, 4, 2, 1]))
    at_the_bottom = quality.statistics.weighted_tau(truth, np.array([4, 3, 1, 2]))
    assert at_the_top < at_the_bottom < 1


@pytest.mark.parametrize("values", [3, 8, 1000])
def test_taus_are_those_of_scipy(quality: Any, values: int) -> None:
    """With many ties, some, and none."""
    draws = np.random.default_rng(values)
    truth, scores = draws.integers(values, size=(2, 40, 12)).astype(float)
    weighted = quality.statistics.weighted_tau(truth, scores)
    both = quality.statistics.weighted_tau_both(truth, scores)
    plain = quality.statistics.tau_b(truth, scores)
    for row in range(len(truth)):
        x, y = truth[row], scores[row]
        assert weighted[row] == pytest.approx(stats.weightedtau(x, y, rank=None).statistic)
        assert both[row] == pytest.approx(stats.weightedtau(x, y).statistic)
        assert plain[row] == pytest.approx(stats.kendalltau(x, y).statistic)


def test_a_score_that_orders_nothing_gets_zero(quality: Any) -> None:
    truth, constant = np.array([0.1, 0.5, 0.3]), np.full(3, -np.inf)
    assert quality.statistics.weighted_tau(truth, constant) == 0
    assert quality.statistics.tau_b(truth, constant) == 0


def test_regret_is_in_points_and_shared_among_equals(quality: Any) -> None:
    truth = np.array([0.5, 0.3, 0.6])
    regret = quality.statistics.regret
    assert regret(truth, np.array([1, 0, 2])) == 0
    assert regret(truth, np.array([1, 3, 2])) == pytest.approx(30)
    assert regret(truth, np.array([1, 1, 0])) == pytest.approx(20)
    assert regret(truth, np.ones(3)) == pytest.approx(60 - 140 / 3)


def kept(*counts: int) -> np.ndarray:
    """Candidates that keep so many of 100 images, the first ones."""
    return np.stack([np.arange(100) < count for count in counts])


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        ((50, 40, 30), None),
        ((50, 40, 40, 50), "fewer than three"),
        ((32, 30, 31), "two standard errors"),
        ((15, 0, 5), "most frequent class"),
    ],
)
def test_truths_without_an_order_are_marked(
    quality: Any, counts: tuple[int, ...], reason: str | None
) -> None:
    found = quality.statistics.degenerate(kept(*counts), majority=0.1)
    assert found is None if reason is None else reason in found


def test_resamples_weigh_images(quality: Any) -> None:
    weights = quality.statistics.resamples(20, 500, seed=1)
    assert weights.shape == (500, 20)
    assert np.allclose(weights.sum(axis=1), 1)
    assert weights.mean(axis=0) == pytest.approx(np.full(20, 1 / 20), abs=0.01)


# --- ground truth --------------------------------------------------------------------------------


class Network(nn.Module):
    """A linear representation (n,4) of images (n,3,2,2)."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = LinearBackbone(normal(4, SIZE, seed=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


HEAD = LinearHead(normal(4, 4, seed=2), normal(4, seed=3))
ALL = torch.ones(5, dtype=torch.bool)


def a_classifier(quality: Any, head: LinearHead = HEAD) -> tuple[Any, Any]:
    """A model, and five images in [0.2,0.8] of which it gets the last wrong."""
    model = quality.autoattack.Composed(Network(), head)
    x = 0.2 + 0.6 * torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(0))
    labels = model.logits(x).argmax(dim=1)
    labels[-1] = (labels[-1] + 1) % len(head.bias)
    return model, quality.autoattack.Target(x, labels, THREAT, 0)


def stand_in(quality: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, tuple[str, ...]]]:
    """Instead of AutoAttack each part takes the first image that it is given, if it can."""
    given = []

    def attack(model: Any, target: Any, parts: Sequence[str]) -> Tensor:
        given.append((len(target.x), tuple(parts)))
        x = target.x.clone()
        for place, _ in enumerate(parts):
            moved = x[place : place + 1].clone().requires_grad_()
            others = target.labels[place : place + 1]
            loss = nn.functional.cross_entropy(model(moved), others)
            (gradient,) = torch.autograd.grad(loss, moved)
            x[place] = x[place] + 0.1 * gradient[0].sign()
        return x

    monkeypatch.setattr(quality.autoattack, "_autoattack", attack)
    return given


def test_passes_are_counted_both_ways(quality: Any) -> None:
    model, target = a_classifier(quality)
    assert model(target.x).dtype == torch.float32
    moved = target.x[:2].clone().requires_grad_()
    torch.autograd.grad(model(moved).sum(), moved)
    model.logits(target.x)
    assert (model.sent_forward, model.sent_backward) == (7, 2)
    assert not model.training


def test_what_is_wrong_already_is_not_attacked(
    quality: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = stand_in(quality, monkeypatch)
    model, target = a_classifier(quality)
    among = torch.tensor([True, False, True, True, True])
    found = quality.autoattack.attack(model, target, ("apgd-ce",), among)
    assert given == [(3, ("apgd-ce",))]
    assert (found.forward, found.backward) == (1, 1)
    assert found.clean.tolist() == [True, True, True, True, False]
    assert found.robust.tolist() == [found.robust[0], False, True, True, False]
    assert found.rise > 0


def test_a_constant_head_keeps_what_it_names(quality: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given = stand_in(quality, monkeypatch)
    head = LinearHead(torch.zeros_like(HEAD.weight), torch.zeros_like(HEAD.bias))
    model, target = a_classifier(quality, head)
    found = quality.autoattack.attack(model, target, quality.autoattack.PARTS, ALL)
    assert given == []
    assert found.robust.tolist() == found.clean.tolist() == [True] * 4 + [False]
    assert found.rise == 0


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_images_outside_the_threat_are_refused(quality: Any, norm: str) -> None:
    x = a_classifier(quality)[1].x
    threat, within = ThreatModel(norm, 0.1), quality.autoattack.require_within
    away = torch.zeros_like(x)
    away[0, 0, 0, 0] = 0.1
    within(threat, x + away, x)
    with pytest.raises(RuntimeError, match=r"lies 0\.10"):
        within(threat, x + away * 1.001, x)
    with pytest.raises(RuntimeError, match=r"1\.05"):
        within(threat, torch.full_like(x, 0.95) + away, torch.full_like(x, 0.95))


def test_a_network_in_another_state_is_refused(quality: Any) -> None:
    model, _ = a_classifier(quality)
    quality.autoattack.require_same(model)
    with pytest.raises(RuntimeError, match="another state"):
        quality.autoattack.require_same(model.train())


def test_three_classes_are_too_few(quality: Any) -> None:
    model, target = a_classifier(quality, LinearHead(HEAD.weight[:3], HEAD.bias[:3]))
    with pytest.raises(ValueError, match="4 classes"):
        quality.autoattack.attack(model, target, ("apgd-ce",), ALL)


def test_a_truth_that_was_begun_is_gone_on_with(
    quality: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = stand_in(quality, monkeypatch)
    classifier, key = a_classifier(quality), quality.truth.Key("b", "t", "linf 0.1", 0, "")
    parts = quality.autoattack.ATTACKS

    def settle(name: str, *known: Any) -> Any:
        return quality.truth.settle(key, ("n", "t"), classifier, parts[name], known)

    begun, reused = settle("apgd")
    assert not reused
    assert "apgd-ce + apgd-t" in begun.key.attack
    whole, reused = settle("standard", begun)
    assert not reused
    left = begun.robust.count("1")
    assert given == [(4, parts["apgd"]), (left, parts["standard"][2:])]
    assert whole.forward == begun.forward + 2
    assert whole.attacked_loss > begun.attacked_loss
    assert settle("standard", begun, whole) == (whole, True)
    other = replace(begun, head="another")
    assert settle("standard", other)[0].forward == 4


def a_truth(quality: Any, **changes: Any) -> Any:
    key = quality.truth.Key("b", "t", "linf 1/255", 0, "a")
    return replace(
        quality.truth.Truth(
            key, ("net", "digits"), "h", (1.5, -0.25, 3.0), "101", "100", 0.5, 9, 8, 1.0, "cpu"
        ),
        **changes,
    )


def test_truths_are_kept_and_a_cut_off_line_is_left_out(quality: Any, tmp_path: Path) -> None:
    first, second = a_truth(quality), a_truth(quality, robust="001")
    file = tmp_path / "new" / "truth.jsonl"
    assert quality.truth.read(file) == ()
    quality.truth.append(file, first)
    with file.open("a") as cut_off:
        cut_off.write('{"key":{"backb')
    assert quality.truth.read(file) == (first,)
    quality.truth.append(file, second)
    assert quality.truth.read(file) == (first, second)
    assert quality.truth.as_bits(torch.tensor([True, False])) == "10"
    assert quality.truth.as_flags("10").tolist() == [True, False]


def test_a_truth_belongs_to_a_head_up_to_rounding(quality: Any) -> None:
    known = a_truth(quality)
    margins = torch.tensor(known.margins)
    assert known.is_of(known.key, margins * 1.001)
    assert not known.is_of(known.key, margins * 1.1)
    assert not known.is_of(replace(known.key, seed=1), margins)


def test_a_truth_belongs_to_no_head_that_gets_other_images_right(quality: Any) -> None:
    known = a_truth(quality, margins=(1.5, -0.25, 0.001))
    assert known.is_of(known.key, torch.tensor([1.5, -0.25, 0.0002]))
    assert not known.is_of(known.key, torch.tensor([1.5, -0.25, -0.0002]))
    # A tie, which rounding decides.
    assert known.is_of(known.key, torch.tensor([1.5, -0.25, 0.0]))
    constant = a_truth(quality, margins=(0.0, 0.0, 0.0), clean="011")
    assert constant.is_of(known.key, torch.zeros(3))


# --- tasks and cells -----------------------------------------------------------------------------


def test_sprites_are_a_task_and_the_same_every_time(quality: Any, tmp_path: Path) -> None:
    sizes = Sizes(train=100, validation=20, test=50)
    one, other = (
        load_task(
            str(quality.sprites.write(tmp_path / name / "sprites")),
            image_size=32,
            sizes=sizes,
            seed=0,
        )
        for name in ("a", "b")
    )
    assert one.fingerprint == other.fingerprint
    assert one.name == "sprites"
    assert len(one.classes) == 10
    assert one.test.labels.bincount().tolist() == [5] * 10


def short(quality: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A cell with a short protocol and a stand-in for AutoAttack that finds nothing."""
    choose = quality.cells.choose_protocol
    overrides = quality.cells.Overrides(restarts=1, steps=2, train_images=100, test_images=20)
    protocol = choose("standard", "cpu", overrides, 0)
    monkeypatch.setattr(quality.cells, "_protocol", lambda images, seed: protocol)
    monkeypatch.setattr(quality.autoattack, "_autoattack", lambda model, target, parts: target.x)
    return quality.cells.Cell(
        quality.script.BUILT_IN / "tiny_vit.cifar10", "builtin:digits", THREAT, 0
    )


def test_a_cell_is_measured_as_selector_does(
    quality: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from selector.evaluation import evaluate

    cell, told = short(quality, monkeypatch), []
    ours = quality.cells.evaluate

    def listen(prepared: Any, setting: Any) -> Any:
        told.extend([evaluate(prepared, setting), *ours(prepared, setting)])
        return told[-3:]

    monkeypatch.setattr(quality.cells, "evaluate", listen)
    found = quality.cells.find(cell, quality.cells.Terms(20, "cpu", "standard", ()))
    left_out = {"cost"}
    assert told[0].model_dump(exclude=left_out) == told[1].model_dump(exclude=left_out)
    assert found.scores.keys() == quality.scores.SCORES.keys()
    assert {len(values) for values in found.scores.values()} == {1, 20}
    assert found.truth.robust == found.truth.clean
    assert (found.backbone, found.task) == found.truth.names == ("tiny_vit.cifar10", "digits")
    assert not found.reused

    quality.truth.append(tmp_path / "truth.jsonl", found.truth)
    known = (tmp_path / "truth.jsonl",)
    again = quality.cells.find(cell, quality.cells.Terms(20, "cpu", "standard", known))
    assert again.reused


def test_cells_are_planned_by_task_and_name(quality: Any) -> None:
    options = argparse.Namespace(
        zoo=[], backbones="*.random", threats=["linf:1/255", "l2:0.5"], seeds=2
    )
    cells = list(quality.script.plan(options, ["builtin:digits"]))
    assert len(cells) == 2 * 2 * 2
    assert {str(cell.threat) for cell in cells} == {"linf 1/255", "l2 0.5"}
    assert {cell.backbone.name for cell in cells} == {"tiny_resnet.random", "tiny_vit.random"}


# --- boards --------------------------------------------------------------------------------------


def a_cell(quality: Any, name: str, keeps: int, score: float, seed: int = 0) -> Any:
    """A candidate that keeps so many of 100 images; every score is the same, one a mean."""
    robust = kept(keeps)[0]
    scores = {other: np.array([score]) for other in quality.scores.SCORES}
    scores["attacked"] = robust.astype(float)
    bits = quality.truth.as_bits(torch.from_numpy(robust))
    return quality.cells.Found(
        cell=quality.cells.Cell(Path(name), "builtin:digits", THREAT, seed),
        backbone=name,
        task="digits",
        scores=scores,
        criterion=keeps / 125,
        bound=1.0,
        attacked=keeps / 100,
        passes=100,
        seconds=1.0,
        majority=0.1,
        truth=a_truth(quality, clean="1" * 100, robust=bits, forward=300, backward=200),
        reused=False,
        held=0,
        broken=0,
    )


def test_boards_compare_scores_with_the_truth(quality: Any) -> None:
    cells = [
        a_cell(quality, name, keeps, score, seed)
        for seed in (0, 1)
        for name, keeps, score in (("a", 60, 2.0), ("b", 40, 3.0), ("c", 20, 1.0))
    ]
    boards = quality.boards.boards(cells)
    assert [len(board.cells) for board in boards] == [3, 3]
    lines = {line.score: line for line in quality.boards.lines(boards)}
    assert lines["attacked"].statistics["weighted_tau"].value == pytest.approx(1)
    assert lines["attacked"].statistics["regret"].value == 0
    assert lines["clean"].statistics["regret"].value == pytest.approx(20)
    regret = lines["clean"].statistics["regret"]
    assert 10 < regret.low < 20 < regret.high < 30
    assert regret.told(1) == f"20.0 [{regret.low:.1f}, {regret.high:.1f}]"
    # One number of these very images says nothing of others; of the training images it may.
    assert lines["tolerance"].statistics["regret"].low is None
    assert lines["tolerance"].statistics["regret"].told(1) == "20.0"
    assert lines["parameters"].statistics["regret"].low is not None
    met = {aim.what: aim.met for aim in quality.boards.targets(cells)}
    assert not met["mean weighted tau"]
    assert met["passes, share of a"]
    assert not met["criterion / attacked accuracy"]
    document = json.loads(
        json.dumps(quality.tables.document(cells, boards, quality.boards.targets(cells)))
    )
    assert document["tables"].keys() == {"all tasks and threats", "digits, linf"}
    assert document["cells"][0]["robust_accuracy"] == 0.6


def test_cells_are_checked_where_an_attack_takes_some_images(
    quality: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def checked(*shares: int) -> list[str]:
        some = [replace(a_cell(quality, str(keeps), keeps, 1.0), reused=True) for keeps in shares]
        found = {one.cell.backbone.name: one for one in some}

        class Pool:
            def map(self, run: Any, cells: Any, terms: Any) -> Iterator[Any]:
                return (found[cell.backbone.name] for cell in cells)

        monkeypatch.setattr(quality.script, "workers", lambda count: nullcontext(Pool()))
        options = argparse.Namespace(check=2, workers=1)
        terms = quality.cells.Terms(20, "cpu", "standard", ())
        lines = list(quality.script.check(some, terms, options))
        assert all("100 of 100 images alike" in line for line in lines)
        return sorted(line.split(": ")[0].split(", ")[-1] for line in lines)

    assert checked(0, 10, 50, 60, 95, 100) == ["50", "60"]
    assert checked(0, 100) == ["0", "100"]


def test_boards_without_an_order_are_listed_and_left_out(
    quality: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    boards = quality.boards.boards([a_cell(quality, name, 50, 1.0) for name in "abc"])
    assert quality.boards.lines(boards) == []
    quality.tables.show([], boards, [], Console(width=110))
    assert "left out: digits, linf 0.1, seed 0: fewer than three" in capsys.readouterr().out
