"""Files become canonical images, each decoded once for all candidates."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from selector.errors import UsageError, first_line, printable
from selector.reading import is_file
from selector.rows import Picked, Rows, ranges
from selector.spool import collect
from selector.tasks.cells import MOST_BYTES
from selector.tasks.listing import Example, Picture, Source

# More unreadable files than this share of what was asked for is a broken data set, not an accident.
UNREADABLE_LIMIT = 0.05

# Images per thread that are decoded before any of them is put where they are kept.
_PER_THREAD = 8
_HASHED_AT_ONCE = 128


# Of one image: where Pillow begins to speak of bombs. Decoded, it takes up to a GB of memory.
MOST_PIXELS = 89_478_485
# Of all images that are decoded at once.
_PIXELS_AT_ONCE = 2 * MOST_PIXELS
_STRIP = 2**22
# Formats whose decoders hold more copies than others.
_GREEDY = {"WEBP", "JPEG2000"}

# Formats whose readers run a program (Ghostscript), give the file to the system, or read another
# image that lies in it as any format.
_LEFT_TO_OTHERS = {"EPS", "WMF", "IPTC"}


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

    def at(self, places: Tensor) -> Split:
        """Some of the images, by index (b,), in that order."""
        return Split(Picked(self.pixels, places), self.labels[places])

    @cached_property
    def digests(self) -> Tensor:
        """sha256 of the pixels of each image (n,32) uint8."""
        each = [
            hashlib.sha256(image.contiguous().numpy().data).digest()
            for part in ranges(len(self), _HASHED_AT_ONCE)
            for image in self.pixels[part]
        ]
        # torch makes nothing of an empty buffer.
        return torch.tensor(list(b"".join(each)), dtype=torch.uint8).view(-1, 32)


def canonical_image(image: Image.Image, size: int) -> np.ndarray:
    """One image as (S,S,3) uint8: EXIF rotation, RGB, shorter side to S, centre crop.

    Transparent pixels are laid on white; 16-bit grey keeps its upper 8 bits.

    Raises:
        ValueError: values of a format without a range of its own are not in one that is known.
    """
    image.load()
    # Of a large image there is no memory for copies that change nothing.
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode != "RGB" or "transparency" in image.info:
        image = _in_strips(image)
    return np.asarray(ImageOps.fit(image, (size, size), method=Image.Resampling.BICUBIC))


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
    whys: list[str | None] = []
    pixels = collect(_decoded(examples, size, whys), len(examples))
    labels = torch.tensor([label for _, label in examples])
    readable = torch.tensor([why is None for why in whys])
    failed = [
        printable(f"{source} ({why})" if why else str(source))
        for (source, _), why in zip(examples, whys, strict=True)
        if why is not None
    ]
    unreadable += failed
    if len(failed) > max(1, UNREADABLE_LIMIT * len(examples)):
        raise UsageError(
            f"--task: {len(failed)} of {len(examples)} {part} images cannot be read,"
            f" at most {UNREADABLE_LIMIT:.0%} may be; the first is {failed[0]}.",
            hint="Remove or replace them.",
        )
    return Split(pixels, labels[readable])


def _decoded(examples: list[Example], size: int, whys: list[str | None]) -> Iterator[Tensor]:
    """The images (b,3,S,S) that can be read, a few at a time.

    For each example ``whys`` gets None, or why it cannot be read, as far as that is known.
    """
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        for part in ranges(len(examples), threads * _PER_THREAD):
            images = list(pool.map(lambda example: _read(example[0], size), examples[part]))
            good = [image for image in images if isinstance(image, np.ndarray)]
            whys += [None if isinstance(image, np.ndarray) else image for image in images]
            if good:
                yield torch.from_numpy(np.stack(good)).permute(0, 3, 1, 2).contiguous()


def _read(source: Source, size: int) -> np.ndarray | str:
    """An image, or why there is none as far as that is known."""
    if isinstance(source, np.ndarray):
        return canonical_image(Image.fromarray(source), size)
    if isinstance(source, Picture):
        return _given(source, size)
    # A pipe or a device would be read for ever.
    if isinstance(source, Path) and not is_file(source):
        return ""
    try:
        if isinstance(source, Path) and source.stat().st_size > MOST_BYTES:
            return f"more than {MOST_BYTES:,} bytes"
        file = source if isinstance(source, Path) else BytesIO(source.read())
        with Image.open(file, formats=_formats()) as image:
            return _decoded_one(image, size)
    except (_TooLarge, Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        most = error.most if isinstance(error, _TooLarge) else MOST_PIXELS
        return f"more than {most:,} pixels"
    except MemoryError:
        return "no memory for it"
    except Exception:  # noqa: BLE001 - Pillow's decoders raise nearly anything on damaged files
        return ""


def _decoded_one(image: Image.Image, size: int) -> np.ndarray:
    """Decode an image of which only the headers have been read, if there may be so many pixels."""
    with _room.taken(_weight(image)):
        image.load()
        # Of an icon the headers do not tell what lies in it.
        _weight(image)
        return canonical_image(image, size)


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


@cache
def _formats() -> tuple[str, ...]:
    """All that Pillow reads by itself."""
    Image.init()
    return tuple(sorted(Image.OPEN.keys() - _LEFT_TO_OTHERS))


class _TooLarge(Exception):  # noqa: N818 - of an image
    def __init__(self, most: int) -> None:
        self.most = most


def _weight(image: Image.Image) -> int:
    """Pixels of an image, as far as memory for them goes.

    Raises:
        _TooLarge: there are too many.
    """
    copies = 2 if image.format in _GREEDY else 1
    weight = image.width * image.height * copies
    if weight > MOST_PIXELS:
        raise _TooLarge(MOST_PIXELS // copies)
    return weight


class _Room:
    """Pixels that may be decoded at once, as each takes memory meanwhile."""

    def __init__(self, pixels: int) -> None:
        self._free, self._changed = pixels, threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Wait until there is room for an image of so many, and keep it."""
        with self._changed:
            self._changed.wait_for(lambda: pixels <= self._free)
            self._free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()


_room = _Room(_PIXELS_AT_ONCE)


def _in_strips(image: Image.Image) -> Image.Image:
    """An image in RGB, made in parts, as their conversion takes several copies."""
    whole = Image.new("RGB", image.size)
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        bottom = min(image.height, top + rows)
        whole.paste(_in_rgb(image.crop((0, top, image.width, bottom))), (0, top))
    return whole


def _in_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_eight_bits(np.asarray(image), image.mode))
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA"):
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("RGB")


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
