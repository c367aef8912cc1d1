"""The benchmarks on what is known exactly: attacks without the peers, memory without its runs."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from conftest import SHAPE, SIZE, LinearBackbone, normal
from torch import Tensor, nn

from selector.protocol import Sizes
from selector.tasks import load_task
from selector.threat import ThreatModel

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
THREAT = ThreatModel("linf", 0.1)
LINEAR = LinearBackbone(normal(6, SIZE, seed=1))


class Linear(nn.Module):
    """LINEAR as a network."""

    def forward(self, x: Tensor) -> Tensor:
        return LINEAR(x)


@pytest.fixture
def quality(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, imported as it is run: from its own folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    import attack_quality

    yield attack_quality
    for name in set(sys.modules) - before:
        if name in {path.stem for path in BENCHMARKS.glob("*.py")}:
            del sys.modules[name]


@pytest.fixture
def bench(quality: ModuleType) -> Any:
    """Five images under a linear network."""
    drawn = torch.Generator().manual_seed(0)
    pixels = torch.randint(100, 156, (5, *SHAPE), dtype=torch.uint8, generator=drawn)
    network = sys.modules["networks"].Network("linear", Linear(), pixels, (THREAT,))
    return quality.Bench.of(network, THREAT, torch.device("cpu"))


def test_the_time_of_a_ranking_is_split_into_stages_of_its_candidates(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import throughput

    monkeypatch.setattr(throughput, "NETWORKS", {"small": ("test_vit", "test_efficientnet")})
    monkeypatch.setattr(throughput, "first_batch_size", lambda size, device: 4)
    arguments = "throughput --device cpu --images 16 --image-size 32 --restarts 1 --steps 1 -o"
    monkeypatch.setattr(sys, "argv", [*arguments.split(), str(tmp_path / "found.json")])
    throughput.main()
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert found["images"] == {"train_images": 64, "validation_images": 8, "test_images": 16}
    seconds = [
        sum(row[f"seconds_{stage}"] for stage in ("load", "features", "attack", "heads"))
        for row in found["rows"]
    ]
    whole = found["whole"]
    assert whole["seconds_rest"] > whole["seconds_decode"] > 0
    assert sum(seconds) + whole["seconds_rest"] == pytest.approx(whole["seconds"])
    pure = sum(row["seconds_pure"] for row in found["rows"])
    assert whole["total_ratio"] == pytest.approx(whole["seconds"] / pure)
    row, other = found["rows"]
    assert row["total_ratio"] == pytest.approx(seconds[0] / row["seconds_pure"])
    assert (row["network"], other["network"]) == ("test_vit", "test_efficientnet")
    # One step for 8 validation images, for four or five aims on 16 test images, and 4 of the
    # pre-flight; and for each pair in doubt, of five heads there and of two here.
    least = 8 + 4 * 16 + 4
    assert least <= row["passes_backward"] <= least + 16 + 9 * (5 * 8 + 2 * 16)
    assert 0 < row["attack_share"] < row["total_ratio"]
    assert row["folded_norms"] == {"convolutions": 0, "maps": 0}
    assert other["folded_norms"]["convolutions"] > 0
    assert row["search_precision"] == "fp32"


def test_each_way_to_make_a_pass_that_there_is_has_a_rate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import passes

    monkeypatch.setattr(passes, "NETWORKS", {"small": ("test_vit", "test_efficientnet")})
    monkeypatch.setattr(passes, "SIDE", 160)
    arguments = "passes --device cpu --images 2 -o"
    monkeypatch.setattr(sys, "argv", [*arguments.split(), str(tmp_path / "found.json")])
    passes.main()
    rows = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["rows"]
    assert [row["folded_norms"]["convolutions"] for row in rows] == [0, 13]
    for row in rows:
        assert min(row[way] for way in ("contiguous", "fp32", "folded")) > 0
        assert not any(row[way] for way in ("tf32", "bf16", "graph", "compiled"))


def test_a_ranking_of_networks_is_run_as_a_user_runs_it_and_told_by_stage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import architectures

    monkeypatch.setattr(architectures, "NETWORKS", {"imagenet": ("test_vit",)})
    arguments = "architectures --device cpu --images 8 --image-size 32 --eps 4/255 -o"
    monkeypatch.setattr(sys, "argv", [*arguments.split(), str(tmp_path / "found.json")])
    architectures.main()
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert (found["exit_code"], found["skipped"]) == (0, [])
    assert found["images"] == {"train_images": 32, "validation_images": 4, "test_images": 8}
    (row,) = found["rows"]
    assert row["network"] == "test_vit"
    assert found["passes"] == row["forward_passes"] + row["backward_passes"] > 2 * 32
    assert 0 < found["seconds_measuring"] < found["seconds"]


def test_shares_and_passes_of_a_network_that_is_known(quality: ModuleType, bench: Any) -> None:
    rows = {row.attack: row for row in quality.measure(bench, peers=False, rounds=2)}
    standard = rows[quality.STANDARD]
    assert (standard.forward, standard.backward) == (118, 100)
    assert rows[quality.TENFOLD].backward == 10 * standard.backward
    assert standard.mean > 0.95
    assert rows["random noise"].mean < standard.mean < rows[quality.TENFOLD].mean + 1e-3
    assert max(row.mean for row in rows.values()) <= 1
    exact = LINEAR.largest_displacement("linf", 0.1)
    assert bench.ours(5, 20).amax().item() <= exact * (1 + 1e-5)


def test_a_peer_is_counted_and_scored_by_us(bench: Any) -> None:
    def peer(objective: Any, x: Tensor, threat: ThreatModel) -> Tensor:
        point = threat.random_start(x, range(len(x))).requires_grad_(True)
        (gradient,) = torch.autograd.grad(objective(point).sum(), point)
        return threat.project(point + 2 * threat.eps * gradient.sign(), x)

    attained = bench.theirs(peer)
    assert (bench.counted.forward_passes, bench.counted.backward_passes) == (5, 5)
    assert (attained > bench.without_gradient(0)).all()


def test_a_peer_that_leaves_the_threat_set_is_refused(bench: Any) -> None:
    with pytest.raises(ValueError, match="left the threat set"):
        bench.theirs(lambda objective, x, threat: x + 2 * threat.eps)


def test_the_logits_of_peers_rise_as_the_objective_and_point_the_same_way(
    quality: ModuleType,
) -> None:
    peers = sys.modules["peers"]
    x = normal(4, *SHAPE, seed=3).requires_grad_(True)
    classifier, labels = peers.as_classifier(lambda p: LINEAR(p).square().sum(dim=1), x)
    own = LINEAR(x).square().sum(dim=1)
    losses = nn.functional.cross_entropy(classifier(x), labels, reduction="none")
    assert losses.argsort().tolist() == own.argsort().tolist()
    (theirs,) = torch.autograd.grad(losses.sum(), x)
    (ours,) = torch.autograd.grad(own.sum(), x)
    assert torch.equal(theirs.sign(), ours.sign())


def test_where_a_peer_is_ahead_at_equal_passes_is_said(
    quality: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    def row(attack: str, mean: float, passes: int) -> Any:
        return quality.Row("net", "linf 4/255", attack, mean, mean, passes, passes, 1.0)

    ours = [row("ours 1x8", 0.5, 9), row("ours 2x10", 0.9, 47), row(quality.STANDARD, 0.99, 106)]
    peers = [row("cheap", 0.6, 10), row("dear", 0.98, 110), row("cheapest", 0.9, 1)]
    (behind,) = quality.summarise([*ours, *peers])
    assert (behind["peer"], behind["ours"]) == ("cheap", "ours 1x8")
    printed = capsys.readouterr().out
    assert re.search(r"ours 2x10, standard of a CPU.* in 0 of 1 cases", printed)
    assert re.search(r"ours 5x20, standard of a GPU.* in 1 of 1 cases", printed)
    assert "behind at equal passes in 1 of 2 comparisons" in printed


def test_an_attack_that_is_behind_under_one_threat_may_be_ahead_over_all(
    quality: ModuleType,
) -> None:
    def row(threat: str, attack: str, mean: float, passes: int) -> Any:
        return quality.Row("net", threat, attack, mean, mean - 0.1, passes, passes, 1.0)

    brief = row("linf 4/255", "ours 2x10", 0.8, 47)
    own = [row("linf 4/255", quality.STANDARD, 0.9, 106), row("l2 0.5", quality.STANDARD, 1.0, 108)]
    peer = [row("linf 4/255", "peer", 0.92, 110), row("l2 0.5", "peer", 0.96, 110)]
    assert len(quality.summarise([brief, *own, *peer])) == 1
    brief, ours, theirs = quality.over_threats([brief, *own, *peer])
    assert (ours.mean, ours.worst, ours.passes) == pytest.approx((0.95, 0.8, 214))
    assert (ours.network, ours.threat) == ("net", "linf 4/255, l2 0.5")
    assert quality.summarise([brief, ours, theirs]) == []


def test_the_memory_benchmark_writes_a_task_of_the_size_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "memory", raising=False)
    import memory

    memory.write_task(tmp_path / "task", {"train": 13, "val": 4, "test": 8})
    sizes = Sizes(train=100, validation=100, test=100)
    task = load_task(str(tmp_path / "task"), image_size=memory.SIDE, sizes=sizes, seed=0)
    assert [len(part) for part in (task.train, task.validation, task.test)] == [13, 4, 8]
    assert len(task.classes) == memory.CLASSES
    row = memory.Row("train", 10_000, 1154.4, 52.0, 122.9, 23.0)
    assert "10,000 images  peak   1154 MB  growth    +52 MB" in memory.describe(row)


def test_emulated_tf32_has_eleven_significant_bits_and_touches_climbs_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import precisions

    values = normal(1000, seed=4, dtype=torch.float32)
    near = precisions.rounded(values)
    mantissas, _ = torch.frexp(near)
    assert torch.equal(mantissas * 2**11, (mantissas * 2**11).round())
    assert ((near - values).abs() <= values.abs() * 2.0**-11).all()
    assert not torch.equal(near, values)
    # A network whose searches end on the same hill however their steps are rounded.
    torch.manual_seed(2)
    features = nn.Sequential(nn.Flatten(), nn.Linear(SIZE, 64), nn.GELU(), nn.Linear(64, 6))
    drawn = torch.Generator().manual_seed(0)
    pixels = torch.randint(100, 156, (5, *SHAPE), dtype=torch.uint8, generator=drawn)
    network = sys.modules["networks"].Network("small", features.requires_grad_(False), pixels, ())
    strong = precisions.measure(network, ThreatModel("linf", 0.1), torch.device("cpu"))
    weak = precisions.measure(network, ThreatModel("linf", 1e-5), torch.device("cpu"))
    assert (strong.chosen, weak.chosen) == ("bf16", "fp32")
    assert strong.tf32 == pytest.approx(1, abs=1e-3)
    assert weak.bf16 < weak.tf32 < 0.99


def test_fine_tuning_is_measured_beside_the_probe(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import finetuning

    monkeypatch.setattr(finetuning, "NETWORKS", ("tiny_resnet.cifar10_linf_8",))
    monkeypatch.setattr(finetuning, "RATES", (1e-3,))
    monkeypatch.setattr(finetuning, "SIZES", Sizes(train=100, validation=20, test=20))
    arguments = "finetuning --device cpu --epochs 2 -o"
    monkeypatch.setattr(sys, "argv", [*arguments.split(), str(tmp_path / "found.json")])
    finetuning.main()
    rows = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["rows"]
    probe, tuned, both = rows
    assert [row["way"] for row in rows] == ["LP", "FT", "LP-FT"]
    assert (probe["rate"], tuned["rate"], both["rate"]) == (None, 1e-3, 1e-3)
    for row in rows:
        assert row["criterion_accuracy"] <= row["attacked_accuracy"] <= row["clean_accuracy"]
        assert 0 < row["clean_loss"] < row["loss_bound"]
    assert probe["sensitivity"] != both["sensitivity"]
