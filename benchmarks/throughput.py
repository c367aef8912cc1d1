"""Where the time of a ranking goes, and how near the attack loop comes to the network's own speed.

Networks are timm architectures with random weights, which serve for speed, on drawn images. They
are ranked by one ``selector rank``, as a user runs it. For every network: the seconds by stage, the
passes, and the rate of a bare forward and backward pass of the same network at its best batch size.
From these

    attack share   pure time of the attack's passes / seconds of the attack stage   (target 0.90)
    total ratio    seconds of the whole command / pure time of all its passes       (target 1.15)

The whole begins with the start of Python and ends with its end: libraries, hashing of files,
decoding, loading, heads and ranking are in it. The start weighs more the fewer images there are.

Pure time is that of the network as published, in the precision that the search took, in the mean
of before and after the ranking, since the speed of a machine drifts. What is measured has its
batch normalisations folded, so a share above 1 is possible; the share of the folded network's own
rate says what the loop costs.

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
from typing import Any, get_args

import torch
from drawn import NETWORKS, STAGES, Ranked, draw_images, rank, save_network
from provenance import circumstances, write
from rich.console import Console
from rich.table import Table

from selector.backbones import Backbone, Folded, fold_batch_norms, load_backbone
from selector.candidates import Candidate, Pinned
from selector.devices import choose_device, keep_freed_memory
from selector.fetching import prepare
from selector.precision import Precision, PrecisionName, full_precision
from selector.protocol import Overrides, choose_protocol
from selector.run import first_batch_size
from selector.tasks import load_task


@dataclass(frozen=True)
class Row:
    """One network; times in seconds, rates in images per second.

    ``drift``: how many times as long the same passes took after the ranking as before it.
    ``total_ratio``: as of the whole, of this candidate's stages alone.

    Fetching a local folder is the hashing of its files, timed apart: in a ranking it is done ahead,
    beside the measuring of others.
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
    seconds_pure: float
    attack_share: float
    attack_share_folded: float
    total_ratio: float


@dataclass(frozen=True)
class Whole:
    """The command; seconds.

    Attributes:
        seconds: from its start to its end.
        seconds_decode: of decoding all images once, timed apart.
        seconds_rest: of the command, in no stage of a candidate: decoding is in it.
        total_ratio: ``seconds`` as a multiple of the pure time of all passes.
    """

    seconds: float
    seconds_decode: float
    seconds_rest: float
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
    with tempfile.TemporaryDirectory() as temporary:
        ranked, rows, whole = measure(Path(temporary), options, device)
    report = {
        **circumstances(device),
        "settings": {key: str(value) for key, value in vars(options).items() if key != "output"},
        "images": ranked.images,
        "whole": asdict(whole),
        "rows": [asdict(row) for row in rows],
    }
    show(rows, whole)
    if options.output:
        write(report, options.output)


def measure(
    folder: Path, options: argparse.Namespace, device: torch.device
) -> tuple[Ranked, list[Row], Whole]:
    """Bare rates, the ranking, and bare rates again."""
    task, images, size = folder / "task", options.images, options.image_size
    draw_images(task, images, size)
    networks = [folder / "nets" / name for name in NETWORKS[options.networks]]
    for network in networks:
        save_network(network.name, network)
    bare = {
        network.name: {folds: Before.of(network, size, device, folds) for folds in (False, True)}
        for network in networks
    }
    if device.type == "cuda":
        torch.cuda.empty_cache()
    ranked = rank(
        networks,
        folder,
        [
            *("--task", str(task), "--device", options.device, "--image-size", str(size)),
            *("--test-images", str(images), "--train-images", str(4 * images)),
            *("--restarts", str(options.restarts), "--steps", str(options.steps)),
            *("--norm", "linf", "--eps", "4/255"),
        ],
    )
    if ranked.document["skipped"]:
        raise SystemExit(f"not measured: {ranked.document['skipped']}")
    costs = {row["network"]: row for row in ranked.rows}
    rows = [
        row_of(costs[network.name], bare[network.name], sum(ranked.images.values()), network)
        for network in networks
    ]
    whole = Whole(
        ranked.seconds,
        decode_seconds(task, images, size),
        ranked.seconds - ranked.seconds_measuring,
        ranked.seconds / sum(row.seconds_pure for row in rows),
    )
    return ranked, rows, whole


