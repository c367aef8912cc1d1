"""The curator's way, in separate processes: discover, lock, rank what was locked, offline."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import timm
import torch
import warm
import yaml
from fakehub import fixtures
from fakehub.server import FakeHub, sha256
from timm.models import save_for_hf

from selector.candidates import read_lock, read_registry

fake_hub = fixtures.fake_hub

VIT, RESNET = "timm/test_vit.r160_in1k", "timm/test_resnet.r160_in1k"
ENCODER, PICKLE = "timm/gemma4_vit_150m_enc.gemma_4_e2b_it", "timm/resnet18.gluon_in1k"
TOKEN = "hf_secrettoken"
NEEDED = ("config.json", "model.safetensors")
SMALL = ("--task", "builtin:digits", "--image-size", "32", "--train-images", "60")
SMALL += ("--test-images", "20", "--steps", "2", "--restarts", "1", "--preset", "quick")


def weights(architecture: str, folder: Path) -> dict[str, bytes]:
    """A network with random weights as its publisher would upload it."""
    torch.manual_seed(0)
    network = timm.create_model(architecture, pretrained=False)
    save_for_hf(network, str(folder), safe_serialization=True)
    return {name: (folder / name).read_bytes() for name in NEEDED}


@pytest.fixture
def zoo(fake_hub: FakeHub, tmp_path: Path) -> FakeHub:
    """Two networks that can be measured, and two that cannot."""
    for repo_id, architecture in ((VIT, "test_vit"), (RESNET, "test_resnet")):
        found = weights(architecture, tmp_path / architecture)
        commit = fake_hub.add(repo_id, found | {"pytorch_model.bin": b"never fetched"})
        fake_hub.listing.add(repo_id, sha=commit, parameters=400_000)
    fake_hub.listing.add(ENCODER)
    fake_hub.listing.add(PICKLE, files=["config.json", "pytorch_model.bin"])
    fake_hub.listing.page = 2
    fake_hub.members.add(TOKEN)
    return fake_hub


def test_discover_lock_rank(zoo: FakeHub, tmp_path: Path) -> None:
    environment = os.environ | zoo.environment(tmp_path / "hf")
    environment |= {"SELECTOR_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    environment |= {"NO_COLOR": "1", "TERM": "dumb", "HF_TOKEN": TOKEN}
    said: list[str] = []

    def selector(*arguments: object) -> subprocess.CompletedProcess[str]:
        done = warm.run(arguments, env=environment, cwd=tmp_path)
        said.extend((done.stdout, done.stderr))
        return done

    done = selector("discover", "--license", "apache-2.0", "--max-params", "100M", "-o", "zoo.yaml")
    assert done.returncode == 0, done.stderr
    registry = tmp_path / "zoo.yaml"
    assert sorted(c.name for c in read_registry(registry)) == [RESNET, VIT]

    done = selector("lock", "--registry", "zoo.yaml")
    assert done.returncode == 0, done.stderr
    pins = {pin.model: pin for pin in read_lock(tmp_path / "zoo.lock.yaml").candidates}
    for repo_id in (VIT, RESNET):
        repo = zoo.repos[repo_id]
        commit = repo.branches["main"]
        pin = pins[f"hf-hub:{repo_id}"]
        assert pin.commit == commit
        assert {file.name: file.sha256 for file in pin.files} == {
            name: sha256(repo.commits[commit][name])
            for name in ("config.json", "model.safetensors")
        }

    ranked = ("rank", "--registry", "zoo.yaml", "--locked", *SMALL)
    done = selector(*ranked, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    plan = {row["name"]: row for row in json.loads(done.stdout)["candidates"]}
    locked = {pin.model.removeprefix("hf-hub:"): pin.files[1].size for pin in pins.values()}
    assert {name: row["bytes_to_fetch"] for name, row in plan.items()} == locked
    assert not zoo.asked("cdn")

    one = (*ranked, "--only", VIT)
    done = selector(*one, "-o", "online.json")
    assert done.returncode == 0, done.stderr
    assert len(zoo.asked("cdn")) == 1
    zoo.requests.clear()
    done = selector(*one, "--offline", "--fresh", "-o", "offline.json")
    assert done.returncode == 0, done.stderr
    assert zoo.requests == []

    online, offline = (
        json.loads((tmp_path / name).read_text(encoding="utf-8"))
        for name in ("online.json", "offline.json")
    )
    assert [row["name"] for row in online["ranking"]] == [row["name"] for row in offline["ranking"]]
    pin = pins[f"hf-hub:{VIT}"]
    assert [row["model"] for row in offline["ranking"]] == [f"{pin.model}@{pin.commit}"]
    for before, after in zip(online["ranking"], offline["ranking"], strict=True):
        assert before["bound_optimal"] == after["bound_optimal"], "same bytes, same numbers"
    assert not any(TOKEN in text for text in said)
    for name in ("zoo.yaml", "zoo.lock.yaml", "online.json", "offline.json"):
        assert TOKEN not in (tmp_path / name).read_text(encoding="utf-8")
    assert yaml.safe_load(registry.read_text(encoding="utf-8"))["candidates"][0]["license"]


def test_an_untouched_cache_and_no_hub_is_a_row_each(zoo: FakeHub, tmp_path: Path) -> None:
    environment = os.environ | zoo.environment(tmp_path / "hf") | {"OMP_NUM_THREADS": "1"}
    environment |= {"SELECTOR_CACHE": str(tmp_path / "cache"), "TERM": "dumb"}
    done = warm.run(("rank", "--model", VIT, "--offline", "--json", *SMALL), env=environment)
    assert done.returncode == 1, done.stderr
    (row,) = json.loads(done.stdout)["skipped"]
    assert row["code"] == "offline_not_cached"
    assert zoo.requests == []
