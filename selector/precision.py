"""What a search computes in: as few bits as still resolve the displacement that it looks for.

Points that were found are always scored in fp32, whatever this is, so that a coarse search makes an
attack weaker and never a number that no attack attained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

PrecisionName = Literal["fp32", "tf32", "bf16"]

# bf16 has 8 significant bits: where the displacement is a larger share of the features' norm, a
# search in it attained 0 to 4 % less than in fp32, and 4 to 5 % less where it is 3 to 5 %. TF32 has
# 11, and costs 0 to 1 % from an eighth of that share on: benchmarks/precisions.py.
BF16_SHARE = 0.05
TF32_SHARE = BF16_SHARE / 2**3

# So many images climb for so many steps in fp32, to see how far features move.
PROBED, PROBE_STEPS = 64, 8
# With so many of them it is tried whether a network computes in bf16 at all.
TRIED = 4


@dataclass
class Precision:
    """What searches compute in, shared by everything that runs one candidate."""

    search: PrecisionName = "fp32"

    def choose(self, displacement: Tensor, norms: Tensor) -> None:
        """Take the coarsest that resolves what is searched for.

        Args:
            displacement: attained in fp32 (n,).
            norms: of the features of the same images (n,).
        """
        share = (displacement.mean() / norms.mean()).item()
        if share > BF16_SHARE:
            self.search = "bf16"
        elif share > TF32_SHARE:
            self.search = "tf32"

    def features(self, backbone: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Features (n,d) float32 of points (n,3,S,S) on the way of a search."""
        if self.search != "bf16":
            return backbone(x)
        with torch.autocast(x.device.type, torch.bfloat16):
            return backbone(x).float()

    @contextmanager
    def climbing(self) -> Iterator[None]:
        """Around a whole climb: backward passes, too, ask whether TF32 is allowed."""
        if self.search != "tf32":
            yield
            return
        with _tensor_cores():
            yield


def has_tensor_cores(device: torch.device) -> bool:
    """Whether a device has units for bf16 and TF32: CUDA from compute capability 8.0 on."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


@contextmanager
def full_precision() -> Iterator[None]:
    """No TF32 in what is scored: a displacement is a small difference of large features."""
    with _float32("highest", tf32=False):
        yield


@contextmanager
def _tensor_cores() -> Iterator[None]:
    """TF32, whose products have 11 significant bits, for a search whose result is scored later."""
    with _float32("high", tf32=True):
        yield


@contextmanager
def _float32(matmuls: str, *, tf32: bool) -> Iterator[None]:
    matmul, cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision(matmuls)
    torch.backends.cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = cudnn
