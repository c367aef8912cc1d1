"""Where the time of a ranking goes, and how near the attack loop comes to the network's own speed.

For every network, in one run on one machine: the seconds of one candidate by stage, the passes, and
the rate of a bare forward and backward pass of the same network at its best batch size. From these

    attack share   pure time of the attack's passes / seconds of the attack stage   (target 0.90)
    total ratio    seconds of the candidate / pure time of all its passes           (target 1.15)

Pure time is that of the network as published, in the precision that the search took, in the mean
of before and after the candidate, since the speed of a machine drifts. What is measured has its
batch normalisations folded, so a share above 1 is possible; the share of the folded network's own
rate says what the loop costs.

Networks are timm architectures with random weights, which serve for speed, on drawn images.

    python benchmarks/throughput.py                         # small, for a CPU: seven minutes
    python benchmarks/throughput.py --device cuda --networks imagenet --images 512
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import get_args

import numpy as np
import timm
import torch
from PIL import Image
from provenance import circumstances, write
from rich.console import Console
from rich.table import Table
from timm.models import save_for_hf

from selector.backbones import Backbone, Folded, fold_batch_norms, load_backbone
from selector.candidates import Candidate, Pinned
from selector.devices import choose_device, keep_freed_memory
from selector.evaluation import evaluate
from selector.fetching import prepare
from selector.precision import Precision, PrecisionName, full_precision
from selector.protocol import Overrides, choose_protocol
from selector.run import Prepared, first_batch_size
from selector.tasks import Task, load_task
from selector.threat import ThreatModel
from selector.workload import Setting

NETWORKS = {
    "small": ("resnet18", "mobilenetv3_small_100", "deit_tiny_patch16_224"),
    "imagenet": (
        "resnet18", "resnet50", "wide_resnet50_2", "convnext_tiny", "convnext_base",
        "efficientnet_b0", "mobilenetv3_large_100", "vit_small_patch16_224",
        "vit_base_patch16_224", "swin_tiny_patch4_window7_224", "xcit_small_12_p16_224",
        "densenet121",
    ),
}  # fmt: skip
CLASSES = 8


@dataclass(frozen=True)
class Row:
    """One network; times in seconds, rates in images per second.

    ``drift``: how many times as long the same passes took after the candidate as before it.

    A local folder's fetch is the hashing of its files; in a ranking it is done ahead, beside the
    measuring of others, and is no part of the total.
    """

    network: str
    batch_size: int
    bare_batch_size: int
    search_precision: str
    peak_process_bytes: int | None
    peak_device_bytes: int | None
    forward_rate: float
    forward_backward_rate: float
    drift: float
    folded_norms: Folded
    folded_forward_backward_rate: float
    passes_forward: int
    passes_backward: int
    seconds_fetch: float
    seconds_load: float
    seconds_features: float
    seconds_attack: float
    seconds_heads: float
    seconds_rest: float
    seconds_total: float
    attack_share: float
    attack_share_folded: float
    total_ratio: float


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--networks", choices=sorted(NETWORKS), default="small")
    parser.add_argument("--images", type=int, default=32, help="test images")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    device = choose_device(options.device)
    if device.type == "cpu":
        keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        task = draw_task(Path(folder) / "task", options.images, options.image_size)
        seconds_decode = time.perf_counter() - began
        setting = Setting(
            task,
            ThreatModel("linf", 4 / 255),
            choose_protocol(
                "standard",
                device.type,
                Overrides(
                    restarts=options.restarts, steps=options.steps, test_images=options.images
                ),
                seed=0,
            ),
            device,
        )
        rows = [
            measure(name, Path(folder) / "nets" / name, setting)
            for name in NETWORKS[options.networks]
        ]
    report = {
        **circumstances(device),
        "settings": {key: str(value) for key, value in vars(options).items() if key != "output"},
        "images": {
            "train": len(task.train),
            "validation": len(task.validation),
            "test": len(task.test),
        },
        "seconds_decode_once": seconds_decode,
        "rows": [asdict(row) for row in rows],
    }
    show(rows, seconds_decode)
    if options.output:
        write(report, options.output)


def draw_images(folder: Path, images: int, size: int) -> None:
    """Noise around a colour for each class, as files, so that decoding counts."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 4 * images), ("val", images // 2), ("test", images)):
        for place in range(count):
            label = place % CLASSES
            target = folder / part / f"class{label}"
            target.mkdir(parents=True, exist_ok=True)
            noise = generator.normal(30 * label, 40, (size, size, 3)).clip(0, 255)
            Image.fromarray(noise.astype(np.uint8)).save(target / f"{place}.jpg", quality=90)


