"""What both ways of loading share: a network with what its publisher says of its input."""

from __future__ import annotations

from dataclasses import dataclass

import timm
from torch import nn

from selector.errors import CandidateError, shorten

# Arguments of an architecture that make timm load a part of a checkpoint, or no network at all.
LOOSE_ARGUMENTS = frozenset(
    {"pretrained_strict", "features_only", "pretrained_filter_fn", "device", "dtype"}
)
# Far above every network of timm; images of a larger side fill any memory.
_LARGEST_SIDE = 4096


@dataclass(frozen=True)
class Loaded:
    """A network with its weights, as timm has built it.

    Attributes:
        network: in training mode and on the CPU, still with the classifier of its checkpoint.
        architecture: its name in timm.
        license: what its files say; None where they say nothing.
        mean, std: of the three channels, in [0,1].
        input_size: height and width.
        interpolation: timm's word for how images come to that size.
    """

    network: nn.Module
    architecture: str
    license: str | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_size: tuple[int, int]
    interpolation: str


def check_architecture(architecture: object) -> None:
    """Raise a CandidateError if timm knows no architecture of this name."""
    if not isinstance(architecture, str) or not timm.is_model(architecture):
        raise CandidateError(
            "unknown_architecture",
            f"architecture {shorten(repr(architecture))} is not known to timm {timm.__version__}.",
            hint="A newer timm may know it.",
        )


def check_input_size(size: tuple[int, int]) -> None:
    """Raise a CandidateError if images (height, width) would have to be enlarged beyond reason."""
    if max(size) > _LARGEST_SIDE:
        raise CandidateError(
            "bad_preprocessing",
            f"input_size must be at most {_LARGEST_SIDE}, found {shorten(repr(max(size)))}.",
        )


def check_pooling(network: nn.Module) -> None:
    """Raise a CandidateError if a network is only the encoder of a larger model."""
    if not hasattr(network, "reset_classifier"):
        raise CandidateError(
            "no_pooled_features",
            f"features must be pooled to (n, d); {type(network).__name__} gives them per position.",
            hint="Such a network has no head that a linear classifier could replace.",
        )
