"""Files become canonical images, each decoded once for all candidates."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from selector.errors import UsageError
from selector.tasks.listing import Example

# More unreadable files than this share of what was asked for is a broken data set, not an accident.
UNREADABLE_LIMIT = 0.05


@dataclass(frozen=True)
class Split:
    """Canonical images of one part of a task.

    Attributes:
        pixels: (n,3,S,S) uint8.
        labels: (n,) int64 in 0..K-1.
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def canonical_image(image: Image.Image, size: int) -> np.ndarray:
    """One image as (S,S,3) uint8: EXIF rotation, RGB, shorter side to S, centre crop.

    Transparent pixels are laid on white; 16-bit grey keeps its upper 8 bits.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        image = Image.fromarray((values / (256 if values.max() > 255 else 1)).astype(np.uint8))
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA"):
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.asarray(
        ImageOps.fit(image.convert("RGB"), (size, size), method=Image.Resampling.BICUBIC)
    )


def decode(examples: list[Example], size: int, unreadable: list[str], part: str) -> Split:
    def read(example: Example) -> np.ndarray | None:
        source = example[0]
        if isinstance(source, np.ndarray):
            return canonical_image(Image.fromarray(source), size)
        try:
            with Image.open(source) as image:
                return canonical_image(image, size)
        except (
            UnidentifiedImageError,
            OSError,
            ValueError,
            SyntaxError,
            Image.DecompressionBombError,
        ):
            return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        images = list(pool.map(read, examples))
    failed = [
        str(source) for (source, _), image in zip(examples, images, strict=True) if image is None
    ]
    unreadable += failed
    if len(failed) > max(1, UNREADABLE_LIMIT * len(examples)):
        raise UsageError(
            f"--task: {len(failed)} of {len(examples)} {part} images cannot be read,"
            f" at most {UNREADABLE_LIMIT:.0%} may be; the first is {failed[0]}.",
            hint="Remove or replace them.",
        )
    good = [
        (image, label)
        for image, (_, label) in zip(images, examples, strict=True)
        if image is not None
    ]
    if not good:
        raise UsageError(f"--task: the {part} part has no readable image.")
    pixels = torch.from_numpy(np.stack([image for image, _ in good])).permute(0, 3, 1, 2)
    return Split(pixels.contiguous(), torch.tensor([label for _, label in good]))
