"""What this machine computes with, and how fast."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from selector.doctor.check import Check, size_in_words

_LITTLE_MEMORY = 4 * 10**9
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_NETWORK, _SIDE = "resnet18", 224
_SECONDS = 1.5


def device() -> Check:
    """The device that ``--device auto`` takes, with its memory."""
    import torch

    from selector.devices import choose_device, describe_device

    chosen = choose_device("auto")
    record = describe_device(chosen)
    if chosen.type == "cuda":
        free, total = torch.cuda.mem_get_info(chosen)
        found = f"{record.name}, {size_in_words(free)} of {size_in_words(total)} free"
        return Check("device", "ok", f"cuda: {found}", facts={"type": "cuda", "free": free})
    facts = {"type": chosen.type}
    if shutil.which("nvidia-smi"):
        built = torch.version.cuda
        why = f"is built for CUDA {built}" if built else "is built without CUDA"
        return Check(
            "device",
            "warning",
            f"cpu, though nvidia-smi is here: PyTorch {torch.__version__} {why}",
            "Install a PyTorch that fits the driver (pytorch.org), or measure on the CPU.",
            facts,
        )
    return Check("device", "ok", f"cpu: {record.name}; no CUDA device", facts=facts)


def memory() -> Check:
    """Cores, threads, and the memory that this process may use at most."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads, total = torch.get_num_threads(), _memory()
    found = f"{cores} cores, {threads} threads, {size_in_words(total)} of memory"
    facts = {"cores": cores, "threads": threads, "memory": total}
    if total < _LITTLE_MEMORY:
        way_out = "Choose small candidates: --max-params 30M."
        return Check("cores", "warning", found, way_out, facts)
    return Check("cores", "ok", found, facts=facts)


def speed() -> Check:
    """Forward and backward through a small network with random weights, as an attack does."""
    import timm
    import torch

    from selector.devices import choose_device, keep_freed_memory

    keep_freed_memory()
    chosen = choose_device("auto")
    batch = 64 if chosen.type == "cuda" else 4
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model(_NETWORK, pretrained=False).eval().requires_grad_(False)
        images = torch.rand(batch, 3, _SIDE, _SIDE).to(chosen).requires_grad_(True)
    network.to(chosen).to(memory_format=torch.channels_last)

    def finite() -> bool:
        (gradient,) = torch.autograd.grad(network(images).square().sum(), images)
        return bool(torch.isfinite(gradient).all())

    sound, passes = finite(), 0  # the first pass sets things up
    began = time.perf_counter()
    while time.perf_counter() - began < _SECONDS:
        sound &= finite()
        passes += 1
    rate = round(batch * passes / (time.perf_counter() - began), 1)
    found = f"{_NETWORK} at {_SIDE} px: {rate:g} images/s forward and backward"
    if not sound:
        way_out = "Try --device cpu, or another version of PyTorch."
        return Check("speed", "problem", f"{found}, with gradients that are not finite", way_out)
    return Check("speed", "ok", found, facts={"images_per_second": rate})


def _memory() -> int:
    """Bytes of the machine, or of the container if that has less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in map(Path, _LIMITS):
        text = limit.read_text().strip() if limit.is_file() else ""
        if text.isdecimal():
            total = min(total, int(text))
    return total
