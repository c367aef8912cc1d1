"""How much displacement a search in fewer bits attains: the thresholds of selector.precision.

For every network and eps: the share that the displacement is of the features' norm, and what a
search in TF32 and in bf16 attains of what one in fp32 does, both scored in fp32. Where the device
has no tensor cores, TF32 is emulated: what enters a product is rounded to 11 significant bits, and
sums are of fp32, as on the units themselves; bf16 is autocast's on any device.

    python benchmarks/precisions.py -o precisions.cpu.json             # a CPU: two minutes
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from networks import Network, built_in
from provenance import circumstances, write
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from selector.attacks import ATTACKS
from selector.backbones import fold_batch_norms
from selector.batches import BatchSize, Images
from selector.budget import Budget
from selector.devices import choose_device
from selector.precision import (
    BF16_SHARE,
    TF32_SHARE,
    Precision,
    PrecisionName,
    full_precision,
    has_tensor_cores,
)
from selector.search import search
from selector.sensitivity import displacement, displacement_aim
from selector.threat import ThreatModel

EPS = tuple(4 / 255 / 4**step for step in range(5))
PRODUCTS = ("convolution", "convolution_backward", "mm", "addmm", "bmm", "baddbmm", "linear")


@dataclass(frozen=True)
class Row:
    """One network under one threat.

    Attributes:
        share: mean displacement attained in fp32, of the mean norm of features.
        tf32, bf16: mean displacement attained so, of that attained in fp32.
        chosen: what selector would search in.
    """

    network: str
    threat: str
    share: float
    tf32: float
    bf16: float
    chosen: PrecisionName


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    device = choose_device(options.device)
    with full_precision():
        rows = [
            measure(network, ThreatModel("linf", eps), device)
            for network in built_in(options.images, device)
            for eps in EPS
        ]
    show(rows)
    if options.output:
        report = {
            **circumstances(device),
            "tf32": "units" if has_tensor_cores(device) else "emulated",
            "images": options.images,
            "thresholds": {"bf16": BF16_SHARE, "tf32": TF32_SHARE},
            "rows": [asdict(row) for row in rows],
        }
        write(report, options.output)


def measure(network: Network, threat: ThreatModel, device: torch.device) -> Row:
    """One network: the same search in each precision."""
    size = BatchSize(len(network.pixels))
    plain = Images(network.pixels, network.features, device, size)
    _, x = plain.part(slice(0, len(network.pixels)))
    # As in a ranking; of a network that is folded already nothing is left to fold.
    fold_batch_norms(network.features, network.features, x[:4])
    with torch.no_grad():
        clean = network.features(x)
    attained = {}
    for name in ("fp32", "tf32", "bf16"):
        images = Images(network.pixels, network.features, device, size, Precision(name))
        budget = Budget(ATTACKS["annealed"], restarts=2, steps=10, seed=0)
        with emulated(name, device):
            points = search(images, displacement_aim(clean), threat, budget).features
        attained[name] = displacement(points, clean)
    norms = torch.linalg.vector_norm(clean.double(), dim=1)
    chosen = Precision()
    chosen.choose(attained["fp32"], norms)
    exact = attained["fp32"].mean()
    return Row(
        network=network.name,
        threat=f"{threat.norm} {threat.eps * 255:g}/255",
        share=(exact / norms.mean()).item(),
        tf32=(attained["tf32"].mean() / exact).item(),
        bf16=(attained["bf16"].mean() / exact).item(),
        chosen=chosen.search,
    )


@contextmanager
def emulated(name: str, device: torch.device) -> Iterator[None]:
    """TF32 on a device without units for it, where a search would have them used."""
    if name != "tf32" or has_tensor_cores(device):
        yield
        return
    # Attention by its products, which can be rounded.
    with patch("selector.precision._tensor_cores", AsTensorCores), sdpa_kernel(SDPBackend.MATH):
        yield


class AsTensorCores(TorchDispatchMode):
    """What enters a product is rounded to TF32."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """The operation, on rounded tensors where it is a product."""
        if func.overloadpacket.__name__ in PRODUCTS:
            args = [rounded(one) if isinstance(one, Tensor) else one for one in args]
        return func(*args, **(kwargs or {}))


def rounded(values: Tensor) -> Tensor:
    """The nearest values with 11 significant bits, of float32."""
    if values.dtype != torch.float32:
        return values
    bits = values.view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


def show(rows: list[Row]) -> None:
    """Print the table, and what each threshold costs at most."""
    table = Table(title="displacement attained, of that of a search in fp32")
    for column in ("network", "threat", "share of norm", "tf32", "bf16", "chosen"):
        table.add_column(column, justify="left" if column == "network" else "right")
    for row in sorted(rows, key=lambda row: row.share):
        shown = (f"{row.share:.5f}", f"{row.tf32:.3f}", f"{row.bf16:.3f}", row.chosen)
        table.add_row(row.network, row.threat, *shown)
    Console(width=100).print(table)
    for name in ("tf32", "bf16"):
        taken = [getattr(row, name) for row in rows if row.chosen == name]
        least = f"{min(taken):.3f}" if taken else "-"
        print(
            f"{name}: chosen in {len(taken)} of {len(rows)} cases, where it attains {least} or more"
        )


if __name__ == "__main__":
    main()
