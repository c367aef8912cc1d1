"""Fetching ahead: in order, a few at once, never too many bytes that wait to be measured."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from fakehub import fixtures
from fakehub.server import FakeHub, sha256

from selector import fetching
from selector.candidates import Candidate, Checkpoint, LockedFile, Pin, Pinned
from selector.errors import CandidateError, HubUnavailable
from selector.fetching import (
    CANDIDATES_AHEAD,
    CONNECTIONS,
    Ahead,
    Fetched,
    FetchEvent,
    FetchRules,
    FetchStarted,
    Wanted,
    look_up,
    prepare,
)
from selector.run import Prepared

fake_hub, hub_cache, waits = fixtures.fake_hub, fixtures.hub_cache, fixtures.waits

CONFIG, WEIGHTS = b'{"architecture": "test_vit"}', bytes(range(256)) * 400
FILES = {"config.json": CONFIG, "model.safetensors": WEIGHTS}
FOREIGN = Checkpoint(
    file="nets/net.ckpt",
    architecture="resnet18",
    num_classes=10,
    input_size=32,
    mean=(0, 0, 0),
    std=(1, 1, 1),
)


def nets(count: int) -> list[Pinned]:
    return [Pinned(Candidate(model=f"hf-hub:acme/net{place}")) for place in range(count)]


class Slow:
    """Fetches that end when they are let; stands for look_up and prepare."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, sizes: list[int]) -> None:
        self.sizes, self.started, self.finish = sizes, [], threading.Event()
        monkeypatch.setattr(fetching, "look_up", self.look_up)
        monkeypatch.setattr(fetching, "prepare", self.prepare)
        monkeypatch.setattr(fetching.hub, "require_space", lambda repo, count: None)

    def look_up(self, pinned: Pinned, rules: FetchRules) -> Wanted:
        size = self.sizes[int(pinned.candidate.name[-1])]
        if size < 0:
            raise CandidateError("gated", "no.")
        return Wanted("0" * 40, size)

    def prepare(self, pinned: Pinned, commit: str, on_bytes: object) -> str:
        self.started.append(int(pinned.candidate.name[-1]))
        assert self.finish.wait(10)
        return pinned.candidate.name

    def settle(self, count: int) -> list[int]:
        """What has started once nothing moves any more, or ``count`` have."""
        until = time.monotonic() + 5
        while len(self.started) < count and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(0.1)
        return sorted(self.started)


@contextmanager
def ahead(count: int, bytes_ahead: int) -> Iterator[Ahead]:
    with Ahead(nets(count), FetchRules(bytes_ahead=bytes_ahead), lambda event: None) as fetches:
        yield fetches


def test_several_are_fetched_at_once_but_not_all(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch, [1] * 10)
    with ahead(10, bytes_ahead=100) as fetches:
        first = fetches.next()
        assert slow.settle(CONNECTIONS) == list(range(CONNECTIONS))
        slow.finish.set()
        assert first.result() == "acme/net0"
        # One has been asked for, and six more may wait.
        assert slow.settle(CANDIDATES_AHEAD + 1) == list(range(CANDIDATES_AHEAD + 1))
        results = []
        for _ in range(9):
            fetches.done()
            results.append(fetches.next().result())
        assert results == [f"acme/net{place}" for place in range(1, 10)]


def test_bytes_that_wait_to_be_measured_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch, [60, 30, 30, 5, 5])
    slow.finish.set()
    with ahead(5, bytes_ahead=100) as fetches:
        fetches.next().result()
        # 60 + 30 fit; the third must wait, and so must the small ones behind it: in order.
        assert slow.settle(2) == [0, 1]
        fetches.done()
        fetches.next().result()
        assert slow.settle(5) == [0, 1, 2, 3, 4]


def test_one_that_is_larger_than_the_bound_comes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch, [10, 500, 10])
    slow.finish.set()
    with ahead(3, bytes_ahead=100) as fetches:
        for place, started in enumerate([[0], [0, 1], [0, 1, 2]]):
            assert fetches.next().result() == f"acme/net{place}"
            assert slow.settle(place + 1) == started
            fetches.done()


def test_what_is_here_already_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch, [100, 0, 0, 0])
    slow.finish.set()
    with ahead(4, bytes_ahead=100) as fetches:
        fetches.next().result()
        assert slow.settle(4) == [0, 1, 2, 3]


def test_failures_neither_block_nor_leak_room(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch, [-1, 90, -1, 90, -1])
    slow.finish.set()
    outcomes: list[Future[Prepared]] = []
    with ahead(5, bytes_ahead=100) as fetches:
        for _ in range(5):
            outcomes.append(fetches.next())
            outcomes[-1].exception(timeout=5)
            fetches.done()
    assert [bool(outcome.exception()) for outcome in outcomes] == [True, False, True, False, True]


def test_leaving_early_leaves_no_thread_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch, [90] * 5)
    before = set(threading.enumerate())
    with ahead(5, bytes_ahead=100) as fetches:
        fetches.next()
        slow.settle(1)
    slow.finish.set()
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(5)
    assert not any(thread.is_alive() for thread in left)


# With the real client


def test_bytes_are_told_as_they_come(fake_hub: FakeHub, hub_cache: Path) -> None:
    fake_hub.add("acme/net0", FILES)
    size = len(CONFIG) + len(WEIGHTS)
    events: list[FetchEvent] = []
    with Ahead(nets(1), FetchRules(), events.append) as fetches:
        prepared = fetches.next().result()
    assert prepared.hashes == {name: sha256(content) for name, content in FILES.items()}
    assert events[0] == FetchStarted(size)
    assert sum(event.bytes for event in events if isinstance(event, Fetched)) == size
    events.clear()
    with Ahead(nets(1), FetchRules(), events.append) as fetches:
        fetches.next().result()
    assert events == []


