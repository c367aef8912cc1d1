"""What a few passes through a backbone gave: tensors, and what it took to have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Part:
    """Tensors that a search, or an extraction of features, gave.

    Attributes:
        tensors: by name, on the CPU.
        forward: images that went forward for it.
        backward: images that went back.
        seconds: that it took.
        batch_size: images per pass after it; later passes depend on that in their last bits.
    """

    tensors: Mapping[str, Tensor]
    forward: int
    backward: int
    seconds: float
    batch_size: int

    def to_bytes(self) -> bytes:
        """The tensors, as a safetensors file."""
        # Who only looks into the store does not wait for torch.
        import safetensors.torch

        whole = {name: tensor.cpu().contiguous() for name, tensor in self.tensors.items()}
        return safetensors.torch.save(whole)


def from_bytes(data: bytes) -> dict[str, Tensor]:
    """The tensors of :meth:`Part.to_bytes`."""
    import safetensors.torch

    return dict(safetensors.torch.load(data))


@dataclass(frozen=True)
class Label:
    """What people are told of a part: the backbone it is of, and what was done."""

    model: str
    what: str


class Shelf(Protocol):
    """Where parts are kept: a :class:`selector.store.Store`, or what speaks to one elsewhere."""

    def get_part(self, key: str) -> Part | None:
        """What is kept under ``key``; None where there is nothing."""
        ...

    def put_part(self, key: str, label: Label, part: Part) -> None:
        """Keep it, if there is room; a full disk is no failure."""
        ...
