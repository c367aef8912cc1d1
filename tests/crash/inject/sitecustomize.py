"""Runs inside each process that the crash tests start, before anything else there.

It writes what the process does to the file that CRASH_LOG names, a line per event, so that a test
knows where a kill fell and which passes were really made, whatever the program says of itself.
Without that variable it does nothing.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

LOG = os.environ.get("CRASH_LOG")
_WRITES = ("INSERT", "REPLACE", "UPDATE", "DELETE")


def note(event: str, **facts: object) -> None:
    """Append an event; the line outlives the process, however that ends."""
    when = {"at": time.monotonic(), "wall": time.time()}
    line = json.dumps({"event": event, **when, **facts}) + "\n"
    os.write(_log, line.encode())


def between(event: str, function: Callable[..., Any], name: Callable[..., object]) -> Any:
    """The same function, whose beginning and end are noted as ``event+`` and ``event-``."""

    def noted(*args: Any, **kwargs: Any) -> Any:
        note(f"{event}+", name=name(*args))
        try:
            return function(*args, **kwargs)
        finally:
            note(f"{event}-", name=name(*args))

    return noted


class Noted(sqlite3.Connection):
    """A connection whose writes are noted, from the first statement to the end of the commit."""

    _open = False

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        """As usual."""
        if sql.lstrip().upper().startswith(_WRITES) and not self._open:
            self._open = True
            note("store+")
        return super().execute(sql, *args)

    def commit(self) -> None:
        """As usual."""
        super().commit()
        self._close()

    def __exit__(self, *args: Any) -> Any:
        """As usual."""
        left = super().__exit__(*args)
        self._close()
        return left

    def _close(self) -> None:
        if self._open:
            self._open = False
            note("store-")


def _count_passes(module: ModuleType) -> None:
    usual = module.Backbone.forward

    def forward(self: Any, x: Any) -> Any:
        note("pass", of=_weights(self), images=len(x))
        return usual(self, x)

    module.Backbone.forward = forward


def _weights(backbone: Any) -> str:
    """Which network this is, by its weights: names are what the program says."""
    if "crash_weights" not in backbone.__dict__:
        found = hashlib.sha256()
        for values in backbone.network.state_dict().values():
            found.update(values.cpu().numpy().tobytes())
        backbone.__dict__["crash_weights"] = found.hexdigest()[:12]
    return str(backbone.__dict__["crash_weights"])


def _memory() -> dict[str, int]:
    """Bytes of data that this process has asked for, and that it has."""
    words = [line.split() for line in Path("/proc/self/status").read_text().splitlines()]
    wanted = {"VmData:": "data", "RssAnon:": "resident"}
    return {wanted[one[0]]: int(one[1]) * 1024 for one in words if one[0] in wanted}


def _note_fetches(module: ModuleType) -> None:
    note("imported", **_memory())
    module.fetch = between("fetch", module.fetch, lambda repo_id, *rest: repo_id)


def _note_output(module: ModuleType) -> None:
    usual = os.fsync

    def slow(handle: int) -> None:
        # As on a slow disk: a file that is written in a millisecond is hardly ever hit.
        time.sleep(0.03)
        usual(handle)

    os.fsync = slow
    module.write_atomically = between("out", module.write_atomically, lambda path, *rest: str(path))


def _note_readiness(module: ModuleType) -> None:
    note("ready")


AFTER_IMPORT: dict[str, Callable[[ModuleType], None]] = {
    "selector.backbones.backbone": _count_passes,
    "selector.cli": _note_readiness,
    "selector.hub.download": _note_fetches,
    "selector.reports.document": _note_output,
}


class Finder:
    """Finds the modules of the table above as usual, and alters them once they are imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What an entry of ``sys.meta_path`` must have."""
        alter = AFTER_IMPORT.get(name)
        spec = importlib.machinery.PathFinder.find_spec(name, path) if alter else None
        if alter is None or spec is None or spec.loader is None:
            return None
        usual = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            usual(module)
            alter(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if LOG:
    _log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    note("begin", pid=os.getpid())
    usual_connect = sqlite3.connect
    sqlite3.connect = lambda *args, **kwargs: usual_connect(  # type: ignore[assignment]
        *args, **({"factory": Noted} | kwargs)
    )
    sys.meta_path.insert(0, Finder())  # type: ignore[arg-type]