def test_a_full_disk_is_seen_before_it_is_full(
    fake_hub: FakeHub, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_hub.add("acme/net0", FILES)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with Ahead(nets(1), FetchRules(), lambda event: None) as fetches:
        error = fetches.next().exception()
    assert isinstance(error, CandidateError)
    assert error.code == "disk_full"
    assert not fake_hub.asked("file", "cdn")


def test_a_pickle_is_refused_before_anything_is_asked(fake_hub: FakeHub, hub_cache: Path) -> None:
    pinned = Pinned(Candidate(model="hf-hub:acme/net0", checkpoint=FOREIGN))
    with pytest.raises(CandidateError, match="--allow-pickle") as caught:
        look_up(pinned, FetchRules())
    assert caught.value.code == "needs_allow_pickle"
    assert not fake_hub.requests


def test_only_the_checkpoint_is_fetched(fake_hub: FakeHub, hub_cache: Path) -> None:
    other = {"nets/other.ckpt": b"other" * 1000, "nets/net.ckpt": WEIGHTS[:-1]}
    commit = fake_hub.add("acme/net0", FILES | other)
    pinned = Pinned(Candidate(model="hf-hub:acme/net0", checkpoint=FOREIGN))
    wanted = look_up(pinned, FetchRules(allow_pickle=True))
    assert wanted == Wanted(commit, len(WEIGHTS) - 1)
    prepared = prepare(pinned, commit, lambda count: None)
    assert prepared.hashes == {"nets/net.ckpt": sha256(WEIGHTS[:-1])}
    assert isinstance(prepared.load, partial)
    (directory,) = prepared.load.args
    assert (directory / "nets" / "net.ckpt").read_bytes() == WEIGHTS[:-1]
    assert prepared.load.keywords == {"checkpoint": FOREIGN}
    assert len(fake_hub.asked("cdn")) == 1
    assert not fake_hub.asked("tree")


def test_a_file_that_is_not_there_is_told_with_those_that_are(
    fake_hub: FakeHub, hub_cache: Path
) -> None:
    fake_hub.add("acme/net0", FILES)
    pinned = Pinned(Candidate(model="hf-hub:acme/net0", checkpoint=FOREIGN))
    with pytest.raises(CandidateError) as caught:
        look_up(pinned, FetchRules(allow_pickle=True))
    assert caught.value.code == "no_file"
    assert "nets/net.ckpt; it holds config.json, model.safetensors" in caught.value.message


def locked(commit: str, **hashes: str) -> Pinned:
    """A pin that is right, but for what is given."""
    known = {name: sha256(content) for name, content in FILES.items()}
    known |= {name.replace("_", "."): value for name, value in hashes.items()}
    files = tuple(LockedFile(name=n, size=len(FILES[n]), sha256=known[n]) for n in FILES)
    candidate = Candidate(model="hf-hub:acme/net0")
    return Pinned(candidate, Pin(model=candidate.model, commit=commit, files=files))


def test_a_locked_and_cached_candidate_makes_no_request(fake_hub: FakeHub, hub_cache: Path) -> None:
    commit = fake_hub.add("acme/net0", FILES)
    pinned = locked(commit)
    prepare(pinned, look_up(pinned, FetchRules()).commit, lambda count: None)
    fake_hub.add("acme/net0", FILES | {"config.json": b"{}"})  # main moves on
    fake_hub.requests.clear()
    wanted = look_up(pinned, FetchRules())
    assert wanted == Wanted(commit, 0)
    prepared = prepare(pinned, wanted.commit, lambda count: None)
    assert prepared.model == f"hf-hub:acme/net0@{commit}"
    assert not fake_hub.requests


def test_other_bytes_than_the_locked_ones_are_refused(fake_hub: FakeHub, hub_cache: Path) -> None:
    commit = fake_hub.add("acme/net0", FILES)
    pinned = locked(commit, model_safetensors="0" * 64)
    with pytest.raises(CandidateError, match="that the lock gives") as caught:
        prepare(pinned, commit, lambda count: None)
    assert caught.value.code == "altered"
    assert len(fake_hub.asked("cdn")) == 2  # once more, before it is refused


def test_a_local_folder_must_have_the_locked_bytes(tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    files = tuple(LockedFile(name=n, size=1, sha256=sha256(FILES[n])) for n in FILES)
    candidate = Candidate(model=f"local-dir:{tmp_path}")
    pinned = Pinned(candidate, Pin(model="local-dir:.", commit=None, files=files))
    assert prepare(pinned, None, lambda count: None).hashes == {f.name: f.sha256 for f in files}
    (tmp_path / "config.json").write_bytes(b"{}")
    with pytest.raises(CandidateError, match="that the lock gives") as caught:
        prepare(pinned, None, lambda count: None)
    assert caught.value.code == "altered"


def test_the_hub_is_down(fake_hub: FakeHub, hub_cache: Path, waits: fixtures.Waits) -> None:
    fake_hub.fault("info", status=503)
    fake_hub.fault("head", status=503)
    with Ahead(nets(2), FetchRules(), lambda event: None) as fetches:
        for _ in range(2):
            assert isinstance(fetches.next().exception(), HubUnavailable)
            fetches.done()
