"""What ``--engine`` names: this process, or Ray, which is imported only when asked for."""

from __future__ import annotations

import re
from importlib.util import find_spec

from selector.errors import UsageError, printable
from selector.scheduling import LOCAL, Engine

_ADDRESS = re.compile(r"(ray://)?[\w.-]+:\d{1,5}|(ray://)?\[[0-9a-fA-F:]+\]:\d{1,5}")


def choose_engine(name: str) -> Engine:
    """The engine of a name: local, ray, or the address of a cluster of Ray.

    Raises:
        UsageError: it is none of these, or Ray is not installed.
    """
    if name == "local":
        return LOCAL
    if name != "ray" and not _ADDRESS.fullmatch(name):
        raise UsageError(
            "--engine must be local, ray, HOST:PORT or ray://HOST:PORT,"
            f" found {printable(repr(name))}."
        )
    if find_spec("ray") is None:
        raise UsageError(
            f"--engine {name} needs Ray, which is not installed here.",
            hint='pip install "selector[ray]" brings it.',
        )
    from selector.cluster.engine import RayEngine

    return RayEngine(None if name == "ray" else name)
