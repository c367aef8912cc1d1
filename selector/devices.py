"""Where to measure, and what to say about it."""

from __future__ import annotations

import ctypes
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from selector.errors import CandidateError, UsageError, shorten
from selector.records import DeviceRecord

# Numbers of malloc.h: one arena for all threads, no block mapped on its own, nothing given back.
_M_ARENA_MAX, _M_MMAP_MAX, _M_TRIM_THRESHOLD = -8, -4, -1
_MALLOC_OPTIONS = ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1))


def choose_device(name: str) -> torch.device:
    """The device that ``--device`` names; ``auto`` takes CUDA where there is one, else the CPU.

    Raises:
        UsageError: there is no such device here, or it has no double precision (as MPS), which
            the heads are fitted in.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type == "cpu" and device.index:
            raise RuntimeError("all processors together are one device, cpu")
        torch.ones(1, device=device, dtype=torch.float64).sum().item()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise UsageError(
            "--device must name a device of this machine that computes in double precision,"
            f" found {name!r}: {shorten(str(error).splitlines()[0], 80)}",
            hint="Try --device auto, --device cuda or --device cpu.",
        ) from None
    return device


def keep_freed_memory() -> bool:
    """Let this process reuse what it frees; returns whether the C library can do so.

    A pass on a CPU allocates and frees feature maps of tens of MB. By default glibc returns each
    to the kernel, which has to clear the pages anew: half of the time of a pass through a
    MobileNetV2 of 224 px. Memory then stays at its peak until the process ends.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all(mallopt(option, value) for option, value in _MALLOC_OPTIONS)


def describe_device(device: torch.device) -> DeviceRecord:
    """Kind and name of a device, for the record of a run.

    The name has what sums are rounded by: of a CPU its kind, its vector units and the threads.
    """
    if device.type == "cuda":
        return DeviceRecord(type="cuda", name=torch.cuda.get_device_name(device))
    if device.type == "cpu":
        return DeviceRecord(type="cpu", name=_cpu())
    return DeviceRecord(type=device.type, name=platform.processor() or platform.machine())


def _cpu() -> str:
    machine = platform.processor() or platform.machine()
    threads = torch.get_num_threads()
    units = torch.backends.cpu.get_cpu_capability()
    return f"{machine} {units}, {threads} thread{'s' if threads > 1 else ''}"


def no_room() -> CandidateError:
    """The failure of a network that this machine or device has no memory for."""
    return CandidateError(
        "out_of_memory",
        "the network does not fit into the memory of this machine.",
        hint="Use another machine or --device, or leave it out.",
    )


class Stopwatch:
    """Seconds spent per stage; ``on_stage`` is told which one begins."""

    def __init__(
        self, device: torch.device, on_stage: Callable[[str], None] = lambda stage: None
    ) -> None:
        self.seconds: dict[str, float] = {}
        self._device, self._on_stage = device, on_stage
        self._now = ""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to ``name``, the device's queue emptied first."""
        self._on_stage(name)
        self._now = name
        started = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started

    def credit(self, seconds: float) -> None:
        """Add what an earlier run has spent on the stage that is under way."""
        self.seconds[self._now] = self.seconds.get(self._now, 0.0) + seconds
