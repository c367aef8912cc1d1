"""The store: what was put is there, whatever happens to the process or to the record's form."""

from __future__ import annotations

import json
import math
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from builders import evaluation, right

from selector.attacks import ATTACKS
from selector.budget import Budget
from selector.heads import LinearHead
from selector.records import Evaluation
from selector.sensitivity import displacement_aim, loss_aim
from selector.store import (
    OWNED,
    Content,
    DamagedStore,
    Label,
    Part,
    Store,
    StoreError,
    contents,
    default_path,
    digest,
    measurements,
    part_key,
)
from selector.store.database import COVERED, FORM, checksum
from selector.threat import ThreatModel

PARTS = {
    "files": {"config.json": "a", "model.safetensors": "b"},
    "threat": {"norm": "linf", "eps": 4 / 255},
    "task": "f",
    "seed": 0,
}
KEY = Content({"k": 1})
OTHER = Content({"k": 2})
WRITER = """
import sys
from pathlib import Path
from threading import Thread
from typing import Any
from selector.records import Evaluation
from selector.store import Content, Store
document, path, name = sys.argv[1:]
evaluation = Evaluation.model_validate_json(Path(document).read_text())
print("ready", flush=True)
sys.stdin.readline()
kept = Store(Path(path))
for i in range(30):
    kept.put(Content({"of": f"{name}{i}"}), evaluation.model_copy(update={"name": f"{name}{i}"}))
kept.close()
"""


def key_of(parts: dict[str, object]) -> str:
    return Content(parts).key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "folder" / "store.sqlite"


@pytest.fixture
def kept(path: Path) -> Iterator[Store]:
    opened = Store(path)
    yield opened
    opened.close()


def alter(path: Path, document: str) -> None:
    """Replace the document in the file, as a selector with other records would."""
    names = COVERED["measurements"]
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE measurements SET document = ?", (document,))
        (row,) = connection.execute(f"SELECT {', '.join(names)} FROM measurements")
        connection.execute("UPDATE measurements SET sha256 = ?", (checksum(row),))
    connection.close()


def test_what_was_put_is_there(kept: Store) -> None:
    before = evaluation("a", right(7, 10), flags=["still_rising"])
    kept.put(KEY, before)
    assert kept.get(KEY, Evaluation) == before


def test_what_is_put_together_is_there_when_the_block_ends(kept: Store, path: Path) -> None:
    with closing(Store(path)) as other:
        with kept.together():
            kept.put_part("p", LABEL, PART)
            kept.put_part("q", LABEL, PART)
            assert kept.get_part("p") is not None
            assert other.get_part("p") is None
        assert other.get_part("p") is not None and other.get_part("q") is not None
        kept.put_part("r", LABEL, PART)
        assert other.get_part("r") is not None


def test_what_was_put_before_a_failure_is_kept(kept: Store, path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), kept.together():
        kept.put_part("p", LABEL, PART)
        raise KeyboardInterrupt
    with closing(Store(path)) as other:
        assert other.get_part("p") is not None


def test_another_key_holds_nothing(kept: Store) -> None:
    assert kept.get(KEY, Evaluation) is None
    kept.put(KEY, evaluation())
    assert kept.get(OTHER, Evaluation) is None


def test_a_second_put_replaces_the_first(kept: Store) -> None:
    kept.put(KEY, evaluation("a"))
    kept.put(KEY, evaluation("b"))
    assert kept.get(KEY, Evaluation) == evaluation("b")


def test_it_survives_reopening(path: Path) -> None:
    first = Store(path)
    first.put(KEY, evaluation())
    first.close()
    second = Store(path)
    assert second.get(KEY, Evaluation) == evaluation()
    second.close()


def test_it_survives_a_process_that_does_not_close_it(kept: Store, path: Path) -> None:
    kept.put(KEY, evaluation())
    beside = Store(path)
    assert beside.get(KEY, Evaluation) == evaluation()
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
        assert kept.get(KEY, Evaluation) is None
    kept.put(KEY, evaluation("measured again"))
    assert kept.get(KEY, Evaluation) == evaluation("measured again")


