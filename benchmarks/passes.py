"""What one pass costs, and what makes it cheaper: why searches compute as they do.

For every network, in one run on one machine, images per second forward and backward to the image at
the batch size that a ranking starts with:

    contiguous     fp32, images and weights as they come
    fp32           channels last, as everything that follows
    tf32, bf16     on the tensor cores of a GPU
    folded         bf16 (on a CPU fp32), batch normalisations inside convolutions: as selector does
    graph          the same, replayed as a CUDA graph
    compiled       the same by torch.compile, of the first networks, with what compiling takes

Networks are timm architectures with random weights, which serve for speed, on drawn images.

    python benchmarks/passes.py --device cuda --compiled 2 -o passes.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import timm
import torch
from drawn import NETWORKS
from provenance import circumstances, write
from rich.console import Console
from rich.table import Table
from throughput import gradient_pass, median_seconds
from torch import Tensor

from selector.backbones import Backbone, fold_batch_norms
from selector.devices import choose_device, keep_freed_memory
from selector.precision import Precision, PrecisionName, full_precision, has_tensor_cores
from selector.run import first_batch_size

SIDE = 224
WAYS = ("contiguous", "fp32", "tf32", "bf16", "folded", "graph", "compiled")


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--networks", choices=sorted(NETWORKS), default="small")
    parser.add_argument(
        "--images", type=int, help="per pass; as a ranking's first pass if left out"
    )
    parser.add_argument("--compiled", type=int, default=0, help="so many are compiled as well")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    device = choose_device(options.device)
    if device.type == "cpu":
        keep_freed_memory()
    images = options.images or first_batch_size((SIDE, SIDE), device)
    with full_precision():
        rows = [
            measure(name, images, device, compiled=place < options.compiled)
            for place, name in enumerate(NETWORKS[options.networks])
        ]
    show(rows)
    if options.output:
        report = {
            **circumstances(device),
            "images": images,
            "side": SIDE,
            "rows": rows,
        }
        write(report, options.output)


def measure(name: str, images: int, device: torch.device, *, compiled: bool) -> dict[str, object]:
    """One network: images per second each way, None where there is no such way here."""
    torch.manual_seed(0)
    backbone = Backbone(
        timm.create_model(name, num_classes=0),
        architecture=name,
        license=None,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        input_size=(SIDE, SIDE),
        interpolation="bicubic",
    ).to(device)
    x = torch.rand(images, 3, SIDE, SIDE, device=device)

    def rate(call: Callable[[], None]) -> float:
        return images / median_seconds(call, device)

    def passing(precision: PrecisionName) -> float:
        how = Precision(precision)
        with how.climbing():
            return rate(partial(gradient_pass, backbone, how, x))

    found: dict[str, object] = dict.fromkeys(WAYS) | {"network": name}
    found["contiguous"] = passing("fp32")
    backbone.to(memory_format=torch.channels_last)
    x = x.contiguous(memory_format=torch.channels_last)
    on_cores = has_tensor_cores(device)
    ways: tuple[PrecisionName, ...] = ("fp32", "tf32", "bf16") if on_cores else ("fp32",)
    for precision in ways:
        found[precision] = passing(precision)
    found["folded_norms"] = asdict(fold_batch_norms(backbone.network, backbone, x[:4]))
    best = Precision(ways[-1])
    found["folded"] = passing(best.search)
    if device.type == "cuda":
        found["graph"] = rate(replayed(backbone, best, x))
    if compiled:
        began = time.perf_counter()
        call = partial(gradient_pass, torch.compile(backbone), best, x)
        call()
        synchronized(device)
        found["seconds_compiling"] = time.perf_counter() - began
        found["compiled"] = rate(call)
    return found


def replayed(backbone: Backbone, precision: Precision, x: Tensor) -> Callable[[], None]:
    """A pass and its gradient, recorded once."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            gradient_pass(backbone, precision, x)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        gradient_pass(backbone, precision, x)
    return lambda: graph.replay()


def synchronized(device: torch.device) -> None:
    """Wait for what was asked of the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def show(rows: list[dict[str, object]]) -> None:
    """Print the table."""
    table = Table(title="images per second, forward and backward")
    for column in ("network", *WAYS, "s to compile"):
        table.add_column(column, justify="left" if column == "network" else "right")
    for row in rows:
        values = [row[way] for way in WAYS] + [row.get("seconds_compiling")]
        table.add_row(
            str(row["network"]), *("-" if one is None else f"{one:.0f}" for one in values)
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
