"""Tables of images, and one image in them, read when it is decoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Tables:
    """The splits of a task.

    Attributes:
        splits: a table for each, by name.
        folders: where files that a table names may lie; None: anywhere.
    """

    splits: Mapping[str, Dataset]
    folders: tuple[Path, ...] | None


@dataclass(frozen=True, slots=True)
class Cell:
    """The image of one row.

    Attributes:
        images: the table's column.
        split: the table's name.
        row: in the table.
        folders: where files that the table names may lie; None: anywhere.
    """

    images: Dataset
    split: str
    row: int
    folders: tuple[Path, ...] | None

    def read(self) -> bytes:
        """The encoded image, from the table or from the file that the table names.

        Raises:
            OSError: that file is not in the task's folders, or is none.
        """
        (value,) = self.images[self.row].values()
        if isinstance(value, dict):
            value = value["bytes"] if value.get("bytes") is not None else Path(value["path"])
        return self._file(value) if isinstance(value, Path) else bytes(value)

    def _file(self, path: Path) -> bytes:
        # Somebody else's table must not choose which of this machine's files are read.
        path = path.resolve()
        inside = self.folders is None or any(map(path.is_relative_to, self.folders))
        if not (inside and path.is_file()):
            raise OSError(f"{path} is not a file of the task")
        return path.read_bytes()

    def __str__(self) -> str:
        return f"{self.split} row {self.row}"
