"""Drawn discs with numeric targets, to try a regression: ``python -m selector.demo.discs DIR``.

As in dSprites, the images differ in where a shape is and how large; colours vary as well.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIZE = 32


def draw_discs(folder: Path, images: int, seed: int = 0) -> Path:
    """Write so many PNG images of 32 px and ``discs.csv`` with file, x, y and radius in pixels.

    Args:
        folder: must exist.
        images: how many.
        seed: of positions, sizes and colours.

    Returns:
        The manifest.
    """
    draws, manifest = np.random.default_rng(seed), folder / "discs.csv"
    with manifest.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "x", "y", "radius"])
        for number in range(images):
            x, y, radius = *draws.uniform(10, 22, 2), draws.uniform(3, 9)
            dark, bright = draws.integers(0, 90, 3), draws.integers(150, 255, 3)
            image = Image.new("RGB", (SIZE, SIZE), tuple(dark.tolist()))
            box = (x - radius, y - radius, x + radius, y + radius)
            ImageDraw.Draw(image).ellipse(box, fill=tuple(bright.tolist()))
            image.save(folder / f"{number}.png")
            rows.writerow([f"{number}.png", *(round(float(value), 2) for value in (x, y, radius))])
    return manifest


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw discs, and a manifest of them.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    print(draw_discs(arguments.folder, arguments.images))
