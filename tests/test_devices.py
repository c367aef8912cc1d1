"""Where to measure."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch

from selector.cli import main
from selector.devices import choose_device, describe_device
from selector.errors import UsageError

# In a process of its own, since the setting lasts: pages that blocks of 64 MB cost, used and freed.
FAULTS = """
import resource, sys, torch
from selector.devices import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else None
for _ in range(10):
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(2**24)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_auto_is_a_device_that_works() -> None:
    device = choose_device("auto")
    assert device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert describe_device(device).name


@pytest.mark.parametrize("name", ["abacus", "meta:x", "meta", "cuda:99", "cpu:3", ""])
def test_devices_that_are_none(name: str) -> None:
    with pytest.raises(UsageError, match="--device"):
        choose_device(name)


def test_what_torch_says_of_a_device_is_kept_short(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel " * 200)

    monkeypatch.setattr(torch, "ones", fail)
    with pytest.raises(UsageError) as caught:
        choose_device("mps")
    assert "found 'mps': no kernel" in str(caught.value)
    assert len(str(caught.value)) < 300


def test_freed_memory_is_used_again_where_the_c_library_can() -> None:
    def run(mode: str) -> list[str]:
        command = [sys.executable, "-c", FAULTS, mode]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    kept, faults = run("keep")
    glibc = platform.libc_ver()[0] == "glibc"
    assert kept == str(glibc)
    if glibc:
        assert int(faults) < 0.5 * int(run("leave")[1])


# In a process of its own: threads before work in the background, and while it lasts.
HELPERS = """
import os, sys, time, torch
from selector.background import in_background
torch.set_num_threads(2)
torch.ones(2**24)

def threads():
    return len(os.listdir("/proc/self/task"))

def work(emit):
    fewest = threads()
    for _ in range(100):  # one that was told to end takes a moment
        time.sleep(0.01)
        fewest = min(fewest, threads())
    emit(fewest)

before = threads()
(during,) = in_background(work)
print("libgomp" if "libgomp" in open("/proc/self/maps").read() else "other", during - before)
print(float(torch.ones(2**24).sum()))
"""


@pytest.mark.parametrize("spins", [None, "10000"])
def test_helpers_that_wait_for_the_main_thread_make_room_for_those_of_the_work(
    spins: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    if spins:
        monkeypatch.setenv("GOMP_SPINCOUNT", spins)
    if not sys.platform.startswith("linux"):
        return
    command = [sys.executable, "-c", HELPERS]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    # One thread more, which works, and where they can be told to, one less that waited.
    room = "0" if said[0] == "libgomp" and spins else "1"
    assert said[1:] == [room, str(2.0**24)]


@pytest.mark.parametrize("given", [None, "7"])
def test_the_command_line_lets_helpers_spin_briefly(
    given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", given or "")
    if given is None:
        monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setattr(sys, "argv", ["selector", "--version"])
    monkeypatch.setattr("selector.cli.end", lambda code: None)
    main()
    assert os.environ["GOMP_SPINCOUNT"] == (given or "10000")
