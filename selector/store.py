"""Measurements kept by what they depend on, so that the same command continues where it ended."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
from pathlib import Path
from typing import Any, TypeVar

import platformdirs
from pydantic import ValidationError

from selector.errors import UsageError
from selector.records import (
    SCHEMA_VERSION,
    CertifiedCandidate,
    Evaluation,
    Record,
    RegressionEvaluation,
    Screened,
    Sweep,
)

_R = TypeVar("_R", bound=Record)
_log = logging.getLogger(__name__)


def default_path() -> Path:
    """The store of this user; ``SELECTOR_CACHE`` names another folder for it."""
    folder = os.environ.get("SELECTOR_CACHE") or platformdirs.user_cache_path("selector")
    return Path(folder) / "measurements.sqlite"


def content_key(parts: dict[str, Any]) -> str:
    """sha256 of everything a measurement depends on; equal contents give equal keys."""
    text = json.dumps({"schema": SCHEMA_VERSION, **parts}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Store:
    """Evaluations by content key, in one SQLite file; every write is complete or absent.

    Under the key None nothing is kept, and nothing found.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            UsageError: the folder cannot be written, or the file is something else.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Taking the write lock at once lets two runs wait for each other; SQLite refuses a
            # reader that wants to become a writer, and a change to WAL mode, without waiting.
            self._connection = sqlite3.connect(path, timeout=30, isolation_level="IMMEDIATE")
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.execute(
                    "CREATE TABLE IF NOT EXISTS evaluations"
                    " (key TEXT PRIMARY KEY, created TEXT DEFAULT CURRENT_TIMESTAMP, document TEXT)"
                )
        except (OSError, sqlite3.Error) as error:
            raise UsageError(
                f"results are kept in {path}, which must be a database that can be written:"
                f" {error}.",
                hint="Set SELECTOR_CACHE to another folder, or delete that file.",
            ) from None

    def get(self, key: str | None) -> Evaluation | None:
        """The evaluation kept under ``key``; None where there is none that still fits."""
        return self._read(key, Evaluation)

    def get_regression(self, key: str | None) -> RegressionEvaluation | None:
        """The same of a regression."""
        return self._read(key, RegressionEvaluation)

    def get_sweep(self, key: str | None) -> Sweep | None:
        """The same under several threats."""
        return self._read(key, Sweep)

    def get_screened(self, key: str | None) -> Screened | None:
        """What a short attack showed, kept under ``key``; None where there is none that fits."""
        return self._read(key, Screened)

    def get_certified(self, key: str | None) -> CertifiedCandidate | None:
        """The certificates kept under ``key``; None where there are none that fit."""
        return self._read(key, CertifiedCandidate)

    def _read(self, key: str | None, form: type[_R]) -> _R | None:
        row = self._connection.execute(
            "SELECT document FROM evaluations WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        try:
            return form.model_validate_json(row[0])
        except ValidationError:
            # Written by another version of the record; measuring again replaces it.
            return None

    def put(
        self,
        key: str | None,
        measured: Evaluation | Sweep | RegressionEvaluation | Screened | CertifiedCandidate,
    ) -> None:
        """Keep a measurement, replacing an older one; a full disk is a warning, not the end."""
        if key is None:
            return
        try:
            with self._connection:
                self._connection.execute(
                    "INSERT OR REPLACE INTO evaluations (key, document) VALUES (?, ?)",
                    (key, measured.model_dump_json()),
                )
        except sqlite3.Error as error:
            _log.warning("%s is measured but not kept for later runs: %s", measured.name, error)

    def close(self) -> None:
        """Release the file."""
        self._connection.close()
