"""Images go through a backbone in batches, as many at a time as memory holds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from selector.precision import Precision
from selector.rows import Rows, ranges

# So many images at a time are taken through everything whose results have a row of features each.
AT_ONCE = 1024
# Where images go different ways, more of them at once leave fuller batches for each way.
_BATCHES_PER_GROUP = 4
# What torch, CUDA and its libraries say of memory that has run out, where no type of error does.
_NO_MEMORY = (
    "can't allocate memory",
    "DefaultCPUAllocator",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)

Features = Callable[[Tensor], Tensor]
"""Images (b,3,S,S) in [0,1] -> features (b,d)."""


@dataclass(frozen=True)
class Images:
    """Canonical images and how to run them through a backbone.

    Attributes:
        pixels: (n,3,S,S) uint8, in host memory or in a file.
        backbone: images (b,3,S,S) in [0,1] -> features (b,d).
        device: where the backbone is.
        batch_size: images per pass; halved for good when memory runs out.
        precision: what a search computes in.
        first: number of the first of these images, by which its random draws go.
        digests: (n,32) uint8, sha256 of each image; None where nobody needs them.
    """

    pixels: Rows
    backbone: Features
    device: torch.device
    batch_size: BatchSize
    precision: Precision = field(default_factory=Precision)
    first: int = 0
    digests: Tensor | None = None

    def chunks(self, at_once: int) -> Iterator[Images]:
        """These images in parts of at most ``at_once``, whose pixels are in host memory."""
        for part in ranges(len(self.pixels), at_once):
            digests = None if self.digests is None else self.digests[part]
            first = self.first + part.start
            yield replace(self, pixels=self.pixels[part], first=first, digests=digests)

    def part(self, rows: slice | Tensor) -> tuple[Tensor, Tensor]:
        """Indices (b,) and images (b,3,S,S) float in [0,1] of some rows, on the device."""
        index = torch.arange(len(self.pixels))[rows]
        # As bytes on the way to the device: in one call they would become floats before it.
        x = self.pixels[rows].to(self.device).to(torch.float32).div_(255)
        return index.to(self.device), x.contiguous(memory_format=torch.channels_last)

    def features(self, x: Tensor) -> Tensor:
        """Features (b,d) float32 of points (b,3,S,S), as they count.

        Raises:
            FloatingPointError: some are not finite.
        """
        with torch.no_grad():
            found = self.backbone(x)
        # In what comes after, a NaN loses every comparison, so that it would pass unseen.
        if not found.isfinite().all():
            raise FloatingPointError("features of an image, or of one within the threat")
        return found

    def searched(self, x: Tensor) -> Tensor:
        """Features (b,d) float32 of points (b,3,S,S) in the precision of the search."""
        return self.precision.features(self.backbone, x)


@dataclass
class BatchSize:
    """Images per pass, shared by everything that runs one candidate."""

    value: int

    def halve(self, tried: int) -> None:
        """Take half of a batch, or of the fewer images ``tried`` that did not fit.

        Raises:
            MemoryError: it was a single image, which will not fit again.
        """
        self.value = min(self.value, tried)
        if self.value == 1:
            raise MemoryError("a single image does not fit into memory")
        self.value = (self.value + 1) // 2


def extract(images: Images) -> Tensor:
    """Clean features (n,d) float32.

    Raises:
        FloatingPointError: some are not finite.
    """
    return over_batches(images, lambda _, x: (images.features(x),))[0]


def over_batches(images: Images, run: Callable[[Tensor, Tensor], Sequence[Tensor]]) -> list[Tensor]:
    """Run all images in batches and join the results; see :func:`in_batches`.

    Args:
        images: what to run, and how many at a time.
        run: indices (b,) and images (b,3,S,S) -> tensors that each have b rows.
    """
    return in_batches(len(images.pixels), images.batch_size, lambda rows: run(*images.part(rows)))


def in_batches(
    count: int, size: BatchSize, run: Callable[[slice], Sequence[Tensor]]
) -> list[Tensor]:
    """Run rows 0 to ``count`` in batches of equal size, and join the results.

    A batch that is out of memory is run again in halves, and so are those after it.

    Args:
        count: at least 1.
        size: at most so many rows at a time.
        run: rows -> tensors that each have as many.

    Raises:
        MemoryError: a single row does not fit.
    """
    return _in_parts(count, size, run, lambda left: math.ceil(left / math.ceil(left / size.value)))


def in_groups(
    count: int, size: BatchSize, run: Callable[[slice], Sequence[Tensor]]
) -> list[Tensor]:
    """Likewise, so many at a time as give whole batches to those of a part.

    What is done with a group beside its batches takes memory, too.
    """
    return _in_parts(count, size, run, lambda left: min(left, _BATCHES_PER_GROUP * size.value))


def _in_parts(
    count: int,
    size: BatchSize,
    run: Callable[[slice], Sequence[Tensor]],
    next_of: Callable[[int], int],
) -> list[Tensor]:
    """So many of the rows that are left as ``next_of`` says, fewer where memory runs out."""
    parts: list[Sequence[Tensor]] = []
    start = 0
    while start < count:
        rows = slice(start, start + next_of(count - start))
        try:
            parts.append(run(rows))
        except (RuntimeError, MemoryError) as error:
            if not lacks_memory(error):
                raise
            size.halve(rows.stop - rows.start)
        else:
            start = rows.stop
            continue
        # Outside of the handler, which keeps the frames of the failed pass alive.
        torch.cuda.empty_cache()
    return [torch.cat(part) for part in zip(*parts, strict=True)]


def lacks_memory(error: Exception) -> bool:
    """Whether an exception says that there is no memory left."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(said in str(error) for said in _NO_MEMORY)
    )
