"""Locking: what candidates mean now, written down, and held to."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
import warm
import yaml
from fakehub import fixtures
from fakehub.server import FakeHub, sha256
from typer.testing import CliRunner

from selector.candidates import (
    Candidate,
    Lock,
    LockedFile,
    Pin,
    Pinned,
    lock_path,
    lock_yaml,
    pin,
    read_lock,
    read_registry,
    require_pins,
)
from selector.cli import app
from selector.errors import HubUnavailable, UsageError
from selector.locking import LookedUp, look_up, look_up_all, merge

fake_hub, hub_cache, waits = fixtures.fake_hub, fixtures.hub_cache, fixtures.waits

NET = Path(str(files("selector.demo") / "zoo" / "tiny_vit.cifar10"))
FILES = {name: (NET / name).read_bytes() for name in ("config.json", "model.safetensors")}


@pytest.fixture
def registry(fake_hub: FakeHub, hub_cache: Path, tmp_path: Path) -> Path:
    """Three candidates: one on the Hub, one that is gated, one in a folder."""
    fake_hub.add("acme/open", FILES)
    fake_hub.add("acme/gated", FILES, gated=True)
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    path = tmp_path / "zoo.yaml"
    path.write_text(
        "candidates:\n"
        "  - {model: hf-hub:acme/open, tags: [a]}\n"
        "  - {model: hf-hub:acme/gated, tags: [b]}\n"
        "  - {model: local-dir:mine, tags: [a]}\n",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def environment(fake_hub: FakeHub, tmp_path: Path) -> dict[str, str]:
    own = {"SELECTOR_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1", "TERM": "dumb"}
    return os.environ | fake_hub.environment(tmp_path / "hf") | own | {"NO_COLOR": "1"}


def selector(
    *arguments: object, env: dict[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return warm.run(arguments, env=env, cwd=cwd)


def silent(looked_up: LookedUp) -> None:
    """Nobody is told."""


def test_a_pin_has_commit_sizes_and_hashes(fake_hub: FakeHub, registry: Path) -> None:
    path = lock_path(registry)
    assert path == registry.parent / "zoo.lock.yaml"
    found = look_up_all(read_registry(registry), path, silent)
    assert [one.error.code if one.error else None for one in found] == [None, "gated", None]
    on_hub, local = found[0].pin, found[2].pin
    assert on_hub is not None
    assert local is not None
    assert on_hub.commit == fake_hub.repos["acme/open"].branches["main"]
    assert {f.name: (f.size, f.sha256) for f in on_hub.files} == {
        name: (len(content), sha256(content)) for name, content in FILES.items()
    }
    assert (local.model, local.commit) == ("local-dir:mine", None)
    assert local.files == on_hub.files
    assert not fake_hub.asked("cdn"), "weights need not come to be locked"


def test_a_lock_is_read_back(registry: Path, tmp_path: Path) -> None:
    path = lock_path(registry)
    candidates = read_registry(registry)
    lock = merge(look_up_all(candidates, path, silent), candidates, path)
    assert lock is not None
    path.write_text(lock_yaml(lock), encoding="utf-8")
    assert read_lock(path) == lock
    schema = json.loads((files("selector") / "lock.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), schema)
    pinned = pin(candidates, lock, path)
    assert [one.pin is not None for one in pinned] == [True, False, True]
    with pytest.raises(UsageError, match=r"found none for acme/gated\."):
        require_pins(pinned, path)
    require_pins((pinned[0], pinned[2]), path)


def test_a_part_is_brought_up_to_date_and_the_rest_is_kept(
    fake_hub: FakeHub, registry: Path
) -> None:
    path = lock_path(registry)
    candidates = read_registry(registry)
    before = merge(look_up_all(candidates, path, silent), candidates, path)
    assert before is not None
    path.write_text(lock_yaml(before), encoding="utf-8")
    moved = fake_hub.add("acme/open", FILES | {"README.md": b"new"})
    (registry.parent / "mine" / "config.json").write_bytes(b"{}")
    extra = Candidate(model="hf-hub:acme/open@main")
    after = merge(look_up_all([candidates[0], extra], path, silent), candidates, path)
    assert after is not None
    assert [p.model for p in after.candidates] == [
        "hf-hub:acme/open",
        "local-dir:mine",
        "hf-hub:acme/open@main",
    ]
    assert after.candidates[0].commit == moved != before.candidates[0].commit
    assert after.candidates[1] == before.candidates[1]
    # One that is gone, or whose publisher hides it for a day, keeps what it meant.
    del fake_hub.repos["acme/open"]
    path.write_text(lock_yaml(after), encoding="utf-8")
    last = merge(look_up_all([candidates[0]], path, silent), candidates, path)
    assert last is not None
    assert last == after.model_copy(update={"candidates": after.candidates[:2]})


def test_nothing_is_locked_from_the_cache_when_the_hub_is_down(
    fake_hub: FakeHub, registry: Path, waits: fixtures.Waits
) -> None:
    path = lock_path(registry)
    candidate = read_registry(registry)[0]
    look_up(candidate, path)
    fake_hub.fault("info", status=503)
    with pytest.raises(HubUnavailable):
        look_up(candidate, path)
    with pytest.raises(HubUnavailable):
        look_up_all([candidate], path, silent)


def test_a_lock_moves_with_its_registry(registry: Path, tmp_path: Path) -> None:
    candidates = read_registry(registry)
    path = lock_path(registry)
    lock = merge(look_up_all(candidates, path, silent), candidates, path)
    assert lock is not None
    elsewhere = tmp_path.rename(tmp_path.with_name(tmp_path.name + "-moved"))
    moved = elsewhere / registry.name
    pinned = pin(read_registry(moved), lock, lock_path(moved))
    assert [one.pin is not None for one in pinned] == [True, False, True]


def entry(commit: str, name: str) -> str:
    """A pin with two files, one of them of that name."""
    digest = "0" * 64
    files = "".join(f"  - {{name: {n}, size: 1, sha256: '{digest}'}}\n" for n in ("a", name))
    return f"- model: hf-hub:acme/a\n  commit: {commit}\n  files:\n{files}"


PIN = "1" * 39 + "a"


def test_files_of_a_pin_may_stand_in_any_order() -> None:
    files = [LockedFile(name=name, size=1, sha256="0" * 64) for name in FILES]
    candidate = Candidate(model="hf-hub:acme/open")
    for order in (files, files[::-1]):
        lock = Lock(candidates=(Pin(model=candidate.model, commit="0" * 40, files=tuple(order)),))
        (pinned,) = pin([candidate], lock, Path("zoo.lock.yaml"))
        assert pinned.pin is not None


def test_a_broken_lock_is_told_before_the_hub_is_asked(
    fake_hub: FakeHub, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock_path(registry).write_text("candidates: [", encoding="utf-8")
    result = CliRunner().invoke(app, ["lock", "--registry", str(registry)])
    assert result.exit_code == 2
    assert not fake_hub.requests


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version: 2\ncandidates: []\n", "line 1: version: Input should be 1, found 2"),
        ("candidates: []\n", "line 1: candidates: "),
        (
            "candidates:\n- {model: a, commit: main, files: []}\n",
            "line 2: commit: String should match pattern",
        ),
        (
            "candidates:\n- model: a\n  commit: null\n  files:\n"
            "  - {name: b, size: 1, sha256: abc}\n",
            "line 5: files.0.sha256: String should match pattern",
        ),
        ("- a\n", "Input should be"),
        ("candidates:\n" + entry("null", "b"), "commit must be 40 hex digits for hf-hub:"),
        ("candidates:\n" + entry(PIN, "a"), "must name each file once"),
        (
            "candidates:\n" + entry(PIN, "b") + entry(PIN, "b"),
            "line 7: hf-hub:acme/a is there already, at line 2",
        ),
    ],
)
def test_locks_that_are_none(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "zoo.lock.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        read_lock(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_the_shipped_registry_is_locked_in_the_current_folder() -> None:
    shipped = Path(str(files("selector"))).parent / "registry.yaml"
    assert lock_path(shipped) == Path("registry.lock.yaml")


SMALL = ("--task", "builtin:digits", "--image-size", "32", "--train-images", "60")
SMALL += ("--test-images", "20", "--steps", "2", "--restarts", "1", "--preset", "quick")


@pytest.fixture
def locked(registry: Path, environment: dict[str, str]) -> Iterator[Path]:
    """The registry, locked by the command, without the gated candidate."""
    done = selector("lock", "--registry", registry, env=environment)
    assert done.returncode == 3, done.stderr
    assert "acme/gated is gated" in done.stderr
    assert done.stdout == f"{lock_path(registry)}: 2 locked, 1 not\n"
    yield registry


def test_lock_then_rank_locked_and_offline(
    fake_hub: FakeHub, locked: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    first = fake_hub.repos["acme/open"].branches["main"]
    fake_hub.add("acme/open", FILES | {"config.json": b"{}"})  # a commit that cannot be measured
    ranked = ("rank", "--registry", locked, "--tag", "a", "--locked", *SMALL)
    online = selector(*ranked, "--json", env=environment)
    assert online.returncode == 0, online.stderr
    fake_hub.requests.clear()
    out = tmp_path / "ranking.json"
    done = selector(*ranked, "--fresh", "-o", out, env=environment)
    assert done.returncode == 0, done.stderr
    assert not fake_hub.requests, "locked and cached: no request at all"
    offline = selector(*ranked, "--fresh", "--offline", env=environment)
    assert offline.returncode == 0, offline.stderr
    document = json.loads(out.read_text(encoding="utf-8"))
    commits = {row["name"]: row["provenance"]["commit"] for row in document["ranking"]}
    assert commits == {"acme/open": first, "mine": None}
    assert document["lock"]["pinned"] == ["acme/open", "mine"]
    assert document["lock"]["sha256"] == sha256(lock_path(locked).read_bytes())


def test_locked_refuses_what_the_lock_lacks(locked: Path, environment: dict[str, str]) -> None:
    done = selector("rank", "--registry", locked, "--locked", *SMALL, env=environment)
    assert done.returncode == 2
    assert "--locked needs every candidate in" in done.stderr
    assert "acme/gated" in done.stderr
    assert done.stdout == ""


def test_a_lock_is_honoured_without_being_asked_for(
    fake_hub: FakeHub, locked: Path, environment: dict[str, str]
) -> None:
    fake_hub.add("acme/open", {"config.json": b"{}", "model.safetensors": b""})
    done = selector("rank", "--registry", locked, "--json", *SMALL, env=environment)
    assert done.returncode == 3, done.stderr
    assert "2 of 3 candidates are pinned by" in done.stderr
    document = json.loads(done.stdout)
    assert sorted(row["name"] for row in document["ranking"]) == ["acme/open", "mine"]
    assert [row["code"] for row in document["skipped"]] == ["gated"]


def test_without_a_lock_locked_says_so(registry: Path, environment: dict[str, str]) -> None:
    done = selector("rank", "--registry", registry, "--locked", *SMALL, env=environment)
    assert done.returncode == 2
    assert "zoo.lock.yaml" in done.stderr
    assert "selector lock" in done.stderr


def test_the_hub_is_down_and_the_lock_stays(
    fake_hub: FakeHub, locked: Path, environment: dict[str, str]
) -> None:
    before = lock_path(locked).read_bytes()
    gone = environment | {"HF_ENDPOINT": "http://127.0.0.1:9"}
    done = selector("lock", "--registry", locked, env=gone)
    assert done.returncode == 75, done.stderr
    assert lock_path(locked).read_bytes() == before


def test_pinned_is_just_a_pair() -> None:
    candidate = Candidate(model="hf-hub:acme/open")
    assert pin([candidate], Lock.model_construct(candidates=()), Path("a")) == (Pinned(candidate),)
