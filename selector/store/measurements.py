"""Measurements kept by what they depend on, so that the same command continues where it ended."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import platformdirs
from pydantic import ValidationError

from selector.records import (
    CertifiedCandidate,
    Evaluation,
    Record,
    RegressionEvaluation,
    Screened,
    Sweep,
)
from selector.store.contents import OWNED, Content
from selector.store.database import COVERED, checksum, connect, damaged, reading
from selector.store.parts import Label, Part, from_bytes
from selector.store.upkeep import trim_parts

FILE = "measurements.sqlite"
# Parts are a convenience: they take at most so much, and leave others so much room.
PARTS_LIMIT = 10 * 10**9
ROOM_FOR_OTHERS = 10**9

Measured = Evaluation | Sweep | RegressionEvaluation | Screened | CertifiedCandidate
_MEASUREMENT, _PART = (", ".join(COVERED[table]) for table in ("measurements", "parts"))
_R = TypeVar("_R", bound=Record)
_log = logging.getLogger(__name__)


def default_folder() -> Path:
    """Where the store of this user is; ``SELECTOR_CACHE`` names another folder for it."""
    return Path(os.environ.get("SELECTOR_CACHE") or platformdirs.user_cache_path("selector"))


def default_path() -> Path:
    """The store of this user."""
    return default_folder() / FILE


class Store:
    """Measurements and their parts by content key, in one file; every write is whole or absent.

    Without a content nothing is kept, and nothing found.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            StoreError: the folder cannot be written, or the file is something else.
        """
        self.path = path
        self._connection = connect(path)
        self._keeps_parts, self._used = True, list[str]()
        self._together = False

    def get(self, content: Content | None, form: type[_R]) -> _R | None:
        """The record kept under it; None where there is none of this form.

        Raises:
            DamagedStore: it is not what was put there.
        """
        if content is None:
            return None
        with reading(self.path):
            row = self._connection.execute(
                f"SELECT {_MEASUREMENT}, sha256 FROM measurements WHERE key = ?", (content.key,)
            ).fetchone()
        if row is None:
            return None
        *values, expected = row
        if checksum(values) != expected:
            raise damaged(self.path, f"measurement {content.key[:12]} has been altered")
        try:
            return form.model_validate_json(values[-1])
        except ValidationError:
            # Written by another version of the record; measuring again replaces it.
            return None

    def put(self, content: Content | None, measured: Measured) -> None:
        """Keep a measurement, replacing an older one; a full disk is a warning, not the end."""
        if content is None:
            return
        row = {
            "key": content.key,
            "form": type(measured).__name__,
            "name": measured.name,
            "model": measured.model,
            "depends": content.text,
            "document": measured.model_dump_json(),
        }
        try:
            self._write("measurements", row)
        except sqlite3.Error as error:
            _log.warning("%s is measured but not kept for later runs: %s", measured.name, error)

    def get_part(self, key: str) -> Part | None:
        """What passes gave earlier; None where that is not kept.

        Raises:
            DamagedStore: it is not what was put there.
        """
        with reading(self.path):
            row = self._connection.execute(
                f"SELECT {_PART}, sha256 FROM parts WHERE key = ?", (key,)
            ).fetchone()
        if row is None:
            return None
        *values, expected = row
        if checksum(values) != expected:
            raise damaged(self.path, f"part {key[:12]} has been altered")
        self._used.append(key)
        _, _, _, *numbers, _, data = values
        return Part(from_bytes(data), *numbers)

    def part_keys(self, owned: str) -> frozenset[str]:
        """Keys of all parts that a backbone has.

        Args:
            owned: the last OWNED digits of one of them.
        """
        with reading(self.path):
            rows = self._connection.execute(
                f"SELECT key FROM parts WHERE substr(key, -{OWNED}) = ?", (owned,)
            ).fetchall()
        return frozenset(key for (key,) in rows)

    def put_part(self, key: str, label: Label, part: Part) -> None:
        """Keep what passes gave, where that leaves room on the disk.

        After a failure no more parts are tried: whole measurements need the room more.
        """
        if not self._keeps_parts:
            return
        data = part.to_bytes()
        row = {
            "key": key,
            "model": label.model,
            "what": label.what,
            "forward": part.forward,
            "backward": part.backward,
            "seconds": part.seconds,
            "batch_size": part.batch_size,
            "bytes": len(data),
            "tensors": data,
        }
        try:
            if shutil.disk_usage(self.path.parent).free < len(data) + ROOM_FOR_OTHERS:
                raise OSError(f"less than {ROOM_FOR_OTHERS / 1e9:g} GB would be free")
            self._write("parts", row)
        except (OSError, sqlite3.Error) as error:
            self._keeps_parts = False
            _log.warning(
                "what attacks attain is not kept in %s, whole measurements are: %s",
                self.path,
                error,
            )

    def close(self) -> None:
        """Release the file; beyond PARTS_LIMIT, the parts that were longest of no use go."""
        try:
            with self._connection:
                self._connection.executemany(
                    "UPDATE parts SET used = CURRENT_TIMESTAMP WHERE key = ?",
                    [(key,) for key in self._used],
                )
            trim_parts(self._connection, PARTS_LIMIT)
        except sqlite3.Error as error:
            _log.warning("%s is not tidied: %s", self.path, error)
        self._connection.close()

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is put meanwhile is kept when the block ends, with one wait for the disk.

        A wait takes milliseconds, and those who measure on many machines would queue for it.
        """
        self._together = True
        try:
            yield
        finally:
            self._together = False
            try:
                self._connection.commit()
            except sqlite3.Error as error:
                self._connection.rollback()
                _log.warning("what was measured last is not kept for later runs: %s", error)

    def _write(self, table: str, row: Mapping[str, Any]) -> None:
        row = {**row, "sha256": checksum(row[name] for name in COVERED[table])}
        columns, places = ", ".join(row), ", ".join("?" * len(row))
        statement = f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({places})"
        if self._together:
            self._connection.execute(statement, tuple(row.values()))
            return
        with self._connection:
            self._connection.execute(statement, tuple(row.values()))