def test_a_store_that_another_run_makes_at_this_moment_is_ours(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, makers = sqlite3.connect, []

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = usual(*arguments, **options)

        def begun(statement: str) -> None:
            if statement == "PRAGMA user_version" and not makers:
                makers.append(Thread(target=lambda: Store(path).close()))
                makers[0].start()
                # It has to wait for who is reading.
                makers[0].join(0.3)

        connection.set_trace_callback(begun)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect)
    Store(path).close()
    makers[0].join()
    Store(path).close()


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
        found = opened.get(Content({"of": key}), Evaluation)
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
    assert len(key_of(PARTS)) == 64
    assert set(key_of(PARTS)) <= set("0123456789abcdef")


def test_a_key_does_not_depend_on_the_order_of_its_parts() -> None:
    backwards = {
        name: dict(reversed(part.items())) if isinstance(part, dict) else part
        for name, part in reversed(PARTS.items())
    }
    assert list(backwards) != list(PARTS)
    assert key_of(backwards) == key_of(PARTS)


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
    assert key_of(PARTS | change) != key_of(PARTS)


def test_a_key_changes_without_a_part() -> None:
    keys = {key_of({n: part for n, part in PARTS.items() if n != left}) for left in PARTS}
    assert len(keys | {key_of(PARTS)}) == len(PARTS) + 1


def test_a_key_changes_with_the_form_of_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key_of(PARTS)
    monkeypatch.setattr(contents, "SCHEMA_VERSION", "0.9")
    assert key_of(PARTS) != before


def test_a_key_is_made_of_numbers_only() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        key_of(PARTS | {"eps": math.nan})


# --- parts ---------------------------------------------------------------------------------------

PART = Part(
    {
        "features": torch.tensor([[0.1, -0.0], [float("nan"), 1e-40]]),
        "stuck": torch.tensor([True, False]),
    },
    forward=7,
    backward=5,
    seconds=1.25,
    batch_size=4,
)
LABEL = Label("local-dir:a", "search")


def test_a_part_comes_back_bit_by_bit(kept: Store) -> None:
    kept.put_part("p", LABEL, PART)
    found = kept.get_part("p")
    assert found is not None
    assert digest(found.tensors["features"]) == digest(PART.tensors["features"])
    assert found.tensors["stuck"].tolist() == [True, False]
    assert (found.forward, found.backward, found.seconds, found.batch_size) == (7, 5, 1.25, 4)
    assert kept.get_part("q") is None


def test_the_parts_of_one_backbone_are_listed(kept: Store) -> None:
    one, other = "1" * 64, "2" * 64
    keys = {part_key(one, ("a", 1)), part_key(one, ("a", 2))}
    assert len(keys) == 2 and not {part_key(other, ("a", 1)), part_key("1" * 63 + "2", 1)} & keys
    for key in (*keys, part_key(other, ("a", 1))):
        assert re.fullmatch(r"[0-9a-f]{64}", key)
        kept.put_part(key, LABEL, PART)
    assert {key[-OWNED:] for key in keys} == {"1" * OWNED}
    assert kept.part_keys("1" * OWNED) == keys
    assert kept.part_keys("3" * OWNED) == frozenset()


