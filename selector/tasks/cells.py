"""Tables of images, and one image in them, read when it is decoded."""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selector.reading import is_file, read_bytes

if TYPE_CHECKING:
    from datasets import Dataset

# Of Linux's mman.h: take these pages out of memory, and read them again if they are needed.
_PAGE_OUT = 21
_ROWS_IN_MEMORY = 256
# Of an image file; uncompressed, one of as many pixels as are read takes no more.
MOST_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Tables:
    """The splits of a task.

    Attributes:
        splits: a table for each, by name.
        folders: where files that a table names may lie; None: anywhere.
    """

    splits: Mapping[str, Dataset]
    folders: tuple[Path, ...] | None


def read_image(path: Path) -> bytes:
    """An image file's content.

    Raises:
        OSError: it is no file, or too large.
    """
    # A pipe or a device would be read for ever.
    if not is_file(path):
        raise OSError(f"{path} is not a file")
    return read_bytes(path, MOST_BYTES)


class Column:
    """The images of a table, some hundred of which are in memory at a time.

    The library maps the table's file, and what was read through a map counts as memory of this
    process until it is told otherwise.
    """

    def __init__(self, images: Dataset) -> None:
        """Read the only column of a table."""
        self._images, self._reads = images, 0

    def __getitem__(self, row: int) -> Any:
        """What the library makes of one row."""
        (value,) = self._images[row].values()
        self._reads += 1
        if self._reads % _ROWS_IN_MEMORY == 0:
            _page_out(self._images)
        return value


def _page_out(table: Dataset) -> None:
    """Take a table out of memory; where the system cannot do so it stays there."""
    if sys.platform != "linux":
        return
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for chunk in table.data.column(0).chunks:
        for buffer in filter(None, chunk.buffers()):
            first = -(-buffer.address // mmap.PAGESIZE) * mmap.PAGESIZE
            length = buffer.address + buffer.size - first
            if length > 0:
                advise(first, length // mmap.PAGESIZE * mmap.PAGESIZE, _PAGE_OUT)


@dataclass(frozen=True, slots=True)
class Cell:
    """The image of one row.

    Attributes:
        images: the table's column.
        split: the table's name.
        row: in the table.
        folders: where files that the table names may lie; None: anywhere.
    """

    images: Column
    split: str
    row: int
    folders: tuple[Path, ...] | None

    def read(self) -> bytes:
        """The encoded image, from the table or from the file that the table names.

        Raises:
            OSError: that file is not in the task's folders, or is none.
        """
        value = self.images[self.row]
        if isinstance(value, dict):
            value = value["bytes"] if value.get("bytes") is not None else Path(value["path"])
        return self._file(value) if isinstance(value, Path) else bytes(value)

    def _file(self, path: Path) -> bytes:
        # Somebody else's table must not choose which of this machine's files are read.
        path = path.resolve()
        inside = self.folders is None or any(map(path.is_relative_to, self.folders))
        if not inside:
            raise OSError(f"{path} is not a file of the task")
        return read_image(path)

    def __str__(self) -> str:
        return f"{self.split} row {self.row}"
