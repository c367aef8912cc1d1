"""What runs leave: the rows of a store, read without selector, and a ranking without its dates."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What may differ between two runs of the same command: times, peaks of memory, dates.
_OF_THE_RUN = ("seconds_", "peak_")
_EXACTLY = {"created", "seconds"}
# Columns that say when a row was used, not what it holds.
_USE = {"used"}


@dataclass(frozen=True)
class Rows:
    """What a store holds, read without selector.

    Attributes:
        rows: a hash of each row, by table and row number.
        names: candidates that it holds a whole measurement of.
        passes: images forward in the parts that it holds, by the model they belong to.
        sound: what SQLite says of the file: "ok".
    """

    rows: Mapping[tuple[str, int], str]
    names: frozenset[str]
    passes: Mapping[str, int]
    sound: str


def read_store(path: Path) -> Rows:
    """Read a store from a copy, so that what a kill left there is left there."""
    with tempfile.TemporaryDirectory() as copy:
        for one in path.parent.glob(f"{path.name}*"):
            shutil.copy(one, copy)
        if not (Path(copy) / path.name).exists():
            return Rows({}, frozenset(), {}, "ok")
        with closing(sqlite3.connect(Path(copy) / path.name)) as connection:
            connection.row_factory = sqlite3.Row
            return _rows(connection)


def _rows(connection: sqlite3.Connection) -> Rows:
    (sound,) = connection.execute("PRAGMA integrity_check").fetchone()
    tables = [row["name"] for row in connection.execute("SELECT name FROM sqlite_master")]
    hashes, names, passes = {}, set(), Counter[str]()
    for table in (one for one in tables if not one.startswith("sqlite_")):
        for row in connection.execute(f"SELECT rowid AS number, * FROM {table}"):
            values = {key: value for key, value in dict(row).items() if key not in _USE}
            text = repr(sorted(values.items()))
            hashes[table, row["number"]] = hashlib.sha256(text.encode()).hexdigest()
            if "document" in values:
                names.add(json.loads(values["document"])["name"])
            if "tensors" in values:
                passes[values["model"].partition("@")[0].removeprefix("hf-hub:")] += values[
                    "forward"
                ]
    return Rows(hashes, frozenset(names), passes, sound)


def same(document: Any) -> Any:
    """A document without what may differ between two runs of the same command."""
    if isinstance(document, dict):
        return {
            key: same(value)
            for key, value in document.items()
            if key not in _EXACTLY and not key.startswith(_OF_THE_RUN)
        }
    return [same(value) for value in document] if isinstance(document, list) else document


def read_output(path: Path) -> Any:
    """What a ranking says, without what may differ; None where there is no file."""
    return same(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None
