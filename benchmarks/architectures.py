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
import tempfile
from pathlib import Path
from typing import Any

from drawn import NETWORKS, STAGES, Ranked, draw_images, rank, save_network
from provenance import circumstances, write
from rich.console import Console
from rich.table import Table

from selector.devices import choose_device


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
        networks = [folder / "nets" / name for name in NETWORKS[options.networks]]
        for network in networks:
            save_network(network.name, network)
        ranked = rank(
            networks,
            folder,
            [
                *("--task", task, "--device", options.device),
                *("--image-size", str(options.image_size), "--test-images", str(options.images)),
                *("--preset", options.preset, "--eps", options.eps),
            ],
        )
    report = {
        **circumstances(choose_device(options.device)),
        "settings": {key: str(value) for key, value in vars(options).items() if key != "output"},
        **summary(ranked),
    }
    show(report)
    if options.output:
        write(report, options.output)


def summary(ranked: Ranked) -> dict[str, Any]:
    """What the command took."""
    rows, seconds = ranked.rows, ranked.seconds
    passes = sum(row["forward_passes"] + row["backward_passes"] for row in rows)
    return {
        "exit_code": ranked.exit_code,
        "seconds": seconds,
        "images": ranked.images,
        "passes": passes,
        "passes_per_second": passes / seconds,
        "seconds_measuring": ranked.seconds_measuring,
        "measuring": ranked.seconds_measuring / seconds,
        "skipped": [
            {"model": one["model"], "code": one["code"]} for one in ranked.document["skipped"]
        ],
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
