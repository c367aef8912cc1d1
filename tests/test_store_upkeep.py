"""``selector store``: what is held, whether it is sound, what may go."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
import torch
from builders import evaluation
from typer.testing import CliRunner

from selector.cli import app
from selector.store import FILE, Content, Label, Part, Store

PART = Part({"value": torch.arange(1000.0)}, forward=3, backward=2, seconds=0.5, batch_size=8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    kept = Store(tmp_path / FILE)
    kept.put(Content({"task": "t", "seed": 0}), evaluation("acme/a"))
    kept.put(Content({"task": "u"}), evaluation("acme/\x1b[31m[red]b"))
    kept.put_part("f" * 64, Label("hf:acme/a@1", "search"), PART)
    kept.close()
    return tmp_path


def alter(folder: Path, statement: str) -> None:
    with sqlite3.connect(folder / FILE) as connection:
        connection.execute(statement)
    connection.close()


def said(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["store", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def rows(folder: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(said("ls", "--parts", "--json", "--store", folder))
    return found


def test_ls_lists_measurements_and_counts_all(folder: Path) -> None:
    text = said("ls", "--store", folder)
    assert "acme/a" in text
    assert "Evaluation" in text
    assert "acme/?[31m[red]b" in text
    assert "search" not in text
    assert "2 measurements" in text
    assert "1 parts" in text
    assert "search" in said("ls", "--parts", "--store", folder)


def test_show_has_all_that_a_measurement_depends_on(folder: Path) -> None:
    key = Content({"task": "t", "seed": 0}).key
    shown = json.loads(said("show", key[:10], "--store", folder))
    assert shown["key"] == key
    assert shown["depends_on"]["task"] == "t"
    assert shown["record"]["name"] == "acme/a"
    part = json.loads(said("show", "fff", "--store", folder))
    assert (part["forward_passes"], part["backward_passes"]) == (3, 2)


@pytest.mark.parametrize("key", ["", "zz"])
def test_a_key_that_names_nothing_or_everything(folder: Path, key: str) -> None:
    assert "must be the beginning of one key" in said("show", key, "--store", folder, code=2)


def test_verify_finds_what_was_altered_and_repair_keeps_the_rest(folder: Path) -> None:
    assert "sound" in said("verify", "--store", folder)
    alter(folder, "UPDATE measurements SET document = document || ' ' WHERE name = 'acme/a'")
    alter(folder, "UPDATE parts SET tensors = zeroblob(9)")
    text = said("verify", "--store", folder, code=1)
    assert "part ffffffffffff is not what was put there" in text
    assert "verify --repair" in text
    assert "1 sound rows kept, 2 others" in said("verify", "--repair", "--store", folder)
    assert [row["name"] for row in rows(folder)] == ["acme/\x1b[31m[red]b"]
    assert "sound" in said("verify", "--store", folder)
    assert [path.name for path in folder.iterdir()] == [FILE]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE parts SET forward = forward + 1",
        "UPDATE parts SET batch_size = 1",
        "UPDATE parts SET what = 'extract'",
        "UPDATE measurements SET name = 'b'",
        "UPDATE measurements SET depends = '{}'",
        "UPDATE measurements SET document = CAST(x'ff00' AS TEXT)",
    ],
)
def test_every_value_counts_in_the_checksum(folder: Path, statement: str) -> None:
    alter(folder, statement)
    assert "is not what was put there" in said("verify", "--store", folder, code=1)
    said("verify", "--repair", "--store", folder)
    assert "sound" in said("verify", "--store", folder)


def test_show_tells_no_number_of_an_altered_row(folder: Path) -> None:
    key = Content({"task": "t", "seed": 0}).key
    alter(folder, "UPDATE measurements SET document = replace(document, '0.5', '0.9')")
    assert "has been altered" in said("show", key, "--store", folder, code=2)
    alter(folder, "UPDATE measurements SET document = '{'")
    assert "has been altered" in said("show", key, "--store", folder, code=2)


def test_repair_keeps_what_can_be_read_of_broken_pages(tmp_path: Path) -> None:
    kept = Store(tmp_path / FILE)
    for number in range(60):
        kept.put(Content({"number": number}), evaluation(f"acme/{number}"))
    kept.close()
    path = tmp_path / FILE
    whole = path.read_bytes()
    middle = len(whole) // 2 // 4096 * 4096
    path.write_bytes(whole[:middle] + bytes(4096) + whole[middle + 4096 :])
    said("verify", "--store", tmp_path, code=1)
    said("verify", "--repair", "--store", tmp_path)
    assert "sound" in said("verify", "--store", tmp_path)
    assert 30 < len(rows(tmp_path)) < 60


def test_a_store_is_a_folder(folder: Path) -> None:
    text = said("ls", "--store", folder / FILE, code=2)
    assert "--store must be a folder, found the file" in text.replace("\n", " ")


def test_gc_takes_out_what_it_is_told_and_gives_the_room_back(folder: Path) -> None:
    before = (folder / FILE).stat().st_size
    assert "1 rows taken out" in said("gc", "--parts", "--store", folder)
    assert (folder / FILE).stat().st_size < before
    assert len(rows(folder)) == 2
    alter(folder, "UPDATE measurements SET created = '2020-01-01' WHERE name = 'acme/a'")
    assert "1 rows taken out" in said("gc", "--older-than", "30d", "--store", folder)
    assert [row["name"] for row in rows(folder)] == ["acme/\x1b[31m[red]b"]


def test_gc_keeps_parts_within_the_limit(folder: Path) -> None:
    assert "0 rows" in said("gc", "--parts-limit", "1", "--store", folder)
    assert "1 rows" in said("gc", "--parts-limit", "0.000001", "--store", folder)


@pytest.mark.parametrize("arguments", [(), ("--older-than", "soon"), ("--older-than", "-1d")])
def test_gc_without_a_rule_takes_nothing(folder: Path, arguments: tuple[str, ...]) -> None:
    said("gc", *arguments, "--store", folder, code=2)
    assert len(rows(folder)) == 3


@pytest.mark.parametrize("command", [("ls",), ("show", "a"), ("verify",), ("gc", "--parts")])
def test_where_nothing_was_measured_there_is_no_store(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    assert "nothing was measured yet" in said(*command, "--store", tmp_path / "none", code=2)
    assert not (tmp_path / "none").exists()
