"""The peak of memory, against memory that is taken on purpose."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from selector import peaks
from selector.peaks import device_peak, process_peak, reset_device_peak

MB = 2**20

# Taken and given back, so that only a peak can show it.
PROGRAM = """
from selector import peaks
before = peaks.process_peak()
block = bytearray(200 * 2**20)
del block
print(peaks.process_peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_what_was_held_for_a_moment_is_in_the_peak() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    assert 150 * MB < int(done.stdout) < 250 * MB


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_systems_count_in_their_own_units(
    platform: str, unit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(getrusage=lambda who: SimpleNamespace(ru_maxrss=5000), RUSAGE_SELF=0)
    monkeypatch.setattr(peaks, "_STATUS", Path("/none"))
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setitem(sys.modules, "resource", usage)
    assert process_peak() == 5000 * unit


def test_a_system_that_does_not_say_gives_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "_STATUS", Path("/none"))
    monkeypatch.setitem(sys.modules, "resource", None)
    assert process_peak() is None


def test_a_cpu_has_no_memory_of_its_own() -> None:
    reset_device_peak(torch.device("cpu"))
    assert device_peak(torch.device("cpu")) is None


@pytest.mark.gpu
def test_the_peak_of_a_gpu_is_since_the_last_reset() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    device = torch.device("cuda")
    block = torch.empty(100 * MB, dtype=torch.uint8, device=device)
    del block
    assert (device_peak(device) or 0) >= 100 * MB
    reset_device_peak(device)
    assert (device_peak(device) or 0) < 100 * MB
