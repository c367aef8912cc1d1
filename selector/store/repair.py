"""A store of what is sound of a damaged one."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from selector.store.database import COVERED, TIMES, checksum, connect


def repair(path: Path) -> tuple[int, int]:
    """Put every row that is what was put there into a new file, in place of the old one.

    A run that has the old one open goes on, and keeps what it still measures nowhere.

    Returns:
        Rows that were kept, and rows that were met and are not sound.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}.repaired")
    fresh.unlink(missing_ok=True)
    kept = lost = 0
    try:
        with closing(sqlite3.connect(path)) as old, closing(connect(fresh)) as new, new:
            old.text_factory = bytes
            for table, covered in COVERED.items():
                names = (*covered, "sha256", *TIMES[table])
                statement = (
                    f"INSERT OR IGNORE INTO {table} ({', '.join(names)})"
                    f" VALUES ({', '.join('?' * len(names))})"
                )
                for row in _readable(old, table, names):
                    if row is not None and checksum(row[: len(covered)]) == row[len(covered)]:
                        kept += new.execute(statement, row).rowcount
                    else:
                        lost += 1
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    return kept, lost


def _readable(
    old: sqlite3.Connection, table: str, names: tuple[str, ...]
) -> Iterator[tuple[str | bytes | int | float, ...] | None]:
    """Rows as far as they can be read, from either end; None for one that is no text."""
    for way in ("ASC", "DESC"):
        try:
            for row in old.execute(f"SELECT {', '.join(names)} FROM {table} ORDER BY rowid {way}"):
                yield _as_text(row, names)
        except sqlite3.DatabaseError:
            continue
        return


def _as_text(
    row: tuple[bytes | int | float, ...], names: tuple[str, ...]
) -> tuple[str | bytes | int | float, ...] | None:
    try:
        return tuple(
            value.decode() if isinstance(value, bytes) and name != "tensors" else value
            for name, value in zip(names, row, strict=True)
        )
    except UnicodeDecodeError:
        return None
