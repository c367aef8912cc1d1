"""Who else can change what this user relies on: the store of measurements, the cache of the Hub.

Only owners and the usual rights are looked at, and not access lists beyond. Windows has no such
rights, and nothing is found there.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from selector.errors import UsageError, printable

_ROOT = 0


@dataclass(frozen=True)
class Exposure:
    """Who besides this user and root can change a file.

    Attributes:
        words: who, and where.
        anyone: every user of this machine can.
    """

    words: str
    anyone: bool


def exposure(path: Path) -> Exposure | None:
    """Who besides this user and root can change a file or a folder; None: nobody.

    What does not exist yet is as exposed as the folder where it would be made. Where everyone may
    write, as in /tmp, others can put files beside it, which SQLite would take for its own; further
    up such a folder does no harm if it is sticky. The group of this process counts as its user's.

    Args:
        path: of a file or a folder; a link stands for what it leads to.
    """
    if os.name != "posix":
        return None
    path = path.absolute()
    while not path.exists():
        path = path.parent
    path = path.resolve()
    near = [path] if path.is_dir() else [path, path.parent]
    above = near[-1].parents
    for one in (*near, *(folder for folder in above if not _is_sticky(folder))):
        if one.stat().st_mode & stat.S_IWOTH:
            return Exposure(f"anyone can write to {printable(str(one))}", anyone=True)
    for one in near:
        found = one.stat()
        if found.st_uid not in (os.geteuid(), _ROOT):
            whose = f"{printable(str(one))} belongs to another user (id {found.st_uid})"
            return Exposure(whose, anyone=False)
        if found.st_mode & stat.S_IWGRP and found.st_gid != os.getegid():
            whose = f"the group with id {found.st_gid} can write to {printable(str(one))}"
            return Exposure(whose, anyone=False)
    return None


def check_private(path: Path, option: str) -> str:
    """Refuse a store that anyone can change: what they put there would pass for measured.

    Args:
        path: of the store, which need not exist.
        option: what names another place, for the message.

    Returns:
        What to warn of, where it is shared with somebody in particular; else nothing.

    Raises:
        UsageError: every user of this machine can change it.
    """
    found = exposure(path)
    if found is not None and found.anyone:
        raise UsageError(
            f"{printable(str(path))} must not be open to all, as what lies there passes for"
            f" measured: {found.words}.",
            hint=f"Let {option} name a folder of your own, or take the right away: chmod o-w.",
        )
    return f"measurements are shared: {found.words}." if found is not None else ""


def _is_sticky(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_ISVTX)
