"""What can be wrong with a network, said so that a person can act on it."""

from __future__ import annotations

import torch
from torch import nn

from selector.errors import CandidateError, first_line, shorten


def check_finite(network: nn.Module) -> None:
    """Raise a CandidateError if a weight or a running statistic is NaN or infinite."""
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CandidateError(
                "non_finite_weights",
                f"weights must be finite, found NaN or infinity in {name}.",
                hint="The checkpoint is damaged or its training diverged.",
            )


def loading_error(error: Exception) -> CandidateError:
    """What timm or torch raised while a network was built, as a candidate's failure."""
    text = str(error)
    if "Missing key" in text or "Unexpected key" in text or "size mismatch" in text:
        lines = [line.strip() for line in text.splitlines()[1:]]
        return CandidateError(
            "keys_mismatch",
            f"the checkpoint does not fit its architecture: {shorten(' '.join(lines))}",
            hint="Part of the network would have stayed random.",
        )
    return CandidateError(
        "cannot_load", f"timm cannot build it: {type(error).__name__}: {first_line(error)}."
    )
