"""Rows in memory and in files: the same to whoever reads them, and gone afterwards."""

from __future__ import annotations

import errno
import gc
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import DEVICES
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from selector import spool
from selector.errors import UsageError
from selector.rows import Rows
from selector.spool import FileRows, collect


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Let everything of more than 100 bytes go to files in the folder returned."""
    monkeypatch.setattr(spool, "IN_MEMORY", 100)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def numbers(count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Rows (count,2,3), all different."""
    return torch.arange(6 * count).reshape(count, 2, 3).to(dtype)


def in_parts(rows: Tensor, size: int) -> Iterator[Tensor]:
    yield from rows.split(size)


def test_what_is_little_is_a_tensor(small_memory: Path) -> None:
    found = collect(in_parts(numbers(4), 3), 4)
    assert isinstance(found, Tensor)
    assert torch.equal(found, numbers(4))


def test_what_is_much_is_in_a_file_that_nobody_sees(small_memory: Path) -> None:
    found = collect(in_parts(numbers(5), 3), 5)
    assert isinstance(found, FileRows)
    assert list(small_memory.iterdir()) == []
    assert found.shape == (5, 2, 3)
    assert torch.equal(found[:], numbers(5))


@pytest.mark.parametrize("count", [4, 20])
def test_there_may_be_fewer_rows_than_room(small_memory: Path, count: int) -> None:
    found = collect(in_parts(numbers(count), 3), count + 10)
    assert len(found) == count
    assert torch.equal(found[:], numbers(count))


def test_without_parts_there_are_no_rows() -> None:
    assert len(collect(iter(()), 3)) == 0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("in_memory", [0, 10**9])
def test_rows_come_from_any_device(
    device: str, in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("IN_MEMORY", "ON_DEVICE"):
        monkeypatch.setattr(spool, name, in_memory)
    found = collect(in_parts(numbers(7).to(device), 2), 7)
    assert found[:2].device.type == (device if in_memory else "cpu")
    assert torch.equal(found[:].cpu(), numbers(7))


@given(
    count=st.integers(1, 12),
    size=st.integers(1, 5),
    dtype=st.sampled_from([torch.uint8, torch.float32, torch.bfloat16, torch.int64]),
    data=st.data(),
)
def test_a_file_reads_as_the_tensor_does(
    count: int, size: int, dtype: torch.dtype, data: st.DataObject
) -> None:
    rows = numbers(count, dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "IN_MEMORY", 0)
        found: Rows = collect(in_parts(rows, size), count)
    assert isinstance(found, FileRows)
    place = st.integers(-count - 2, count + 2) | st.none()
    part = slice(data.draw(place), data.draw(place))
    index = torch.tensor(data.draw(st.lists(st.integers(0, count - 1))), dtype=torch.int64)
    for places in (part, index):
        assert found[places].dtype == dtype
        assert torch.equal(found[places], rows[places])
    assert torch.equal(found[:], rows)


def test_rows_that_are_not_contiguous_are_written_in_order(small_memory: Path) -> None:
    rows = numbers(8).permute(0, 2, 1)
    assert torch.equal(collect(iter([rows]), 8)[:], rows)


def test_steps_are_refused(small_memory: Path) -> None:
    with pytest.raises(ValueError, match="without steps"):
        collect(iter([numbers(9)]), 9)[::2]


def test_what_is_read_is_the_readers_own(small_memory: Path) -> None:
    rows = collect(iter([numbers(9)]), 9)
    rows[:].zero_()
    assert torch.equal(rows[:], numbers(9))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_files_are_closed_when_nobody_needs_them(small_memory: Path) -> None:
    def ours() -> int:
        folder = Path("/proc/self/fd")
        names = [one.readlink() for one in folder.iterdir() if one.is_symlink()]
        return sum(str(small_memory) in str(name) for name in names)

    rows = collect(iter([numbers(9)]), 9)
    assert ours() == 1
    del rows
    gc.collect()
    assert ours() == 0

    def broken() -> Iterator[Tensor]:
        yield numbers(4)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(broken(), 9)
    gc.collect()
    assert ours() == 0


def test_nothing_is_left_of_a_process_that_is_killed(small_memory: Path) -> None:
    program = (
        "import os, signal, torch; from selector import spool; spool.IN_MEMORY = 0;"
        " rows = spool.collect(iter([torch.ones(9)]), 9); assert len(rows) == 9;"
        " os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program], timeout=60)
    assert done.returncode == -9
    assert list(small_memory.iterdir()) == []


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(
    small_memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=239))
    with pytest.raises(UsageError, match=r"0\.0 GB in .*: there is less") as caught:
        collect(in_parts(numbers(10), 1), 10)
    assert str(small_memory) in caught.value.message
    assert "TMPDIR" in caught.value.hint
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=240))
    assert len(collect(in_parts(numbers(10), 1), 10)) == 10


def test_a_disk_that_fills_up_is_the_users_to_mend(
    small_memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(rows: FileRows, more: Tensor) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FileRows, "append", full)
    with pytest.raises(UsageError, match="No space left"):
        collect(in_parts(numbers(10), 3), 10)


def test_an_error_of_the_source_is_not_taken_for_a_full_disk(small_memory: Path) -> None:
    def source() -> Iterator[Tensor]:
        yield numbers(3)
        raise OSError("the source")

    with pytest.raises(OSError, match="the source"):
        collect(source(), 10)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_write_that_fails_is_an_error() -> None:
    rows = FileRows(open("/dev/full", "wb", buffering=0), numbers(1))  # noqa: PTH123, SIM115
    with pytest.raises(OSError, match="No space left"):
        rows.append(numbers(1))


def test_large_files_go_where_the_user_says(
    small_memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert spool._folder() == small_memory
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(spool, "_LARGE_FILES", small_memory / "none")
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert spool._folder() == Path(tempfile.gettempdir())
    monkeypatch.setattr(spool, "_LARGE_FILES", small_memory)
    assert spool._folder() == small_memory


def test_another_process_reads_rows_into_a_file_of_its_own(
    small_memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "_CARRIED_AT_ONCE", 4)
    rows = collect(in_parts(numbers(11), 3), 11)
    assert isinstance(rows, FileRows)
    carried = pickle.dumps(rows)
    del rows
    gc.collect()
    found = pickle.loads(carried)
    assert isinstance(found, FileRows)
    assert found.shape == (11, 2, 3)
    assert torch.equal(found[:], numbers(11))
    assert list(small_memory.iterdir()) == []


def test_where_there_is_no_room_for_them_it_says_so(
    small_memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    carried = pickle.dumps(collect(in_parts(numbers(11), 3), 11))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=3))
    with pytest.raises(UsageError, match=r"need 0\.0 GB in"):
        pickle.loads(carried)
