"""Lock files from Python: candidates are held to commits and bytes, as the command holds them."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from fakehub import fixtures
from fakehub.server import FakeHub, sha256
from test_api import FEW, THREAT, Small, noise, rank_small
from typer.testing import CliRunner

import selector
from selector.candidates import Candidate, lock_path
from selector.cli import app
from selector.errors import UsageError
from selector.records import LockRecord

fake_hub, hub_cache = fixtures.fake_hub, fixtures.hub_cache

NET = Path(str(files("selector.demo") / "zoo" / "tiny_vit.cifar10"))
FILES = {name: (NET / name).read_bytes() for name in ("config.json", "model.safetensors")}


@pytest.fixture
def registry(fake_hub: FakeHub, hub_cache: Path, tmp_path: Path) -> Path:
    """Two candidates, on the Hub and in a folder, locked; then the Hub's has moved."""
    fake_hub.add("acme/open", FILES)
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    path = tmp_path / "zoo.yaml"
    path.write_text(
        "candidates: [{model: 'hf-hub:acme/open'}, {model: 'local-dir:mine'}]\n", encoding="utf-8"
    )
    done = CliRunner().invoke(app, ["lock", "--registry", str(path)])
    assert done.exit_code == 0, done.stderr
    # A commit that cannot be measured.
    fake_hub.add("acme/open", FILES | {"config.json": b"{}"})
    return path


def pinned_commit(lock: Path) -> str:
    return next(line.split()[1] for line in lock.read_text().splitlines() if "commit: " in line)


def test_candidates_are_held_to_the_lock_as_by_the_command(
    fake_hub: FakeHub, registry: Path, tmp_path: Path
) -> None:
    lock, output = lock_path(registry), tmp_path / "ranking.json"
    found = rank_small(candidates=selector.read_registry(registry), lock=lock)
    commits = {one.name: one.provenance.commit for one in found.ranking}
    assert commits == {"acme/open": pinned_commit(lock), "mine": None}
    assert not found.skipped
    digest = sha256(lock.read_bytes())
    assert found.lock == LockRecord(file=str(lock), sha256=digest, pinned=("acme/open", "mine"))
    assert f"lock={str(lock)!r}" in found.command[0]

    fake_hub.requests.clear()
    named = rank_small(candidates=["acme/open"], lock=str(lock))
    assert not fake_hub.requests, "locked and cached: no request at all"
    assert named.lock is not None
    assert named.lock.pinned == ("acme/open",)

    # Without it, the commit of today.
    loose = rank_small(candidates=["acme/open", f"local-dir:{tmp_path / 'mine'}"])
    assert loose.lock is None
    assert [one.name for one in loose.skipped] == ["acme/open"]

    arguments: list[Any] = ["--registry", registry, "--locked", "--task", "builtin:digits"]
    arguments += ["--image-size", 32, "--device", "cpu", "-o", output]
    for name, value in FEW.items():
        arguments += [f"--{name.replace('_', '-')}", value]
    done = CliRunner().invoke(app, ["rank", *map(str, arguments)])
    assert done.exit_code == 0, done.stderr
    assert found.lock == LockRecord.model_validate(json.loads(output.read_text())["lock"])


def test_a_regression_and_a_plan_are_held_to_it(
    fake_hub: FakeHub, registry: Path, tmp_path: Path
) -> None:
    lock, images = lock_path(registry), noise()[0]
    given: dict[str, Any] = {"candidates": ["acme/open"], "threat": THREAT, "device": "cpu"}
    given |= {"store": ":memory:"} | FEW
    (row,) = selector.plan(task=noise(), lock=lock, **given).candidates
    assert (row.code, row.bytes_to_fetch) == ("", len(FILES["model.safetensors"]))
    (row,) = selector.plan(task=noise(), **given).candidates
    assert row.code

    targets = images.mean(axis=(1, 2, 3))
    found = selector.rank_regression(task=(images, targets), lock=lock, **given)
    assert found.ranking[0].provenance.commit == pinned_commit(lock)
    assert found.lock is not None
    assert (found.lock.file, found.lock.pinned) == (str(lock), ("acme/open",))


def test_bytes_that_are_others_are_a_row(registry: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "config.json").write_bytes(FILES["config.json"] + b"\n")
    lock = lock_path(registry)
    found = rank_small(candidates=[f"local-dir:{tmp_path / 'mine'}", "acme/open"], lock=lock)
    assert [one.name for one in found.ranking] == ["acme/open"]
    assert [(one.name, one.code) for one in found.skipped] == [("mine", "altered")]


def test_what_a_lock_lacks_is_refused(registry: Path) -> None:
    lock = lock_path(registry)
    with pytest.raises(UsageError, match=r"^lock needs every candidate in .* acme/new") as caught:
        rank_small(candidates=["acme/open", "acme/new"], lock=lock)
    assert "`selector lock`" in caught.value.hint and "`--registry`" in caught.value.hint
    for candidates in ({"mine": Small()}, ["acme/open", selector.Module("mine", Small())]):
        with pytest.raises(UsageError, match=r"^lock holds .* mine is a Module, which has none"):
            rank_small(candidates=candidates, lock=lock)
    (other,) = selector.read_registry(registry)[1:]
    renamed = Candidate.model_validate(other.model_dump() | {"name": "another name"})
    assert rank_small(candidates=renamed, lock=lock).lock is not None


@pytest.mark.parametrize(
    ("lock", "words"),
    [
        ("nothing.yaml", "lock must be a lock file, found none at 'nothing.yaml'"),
        (".", "lock must be a lock file, found none at"),
        (5, "lock must be the path of a file, found 5"),
        (True, "lock must be the path of a file, found True"),
    ],
)
def test_what_is_no_lock_is_told(lock: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        rank_small(candidates=["acme/open"], lock=lock)
    assert "--" not in caught.value.message


def test_a_damaged_lock_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "zoo.lock.yaml"
    path.write_text("version: 2\ncandidates: []\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"^lock .*zoo\.lock\.yaml, line 1: version: "):
        rank_small(candidates=["acme/open"], lock=path)
