"""Where to measure, and what to say about it."""

from __future__ import annotations

import platform

import torch

from selector.errors import UsageError
from selector.records import DeviceRecord


def choose_device(name: str) -> torch.device:
    """The device that ``--device`` names; ``auto`` takes CUDA, then MPS, then the CPU.

    Raises:
        UsageError: there is no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"--device must name a device of this machine, found {name!r}:"
            f" {str(error).splitlines()[0]}",
            hint="Try --device auto or --device cpu.",
        ) from None
    return device


def describe_device(device: torch.device) -> DeviceRecord:
    """Kind and name of a device, for the record of a run."""
    if device.type == "cuda":
        return DeviceRecord(type="cuda", name=torch.cuda.get_device_name(device))
    return DeviceRecord(type=device.type, name=platform.processor() or platform.machine())
