"""What a store holds, whether it is sound, and what of it may go."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from selector.errors import UsageError
from selector.store.database import COVERED, checksum, connect, damaged, reading

Kind = Literal["measurement", "part"]
_TABLES: dict[Kind, str] = {"measurement": "measurements", "part": "parts"}
# Characters of a key that tell rows apart in practice.
SHORT_KEY = 12


@dataclass(frozen=True)
class Held:
    """One row of a store.

    Attributes:
        key: 64 hex digits.
        kind: a whole measurement, or what some passes gave.
        what: the kind of record, or of passes.
        name: of the candidate; of a part the backbone it is of.
        model: what was measured, exactly.
        created: UTC, as ``YYYY-MM-DD HH:MM:SS``.
        bytes: of its content.
    """

    key: str
    kind: Kind
    what: str
    name: str
    model: str
    created: str
    bytes: int


@dataclass(frozen=True)
class Rule:
    """What :func:`collect_garbage` takes out.

    Attributes:
        older_than: days since a row was made, and a part was last used; None: no matter.
        parts: all of them, whatever their age.
        parts_limit: bytes of parts that may stay; None: no matter.
    """

    older_than: float | None = None
    parts: bool = False
    parts_limit: int | None = None


def held(path: Path) -> list[Held]:
    """Everything a store holds, whole measurements first, the newest first."""
    with _opened(path) as connection:
        measured = connection.execute(
            "SELECT key, 'measurement', form, name, model, created, length(document)"
            " FROM measurements ORDER BY created DESC, name"
        )
        parts = connection.execute(
            "SELECT key, 'part', what, model, model, created, bytes FROM parts"
            " ORDER BY created DESC, key"
        )
        return [Held(*row) for row in (*measured, *parts)]


def details(path: Path, start: str) -> dict[str, Any]:
    """All that is known of the one row whose key starts so.

    Raises:
        UsageError: no row, or several.
    """
    found = [one for one in held(path) if one.key.startswith(start)]
    if len(found) != 1 or not start:
        raise UsageError(
            f"KEY must be the beginning of one key of {path}, found {len(found)} that begin with"
            f" {start!r}.",
            hint="`selector store ls` lists them.",
        )
    (one,) = found
    table = _TABLES[one.kind]
    shown: dict[str, Any] = dict(vars(one))
    with _opened(path) as connection:
        values = next((sound for _, sound in _rows(connection, table, one.key)), None)
        if values is None:
            raise damaged(path, f"{one.kind} {one.key[:SHORT_KEY]} has been altered")
        if one.kind == "measurement":
            depends, document = json.loads(values["depends"]), json.loads(values["document"])
            return shown | {"depends_on": depends, "record": document}
        (used,) = connection.execute("SELECT used FROM parts WHERE key = ?", (one.key,)).fetchone()
    passes = {f"{way}_passes": values[way] for way in ("forward", "backward")}
    return shown | passes | {"seconds": values["seconds"], "used": used}


def damage(path: Path) -> list[str]:
    """What is wrong with a store, a line each.

    Raises:
        StoreError: the file is no store, or cannot be read.
    """
    lines: list[str] = []
    with _opened(path) as connection:
        try:
            found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
            lines += [line for line in found if line != "ok"]
        except sqlite3.DatabaseError as error:
            lines.append(str(error))
        for kind, table in _TABLES.items():
            for key, sound in _rows(connection, table):
                if sound is None:
                    lines.append(f"{kind} {key[:SHORT_KEY]} is not what was put there")
    return lines


def collect_garbage(path: Path, rule: Rule) -> tuple[int, int]:
    """Take out what a rule names, and give the room back; returns rows and bytes of content."""
    with _opened(path) as connection:
        before = _size(connection)
        with connection:
            if rule.older_than is not None:
                age = (f"-{rule.older_than * 86400:.0f} seconds",)
                connection.execute(
                    "DELETE FROM measurements WHERE created < datetime('now', ?)", age
                )
                connection.execute("DELETE FROM parts WHERE used < datetime('now', ?)", age)
            if rule.parts:
                connection.execute("DELETE FROM parts")
        if rule.parts_limit is not None:
            trim_parts(connection, rule.parts_limit)
        give_back(connection)
        after = _size(connection)
    return before[0] - after[0], before[1] - after[1]


def trim_parts(connection: sqlite3.Connection, limit: int) -> None:
    """Take out parts until the others have at most ``limit`` bytes; the longest unused go first."""
    with connection:
        gone = connection.execute(
            "DELETE FROM parts WHERE key IN (SELECT key FROM (SELECT key, sum(bytes) OVER"
            " (ORDER BY used DESC, key ROWS UNBOUNDED PRECEDING) AS total FROM parts)"
            " WHERE total > ?)",
            (limit,),
        ).rowcount
    if gone:
        give_back(connection)


def give_back(connection: sqlite3.Connection) -> None:
    """Return the room of what was taken out to the disk."""
    for _ in connection.execute("PRAGMA incremental_vacuum"):
        pass


def _size(connection: sqlite3.Connection) -> tuple[int, int]:
    rows, size = connection.execute(
        "SELECT sum(n), sum(size) FROM (SELECT count(*) AS n, total(length(document)) AS size FROM"
        " measurements UNION ALL SELECT count(*), total(bytes) FROM parts)"
    ).fetchone()
    return int(rows), int(size)


def _rows(
    connection: sqlite3.Connection, table: str, key: str | None = None
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Keys of rows, with what they hold; None where that is not what was put there."""
    names = COVERED[table]
    # Bytes that are no text are damage, and no reason not to go on.
    connection.text_factory = lambda data: data.decode(errors="replace")
    rows = connection.execute(
        f"SELECT {', '.join(names)}, sha256 FROM {table} WHERE ? IS NULL OR key = ?", (key, key)
    )
    while True:
        try:
            row = next(rows, None)
        except sqlite3.DatabaseError:
            return  # a page is broken, which the integrity check tells
        if row is None:
            return
        *values, expected = row
        sound = dict(zip(names, values, strict=True)) if checksum(values) == expected else None
        yield str(row[0]), sound


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.exists():
        raise UsageError(
            f"there is no store at {path}: nothing was measured yet.",
            hint="--store or SELECTOR_CACHE names another folder.",
        )
    with reading(path), closing(connect(path)) as connection:
        yield connection
