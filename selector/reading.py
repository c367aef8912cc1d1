"""Files that somebody names are read up to a limit, whatever they turn out to be."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def read_bytes(path: Path, most: int) -> bytes:
    """What a file holds.

    Of a pipe that is what its writer has to say; where nobody writes, nobody is waited for.

    Args:
        path: the file.
        most: bytes that it may hold.

    Raises:
        OSError: it cannot be read, or holds more; ``strerror`` says which.
    """
    try:
        # Path.open() cannot be told how to open.
        with open(path, "rb", opener=_without_waiting) as file:
            os.set_blocking(file.fileno(), True)
            found = file.read(most + 1)
    except ValueError:  # a NUL, which no path can hold
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL)) from None
    if len(found) > most:
        raise OSError(errno.EFBIG, f"it holds more than {most:,} bytes")
    return found


def is_file(path: Path) -> bool:
    """Whether a file is there; a path that the system refuses leads to none."""
    try:
        return path.is_file()
    except OSError:  # too long, or through a folder that may not be entered
        return False


def is_folder(path: Path) -> bool:
    """Whether a folder is there; a path that the system refuses leads to none."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _without_waiting(path: str, flags: int) -> int:
    # A pipe without a writer would be waited for, for ever.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
