"""The store: what was put is there, whatever happens to the process or to the record's form."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import evaluation, right

from selector import store
from selector.store import Store, content_key, default_path

KEY = "k" * 64
PARTS = {
    "files": {"config.json": "a", "model.safetensors": "b"},
    "threat": {"norm": "linf", "eps": 4 / 255},
    "task": "f",
    "seed": 0,
}
WRITER = """
import sys
from pathlib import Path
from selector.records import Evaluation
from selector.store import Store
document, path, name = sys.argv[1:]
evaluation = Evaluation.model_validate_json(Path(document).read_text())
print("ready", flush=True)
sys.stdin.readline()
kept = Store(Path(path))
for i in range(30):
    kept.put(f"{name}{i}", evaluation.model_copy(update={"name": f"{name}{i}"}))
kept.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "folder" / "store.sqlite"


@pytest.fixture
def kept(path: Path) -> Iterator[Store]:
    opened = Store(path)
    yield opened
    opened.close()


def alter(path: Path, document: str) -> None:
    """Replace every document in the file, as another program would."""
    with sqlite3.connect(path) as connection:
        assert connection.execute("UPDATE evaluations SET document = ?", (document,)).rowcount == 1
    connection.close()


def test_what_was_put_is_there(kept: Store) -> None:
    before = evaluation("a", right(7, 10), flags=["still_rising"])
    kept.put(KEY, before)
    assert kept.get(KEY) == before


def test_another_key_holds_nothing(kept: Store) -> None:
    assert kept.get(KEY) is None
    kept.put(KEY, evaluation())
    assert kept.get(KEY[:-1] + "l") is None


def test_a_second_put_replaces_the_first(kept: Store) -> None:
    kept.put(KEY, evaluation("a"))
    kept.put(KEY, evaluation("b"))
    assert kept.get(KEY) == evaluation("b")


def test_it_survives_reopening(path: Path) -> None:
    first = Store(path)
    first.put(KEY, evaluation())
    first.close()
    second = Store(path)
    assert second.get(KEY) == evaluation()
    second.close()


def test_it_survives_a_process_that_does_not_close_it(kept: Store, path: Path) -> None:
    kept.put(KEY, evaluation())
    beside = Store(path)
    assert beside.get(KEY) == evaluation()
    beside.close()


def test_documents_that_no_longer_fit_count_as_absent(kept: Store, path: Path) -> None:
    kept.put(KEY, evaluation())
    whole = json.loads(evaluation().model_dump_json())
    fewer = {name: value for name, value in whole.items() if name != "vacuous"}
    for document in (
        json.dumps(whole)[:-20],
        "",
        "null",
        "{}",
        json.dumps(whole | {"of_another_version": 1}),
        json.dumps(fewer),
    ):
        alter(path, document)
        assert kept.get(KEY) is None
    kept.put(KEY, evaluation("measured again"))
    assert kept.get(KEY) == evaluation("measured again")


def test_two_processes_write_at_once(path: Path, tmp_path: Path) -> None:
    document = tmp_path / "evaluation.json"
    document.write_text(evaluation().model_dump_json(), encoding="utf-8")
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, document, path, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("a", "b")
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert writer.returncode == 0, errors
    opened = Store(path)
    for key in (f"{name}{i}" for name in ("a", "b") for i in range(30)):
        found = opened.get(key)
        assert found is not None
        assert found.name == key
    opened.close()


def test_the_default_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTOR_CACHE", str(tmp_path / "mine"))
    assert default_path() == tmp_path / "mine" / "measurements.sqlite"
    monkeypatch.delenv("SELECTOR_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_path().is_relative_to(tmp_path)
    assert default_path().name == "measurements.sqlite"


def test_a_key_is_a_sha256() -> None:
    assert len(content_key(PARTS)) == 64
    assert set(content_key(PARTS)) <= set("0123456789abcdef")


def test_a_key_does_not_depend_on_the_order_of_its_parts() -> None:
    backwards = {
        name: dict(reversed(part.items())) if isinstance(part, dict) else part
        for name, part in reversed(PARTS.items())
    }
    assert list(backwards) != list(PARTS)
    assert content_key(backwards) == content_key(PARTS)


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"config.json": "b", "model.safetensors": "a"}},
        {"files": {"config.json": "a", "model.safetensors": "c"}},
        {"files": {"config.json": "a"}},
        {"threat": {"norm": "l2", "eps": 4 / 255}},
        {"threat": {"norm": "linf", "eps": math.nextafter(4 / 255, 1)}},
        {"task": "g"},
        {"task": None},
        {"seed": 1},
        {"seed": "0"},
        {"more": 1},
    ],
    ids=str,
)
def test_a_key_changes_with_every_part(change: dict[str, object]) -> None:
    assert content_key(PARTS | change) != content_key(PARTS)


def test_a_key_changes_without_a_part() -> None:
    keys = {content_key({n: part for n, part in PARTS.items() if n != left}) for left in PARTS}
    assert len(keys | {content_key(PARTS)}) == len(PARTS) + 1


def test_a_key_changes_with_the_form_of_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    before = content_key(PARTS)
    monkeypatch.setattr(store, "SCHEMA_VERSION", "0.9")
    assert content_key(PARTS) != before


def test_a_key_is_made_of_numbers_only() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        content_key(PARTS | {"eps": math.nan})
