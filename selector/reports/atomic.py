"""Files that are whole under their names, or not there."""

from __future__ import annotations

import fcntl
import glob
import os
import tempfile
from contextlib import suppress
from pathlib import Path

# What a file is called until it is whole: .NAME.XXXXXXXX and this.
_PARTIAL = ".partial"


def whole(path: Path, text: str) -> None:
    """Write ``path`` whole or not at all, whenever the machine stops.

    Raises:
        OSError: it cannot be.
    """
    _remove_abandoned(path)
    handle, temporary = _temporary(path)
    try:
        # Closed after it has its name: what is locked is not taken for abandoned.
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _temporary(path: Path) -> tuple[int, Path]:
    """A new file beside ``path``, open and locked."""
    while True:
        handle, name = tempfile.mkstemp(_PARTIAL, f".{path.name}.", path.parent)
        with suppress(OSError):  # there are file systems without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        # Before it was locked, another process may have taken it for abandoned.
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)


def _remove_abandoned(path: Path) -> None:
    """Delete what writers of ``path`` left that were killed: nobody has it locked any more."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{_PARTIAL}"):
        with suppress(OSError), left.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()
