"""Where to measure, and what to say about it."""

from __future__ import annotations

import platform

import torch

from selector.errors import UsageError
from selector.records import DeviceRecord


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
        torch.empty(1, device=device, dtype=torch.float64)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise UsageError(
            "--device must name a device of this machine that computes in double precision,"
            f" found {name!r}: {str(error).splitlines()[0]}",
            hint="Try --device auto or --device cpu.",
        ) from None
    return device


def describe_device(device: torch.device) -> DeviceRecord:
    """Kind and name of a device, for the record of a run."""
    if device.type == "cuda":
        return DeviceRecord(type="cuda", name=torch.cuda.get_device_name(device))
    return DeviceRecord(type=device.type, name=platform.processor() or platform.machine())
