"""Rows on their way into memory where they are few, and into a temporary file where they are not.

The file has no name, or loses it at once, so that it is gone with the process however that ends.
It is read, not mapped: pages of a map would count as memory of this process.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from selector.errors import UsageError, first_line, printable
from selector.rows import Rows, ranges

# More bytes than this go into a file. Memory of a GPU is its own, and reading back is slower there.
IN_MEMORY = 64 * 2**20
ON_DEVICE = 512 * 2**20

# Rows that become one array on their way to another process.
_CARRIED_AT_ONCE = 1024

_LARGE_FILES = Path("/var/tmp")


class FileRows:
    """Rows (n, ...) in a file, in this machine's memory only while somebody uses them."""

    def __init__(self, file: IO[bytes], like: Tensor) -> None:
        """None yet: of the type and shape of the rows of ``like``; ``file`` is closed in the end.

        Args:
            file: empty, unbuffered.
            like: any number of rows (b, ...).
        """
        self._file, self._like, self._count = file, like.new_empty(0, *like.shape[1:]), 0
        weakref.finalize(self, file.close)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, ...)."""
        return (self._count, *self._like.shape[1:])

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, places: slice | Tensor, /) -> Tensor:
        """The rows (b, ...) of a range without steps, or of an index (b,), on the CPU."""
        if isinstance(places, Tensor):
            found = self._empty(len(places))
            for row, place in zip(found, places.tolist(), strict=True):
                self._read(row, place)
            return found
        start, stop, step = places.indices(self._count)
        if step != 1:
            raise ValueError(f"rows are read in ranges without steps, found {places}")
        found = self._empty(max(0, stop - start))
        self._read(found, start)
        return found

    def __reduce__(self) -> tuple[Callable[..., FileRows], tuple[Tensor, list[np.ndarray]]]:
        """Another process reads the rows into a file of its own, which is its as this one is ours.

        They pass through memory: of both processes, and of what carries them.
        """
        parts = [self[part].numpy() for part in ranges(len(self), _CARRIED_AT_ONCE)]
        return _carried, (self._like, parts)

    def append(self, rows: Tensor) -> None:
        """Write some more rows (b, ...), from any device.

        Raises:
            OSError: there is no room for them.
        """
        left = _as_bytes(rows.cpu().contiguous())
        while len(left):
            left = left[self._file.write(left.data) :]
        self._count += len(rows)

    def _empty(self, count: int) -> Tensor:
        return torch.empty((count, *self._like.shape[1:]), dtype=self._like.dtype)

    def _read(self, into: Tensor, first: int) -> None:
        left, offset = _as_bytes(into), first * _row_bytes(self._like)
        while len(left):
            count = os.preadv(self._file.fileno(), [left.data], offset)
            if not count:
                raise OSError("a temporary file of selector has been cut short")
            left, offset = left[count:], offset + count


def collect(parts: Iterable[Tensor], capacity: int) -> Rows:
    """Join parts (b, ...), each with at least one row, as they come.

    Args:
        parts: of one type and device, and of one shape beside the number of rows.
        capacity: rows there can be at most.

    Returns:
        A tensor where there is little, on the device of the parts; an empty one without parts.

    Raises:
        UsageError: there is no room for a file.
    """
    stream = iter(parts)
    first = next(stream, None)
    if first is None:
        return torch.empty(0)
    size = capacity * _row_bytes(first)
    if size > (IN_MEMORY if first.device.type == "cpu" else ON_DEVICE):
        return _in_file(chain([first], stream), first, size)
    if len(first) == capacity:
        return first
    return _in_memory(chain([first], stream), first.new_empty((capacity, *first.shape[1:])))


def _in_memory(parts: Iterable[Tensor], rows: Tensor) -> Tensor:
    count = 0
    for part in parts:
        rows[count : count + len(part)] = part
        count += len(part)
    return rows[:count]


def _carried(like: Tensor, parts: list[np.ndarray]) -> FileRows:
    """The rows of another process, in a file."""
    # An array that several processes share cannot be written, which torch would warn of.
    owned = (torch.from_numpy(part.copy()) for part in parts)
    return _in_file(owned, like, sum(part.nbytes for part in parts))


def _in_file(parts: Iterable[Tensor], like: Tensor, size: int) -> FileRows:
    folder = _folder()
    with _needs_room(folder, size):
        if shutil.disk_usage(folder).free < size:
            raise OSError("there is less")
        file = tempfile.TemporaryFile(buffering=0, dir=folder)  # noqa: SIM115 - FileRows closes it
    rows = FileRows(file, like)
    for part in parts:
        with _needs_room(folder, size):
            rows.append(part)
    return rows


def _folder() -> Path:
    """Where to: what the user says, else where large files go, as /tmp is often memory itself."""
    said = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    use_default = said or not os.access(_LARGE_FILES, os.W_OK)
    return Path(tempfile.gettempdir()) if use_default else _LARGE_FILES


@contextmanager
def _needs_room(folder: Path, size: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"images and features that are too many for memory need {size / 1e9:.1f} GB in"
            f" {printable(str(folder))}: {first_line(error)}.",
            hint="Let TMPDIR name a folder on another disk, or lower --train-images, --test-images"
            " or --image-size.",
        ) from None


def _as_bytes(values: Tensor) -> np.ndarray:
    """The memory of a contiguous tensor on the CPU."""
    return values.reshape(-1).view(torch.uint8).numpy()


def _row_bytes(rows: Tensor) -> int:
    return rows.shape[1:].numel() * rows.element_size()
