"""A connection to Ray: to a cluster that is there, or to one of this run's own on this machine."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray

from selector.errors import UsageError, first_line, printable

_QUIET: Mapping[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
_log = logging.getLogger(__name__)
# Bytes that no system's `struct sigaction` is larger than.
_LARGEST_ACTION = 1024
# Of this process, for those that measure; never a credential, nodes have their own.
_FORWARDED = ("HF_HUB_OFFLINE", "HF_ENDPOINT")


@dataclass(frozen=True)
class Cluster:
    """Which cluster is meant.

    Attributes:
        address: HOST:PORT of one whose node this machine is, or ray://HOST:PORT; None: the one
            that RAY_ADDRESS or `ray start` on this machine has made, else one of our own;
            ``local``: one of our own.
        options: of :func:`ray.init` for one of our own, as ``num_cpus``.
    """

    address: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Be connected; a connection that there is already is used, and stays.

        Raises:
            UsageError: there is no such cluster, or it runs another Ray.
        """
        with self.joined() as is_there:
            if not is_there:
                self._start()
            yield

    @contextmanager
    def joined(self) -> Iterator[bool]:
        """Be connected to a cluster that is there; without one, not. Says which.

        Raises:
            UsageError: an address was given, and no cluster is there, or it runs another Ray.
        """
        with _stdout_kept():
            if ray.is_initialized():
                yield True
                return
            with _signals_kept():
                is_there = self.address != "local" and self._join()
            try:
                yield is_there
            finally:
                # Ray gives SIGTERM back to nobody.
                with _signals_kept():
                    ray.shutdown()

    def _join(self) -> bool:
        try:
            ray.init(address=self.address or "auto", **_QUIET)
        except (ConnectionError, ImportError, RuntimeError, ValueError) as error:
            named = self.address or os.environ.get("RAY_ADDRESS")
            if named is None and isinstance(error, ConnectionError):
                return False
            raise UsageError(
                f"--engine must be the address of a cluster that runs Ray {ray.__version__}, found"
                f" {printable(named or 'ray')}: {first_line(error)}.",
                hint="HOST:PORT is said by `ray start` and works on machines of the cluster; from"
                ' elsewhere ray://HOST:10001, which needs pip install "ray[client]". A cluster with'
                " tokens wants RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or ~/.ray/auth_token.",
            ) from None
        return True

    def _start(self) -> None:
        # Nothing of the run is told to the makers of Ray.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        with _signals_kept():
            ray.init(address="local", include_dashboard=False, **_QUIET, **self.options)


@dataclass(frozen=True)
class Size:
    """What a cluster has now.

    Attributes:
        cpus: of all nodes.
        gpus: of all nodes.
        most_cpus: of one node.
        most_memory: of one node, in bytes.
        cpus_per_gpu: of the node that has the fewest; None: there is no GPU.
    """

    cpus: float
    gpus: float
    most_cpus: float
    most_memory: int
    cpus_per_gpu: float | None


def size() -> Size:
    """What the cluster has that this process is connected to."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    with_gpus = [node for node in nodes if node.get("GPU")]
    return Size(
        cpus=sum(node.get("CPU", 0.0) for node in nodes),
        gpus=sum(node["GPU"] for node in with_gpus),
        most_cpus=max((node.get("CPU", 0.0) for node in nodes), default=0.0),
        most_memory=int(max((node.get("memory", 0.0) for node in nodes), default=0.0)),
        cpus_per_gpu=min((n.get("CPU", 0.0) / n["GPU"] for n in with_gpus), default=None),
    )


def forwarded() -> dict[str, str]:
    """What of this process's environment its workers need as well."""
    return {name: os.environ[name] for name in _FORWARDED if name in os.environ}


class _Stdout:
    """Stdout for all threads but those of Ray, which prints there what went wrong on nodes."""

    def __init__(self, usual: Any) -> None:
        self._usual = usual

    def write(self, text: str) -> int:
        """As usual; what Ray has to say goes to the log."""
        if threading.current_thread().name.startswith("ray_"):
            if text.strip():
                _log.info("Ray: %s", text.strip())
            return len(text)
        return int(self._usual.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._usual, name)


@contextmanager
def _stdout_kept() -> Iterator[None]:
    usual = sys.stdout
    ours = sys.stdout = _Stdout(usual)
    try:
        yield
    finally:
        if sys.stdout is ours:
            sys.stdout = usual


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself: by Python where it can, and below Python to print its stack."""
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if in_main else None
    action = ctypes.create_string_buffer(_LARGEST_ACTION)
    library = ctypes.CDLL(None)
    library.sigaction(int(signal.SIGTERM), None, action)
    try:
        yield
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)
        library.sigaction(int(signal.SIGTERM), action, None)
