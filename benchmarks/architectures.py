"""A whole ranking of networks of ImageNet's size, as a user runs it, with what it took.

Each is a timm architecture with random weights, which serve for speed; images are drawn, or of
``--task``. The command is ``selector rank``, in a process and with a store of its own:

    wall       seconds from its start to its end: libraries, decoding, loading and ranking included
    measuring  share of it in which candidates were measured, by stage in the JSON
    passes     images forward and back through backbones, per second of the whole

    python benchmarks/architectures.py --device cuda -o architectures.gpu.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import timm
import torch
from provenance import circumstances, write
from rich.console import Console
from rich.table import Table
from throughput import NETWORKS, draw_images
from timm.models import save_for_hf

from selector.devices import choose_device

STAGES = ("load", "features", "attack", "heads")


def main() -> None:
    """Rank, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--networks", choices=sorted(NETWORKS), default="imagenet")
    parser.add_argument("--task", help="a task of your own; drawn images if left out")
    parser.add_argument("--images", type=int, default=512, help="test images")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--eps", default="1/255")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        task = options.task or str(folder / "task")
        if not options.task:
            draw_images(Path(task), options.images, options.image_size)
        for name in NETWORKS[options.networks]:
            make(name, folder / "nets" / name)
        command = [
            *(sys.executable, "-m", "selector", "rank", "--task", task),
            *("--device", options.device, "--image-size", str(options.image_size)),
            *("--test-images", str(options.images), "--preset", options.preset),
            *("--eps", options.eps, "--store", str(folder / "store")),
            *("-o", str(folder / "ranking.json")),
        ]
        for name in NETWORKS[options.networks]:
            command += ["--model", f"local-dir:{folder / 'nets' / name}"]
        began = time.perf_counter()
        done = subprocess.run(command, check=False)
        seconds = time.perf_counter() - began
        if done.returncode not in (0, 3):
            raise SystemExit(f"selector rank ended with exit code {done.returncode}")
        ranking = json.loads((folder / "ranking.json").read_text(encoding="utf-8"))
    report = {
        **circumstances(choose_device(options.device)),
        "settings": {key: str(value) for key, value in vars(options).items() if key != "output"},
        "exit_code": done.returncode,
        "seconds": seconds,
        **summary(ranking, seconds),
    }
    show(report)
    if options.output:
        write(report, options.output)


def make(name: str, folder: Path) -> None:
    """Files of a network with random weights, of a seed."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    save_for_hf(timm.create_model(name, pretrained=False), str(folder), safe_serialization=True)


def summary(ranking: dict[str, Any], seconds: float) -> dict[str, Any]:
    """What a ranking document says that measuring took, of so many seconds."""
    rows = [
        {"network": one["name"].rsplit("/", 1)[-1], "rank": one["rank"], **one["cost"]}
        for one in ranking["ranking"]
    ]
    passes = sum(row["forward_passes"] + row["backward_passes"] for row in rows)
    measuring = sum(row[f"seconds_{stage}"] for row in rows for stage in STAGES)
    return {
        "images": {key: n for key, n in ranking["task"].items() if key.endswith("_images")},
        "passes": passes,
        "passes_per_second": passes / seconds,
        "seconds_measuring": measuring,
        "measuring": measuring / seconds,
        "skipped": [{"model": one["model"], "code": one["code"]} for one in ranking["skipped"]],
        "rows": rows,
    }


def show(report: dict[str, Any]) -> None:
    """Print the table."""
    table = Table(title="seconds of each candidate of one ranking, by stage")
    for column in ("network", "batch", "precision", "passes", *STAGES):
        table.add_column(column, justify="left" if column == "network" else "right")
    for row in report["rows"]:
        table.add_row(
            row["network"],
            str(row["batch_size"]),
            row["search_precision"],
            f"{row['forward_passes'] + row['backward_passes']:,}",
            *(f"{row[f'seconds_{stage}']:.1f}" for stage in STAGES),
        )
    console = Console(width=120)
    console.print(table)
    console.print(
        f"{len(report['rows'])} candidates in {report['seconds']:.0f} s,"
        f" {report['measuring']:.0%} of it measuring; {report['passes']:,} passes,"
        f" {report['passes_per_second']:,.0f} a second"
    )


if __name__ == "__main__":
    main()
