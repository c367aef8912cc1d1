"""``selector`` as a process of its own that need not wait for the heavy libraries.

A process of the command line spends seven seconds on imports before it does anything, five of them
on libraries that read nothing of their environment. Tests that start it to see what it does, and
not how it starts, get one that is forked off a process which has imported those already. It has its
own number, folder, environment, streams and signals, and imports selector, timm and the Hub client
itself. Whatever is about the start (waiting for torch, the console script, memory) takes
:mod:`subprocess`.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

_SERVER = Path(__file__).parent / "serving.py"
_NAME = str(Path(sys.executable).parent / "selector")
# Of a process that was asked for and does not say its number.
_PATIENCE = 60.0


class Process:
    """One that runs, or has run; as :class:`subprocess.Popen`, as far as tests use that.

    Attributes:
        pid: its number.
        returncode: None while it runs; negative: the signal that ended it.
    """

    def __init__(
        self,
        arguments: Sequence[object],
        *,
        env: Mapping[str, str],
        cwd: Path | str | None = None,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
    ) -> None:
        self.returncode: int | None = None
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(server())
        asked = {
            "argv": [_NAME, *map(str, arguments)],
            "env": dict(env),
            "cwd": str(cwd or Path.cwd()),
        }
        streams = [
            place if one is None else one for place, one in enumerate((stdin, stdout, stderr))
        ]
        message = json.dumps(asked).encode() + b"\n"
        sent = socket.send_fds(self._connection, [message], streams)
        self._connection.sendall(message[sent:])
        self._told = self._connection.makefile()
        self._connection.settimeout(_PATIENCE)
        self.pid = int(self._told.readline())
        self._connection.settimeout(None)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *unused: object) -> None:
        self.wait()

    def poll(self) -> int | None:
        """How it ended; None: it runs."""
        if self.returncode is None:
            try:
                self.wait(0.0)
            except subprocess.TimeoutExpired:
                return None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """How it ended, once it has."""
        if self.returncode is None:
            self._await(timeout)
            self.returncode = int(self._told.readline())
            self._told.close()
            self._connection.close()
        return self.returncode

    def _await(self, timeout: float | None) -> None:
        ready, _, _ = select.select([self._connection], [], [], timeout)
        if not ready:
            raise subprocess.TimeoutExpired(_NAME, timeout or 0.0)

    def send_signal(self, number: int) -> None:
        """If it runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """With SIGKILL, if it runs."""
        self.send_signal(9)


def run(
    arguments: Sequence[object], *, env: Mapping[str, str], cwd: Path | str | None = None
) -> subprocess.CompletedProcess[str]:
    """``selector`` with these arguments, to its end, and what it printed."""
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        Path(os.devnull).open() as nothing,
    ):
        process = Process(
            arguments,
            env=env,
            cwd=cwd,
            stdin=nothing.fileno(),
            stdout=out.fileno(),
            stderr=err.fileno(),
        )
        code = process.wait()
        said = []
        for stream in (out, err):
            stream.seek(0)
            said.append(stream.read().decode())
    return subprocess.CompletedProcess([_NAME, *map(str, arguments)], code, *said)


@cache
def server() -> str:
    """The socket of this process's server, which ends with it."""
    folder = tempfile.TemporaryDirectory(prefix="warm-")
    path = str(Path(folder.name) / "socket")
    process = subprocess.Popen(
        [sys.executable, str(_SERVER), path],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )

    def end() -> None:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
        folder.cleanup()

    atexit.register(end)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return path


def program(folder: Path) -> Path:
    """A script ``selector`` in a folder, for the PATH of those who call it from a shell."""
    path = folder / "selector"
    text = f"""#!{sys.executable}
import os, sys
sys.path.insert(0, {str(_SERVER.parents[1])!r})
import warm
warm.server = lambda: {server()!r}
sys.exit(warm.Process(sys.argv[1:], env=os.environ).wait())
"""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path