def test_parts_leave_others_room(
    kept: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(measurements, "ROOM_FOR_OTHERS", 10**18)
    kept.put_part("p", LABEL, PART)
    kept.put_part("q", LABEL, PART)
    assert kept.get_part("p") is None
    (said,) = caplog.messages
    assert "whole measurements are" in said
    kept.put(KEY, evaluation())
    assert kept.get(KEY, Evaluation) == evaluation()


def test_the_parts_that_were_longest_of_no_use_go(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Store(path)
    for key in "abcd":
        first.put_part(key, LABEL, PART)
    first.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE parts SET used = '2020-01-0' || instr('dbac', key)")
    connection.close()
    second = Store(path)
    assert second.get_part("d") is not None
    monkeypatch.setattr(measurements, "PARTS_LIMIT", 2 * len(PART.to_bytes()))
    second.close()
    third = Store(path)
    assert [key for key in "abcd" if third.get_part(key)] == ["c", "d"]
    third.close()


# --- a store that is not as it was ---------------------------------------------------------------


def test_an_altered_measurement_is_never_a_number(kept: Store, path: Path) -> None:
    kept.put(KEY, evaluation("a", right(7, 10)))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE measurements SET document = replace(document, '0.7', '0.8')")
    connection.close()
    with pytest.raises(DamagedStore, match="has been altered") as caught:
        kept.get(KEY, Evaluation)
    assert "selector store verify --repair" in caught.value.hint


def test_an_altered_part_is_never_a_number(kept: Store, path: Path) -> None:
    kept.put_part("p", LABEL, PART)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE parts SET tensors = zeroblob(9)")
    connection.close()
    with pytest.raises(DamagedStore, match="part p has been altered"):
        kept.get_part("p")


def test_a_broken_file_is_an_error_with_a_way_out(path: Path) -> None:
    filled = Store(path)
    for i in range(50):
        filled.put(Content({"i": i}), evaluation(f"{i}"))
    filled.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes(len(whole) - 200))
    with pytest.raises(StoreError, match=r"malformed|damaged") as caught:
        opened = Store(path)
        opened.get(KEY, Evaluation)
    assert "another folder" in caught.value.hint


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (f"PRAGMA user_version = {FORM + 1}", f"form {FORM} or older, found form {FORM + 1}"),
        ("PRAGMA application_id = 1", "that selector made, found another program's"),
    ],
)
def test_a_newer_store_and_another_programs_are_left_alone(
    path: Path, statement: str, said: str
) -> None:
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=said) as caught:
        Store(path)
    assert "--store" in caught.value.hint
    assert path.read_bytes() == before


def test_a_database_with_other_tables_is_left_alone(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    connection.close()
    with pytest.raises(StoreError, match="found another program's"):
        Store(path)


def test_a_store_from_before_it_had_a_form_goes_on(path: Path) -> None:
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE evaluations (key TEXT PRIMARY KEY, document TEXT)")
        connection.execute("INSERT INTO evaluations VALUES ('k', '{}')")
    connection.close()
    opened = Store(path)
    opened.put(KEY, evaluation())
    assert opened.get(KEY, Evaluation) == evaluation()
    opened.close()


# --- digests -------------------------------------------------------------------------------------


BUDGET = Budget(ATTACKS["annealed"], restarts=2, steps=4, seed=0)


def test_equal_values_have_equal_digests() -> None:
    def value() -> tuple[object, ...]:
        head = LinearHead(torch.eye(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64))
        aim = loss_aim(head, torch.tensor([0, 1]))
        return aim, displacement_aim(torch.ones(2, 3)), ThreatModel("l2", 0.5), None, b"x"

    assert digest(value()) == digest(value())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.zeros(2), torch.zeros(2, dtype=torch.int32)),
        (torch.zeros(2, 3), torch.zeros(3, 2)),
        (torch.zeros(1), -torch.zeros(1)),
        ((1, 2), (12,)),
        (("a", "b"), ("ab",)),
        ((("a",), "b"), ("a", ("b",))),
        (1, True),
        (1, 1.0),
        (1, "1"),
        (None, "None"),
        (ThreatModel("l2", 0.5), ThreatModel("linf", 0.5)),
        (displacement_aim(torch.ones(2, 3)), displacement_aim(torch.ones(2, 3), torch.eye(3))),
        (displacement_aim, loss_aim),
        (BUDGET, replace(BUDGET, steps=5)),
        (BUDGET, replace(BUDGET, restarts=3)),
        (BUDGET, replace(BUDGET, seed=1)),
        (BUDGET, replace(BUDGET, attack=ATTACKS["apgd"])),
    ],
)
def test_other_values_have_other_digests(one: object, other: object) -> None:
    assert digest(one) != digest(other)


def test_what_has_no_bits_of_its_own_has_no_digest() -> None:
    with pytest.raises(TypeError, match="a dict has no digest"):
        digest({})
