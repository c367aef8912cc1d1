"""Tasks from the Hub, with the real client and library, against a Hub on this machine."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
from importlib.resources import files
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import warm
from fakehub import datasets, fixtures
from fakehub.server import SIGNATURE, FakeHub
from huggingface_hub import constants

from selector.errors import HubUnavailable, UsageError
from selector.protocol import Sizes
from selector.tasks import Task, load_task
from selector.tasks.options import NO_OPTIONS, TaskOptions

fake_hub, hub_cache, waits = fixtures.fake_hub, fixtures.hub_cache, fixtures.waits
datasets_cache = datasets.datasets_cache

ALL = Sizes(train=10_000, validation=10_000, test=10_000)
SPEC, REPO = "hf:acme/plates", "datasets/acme/plates"
TOKEN = "hf_secrettoken"
pytestmark = pytest.mark.usefixtures("datasets_cache")


def load(spec: str = SPEC, options: TaskOptions = NO_OPTIONS) -> Task:
    return load_task(spec, image_size=8, sizes=ALL, seed=0, options=options)


def refused(spec: str = SPEC) -> str:
    """What a person is told, which anyone may see."""
    with pytest.raises(UsageError) as caught:
        load(spec)
    assert caught.value.message.startswith("--task hf:")
    assert SIGNATURE not in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return str(caught.value)


def colours(task: Task) -> set[int]:
    """Which pictures are in the test part."""
    return set(task.test.pixels[:, 0, 4, 4].tolist())


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_OFFLINE, as the client and the library have read it."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)


# What works


def test_parquet(fake_hub: FakeHub) -> None:
    commit = fake_hub.add(REPO, datasets.plates())
    task = load()
    assert (task.name, task.source, task.revision) == ("acme/plates", SPEC, commit)
    # The publisher's order, not the alphabet's.
    assert task.classes == ("dish", "bowl")
    assert colours(task) == set(range(40, 60))
    assert task.test.labels[task.test.pixels[:, 0, 4, 4] == 41].tolist() == [1]
    assert len(task.train) + len(task.validation) == 40


def test_a_dataset_does_not_choose_files_of_this_machine(fake_hub: FakeHub, tmp_path: Path) -> None:
    private = tmp_path / "private.png"
    private.write_bytes(datasets.png((99, 0, 7)))
    files = dict(datasets.plates())
    name = next(name for name in files if "train" in name)
    table = pyarrow.parquet.read_table(io.BytesIO(files[name]))
    images = table["image"].to_pylist()
    images[3] = {"bytes": None, "path": str(private)}
    place = table.column_names.index("image")
    out = io.BytesIO()
    pyarrow.parquet.write_table(table.set_column(place, "image", [images]), out)
    fake_hub.add(REPO, files | {name: out.getvalue()})
    task = load()
    assert task.unreadable == ("train row 3",)
    seen = {value for part in (task.train, task.validation) for value in part.pixels[:, 0, 4, 4]}
    assert 99 not in {int(value) for value in seen}


def test_folders(fake_hub: FakeHub) -> None:
    commit = fake_hub.add(REPO, datasets.of_folders())
    task = load()
    assert (task.revision, task.classes) == (commit, ("bowl", "dish"))
    assert colours(task) == set(range(40, 60))
    assert task.test.labels[task.test.pixels[:, 0, 4, 4] == 41].tolist() == [1]


def test_the_same_commit_is_the_same_task(fake_hub: FakeHub) -> None:
    fake_hub.add(REPO, datasets.plates())
    assert load().fingerprint == load().fingerprint


def test_a_revision_is_pinned(fake_hub: FakeHub) -> None:
    first = fake_hub.add(REPO, datasets.plates())
    later = fake_hub.add(REPO, datasets.plates(("cup", "mug")), branch="refs/pr/1")
    for spec, commit, classes in (
        (SPEC, first, ("dish", "bowl")),
        (f"{SPEC}@refs/pr/1", later, ("cup", "mug")),
        (f"{SPEC}@{first}", first, ("dish", "bowl")),
        (f"{SPEC}@{later}", later, ("cup", "mug")),
    ):
        task = load(spec)
        assert (task.revision, task.classes) == (commit, classes)


def two_configs() -> dict[str, bytes]:
    card = "\n".join(
        [
            "---",
            "configs:",
            *(
                f"- config_name: {name}\n  data_files:\n  - split: train\n    path: {name}/*"
                for name in ("deep", "flat")
            ),
            "---",
        ]
    )
    return {
        "README.md": card.encode(),
        "deep/a.parquet": datasets.parquet([0, 1] * 10, ("bowl", "cup")),
        "flat/a.parquet": datasets.parquet([0, 1] * 10, ("dish", "tray")),
    }


def test_a_configuration(fake_hub: FakeHub) -> None:
    commit = fake_hub.add(REPO, two_configs())
    task = load(f"{SPEC}:flat")
    assert (task.name, task.classes) == ("acme/plates:flat", ("dish", "tray"))
    assert load(f"{SPEC}@{commit}:deep").classes == ("bowl", "cup")
    # Only what a configuration needs is downloaded.
    assert len(fake_hub.asked("cdn")) == 2


@pytest.mark.parametrize("spec", [SPEC, f"{SPEC}:round"])
def test_which_configuration(fake_hub: FakeHub, spec: str) -> None:
    fake_hub.add(REPO, two_configs())
    said = refused(spec)
    assert "'deep', 'flat'" in said
    assert "hf:acme/plates:CONFIG" in said


def test_token_reaches_the_hub_and_not_the_storage(
    fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_hub.members.add(TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    commit = fake_hub.add(REPO, datasets.plates(), gated=True, private=True)
    assert load().revision == commit
    assert {r.authorized for r in fake_hub.asked("info", "head", "tree", "file")} == {True}
    assert {r.authorized for r in fake_hub.asked("cdn")} == {False}


# What is in the cache


def test_offline_with_cache(fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(f"{SPEC}@{fake_hub.add(REPO, datasets.plates())}")
    later = fake_hub.add(REPO, datasets.plates(("cup", "mug")))
    assert load().revision == later
    fake_hub.requests.clear()
    go_offline(monkeypatch)
    # What was last seen, and what is pinned: never one for the other.
    assert load().revision == later
    assert load(f"{SPEC}@{first.revision}").fingerprint == first.fingerprint
    assert fake_hub.requests == []


def test_offline_without_cache(fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = fake_hub.add(REPO, datasets.plates())
    go_offline(monkeypatch)
    for spec in (SPEC, f"{SPEC}@{commit}"):
        said = refused(spec)
        assert "HF_HUB_OFFLINE" in said
        assert "HF_HOME" in said
    assert fake_hub.requests == []


def test_offline_another_commit_does_not_stand_in(
    fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_hub.add(REPO, datasets.plates())
    load()
    later = fake_hub.add(REPO, datasets.plates(("cup", "mug")))
    go_offline(monkeypatch)
    assert "is not" in refused(f"{SPEC}@{later}")


def test_pinned_and_cached_makes_no_request(fake_hub: FakeHub) -> None:
    first = load(f"{SPEC}@{fake_hub.add(REPO, datasets.plates())}")
    fake_hub.requests.clear()
    assert load(f"{SPEC}@{first.revision}").fingerprint == first.fingerprint
    assert fake_hub.requests == []


@pytest.mark.usefixtures("waits")
def test_hub_down_with_cache(fake_hub: FakeHub) -> None:
    fake_hub.add(REPO, datasets.plates())
    first = load()
    for step in ("info", "head", "tree", "file"):
        fake_hub.fault(step, status=503)
    assert load().fingerprint == first.fingerprint


# What cannot work, and is said


def test_unknown_dataset() -> None:
    said = refused("hf:acme/none")
    assert "no dataset acme/none" in said
    assert "private" in said


def test_a_model_is_no_dataset(fake_hub: FakeHub) -> None:
    fake_hub.add("acme/plates", {"config.json": b"{}"})
    assert "no dataset acme/plates" in refused()


def test_private_dataset_looks_unknown(fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = fake_hub.add(REPO, datasets.plates(), private=True)
    fake_hub.strangers.add(TOKEN)
    for token in ("", TOKEN):
        monkeypatch.setenv("HF_TOKEN", token)
        for spec in (SPEC, f"{SPEC}@{commit}"):
            assert "no dataset acme/plates" in refused(spec)


@pytest.mark.parametrize("revision", ["v9", "0" * 40])
def test_unknown_revision(fake_hub: FakeHub, revision: str) -> None:
    fake_hub.add(REPO, datasets.plates())
    said = refused(f"{SPEC}@{revision}")
    assert f"no branch, tag or commit {revision}" in said
    assert f"{fake_hub.url}/datasets/acme/plates/commits/main" in said


@pytest.mark.parametrize("token", ["", TOKEN])
def test_gated(fake_hub: FakeHub, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub.add(REPO, datasets.plates(), gated=True)
    fake_hub.strangers.add(TOKEN)
    monkeypatch.setenv("HF_TOKEN", token)
    said = refused()
    assert "gated" in said
    assert f"{fake_hub.url}/datasets/acme/plates," in said


@pytest.mark.parametrize("token", [TOKEN, f"{TOKEN}\x00", f"{TOKEN}é"])
def test_bad_token(fake_hub: FakeHub, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = fake_hub.add(REPO, datasets.plates())
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: token)
    for spec in (SPEC, f"{SPEC}@{commit}"):
        assert "token must be valid" in refused(spec)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"README.md": b"# nothing"}, "must be a dataset"),
        ({"plates.py": b"raise SystemExit"}, "scripts are no longer supported"),
        ({"train.parquet": b"PAR1 damaged PAR1"}, "must be a dataset"),
        ({"train.csv": b"text,label\na,b\n"}, "one image column"),
    ],
    ids=["empty", "script", "damaged", "text"],
)
# An older pandas leaves the csv file to Python to close.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_no_dataset_of_images(fake_hub: FakeHub, content: dict[str, bytes], words: str) -> None:
    fake_hub.add(REPO, content)
    assert words in refused()


def test_labels_that_are_kept_back(fake_hub: FakeHub) -> None:
    names = ("dish", "bowl")
    content = datasets.plates() | {
        "data/validation-00000-of-00001.parquet": datasets.parquet([0, 1] * 5, names, first=70),
        "data/test-00000-of-00001.parquet": datasets.parquet([-1] * 10, names, first=40),
    }
    fake_hub.add(REPO, content)
    assert "--test-split validation" in refused()
    task = load(options=TaskOptions(test_split="validation"))
    assert colours(task) == set(range(70, 80))
    del content["data/validation-00000-of-00001.parquet"]
    fake_hub.add(REPO, content)
    assert "--test-split NAME" in refused()


@pytest.mark.parametrize(
    "spec", ["hf:plates", "hf:", "hf:a/b/c", "hf:acme/plates@", "hf:acme/plates:", "hf:-a/b"]
)
def test_what_names_no_dataset(fake_hub: FakeHub, spec: str) -> None:
    assert "hf:owner/name[@revision][:config]" in refused(spec)
    assert fake_hub.requests == []


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space left"),
        (OSError(errno.EACCES, "Permission denied"), "Permission denied"),
    ],
)
def test_converting_fails(
    fake_hub: FakeHub, problem: OSError, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*args: object, **kwargs: object) -> None:
        raise problem

    fake_hub.add(REPO, datasets.plates())
    monkeypatch.setattr("datasets.arrow_writer.ArrowWriter.write_table", write)
    said = refused()
    assert words in said
    assert "HF_HOME" in said


# What goes wrong for a while, or for ever


def test_503_once(fake_hub: FakeHub, waits: fixtures.Waits) -> None:
    commit = fake_hub.add(REPO, datasets.plates())
    for step in ("info", "head", "tree", "cdn"):
        fake_hub.fault(step, status=503, times=1)
    assert load().revision == commit
    assert waits


@pytest.mark.parametrize("step", ["info", "head", "tree", "cdn"])
def test_503_for_ever(fake_hub: FakeHub, step: str, waits: fixtures.Waits) -> None:
    fake_hub.add(REPO, datasets.plates())
    fake_hub.fault(step, status=503)
    with pytest.raises(HubUnavailable) as caught:
        load()
    assert "503" in caught.value.message
    assert SIGNATURE not in str(caught.value)
    # A clock that goes on while the client waits would cut this short.
    assert sum(waits) < 120


@pytest.mark.parametrize("pinned", [True, False])
def test_nobody_there(fake_hub: FakeHub, pinned: bool, waits: fixtures.Waits) -> None:
    commit = fake_hub.add(REPO, datasets.plates())
    fake_hub.__exit__()
    with pytest.raises(HubUnavailable) as caught:
        load(f"{SPEC}@{commit}" if pinned else SPEC)
    assert "acme/plates could not be had" in caught.value.message
    assert waits


# The command line


def rank(fake_hub: FakeHub, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | fake_hub.environment(home) | {"NO_COLOR": "1", "TERM": "dumb"}
    return warm.run(("rank", "--task", SPEC, *arguments), env=environment)


def test_the_commit_is_in_the_document(fake_hub: FakeHub, tmp_path: Path) -> None:
    commit = fake_hub.add(REPO, datasets.plates())
    model = Path(str(files("selector.demo") / "zoo" / "tiny_vit.cifar10"))
    found = rank(
        fake_hub,
        tmp_path / "home",
        *("--model", f"local-dir:{model}", "--image-size", "32", "--preset", "quick", "--json"),
        *("--steps", "1", "--restarts", "1", "--test-images", "8", "--train-images", "20"),
    )
    assert found.returncode == 0, found.stderr
    task = json.loads(found.stdout)["task"]
    assert (task["source"], task["revision"]) == (SPEC, commit)
    assert (task["train_images"], task["test_images"]) == (20, 8)
    # stderr is no terminal here: no bars of the library's.
    assert "Generating" not in found.stderr


def test_exit_codes(fake_hub: FakeHub, tmp_path: Path) -> None:
    found = rank(fake_hub, tmp_path / "home", "--offline")
    assert found.returncode == 2, found.stderr
    assert "HF_HUB_OFFLINE is set" in found.stderr
    fake_hub.fault("info", status=429, headers={"Retry-After": "999"})
    found = rank(fake_hub, tmp_path / "home")
    assert found.returncode == 75, found.stderr
    assert "answers 429" in found.stderr
