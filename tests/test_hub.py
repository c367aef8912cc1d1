"""The Hub module, with the real Hub client, against a Hub on this machine that fails on demand."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fakehub import fixtures
from fakehub.server import SIGNATURE, FakeHub, git_sha1, sha256
from huggingface_hub import constants, get_session
from huggingface_hub.errors import XetDownloadError

from selector import hub
from selector.errors import CandidateError, HubError, HubUnavailable
from selector.hub import client

fake_hub, hub_cache, waits = fixtures.fake_hub, fixtures.hub_cache, fixtures.waits

REPO = "acme/tiny"
CONFIG = json.dumps({"architecture": "test_vit", "num_classes": 0}).encode()
WEIGHTS = hashlib.shake_256(b"weights").digest(200_000)
FILES = {"config.json": CONFIG, "model.safetensors": WEIGHTS, "README.md": b"# tiny"}
TOKEN = "hf_secrettoken"

pytestmark = pytest.mark.usefixtures("hub_cache")


@pytest.fixture
def commit(fake_hub: FakeHub) -> str:
    """A whole repository."""
    return fake_hub.add(REPO, FILES)


def failure(repo_id: str = REPO, revision: str | None = None) -> HubError:
    """Resolve and fetch, which must fail, with an error that can be shown to anyone."""
    with pytest.raises(HubError) as caught:
        hub.fetch(repo_id, hub.resolve(repo_id, revision))
    error = caught.value
    assert SIGNATURE not in str(error)
    assert TOKEN not in str(error)
    assert error.message.endswith(".")
    assert error.hint
    assert error.__cause__ is None
    assert error.__context__ is None
    assert isinstance(error, HubUnavailable) == (error.code == "hub_unavailable")
    return error


def child(fake_hub: FakeHub, hub_cache: Path, commit: str) -> subprocess.Popen[str]:
    """Another process that fetches into the same cache and prints the folder."""
    script = f"from selector import hub; print(hub.fetch({REPO!r}, {commit!r}).directory)"
    environment = os.environ | fake_hub.environment(hub_cache.parent)
    root = Path(hub.__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=root,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


# What works


def test_resolves_and_fetches_two_files(fake_hub: FakeHub, hub_cache: Path, commit: str) -> None:
    assert hub.resolve(REPO, None) == hub.resolve(REPO, "main") == commit
    snapshot = hub.fetch(REPO, commit)
    assert (snapshot.repo_id, snapshot.commit) == (REPO, commit)
    assert snapshot.directory.is_relative_to(hub_cache)
    assert sorted(p.name for p in snapshot.directory.iterdir()) == sorted(FILES)[1:]
    assert snapshot.files == hub.hash_files(snapshot.directory)
    assert snapshot.files[0] == hub.FileHash("config.json", len(CONFIG), sha256(CONFIG))
    assert snapshot.files[1].sha256 == sha256(WEIGHTS)


def test_resolves_a_branch_with_slashes_to_its_own_commit(fake_hub: FakeHub, commit: str) -> None:
    other = fake_hub.add(REPO, {**FILES, "config.json": b"{}"}, branch="refs/pr/1")
    assert hub.resolve(REPO, "refs/pr/1") == other != commit
    assert hub.fetch(REPO, other).files[0].size == 2


def test_a_download_leaves_no_thread_behind(fake_hub: FakeHub, commit: str) -> None:
    def bars() -> int:
        return sum(one.name == "tqdm_monitor" for one in threading.enumerate())

    before = bars()
    hub.fetch(REPO, commit)
    assert fake_hub.requests
    assert bars() == before


def test_pinned_and_cached_makes_no_request(fake_hub: FakeHub, commit: str) -> None:
    hub.fetch(REPO, commit)
    fake_hub.requests.clear()
    assert hub.resolve(REPO, commit) == commit
    hub.fetch(REPO, commit)
    assert fake_hub.requests == []


def test_offline_with_cache(
    fake_hub: FakeHub,
    commit: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = hub.fetch(REPO, hub.resolve(REPO, None))
    fake_hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.fetch(REPO, hub.resolve(REPO, None)) == first
    assert (fake_hub.requests, caplog.text) == ([], "")


@pytest.mark.usefixtures("waits")
def test_hub_down_with_cached_branch(fake_hub: FakeHub, commit: str) -> None:
    first = hub.fetch(REPO, hub.resolve(REPO, None))
    fake_hub.fault("info", status=503)
    assert hub.fetch(REPO, hub.resolve(REPO, None)) == first


def test_follows_a_renamed_repository(fake_hub: FakeHub, commit: str) -> None:
    fake_hub.renamed["old/name"] = REPO
    assert hub.fetch("old/name", hub.resolve("old/name", None)).commit == commit


def test_token_reaches_the_hub_and_not_the_storage(
    fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_hub.members.add(TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    commit = fake_hub.add(REPO, FILES, gated=True, private=True)
    hub.fetch(REPO, hub.resolve(REPO, None))
    assert hub.resolve(REPO, None) == commit
    about = [request for request in fake_hub.asked("info", "head", "file") if REPO in request.path]
    assert about
    assert all(request.authorized for request in about)
    assert [request.authorized for request in fake_hub.asked("cdn")] == [False]


def test_token_is_sent_to_no_other_address(fake_hub: FakeHub, commit: str) -> None:
    hub.resolve(REPO, None)  # sets the client up
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for url in (fake_hub.url, fake_hub.storage_url):
        get_session().get(f"{url}/anything", headers=headers)
    to_hub, to_storage = fake_hub.requests[-2:]
    assert to_hub.authorized
    assert to_storage.step == "cdn"
    assert not to_storage.authorized


def test_two_processes_download_once(fake_hub: FakeHub, hub_cache: Path, commit: str) -> None:
    fake_hub.fault("cdn", body="pause")
    processes = [child(fake_hub, hub_cache, commit) for _ in range(2)]
    results = [process.communicate(timeout=30) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    assert results[0] == results[1] == (f"{hub.fetch(REPO, commit).directory}\n", "")
    assert len(fake_hub.asked("cdn")) == 1


def test_resumes_after_kill(fake_hub: FakeHub, hub_cache: Path, commit: str) -> None:
    fake_hub.fault("cdn", body="stall", times=1)
    process = child(fake_hub, hub_cache, commit)
    deadline = time.monotonic() + 30
    while not fake_hub.asked("cdn"):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list(hub_cache.rglob("*.incomplete"))
    assert hub.fetch(REPO, commit).files[1].sha256 == sha256(WEIGHTS)
    assert not list(hub_cache.rglob("*.incomplete"))


def test_a_download_under_way_elsewhere_is_left_alone(
    fake_hub: FakeHub, hub_cache: Path, commit: str
) -> None:
    blob = (hub.fetch(REPO, commit).directory / "model.safetensors").resolve()
    unfinished = blob.with_name(f"{blob.name}.1a2b3c4d.incomplete")
    unfinished.write_bytes(b"half")
    lock = hub_cache / ".locks" / blob.parents[1].name / f"{blob.name}.lock"
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        hub.fetch(REPO, commit)
        assert unfinished.exists()
    hub.fetch(REPO, commit)
    assert not unfinished.exists()


def test_timm_loads_what_was_fetched(fake_hub: FakeHub, tmp_path: Path) -> None:
    import timm
    import torch

    made = timm.create_model("test_vit", num_classes=3)
    timm.models.save_for_hf(made, tmp_path / "made", safe_serialization=True)
    files = {path.name: path.read_bytes() for path in (tmp_path / "made").iterdir()}
    snapshot = hub.fetch(REPO, fake_hub.add(REPO, files))
    fake_hub.requests.clear()
    loaded = timm.create_model(f"local-dir:{snapshot.directory}", pretrained=True)
    assert all(
        torch.equal(tensor, made.state_dict()[name]) for name, tensor in loaded.state_dict().items()
    )
    assert fake_hub.requests == []


# What cannot work, and is said


def test_unknown_repository(fake_hub: FakeHub) -> None:
    error = failure("acme/none")
    assert error.code == "not_found"
    assert "private" in error.message
    assert failure("acme/none--such..name").code == "not_found"


def test_private_repository_looks_unknown(
    fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = fake_hub.add(REPO, FILES, private=True)
    assert failure().code == failure(revision=commit).code == "not_found"
    fake_hub.strangers.add(TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert failure().code == failure(revision=commit).code == "not_found"


@pytest.mark.parametrize("revision", ["v9", "0" * 40])
def test_unknown_revision(fake_hub: FakeHub, commit: str, revision: str) -> None:
    error = failure(revision=revision)
    assert error.code == "revision_not_found"
    assert revision in error.message


def test_no_safetensors(fake_hub: FakeHub) -> None:
    fake_hub.add(REPO, {"config.json": CONFIG, "pytorch_model.bin": b"\x80pickle", "a\x1b[2J": b""})
    error = failure()
    assert error.code == "no_safetensors"
    assert "a?[2J, config.json, pytorch_model.bin" in error.message
    assert "checkpoint:" in error.hint
    fake_hub.fault("tree", status=404)
    assert failure().code == "no_safetensors"


def test_no_config(fake_hub: FakeHub) -> None:
    fake_hub.add(REPO, {"model.safetensors": WEIGHTS})
    error = failure()
    assert (error.code, "model.safetensors" in error.message) == ("no_config", True)
    assert fake_hub.asked("cdn") == []


@pytest.mark.parametrize("token", ["", TOKEN])
def test_gated(fake_hub: FakeHub, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub.add(REPO, FILES, gated=True)
    fake_hub.strangers.add(TOKEN)
    monkeypatch.setenv("HF_TOKEN", token)
    error = failure()
    assert error.code == "gated"
    assert f"{fake_hub.url}/{REPO}" in error.hint
    assert "hf auth login" in error.hint


@pytest.mark.parametrize("token", [TOKEN, f"{TOKEN}\x00", f"{TOKEN}é"])
def test_bad_token(
    fake_hub: FakeHub, commit: str, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: token)
    for revision in (None, commit):
        error = failure(revision=revision)
        assert error.code == "bad_token"
        assert "HF_TOKEN" in error.hint
        assert "public" in error.message


def test_forbidden(fake_hub: FakeHub, commit: str) -> None:
    fake_hub.fault("head", status=403)
    assert failure().code == "forbidden"
    fake_hub.fault("info", status=403)
    assert failure().code == "forbidden"


def test_not_a_hub(fake_hub: FakeHub, commit: str, waits: fixtures.Waits) -> None:
    fake_hub.fault("head", status=200)
    assert failure().code == "unexpected"
    fake_hub.fault("info", status=200)
    assert failure().code == "unexpected"
    fake_hub.faults.clear()
    fake_hub.fault("info", status=404, headers={"X-Error-Code": "EntryNotFound"}, times=1)
    assert failure().code == "unexpected"
    fake_hub.fault("info", status=418)
    assert failure().code == "unexpected"
    assert waits == []


def test_offline_without_cache(
    fake_hub: FakeHub, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for revision in (None, commit):
        error = failure(revision=revision)
        assert error.code == "offline_not_cached"
        assert "HF_HUB_OFFLINE" in error.hint
    assert fake_hub.requests == []


@pytest.mark.parametrize(
    ("problem", "code", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full", "HF_HUB_CACHE"),
        (OSError(errno.EACCES, "Permission denied"), "cache_unusable", "Permission denied"),
        (XetDownloadError("at https://cas/?sign=" + SIGNATURE), "hub_unavailable", "DISABLE_XET"),
        (KeyError(SIGNATURE), "unexpected", "KeyError"),
    ],
)
def test_storing_fails(
    commit: str,
    problem: Exception,
    code: str,
    words: str,
    waits: fixtures.Waits,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def http_get(*args: object, **kwargs: object) -> None:
        raise problem

    monkeypatch.setattr("huggingface_hub.file_download.http_get", http_get)
    error = failure()
    assert (error.code, len(waits)) == (code, 3 if code == "hub_unavailable" else 0)
    assert words in str(error)


# What goes wrong for a while, or for ever


def test_503_once(fake_hub: FakeHub, commit: str, waits: fixtures.Waits) -> None:
    for step in ("info", "head", "file", "cdn"):
        fake_hub.fault(step, status=503, times=1)
    assert hub.fetch(REPO, hub.resolve(REPO, None)).commit == commit
    assert waits


@pytest.mark.parametrize("step", ["info", "head", "file", "cdn"])
def test_503_for_ever(
    fake_hub: FakeHub,
    commit: str,
    step: str,
    waits: fixtures.Waits,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fake_hub.fault(step, status=503)
    error = failure()
    assert error.code == "hub_unavailable"
    assert "503" in error.message
    assert sum(waits) < 30
    assert SIGNATURE not in caplog.text


@pytest.mark.parametrize("step", ["info", "head", "file", "cdn"])
def test_429_waits_as_asked(
    fake_hub: FakeHub, commit: str, step: str, waits: fixtures.Waits
) -> None:
    fake_hub.fault(step, status=429, headers={"Retry-After": "17"}, times=2)
    assert hub.fetch(REPO, hub.resolve(REPO, None)).commit == commit
    # The client's first HEAD goes to the cache at once and its second waits a second longer.
    assert len(waits) == (1 if step == "head" else 2)
    assert set(waits) <= {17, 18}


def test_429_by_the_hubs_own_header(fake_hub: FakeHub, commit: str, waits: fixtures.Waits) -> None:
    fake_hub.fault("info", status=429, headers={"RateLimit": '"api";r=0;t=55'}, times=1)
    assert hub.resolve(REPO, None) == commit
    assert waits == [55]


def test_429_for_ever(fake_hub: FakeHub, commit: str, waits: fixtures.Waits) -> None:
    fake_hub.fault("info", status=429, headers={"Retry-After": "5"})
    assert "asks to wait 5 seconds" in failure().message
    assert waits == [5, 5, 5]
    waits.clear()
    fake_hub.faults.clear()
    fake_hub.fault("info", status=429, headers={"Retry-After": "86400"})
    assert failure().code == "hub_unavailable"
    assert waits == []


@pytest.mark.parametrize("body", ["close", "reset", "short", "flip", "stall"])
@pytest.mark.parametrize("step", ["file", "cdn"])
def test_spoilt_body_once(
    fake_hub: FakeHub,
    hub_cache: Path,
    commit: str,
    step: str,
    body: str,
    waits: fixtures.Waits,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
    fake_hub.fault(step, body=body, times=1)
    found = hub.fetch(REPO, commit)
    assert [file.sha256 for file in found.files] == [sha256(CONFIG), sha256(WEIGHTS)]
    assert len(fake_hub.asked(step)) == 2
    assert not list(hub_cache.rglob("*.incomplete"))


@pytest.mark.usefixtures("waits")
def test_closed_body_is_resumed(
    fake_hub: FakeHub, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 40_000)
    fake_hub.fault("cdn", body="close", times=1)
    assert hub.fetch(REPO, commit).files[1].sha256 == sha256(WEIGHTS)
    assert [request.begin for request in fake_hub.asked("cdn")] == [0, 80_000]


@pytest.mark.parametrize("body", ["close", "reset", "short"])
def test_spoilt_body_for_ever(
    fake_hub: FakeHub,
    hub_cache: Path,
    commit: str,
    body: str,
    waits: fixtures.Waits,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fake_hub.fault("cdn", body=body)
    assert failure().code == "hub_unavailable"
    assert not list(hub_cache.rglob("*.safetensors"))
    assert SIGNATURE not in caplog.text


@pytest.mark.parametrize(("step", "name"), [("file", "config.json"), ("cdn", "model.safetensors")])
def test_altered_for_ever(fake_hub: FakeHub, commit: str, step: str, name: str) -> None:
    fake_hub.fault(step, body="flip")
    for _ in range(2):  # the cached copy is not trusted either
        error = failure()
        assert error.code == "altered"
        assert name in error.message
    assert len(fake_hub.asked(step)) == 3
    fake_hub.faults.clear()
    assert hub.fetch(REPO, commit).files[1].sha256 == sha256(WEIGHTS)


def test_altered_in_the_cache_and_offline(
    fake_hub: FakeHub, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = hub.fetch(REPO, commit).directory / "model.safetensors"
    weights.resolve().write_bytes(WEIGHTS[:-1] + b"?")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert failure(revision=commit).code == "altered"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    fake_hub.fault("head", status=503, times=1)
    monkeypatch.setattr(client, "_sleep", lambda seconds: None)
    assert hub.fetch(REPO, commit).files[1].sha256 == sha256(WEIGHTS)


def test_long_calls_are_not_repeated(
    fake_hub: FakeHub, commit: str, waits: fixtures.Waits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_PATIENCE", -1.0)
    fake_hub.fault("info", status=503)
    assert failure().code == "hub_unavailable"
    assert (len(fake_hub.asked("info")), waits) == (1, [])


def test_expired_link(fake_hub: FakeHub, commit: str, waits: fixtures.Waits) -> None:
    fake_hub.fault("cdn", status=403, times=1)
    hub.fetch(REPO, commit)
    assert len([r for r in fake_hub.asked("head") if r.path.endswith(".safetensors")]) == 2


@pytest.mark.parametrize("step", ["info", "head", "file", "cdn"])
def test_never_answers(
    fake_hub: FakeHub,
    commit: str,
    step: str,
    waits: fixtures.Waits,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "_TIMEOUT", 0.05)
    monkeypatch.setattr(client, "_WAITS", (0.0,))
    for name in ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"):
        monkeypatch.setattr(constants, name, 0.05)
    fake_hub.fault(step, status=0)
    assert failure().code == "hub_unavailable"
    assert len(fake_hub.asked(step)) > 1


def test_connection_refused(waits: fixtures.Waits, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeHub() as gone:
        pass
    monkeypatch.setattr(constants, "ENDPOINT", gone.url.replace("//", f"//user:{TOKEN}@"))
    template = gone.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    for revision in (None, "0" * 40):
        error = failure(revision=revision)
        assert error.code == "hub_unavailable"
        assert gone.url in error.message


# The cache, and what the client says


def test_blob_in_the_shared_store(fake_hub: FakeHub, hub_cache: Path, commit: str) -> None:
    weights = hub.fetch(REPO, commit).directory / "model.safetensors"
    blob, shared = weights.resolve(), hub_cache / "blobs" / "ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    blob.symlink_to(shared)
    fake_hub.requests.clear()
    assert hub.fetch(REPO, commit).files[1].sha256 == sha256(WEIGHTS)
    assert fake_hub.requests == []


def test_cache_without_links(
    fake_hub: FakeHub,
    commit: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.are_symlinks_supported", lambda *_: False)
    fake_hub.fault("cdn", body="flip", times=1)
    error = failure()
    assert error.code == "altered"
    # Here the client keeps the old file when it downloads again, and it is not ours to delete.
    found = re.search(r"Delete (\S+)", error.hint)
    assert found is not None
    Path(found[1]).unlink()
    assert hub.fetch(REPO, commit).files[1].sha256 == sha256(WEIGHTS)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "not verified" not in caplog.text
    assert hub.fetch(REPO, commit).files[1].sha256 == sha256(WEIGHTS)
    assert "not verified" in caplog.text


def test_secrets_stay_out_of_the_logs(
    fake_hub: FakeHub,
    commit: str,
    waits: fixtures.Waits,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO)
    for status in (429, 503):
        fake_hub.fault("cdn", status=status, times=1)
    fake_hub.fault("cdn", body="close", times=1)
    hub.fetch(REPO, commit)
    assert re.search(r"/lfs/\w+\?\.\.\.", caplog.text)
    assert SIGNATURE not in caplog.text
    hub.resolve(REPO, None)
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: f"{TOKEN}\x00")
    hub.resolve(REPO, None)
    assert "Bearer ..." in caplog.text
    assert TOKEN not in caplog.text


def test_commit_must_be_one() -> None:
    with pytest.raises(ValueError, match="40 hex digits"):
        hub.fetch(REPO, "main")


# A folder


def test_hashes_a_folder(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes(FILES[name])
    assert [file.sha256 for file in hub.hash_files(tmp_path)] == [sha256(CONFIG), sha256(WEIGHTS)]
    assert git_sha1(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"


def test_folder_without_the_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(CONFIG)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(CandidateError, match=r"pytorch_model\.bin") as caught:
        hub.hash_files(tmp_path)
    assert caught.value.code == "no_safetensors"
    with pytest.raises(CandidateError) as caught:
        hub.hash_files(tmp_path / "none")
    assert caught.value.code == "no_config"
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(CandidateError) as caught:
        hub.hash_files(tmp_path)
    assert caught.value.code == "unreadable"
