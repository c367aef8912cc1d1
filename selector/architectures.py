"""What an architecture is, found out without weights, memory or arithmetic.

The network is built on PyTorch's meta device, whose tensors have a shape and no content: running it
there costs a tenth of a second, whatever its size.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from selector.errors import CandidateError, printable


@cache
def measurable(architecture: str) -> CandidateError | None:
    """Why no checkpoint of a timm architecture can be measured; None where nothing speaks for that.

    It is built and run on one image of its own input size. The error has the code
    ``unknown_architecture``, ``cannot_load``, ``bad_preprocessing`` (not three channels),
    ``no_pooled_features`` or ``forward_failed``: what measuring one would end with.
    """
    if not timm.is_model(architecture):
        return CandidateError(
            "unknown_architecture",
            f"architecture {printable(architecture)!r} is not known to timm {timm.__version__}.",
            hint="A newer timm may know it.",
        )
    try:
        network = _build(architecture)
    except Exception as error:  # noqa: BLE001 - what timm raises has no common base
        return CandidateError("cannot_load", f"timm cannot build it: {_what(error)}.")
    channels, height, width = network.default_cfg["input_size"]  # type: ignore[index]
    if channels != 3:
        return CandidateError(
            "bad_preprocessing", f"the network must take 3 channels, found {channels}."
        )
    try:
        features = _features(network, height, width)
    except (NotImplementedError, TypeError, AttributeError) as error:
        return _no_pooled_features(_what(error))
    except Exception as error:  # noqa: BLE001 - nor what a network raises
        return CandidateError(
            "forward_failed", f"the network fails on its own input size: {_what(error)}."
        )
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != 1:
        shaped = isinstance(features, Tensor)
        return _no_pooled_features(
            f"shape {tuple(features.shape)}" if shaped else type(features).__name__
        )
    return None


@dataclass(frozen=True)
class Shape:
    """A network without its weights.

    Attributes:
        architecture: its name in timm.
        input_size: height and width that it is run on, in pixels.
        model_args: further arguments of the architecture, as config.json gives them.
    """

    architecture: str
    input_size: tuple[int, int]
    model_args: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> nn.Module:
        """The network on the meta device, in evaluation mode, following no gradients.

        Raises:
            CandidateError: timm cannot build it.
        """
        # Networks of a fixed size are built for the size that their configuration names.
        overlay = {"input_size": (3, *self.input_size)}
        try:
            return _build(self.architecture, pretrained_cfg_overlay=overlay, **self.model_args)
        except Exception as error:
            raise self._failure(error) from error

    def flops(self) -> int:
        """Floating-point operations of the features of one image: twice the multiply-adds.

        Counted are matrix products, convolutions and attention, in a forward pass; what is left
        out (normalisation, activations, pooling) is small beside them.

        Raises:
            CandidateError: the network cannot be built, or not run on its size.
        """
        network = self.build()
        try:
            with FlopCounterMode(display=False) as counter:
                _features(network, *self.input_size)
        except Exception as error:
            raise self._failure(error) from error
        return int(counter.get_total_flops())

    def _failure(self, error: Exception) -> CandidateError:
        size = "x".join(map(str, self.input_size))
        return CandidateError(
            "cannot_load",
            f"timm cannot build and run {printable(self.architecture)} at {size} pixels:"
            f" {_what(error)}.",
        )


def _build(architecture: str, **arguments: Any) -> nn.Module:
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        network: nn.Module = timm.create_model(architecture, pretrained=False, **arguments)
    # Counting operations follows gradients where there are any.
    return network.eval().requires_grad_(False)


@torch.no_grad()
def _features(network: nn.Module, height: int, width: int) -> Any:
    """What the network gives for one image, meant to be features (1,d)."""
    with torch.device("meta"):
        maps = network.forward_features(torch.empty(1, 3, height, width))  # type: ignore[operator]
        return network.forward_head(maps, pre_logits=True)  # type: ignore[operator]


def _no_pooled_features(found: str) -> CandidateError:
    return CandidateError(
        "no_pooled_features",
        f"features must be pooled to (n, d), found {found}.",
        hint="Such a network has no head that a linear classifier could replace.",
    )


def _what(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return printable(": ".join([type(error).__name__, *lines[:1]]).rstrip("."))[:240]
