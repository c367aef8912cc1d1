"""Small disks: memory file systems that only the run sees, so that filling them harms nobody."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Disk:
    """A folder of a place that is a disk of its own, for who enters it.

    Attributes:
        folder: where it is mounted.
        wrapper: what a command begins with that is to see it.
        seen: the folder, as this process sees it.
    """

    folder: Path
    wrapper: tuple[str, ...]
    seen: Path

    def resize(self, size: str) -> None:
        """Make it as large as a mount option says: ``64k``."""
        self._mount("-o", f"remount,size={size}", str(self.folder))

    def read_only(self, yes: bool = True) -> None:
        """Let it take nothing, or something again."""
        self._mount("-o", f"remount,{'ro' if yes else 'rw'}", str(self.folder))

    def mount(self, size: str) -> None:
        """Mount it."""
        self._mount("-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(self.folder))

    def _mount(self, *words: str) -> None:
        subprocess.run([*self.wrapper, "mount", *words], check=True)


@contextmanager
def small_disk(place_folder: Path, name: str, size: str) -> Iterator[Disk]:
    """Mount a disk of this size on a folder of a place; gone afterwards, whoever still has it open.

    It lives in a mount namespace, which root may make, and others where user namespaces are on.
    """
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", "--mount", *rights, "sh", "-c", "echo ready; read line"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        if holder.stdout.readline() != "ready\n":
            raise RuntimeError("a mount namespace is needed: run as root, or allow user namespaces")
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        enter = ["nsenter", f"--target={holder.pid}", "--mount", *user]
        folder = place_folder / name
        seen = Path(f"/proc/{holder.pid}/root{folder}")
        # Once more into the folder: the one that a process was started in is without the disk.
        inside = ("sh", "-c", 'cd "$0" && exec "$@"', str(place_folder))
        disk = Disk(folder, (*enter, *inside), seen)
        try:
            disk.mount(size)
            yield disk
        finally:
            holder.stdin.close()
