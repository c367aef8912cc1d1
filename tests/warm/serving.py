"""Has the heavy libraries imported, and forks a process for each program that is to run.

Started by :mod:`warm`, with the path of its socket; ends when its stdin is closed. What is imported
here depends on no variable that a test sets: selector itself, timm and the Hub client, which read
their environment when they are imported, are imported anew by every process.
"""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Mapping
from typing import Any

HEAVY = (
    *("torch", "torchvision", "sklearn.linear_model", "sklearn.neighbors", "sklearn.utils"),
    *("pandas", "scipy.optimize", "scipy.stats", "PIL.Image", "safetensors.torch"),
    *("pydantic", "rich.progress", "rich.table", "typer", "yaml"),
)
_LARGEST = 2**20


def serve(path: str) -> None:
    """Fork for whoever connects, until stdin ends."""
    # The folder of this file, which no program has.
    del sys.path[0]
    for name in HEAVY:
        importlib.import_module(name)
    # Nobody waits for those that wait for programs.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        print("ready", flush=True)
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                with connection:
                    _keep(connection)
                os._exit(0)
            connection.close()


def _keep(connection: socket.socket) -> None:
    """Fork the program, say its number, wait for it, and say how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, streams, _, _ = socket.recv_fds(connection, _LARGEST, 3)
    while not message.endswith(b"\n"):
        message += connection.recv(_LARGEST)
    pid = os.fork()
    if pid == 0:
        connection.close()
        _become(json.loads(message), streams)
    for stream in streams:
        os.close(stream)
    connection.sendall(f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _become(asked: Mapping[str, Any], streams: list[int]) -> None:
    """Be the program: its folder, environment, streams and arguments; never returns."""
    code = 1
    try:
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["env"])
        for place, stream in enumerate(streams):
            os.dup2(stream, place)
            os.close(stream)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout, sys.stderr = (
            open(place, "w", encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
            for place, errors in ((1, "strict"), (2, "backslashreplace"))
        )
        # A shell that starts tests in the background makes its children deaf to Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = list(asked["argv"])
        sys.path[:0] = [one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
        sys.modules.pop("sitecustomize", None)
        if importlib.util.find_spec("sitecustomize"):
            importlib.import_module("sitecustomize")
        from selector.cli import main

        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - as Python itself does
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
