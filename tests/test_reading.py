"""Files are read up to a limit, and nothing that is no file is waited for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from selector.reading import is_file, is_folder, read_bytes

TOO_LONG = Path("a" * 5000)


def test_a_file_may_hold_as_much_as_it_may(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert read_bytes(path, 5) == b"12345"
    with pytest.raises(OSError) as caught:
        read_bytes(path, 4)
    assert caught.value.strerror == "it holds more than 4 bytes"


def test_a_device_that_never_ends(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="more than 1,000 bytes"):
        read_bytes(Path("/dev/zero"), 1000)


def test_a_pipe_is_read_if_somebody_writes_and_not_waited_for_if_nobody_does(
    tmp_path: Path,
) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert read_bytes(path, 10) == b""
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY)
    os.write(writer, b"said")
    os.close(writer)
    try:
        assert read_bytes(path, 10) == b"said"
    finally:
        os.close(reader)


@pytest.mark.parametrize("path", [TOO_LONG, Path("a\0b"), Path("/"), Path("nowhere")])
def test_what_cannot_be_read_is_told_by_the_system(path: Path) -> None:
    with pytest.raises(OSError) as caught:
        read_bytes(path, 10)
    assert caught.value.strerror


def test_a_path_that_the_system_refuses_leads_to_nothing() -> None:
    assert not is_file(TOO_LONG)
    assert not is_folder(TOO_LONG)
