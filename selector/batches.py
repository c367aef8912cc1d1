"""Images go through a backbone in batches, as many at a time as memory holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from selector.rows import Rows, ranges

# So many images at a time are taken through everything whose results have a row of features each.
AT_ONCE = 1024

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
        first: number of the first of these images, by which its random draws go.
    """

    pixels: Rows
    backbone: Features
    device: torch.device
    batch_size: BatchSize
    first: int = 0

    def chunks(self, at_once: int) -> Iterator[Images]:
        """These images in parts of at most ``at_once``, whose pixels are in host memory."""
        for part in ranges(len(self.pixels), at_once):
            yield replace(self, pixels=self.pixels[part], first=self.first + part.start)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Pairs of indices (b,) and images (b,3,S,S) float in [0,1], on the device."""
        start = 0
        while start < len(self.pixels):
            stop = min(start + self.batch_size.value, len(self.pixels))
            index = torch.arange(start, stop, device=self.device)
            x = self.pixels[start:stop].to(self.device, torch.float32) / 255
            yield index, x.contiguous(memory_format=torch.channels_last)
            start = stop


@dataclass
class BatchSize:
    """Images per pass, shared by everything that runs one candidate."""

    value: int

    def halve(self) -> None:
        """Try again with half; a single image that does not fit is out of memory for good."""
        if self.value == 1:
            raise MemoryError("a single image does not fit into memory")
        self.value = (self.value + 1) // 2


def extract(images: Images) -> Tensor:
    """Clean features (n,d) float32."""

    def run(index: Tensor, x: Tensor) -> tuple[Tensor]:
        del index
        with torch.no_grad():
            return (images.backbone(x),)

    return over_batches(images, run)[0]


def over_batches(images: Images, run: Callable[[Tensor, Tensor], Sequence[Tensor]]) -> list[Tensor]:
    """Run every batch and join the results; start over with half the batch when out of memory.

    Args:
        images: what to run, and how many at a time.
        run: indices (b,) and images (b,3,S,S) -> tensors that each have b rows.
    """
    while True:
        try:
            parts = [run(index, x) for index, x in images.batches()]
        except (torch.OutOfMemoryError, MemoryError):
            images.batch_size.halve()
        except RuntimeError as error:
            # torch's CPU allocator has no exception type of its own
            if "can't allocate memory" not in str(error):
                raise
            images.batch_size.halve()
        else:
            return [torch.cat(part) for part in zip(*parts, strict=True)]
        torch.cuda.empty_cache()