def draw_task(folder: Path, images: int, size: int) -> Task:
    """These, decoded."""
    draw_images(folder, images, size)
    protocol = choose_protocol(
        "standard", "cuda", Overrides(train_images=4 * images, test_images=images), seed=0
    )
    return load_task(str(folder), image_size=size, sizes=protocol.sizes, seed=0)


def measure(name: str, folder: Path, setting: Setting) -> Row:
    """One network: a whole candidate, then bare rates."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    save_for_hf(timm.create_model(name, pretrained=False), str(folder), safe_serialization=True)
    bare = {folds: Before.of(folder, setting, folds) for folds in (False, True)}
    began = time.perf_counter()
    prepared: Prepared = prepare(
        Pinned(Candidate(model=f"local-dir:{folder}")), None, lambda count: None
    )
    fetch = time.perf_counter() - began
    began = time.perf_counter()
    cost = evaluate(prepared, setting).cost
    total = time.perf_counter() - began
    published, folded = (bare[folds].and_now(cost.search_precision) for folds in (False, True))
    # All but the clean features of the three parts are the attack's.
    plain = len(setting.task.train) + len(setting.task.validation) + len(setting.task.test)
    attack_only_forward = cost.forward_passes - cost.backward_passes - plain

    def pure_attack(rates: Bare) -> float:
        return cost.backward_passes * rates.both + attack_only_forward * rates.forward

    stages = cost.seconds_load + cost.seconds_features + cost.seconds_attack + cost.seconds_heads
    return Row(
        network=name,
        batch_size=cost.batch_size,
        bare_batch_size=published.batch,
        search_precision=cost.search_precision,
        peak_process_bytes=cost.peak_process_bytes,
        peak_device_bytes=cost.peak_device_bytes,
        forward_rate=1 / published.forward,
        forward_backward_rate=1 / published.both,
        drift=published.drift,
        folded_norms=bare[True].folded,
        folded_forward_backward_rate=1 / folded.both,
        passes_forward=cost.forward_passes,
        passes_backward=cost.backward_passes,
        seconds_fetch=fetch,
        seconds_load=cost.seconds_load,
        seconds_features=cost.seconds_features,
        seconds_attack=cost.seconds_attack,
        seconds_heads=cost.seconds_heads,
        seconds_rest=total - stages,
        seconds_total=total,
        attack_share=pure_attack(published) / cost.seconds_attack,
        attack_share_folded=pure_attack(folded) / cost.seconds_attack,
        total_ratio=total / (pure_attack(published) + plain * published.forward),
    )


@dataclass(frozen=True)
class Bare:
    """A network alone at its best batch size; seconds per image.

    Attributes:
        batch: images per pass.
        forward: of a pass in fp32.
        both: of a pass and its gradient, in the precision of the search.
        drift: of ``both``, from an earlier time to a later one.
    """

    batch: int
    forward: float
    both: float
    drift: float = 1.0

    @classmethod
    def best(cls, backbone: Backbone, precision: Precision, setting: Setting) -> Bare:
        """At the batch size at which pass and gradient are fastest."""
        first = first_batch_size(backbone.input_size, setting.device)
        best = cls(0, float("inf"), float("inf"))
        for batch in sorted({max(1, first // 4), max(1, first // 2), first}):
            try:
                best = min(best, cls.at(batch, backbone, precision, setting), key=lambda b: b.both)
            except torch.OutOfMemoryError:
                break
        return best

    @classmethod
    def at(cls, batch: int, backbone: Backbone, precision: Precision, setting: Setting) -> Bare:
        """At this batch size."""
        size, device = setting.task.image_size, setting.device
        x = torch.rand(batch, 3, size, size, device=device)
        x = x.contiguous(memory_format=torch.channels_last)
        forward = median_seconds(partial(plain_pass, backbone, x), device)
        with precision.climbing():
            both = median_seconds(partial(gradient_pass, backbone, precision, x), device)
        return cls(batch, forward / batch, both / batch)

    def and_later(self, later: Bare) -> Bare:
        """The mean of two, at the same batch size."""
        return Bare(
            self.batch,
            (self.forward + later.forward) / 2,
            (self.both + later.both) / 2,
            later.both / self.both,
        )


@dataclass(frozen=True)
class Before:
    """A network before it was measured as a candidate.

    Attributes:
        backbone: it.
        folded: what was folded in it.
        bare: its passes, in each precision that the search may take.
        setting: of the candidate.
    """

    backbone: Backbone
    folded: Folded | None
    bare: dict[PrecisionName, Bare]
    setting: Setting

    @classmethod
    def of(cls, folder: Path, setting: Setting, folds: bool) -> Before:
        """Load it, with its batch normalisations folded or not, and time its passes."""
        device = setting.device
        backbone = load_backbone(folder, device)
        names = get_args(PrecisionName) if device.type == "cuda" else ("fp32",)
        few = torch.rand(4, 3, *backbone.input_size, device=device)
        with full_precision():
            folded = fold_batch_norms(backbone.network, backbone, few) if folds else None
            bare = {name: Bare.best(backbone, Precision(name), setting) for name in names}
        return cls(backbone, folded, bare, setting)

    def and_now(self, name: PrecisionName) -> Bare:
        """In the mean of then and now."""
        then = self.bare[name]
        with full_precision():
            now = Bare.at(then.batch, self.backbone, Precision(name), self.setting)
        return then.and_later(now)


def plain_pass(backbone: Backbone, x: torch.Tensor) -> None:
    """Features alone."""
    with torch.no_grad():
        backbone(x)


def gradient_pass(backbone: Backbone, precision: Precision, x: torch.Tensor) -> None:
    """Features and the gradient of their squared norm with respect to the images."""
    x = x.detach().requires_grad_(True)
    torch.autograd.grad(precision.features(backbone, x).square().sum(), x)


def median_seconds(call: Callable[[], None], device: torch.device, repeats: int = 5) -> float:
    """Of some calls, after one that sets things up: what they are set against has no best call."""
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - began)
    return median(seconds[1:])


def show(rows: list[Row], seconds_decode: float) -> None:
    """Print the table."""
    table = Table(title="seconds of one candidate, by stage")
    stages = ("fetch", "load", "features", "attack", "heads", "rest")
    for column in ("network", "batch", "bare img/s", "drift", *stages):
        table.add_column(column, justify="left" if column == "network" else "right")
    table.add_column("attack share (folded)", justify="right")
    table.add_column("total ratio", justify="right")
    for row in rows:
        seconds = (row.seconds_fetch, row.seconds_load, row.seconds_features)
        seconds += (row.seconds_attack, row.seconds_heads, row.seconds_rest)
        table.add_row(
            row.network,
            f"{row.batch_size} ({row.bare_batch_size})",
            f"{row.forward_backward_rate:.1f}",
            f"{row.drift:.2f}",
            *(f"{each:.2f}" for each in seconds),
            f"{row.attack_share:.2f} ({row.attack_share_folded:.2f})",
            f"{row.total_ratio:.2f}",
        )
    console = Console(width=120)
    console.print(table)
    console.print(f"decoding, once for all candidates: {seconds_decode:.2f} s")


if __name__ == "__main__":
    main()
