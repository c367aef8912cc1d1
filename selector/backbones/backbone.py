"""A frozen network with everything between a canonical image and its features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_RESIZE_MODES = {"bilinear": "bilinear", "bicubic": "bicubic"}


@dataclass
class Passes:
    """Images that went forward and backward through one backbone.

    Attributes:
        forward: images.
        backward: images.
        on_pass: called with the number of images after each pass, for progress displays.
    """

    forward: int = 0
    backward: int = 0
    on_pass: Callable[[int], None] = lambda images: None

    def count_forward(self, images: int) -> None:
        """Record that a batch went forward."""
        self.forward += images
        self.on_pass(images)

    def count_backward(self, images: int) -> None:
        """Record that a gradient of a batch went back, which may be several times."""
        self.backward += images

    def recall(self, forward: int, backward: int) -> None:
        """Count passes that an earlier run has made, and whose results are taken over."""
        self.forward += forward
        self.backward += backward
        self.on_pass(forward)


class Backbone(nn.Module):
    """(n,3,S,S) in [0,1] -> features (n,d): resize, normalise, network and pooling in one.

    The threat lives on the canonical image, before all of these, so that eps means the same for
    every candidate. The canonical image is resized to the backbone's own input size without a
    further crop.
    """

    mean: Tensor
    std: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        architecture: str,
        license: str | None,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        input_size: tuple[int, int],
        interpolation: str,
    ) -> None:
        super().__init__()
        self.network = network
        self.architecture = architecture
        self.pretrained_license = license
        self.input_size = input_size
        self.interpolation = _RESIZE_MODES.get(interpolation, "bicubic")
        # Of the network as published: folding leaves fewer.
        self.parameter_count = sum(parameter.numel() for parameter in network.parameters())
        self.passes = Passes()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1))
        # (x - mean) / std in one step over the images.
        self.register_buffer("scale", 1 / self.std)
        self.register_buffer("shift", -self.mean / self.std)
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Features (n,d) of images (n,3,S,S) in [0,1]."""
        images = len(x)
        if tuple(x.shape[-2:]) != self.input_size:
            x = nn.functional.interpolate(
                x, self.input_size, mode=self.interpolation, antialias=True, align_corners=False
            )
        features = self.network.forward_features(  # type: ignore[operator]
            torch.addcmul(self.shift, x, self.scale)
        )
        pooled: Tensor = self.network.forward_head(features, pre_logits=True)  # type: ignore[operator]
        # Only now: a pass that runs out of memory is made again, in smaller ones.
        self.passes.count_forward(images)
        # What is no tensor is refused by the checks before anything is measured.
        if isinstance(pooled, Tensor) and pooled.requires_grad:
            pooled.register_hook(self._went_back)  # type: ignore[no-untyped-call]
        return pooled

    def _went_back(self, gradient: Tensor) -> None:
        self.passes.count_backward(len(gradient))
