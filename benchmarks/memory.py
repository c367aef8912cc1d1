"""Peak memory of a whole `selector rank` against the number of images: it must not grow with them.

Two series, each run a process of its own with one tiny network on a CPU: more and more training
images, which only go through the network, and more and more test images, which are attacked (with
as short an attack as there is). Images are 64 px, 12 kB each once decoded.

    python benchmarks/memory.py            # up to 10,000 and 2,000 images, about two minutes
    python benchmarks/memory.py --full -o benchmarks/results/memory.cpu.json
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

# What the console script does; the process that is measured is started by nobody large.
COMMAND = [sys.executable, "-c", "from selector.cli import main; main()", "rank"]
SIDE, CLASSES, DIFFERENT, FEW = 64, 4, 200, 64
SHORT = {"train": (1_000, 10_000), "test": (500, 2_000)}
FULL = {"train": (1_000, 10_000, 100_000), "test": (500, 5_000, 20_000)}
MB = 1e6


@dataclass(frozen=True)
class Row:
    """One run.

    Attributes:
        series: which part of the task grew, train or test.
        images: of this part.
        peak_mb: most memory that the process held at once.
        growth_mb: beyond the smallest run of the series.
        pixels_mb: what the decoded images of this part would take.
        seconds: of the whole run.
    """

    series: str
    images: int
    peak_mb: float
    growth_mb: float
    pixels_mb: float
    seconds: float


def main() -> None:
    """Measure, print, write."""
    arguments = parse()
    rows = []
    for series, counts in (FULL if arguments.full else SHORT).items():
        first = None
        for images in counts:
            peak, seconds = measure(series, images)
            first = peak if first is None else first
            pixels = images * 3 * SIDE * SIDE
            row = Row(series, images, peak / MB, (peak - first) / MB, pixels / MB, seconds)
            rows.append(row)
            print(describe(row), flush=True)
    if arguments.output is not None:
        write(rows, arguments.output)
        draw(rows, arguments.output.with_suffix(".svg"))


def parse() -> argparse.Namespace:
    """What the user asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="up to 100,000 and 20,000 images")
    parser.add_argument(
        "-o", "--output", type=Path, help="write the rows as JSON, and the figure as SVG beside it"
    )
    return parser.parse_args()


def measure(series: str, images: int) -> tuple[int, float]:
    """Peak in bytes and seconds of one run with so many images of one part of the task."""
    with tempfile.TemporaryDirectory() as folder:
        task = Path(folder) / "task"
        train, test = (images, FEW) if series == "train" else (SHORT["train"][0], images)
        write_task(task, {"train": train, "val": FEW if series == "train" else 250, "test": test})
        options = {
            "--task": task,
            "--model": f"local-dir:{zoo() / 'tiny_resnet.cifar10_linf_8'}",
            "--image-size": SIDE,
            "--train-images": train,
            "--test-images": test,
            "--restarts": 1,
            "--steps": 1,
            "--device": "cpu",
            "--output": Path(folder) / "ranking.json",
        }
        command = [*COMMAND, *(str(word) for pair in options.items() for word in pair), "--fresh"]
        environment = os.environ | {"SELECTOR_CACHE": folder}
        began = time.monotonic()
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        said = process.stderr.read() if process.stderr else b""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f"selector failed: {said.decode(errors='replace')}")
        peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return peak, time.monotonic() - began


def zoo() -> Path:
    """The built-in networks, found without importing torch."""
    import selector

    return Path(selector.__file__).parent / "demo" / "zoo"


def write_task(folder: Path, sizes: dict[str, int]) -> None:
    """A folder of images: of every class one colour, and noise; many are links to one file."""
    draws = np.random.default_rng(0)
    colours = draws.integers(64, 192, (CLASSES, 1, 1, 3))
    pictures = []
    for part in sizes:
        for label in range(CLASSES):
            (folder / part / str(label)).mkdir(parents=True)
    for place in range(DIFFERENT):
        noise = draws.normal(0, 30, (SIDE, SIDE, 3))
        values = (colours[place % CLASSES] + noise).clip(0, 255).astype(np.uint8)
        pictures.append(folder / f"{place}.jpg")
        Image.fromarray(values).save(pictures[-1], "jpeg", quality=75)
    for part, count in sizes.items():
        for place in range(count):
            path = folder / part / str(place % CLASSES) / f"{place}.jpg"
            path.hardlink_to(pictures[place % DIFFERENT])


def describe(row: Row) -> str:
    """A row as a line of the table."""
    return (
        f"{row.series:5} {row.images:7,} images  peak {row.peak_mb:6.0f} MB"
        f"  growth {row.growth_mb:+6.0f} MB  (pixels alone {row.pixels_mb:6.0f} MB)"
        f"  {row.seconds:5.0f} s"
    )


def write(rows: Sequence[Row], path: Path) -> None:
    """The rows as JSON, with what they were measured on."""
    # Not before all is measured: what starts a process counts in its peak, and torch is large.
    import provenance
    import torch

    rounded = [
        {k: round(v, 1) if isinstance(v, float) else v for k, v in asdict(row).items()}
        for row in rows
    ]
    known = provenance.circumstances(torch.device("cpu"), (*provenance.VERSIONS, "pillow"))
    provenance.write({**known, "image_side": SIDE, "rows": rounded}, path)


def draw(rows: Sequence[Row], path: Path) -> None:
    """Peaks against numbers of images, beside what keeping decoded images in memory would add."""
    import matplotlib

    matplotlib.use("svg")
    # The same measurements give the same file.
    matplotlib.rcParams["svg.hashsalt"] = "selector"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    for series, label in (("train", "training images"), ("test", "test images, attacked")):
        mine = [row for row in rows if row.series == series]
        axes.plot([row.images for row in mine], [row.peak_mb for row in mine], "o-", label=label)
    train = [row for row in rows if row.series == "train"]
    kept = [train[0].peak_mb - train[0].pixels_mb + row.pixels_mb for row in train]
    axes.plot([row.images for row in train], kept, "C0:", label="training images, pixels in memory")
    axes.set(xscale="log", xlabel="images", ylabel="peak memory of the process, MB")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
