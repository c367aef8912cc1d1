"""The dry run: bytes, passes and time, without fetching a weight or measuring a candidate."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from fakehub import fixtures
from fakehub.server import FakeHub
from torch import nn

from selector.architectures import Shape
from selector.backbones import Backbone
from selector.candidates import Candidate, Checkpoint, Pinned
from selector.errors import CandidateError
from selector.evaluation import evaluate
from selector.fetching import FetchRules, look_up, prepare
from selector.keys import measurement
from selector.planning import Timer, Work, plan
from selector.protocol import Protocol, Sizes
from selector.records import PlannedCandidate
from selector.reports.plan import duration
from selector.scheduling import Kept
from selector.store import Store
from selector.tasks import load_task
from selector.threat import ThreatModel
from selector.workload import Setting, planned_passes

fake_hub, hub_cache, waits = fixtures.fake_hub, fixtures.hub_cache, fixtures.waits

NET = Path(str(files("selector.demo") / "zoo" / "tiny_vit.cifar10"))
FILES = {name: (NET / name).read_bytes() for name in ("config.json", "model.safetensors")}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def setting() -> Setting:
    sizes = Sizes(train=40, validation=10, test=20)
    task = load_task("builtin:digits", image_size=32, sizes=sizes, seed=0)
    protocol = Protocol("quick", "apgd", restarts=1, steps=2, sizes=sizes, seed=0)
    return Setting(task, ThreatModel("linf", 4 / 255), protocol, CPU)


@pytest.fixture
def work(setting: Setting, tmp_path: Path) -> Work:
    return Work(setting, FetchRules(), Kept(tmp_path / "cache" / "store.sqlite"))


def silent(row: PlannedCandidate) -> None:
    """Nobody is told."""


def on_hub(name: str, checkpoint: Checkpoint | None = None) -> Pinned:
    return Pinned(Candidate(model=f"hf-hub:acme/{name}", checkpoint=checkpoint))


def test_bytes_and_passes_without_a_weight(
    fake_hub: FakeHub, hub_cache: Path, work: Work, setting: Setting
) -> None:
    fake_hub.add("acme/net", FILES)
    fake_hub.add("acme/gated", FILES, gated=True)
    told: list[PlannedCandidate] = []
    rows = plan([on_hub("net"), on_hub("gated"), on_hub("none")], work, told.append).candidates
    assert rows == tuple(told)
    assert rows[0].bytes_to_fetch == sum(map(len, FILES.values()))
    assert rows[0].passes == planned_passes(setting).total
    assert rows[0].estimated_seconds > 0
    assert [row.code for row in rows] == ["", "gated", "not_found"]
    assert not fake_hub.asked("cdn")


def test_what_an_earlier_run_measured_is_said(
    fake_hub: FakeHub, hub_cache: Path, work: Work, setting: Setting
) -> None:
    commit = fake_hub.add("acme/net", FILES)
    pinned = on_hub("net")
    prepared = prepare(pinned, look_up(pinned, work.rules).commit, lambda count: None)
    (row,) = plan([pinned], work, silent).candidates
    assert (row.kept, row.bytes_to_fetch) == (False, 0)
    assert prepared.model.endswith(commit)
    store = Store(work.kept.path)
    store.put(measurement(pinned.candidate, prepared, setting), evaluate(prepared, setting))
    store.close()
    (row,) = plan([pinned], work, silent).candidates
    assert row.kept
    assert row.passes == 0


def test_a_checkpoint_needs_no_file_to_be_planned(
    fake_hub: FakeHub, hub_cache: Path, work: Work
) -> None:
    fake_hub.add("acme/nets", {"net.ckpt": b"x" * 1234})
    described = Checkpoint(
        file="net.ckpt",
        architecture="test_resnet",
        num_classes=10,
        input_size=64,
        mean=(0, 0, 0),
        std=(1, 1, 1),
    )
    pinned = on_hub("nets", described)
    (refused,) = plan([pinned], work, silent).candidates
    assert refused.code == "needs_allow_pickle"
    assert "--allow-pickle" in refused.reason
    allowed = Work(work.setting, FetchRules(allow_pickle=True), work.kept)
    (row,) = plan([pinned], allowed, silent).candidates
    assert (row.code, row.bytes_to_fetch) == ("", 1234)
    assert not fake_hub.asked("file", "cdn")


def test_the_hub_is_down(
    fake_hub: FakeHub, hub_cache: Path, work: Work, waits: fixtures.Waits
) -> None:
    fake_hub.fault("info", status=503)
    (row,) = plan([on_hub("net")], work, silent).candidates
    assert (row.code, row.retryable) == ("hub_unavailable", True)


@pytest.mark.parametrize("size", ["[3, 32]", '"32"', "null", "[3, 32.0, 32]"])
def test_a_config_without_input_size(
    fake_hub: FakeHub, hub_cache: Path, work: Work, size: str
) -> None:
    config = json.loads(FILES["config.json"])
    config["pretrained_cfg"]["input_size"] = json.loads(size)
    fake_hub.add("acme/net", FILES | {"config.json": json.dumps(config).encode()})
    (row,) = plan([on_hub("net")], work, silent).candidates
    assert row.code == "bad_preprocessing"
    assert "input_size" in row.reason


@pytest.mark.parametrize(
    "architecture", ["test_vit", "test_resnet", "test_convnext", "swin_tiny_patch4_window7_224"]
)
def test_any_network_can_be_timed(architecture: str) -> None:
    # Some keep indices among their weights, which must be possible ones.
    size = 224 if architecture.startswith("swin") else 160
    assert 0 < Timer(32, CPU).seconds_per_pass(Shape(architecture, (size, size))) < 60


def test_a_network_is_timed_as_it_is_measured_with_its_normalisations_folded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timed: list[nn.Module] = []

    def note(timer: Timer, backbone: Backbone, count: int) -> float:
        timed.append(backbone.network)
        return 1.0

    monkeypatch.setattr(Timer, "_timed", note)
    Timer(32, CPU).seconds_per_pass(Shape("resnet18", (32, 32)))
    (network,) = timed
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_a_network_is_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[Shape] = []

    def note(timer: Timer, shape: Shape) -> float:
        timed.append(shape)
        return 1.0

    monkeypatch.setattr(Timer, "_time", note)
    timer = Timer(32, CPU)
    small, large = Shape("resnet18", (32, 32)), Shape("resnet18", (64, 64))
    other = Shape("resnet18", (32, 32), {"stem_width": 32})
    for shape in (small, large, small, other, Shape("resnet18", (32, 32)), other):
        assert timer.seconds_per_pass(shape) == 1
    assert timed == [small, large, other]


def test_what_cannot_be_built_is_an_error() -> None:
    with pytest.raises(CandidateError):
        Timer(32, CPU).seconds_per_pass(Shape("resnet18", (32, 32), {"no_such": 1}))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59.6, "1 min 0 s"), (3599.7, "1 h 0 min"), (86_400, "24 h 0 min")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said