def row_of(cost: dict[str, Any], bare: dict[bool, Before], plain: int, network: Path) -> Row:
    """One network, from what it cost; ``plain`` passes were for clean features."""
    published, folded = (bare[folds].and_now(cost["search_precision"]) for folds in (False, True))
    # All but the clean features of the three parts are the attack's.
    attack_only_forward = cost["forward_passes"] - cost["backward_passes"] - plain

    def pure_attack(rates: Bare) -> float:
        return cost["backward_passes"] * rates.both + attack_only_forward * rates.forward

    pure = pure_attack(published) + plain * published.forward
    stages = {stage: cost[f"seconds_{stage}"] for stage in STAGES}
    return Row(
        network=network.name,
        batch_size=cost["batch_size"],
        bare_batch_size=published.batch,
        search_precision=cost["search_precision"],
        peak_process_bytes=cost["peak_process_bytes"],
        peak_device_bytes=cost["peak_device_bytes"],
        forward_rate=1 / published.forward,
        forward_backward_rate=1 / published.both,
        drift=published.drift,
        folded_norms=bare[True].folded,
        folded_forward_backward_rate=1 / folded.both,
        passes_forward=cost["forward_passes"],
        passes_backward=cost["backward_passes"],
        seconds_fetch=fetch_seconds(network),
        seconds_load=stages["load"],
        seconds_features=stages["features"],
        seconds_attack=stages["attack"],
        seconds_heads=stages["heads"],
        seconds_pure=pure,
        attack_share=pure_attack(published) / stages["attack"],
        attack_share_folded=pure_attack(folded) / stages["attack"],
        total_ratio=sum(stages.values()) / pure,
    )


def fetch_seconds(network: Path) -> float:
    """Of hashing the files of a candidate."""
    began = time.perf_counter()
    prepare(Pinned(Candidate(model=f"local-dir:{network}")), None, lambda count: None)
    return time.perf_counter() - began


def decode_seconds(task: Path, images: int, size: int) -> float:
    """Of decoding all images of the task once."""
    drawn = Overrides(train_images=4 * images, test_images=images)
    sizes = choose_protocol("standard", "cpu", drawn, seed=0).sizes
    began = time.perf_counter()
    load_task(str(task), image_size=size, sizes=sizes, seed=0)
    return time.perf_counter() - began


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
    def best(
        cls, backbone: Backbone, precision: Precision, size: int, device: torch.device
    ) -> Bare:
        """At the batch size at which pass and gradient are fastest."""
        first = first_batch_size(backbone.input_size, device)
        best = cls(0, float("inf"), float("inf"))
        for batch in sorted({max(1, first // 4), max(1, first // 2), first}):
            try:
                found = cls.at(batch, backbone, precision, size, device)
            except torch.OutOfMemoryError:
                break
            best = min(best, found, key=lambda b: b.both)
        return best

    @classmethod
    def at(
        cls,
        batch: int,
        backbone: Backbone,
        precision: Precision,
        size: int,
        device: torch.device,
    ) -> Bare:
        """At this batch size."""
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
    """A network before it was ranked.

    Attributes:
        backbone: it.
        folded: what was folded in it.
        bare: its passes, in each precision that the search may take.
        size: of images.
        device: of all.
    """

    backbone: Backbone
    folded: Folded | None
    bare: dict[PrecisionName, Bare]
    size: int
    device: torch.device

    @classmethod
    def of(cls, folder: Path, size: int, device: torch.device, folds: bool) -> Before:
        """Load it, with its batch normalisations folded or not, and time its passes."""
        backbone = load_backbone(folder, device)
        names = get_args(PrecisionName) if device.type == "cuda" else ("fp32",)
        few = torch.rand(4, 3, *backbone.input_size, device=device)
        with full_precision():
            folded = fold_batch_norms(backbone.network, backbone, few) if folds else None
            bare = {name: Bare.best(backbone, Precision(name), size, device) for name in names}
        return cls(backbone, folded, bare, size, device)

    def and_now(self, name: PrecisionName) -> Bare:
        """In the mean of then and now."""
        then = self.bare[name]
        with full_precision():
            now = Bare.at(then.batch, self.backbone, Precision(name), self.size, self.device)
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


def show(rows: list[Row], whole: Whole) -> None:
    """Print the table."""
    table = Table(title="seconds of each candidate of one ranking, by stage")
    for column in ("network", "batch", "bare img/s", "drift", "fetch", *STAGES, "pure"):
        table.add_column(column, justify="left" if column == "network" else "right")
    table.add_column("attack share (folded)", justify="right")
    table.add_column("total ratio", justify="right")
    for row in rows:
        seconds = (row.seconds_fetch, row.seconds_load, row.seconds_features)
        seconds += (row.seconds_attack, row.seconds_heads, row.seconds_pure)
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
    console.print(
        f"the whole command {whole.seconds:.1f} s, {whole.total_ratio:.2f} times the pure passes;"
        f" {whole.seconds_rest:.1f} s in no stage: libraries, decoding (once for all candidates,"
        f" {whole.seconds_decode:.1f} s), ranking"
    )


if __name__ == "__main__":
    main()
