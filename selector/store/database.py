"""One SQLite file that several runs share: opened, checked, and brought up to date."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from selector.errors import UsageError
from selector.trust import check_private

_log = logging.getLogger(__name__)

# The file says whose it is, and in which form: a number of our own, and the version of the tables.
_APPLICATION = 0x53454C52
FORM = 1
_BEFORE_FORM_1 = {"evaluations", "sqlite_autoindex_evaluations_1"}
# What keeps a sound store from being read or written.
_IN_THE_WAY = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}
# Seconds to wait for another run that writes.
_PATIENCE = 60

# Of each table, what its checksum is of, in this order.
COVERED = {
    "measurements": ("key", "form", "name", "model", "depends", "document"),
    "parts": (
        *("key", "model", "what", "forward", "backward", "seconds", "batch_size", "bytes"),
        "tensors",
    ),
}
# Of each table, when a row was made and used.
TIMES = {"measurements": ("created",), "parts": ("created", "used")}

_TABLES = """
CREATE TABLE measurements (
    key TEXT PRIMARY KEY, form TEXT NOT NULL, name TEXT NOT NULL, model TEXT NOT NULL,
    depends TEXT NOT NULL, created TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    document TEXT NOT NULL, sha256 TEXT NOT NULL
);
CREATE TABLE parts (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, what TEXT NOT NULL,
    forward INTEGER NOT NULL, backward INTEGER NOT NULL, seconds REAL NOT NULL,
    batch_size INTEGER NOT NULL,
    created TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    used TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    bytes INTEGER NOT NULL, tensors BLOB NOT NULL, sha256 TEXT NOT NULL
);
"""


class StoreError(UsageError):
    """The store cannot be read, written or believed."""


class DamagedStore(StoreError):  # noqa: N818 - a state of the store, said as one
    """What it holds is not what was put there."""


def connect(path: Path) -> sqlite3.Connection:
    """Open a store, or make it; one that an earlier selector made gets today's tables.

    Raises:
        StoreError: the folder cannot be written, or the file is something else, newer or damaged.
        UsageError: everybody can change it.
    """
    if shared := check_private(path, "--store"):
        _log.warning("%s", shared)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Taking the write lock at once lets two runs wait for each other; SQLite refuses a
        # reader that wants to become a writer, and a change to WAL mode, without waiting.
        connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level="IMMEDIATE")
        # A file may have been made to do more than hold rows.
        connection.execute("PRAGMA trusted_schema = OFF")
    except (OSError, sqlite3.Error) as error:
        raise _unusable(path, error) from None
    try:
        _bring_up_to_date(connection, path)
    except sqlite3.Error as error:
        connection.close()
        failure = _failure(path, error)
        if isinstance(failure, DamagedStore):
            failure.hint = (
                "Nothing of it can be read: delete that file, or give --store another folder, or"
                " set SELECTOR_CACHE."
            )
        raise failure from None
    except BaseException:
        connection.close()
        raise
    return connection


def _bring_up_to_date(connection: sqlite3.Connection, path: Path) -> None:
    application, form, tables = _state(connection)
    if application == _APPLICATION and form == FORM:
        with connection:
            # Says at once whether this can be written.
            connection.execute("BEGIN IMMEDIATE")
        return
    if application == _APPLICATION and form > FORM:
        raise StoreError(
            f"the store {path} must be of form {FORM} or older, found form {form}: a newer selector"
            " made it.",
            hint="Update selector, or give --store another folder.",
        )
    if application or form or tables - _BEFORE_FORM_1:
        raise StoreError(
            f"the store {path} must be a database that selector made, found another program's.",
            hint="Give --store another folder.",
        )
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("PRAGMA application_id").fetchone()[0] == _APPLICATION:
            return  # another run was quicker
        # What came before form 1 was worked out by other rules, so no key of it is ever asked for.
        connection.execute("DROP TABLE IF EXISTS evaluations")
        for statement in filter(str.strip, _TABLES.split(";")):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        connection.execute(f"PRAGMA user_version = {FORM}")


def _state(connection: sqlite3.Connection) -> tuple[int, int, set[str]]:
    """Whose it is, in which form, and its tables: all of one moment, as another run may make it."""
    connection.execute("BEGIN")
    try:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (form,) = connection.execute("PRAGMA user_version").fetchone()
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    finally:
        connection.rollback()
    return application, form, tables


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What SQLite cannot read is an error with a way out, and never a number.

    Raises:
        DamagedStore: the block met what SQLite cannot make sense of.
        StoreError: another run wrote for too long.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise _failure(path, error) from None


def damaged(path: Path, what: str) -> DamagedStore:
    """The error for a store that holds something else than what was put there."""
    return DamagedStore(
        f"the store {path} is damaged: {what}.",
        hint="`selector store verify --repair` keeps what is sound of it; or give --store another"
        " folder, or set SELECTOR_CACHE.",
    )


def checksum(values: Iterable[str | bytes | int | float]) -> str:
    """sha256 of what a row holds, that any change of it is noticed."""
    found = hashlib.sha256()
    for value in values:
        data = value if isinstance(value, bytes) else str(value).encode()
        found.update(len(data).to_bytes(8, "little") + data)
    return found.hexdigest()


def _failure(path: Path, error: sqlite3.Error) -> StoreError:
    # What Python itself cannot make sense of has no code.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return _unusable(path, error) if code & 0xFF in _IN_THE_WAY else damaged(path, str(error))


def _unusable(path: Path, error: Exception) -> StoreError:
    return StoreError(
        f"results are kept in {path}, which must be a database that can be written: {error}.",
        hint="Give --store another folder, or set SELECTOR_CACHE; or delete that file.",
    )
