"""Files become canonical images, each decoded once for all candidates."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from selector.errors import UsageError, first_line, printable
from selector.rows import Rows, ranges
from selector.spool import collect
from selector.tasks.listing import Example, Picture, Source

# More unreadable files than this share of what was asked for is a broken data set, not an accident.
UNREADABLE_LIMIT = 0.05

# What Pillow reads by itself, whatever a file is called. It knows more formats; some of those start
# other programs: EPS is a program for Ghostscript.
_FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "QOI", "TGA"),
    *("TIFF", "WEBP"),
)

# Images per thread that are decoded before any of them is put where they are kept.
_PER_THREAD = 8
_HASHED_AT_ONCE = 128


@dataclass(frozen=True)
class Split:
    """Canonical images of one part of a task.

    Attributes:
        pixels: (n,3,S,S) uint8, in host memory or in a file.
        labels: (n,) int64 in 0..K-1.
    """

    pixels: Rows
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def digests(self) -> Tensor:
        """sha256 of the pixels of each image (n,32) uint8."""
        each = [
            hashlib.sha256(image.contiguous().numpy().data).digest()
            for part in ranges(len(self), _HASHED_AT_ONCE)
            for image in self.pixels[part]
        ]
        return torch.frombuffer(bytearray(b"".join(each)), dtype=torch.uint8).view(-1, 32)


def canonical_image(image: Image.Image, size: int) -> np.ndarray:
    """One image as (S,S,3) uint8: EXIF rotation, RGB, shorter side to S, centre crop.

    Transparent pixels are laid on white; 16-bit grey keeps its upper 8 bits.

    Raises:
        ValueError: values of a format without a range of its own are not in one that is known.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_eight_bits(np.asarray(image), image.mode))
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA"):
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.asarray(
        ImageOps.fit(image.convert("RGB"), (size, size), method=Image.Resampling.BICUBIC)
    )


def decode(examples: list[Example], size: int, unreadable: list[str], part: str) -> Split:
    """Canonical images of one part of a task; names of what cannot be read go to ``unreadable``.

    Raises:
        UsageError: too many cannot be read, or the only one of a class.
    """
    split = decode_readable(examples, size, unreadable, part)
    if set(split.labels.tolist()) != {label for _, label in examples}:
        raise UsageError(
            f"--task: the {part} part has no readable image of a class; not even"
            f" {unreadable[len(split) - len(examples)]}.",
            hint="Replace it, or use more images.",
        )
    return split


def decode_readable(examples: list[Example], size: int, unreadable: list[str], part: str) -> Split:
    """As :func:`decode`, whatever the labels of what cannot be read.

    Raises:
        UsageError: too many cannot be read.
    """
    readable = torch.zeros(len(examples), dtype=torch.bool)
    pixels = collect(_decoded(examples, size, readable), len(examples))
    labels = torch.tensor([label for _, label in examples])
    good = readable.tolist()
    failed = [
        printable(str(source)) for (source, _), fine in zip(examples, good, strict=True) if not fine
    ]
    unreadable += failed
    if len(failed) > max(1, UNREADABLE_LIMIT * len(examples)):
        raise UsageError(
            f"--task: {len(failed)} of {len(examples)} {part} images cannot be read,"
            f" at most {UNREADABLE_LIMIT:.0%} may be; the first is {failed[0]}.",
            hint="Remove or replace them.",
        )
    return Split(pixels, labels[readable])


def _decoded(examples: list[Example], size: int, readable: Tensor) -> Iterator[Tensor]:
    """The images (b,3,S,S) that can be read, a few at a time; ``readable`` (n,) says which can."""
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        for part in ranges(len(examples), threads * _PER_THREAD):
            images = list(pool.map(lambda example: _read(example[0], size), examples[part]))
            good = [image for image in images if image is not None]
            readable[part] = torch.tensor([image is not None for image in images])
            if good:
                yield torch.from_numpy(np.stack(good)).permute(0, 3, 1, 2).contiguous()


def _read(source: Source, size: int) -> np.ndarray | None:
    if isinstance(source, np.ndarray):
        return canonical_image(Image.fromarray(source), size)
    if isinstance(source, Picture):
        return _given(source, size)
    # A pipe or a device would be read for ever.
    if isinstance(source, Path) and not source.is_file():
        return None
    try:
        file = source if isinstance(source, Path) else BytesIO(source.read())
        with Image.open(file, formats=_FORMATS) as image:
            return canonical_image(image, size)
    except Exception:  # noqa: BLE001 - Pillow's decoders raise nearly anything on damaged files
        return None


def _given(picture: Picture, size: int) -> np.ndarray:
    """An image of the caller's, whose failure is a mistake to be told and no damaged file."""
    try:
        return canonical_image(picture.image(), size)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"{printable(picture.name)} cannot be read: {type(error).__name__}:"
            f" {first_line(error)}."
        ) from error


def _eight_bits(values: np.ndarray, mode: str) -> np.ndarray:
    """Grey values (h,w) of a deep image as uint8."""
    low, high = values.min(), values.max()
    if mode == "F":
        if low < 0 or high > 1:
            raise ValueError("float images must lie in [0,1]")
        return np.asarray(values * 255 + 0.5, dtype=np.uint8)
    # Pillow opens 16-bit PNG files as 32-bit integers.
    if low < 0 or high > 65_535:
        raise ValueError("integer images must lie in 0..65535")
    return np.asarray(values.astype(np.uint32) >> 8, dtype=np.uint8)
