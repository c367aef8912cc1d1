"""Networks whose weights come as another library or project has written them."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from selector.backbones.building import build, check_arguments
from selector.backbones.failures import loading_error
from selector.backbones.network import LOOSE_ARGUMENTS, Loaded, check_architecture
from selector.batches import lacks_memory
from selector.candidates import Checkpoint
from selector.checkpoints import read_weights
from selector.devices import no_room
from selector.errors import CandidateError

# What the entry says elsewhere, or what would read other weights.
_OWN_ARGUMENTS = frozenset(
    {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"}
    | {"num_classes", "in_chans", "scriptable"}
)

_Fingerprint = tuple[int, int, int]
_PART = 1 << 22  # values at a time, as their integers take more memory than they do


def load_foreign(directory: Path, checkpoint: Checkpoint) -> Loaded:
    """The network that an entry describes, with the weights of its file and no others.

    Raises:
        CandidateError: the file is unreadable, malicious or does not hold what the entry says, the
            architecture is unknown, or the weights do not fit it.
    """
    network = build_network(read_weights(directory, checkpoint), checkpoint)
    return Loaded(
        network,
        architecture=checkpoint.architecture,
        license=None,
        mean=checkpoint.mean,
        std=checkpoint.std,
        input_size=(checkpoint.input_size, checkpoint.input_size),
        interpolation=checkpoint.interpolation,
    )


def build_network(weights: dict[str, Tensor], checkpoint: Checkpoint) -> nn.Module:
    """The architecture with its own class count, every value of which the file has given.

    timm converts names of its own past and of several publishers on the way. It may also drop a
    classifier, resize position embeddings, or fill in what is absent; none of that passes here.

    Args:
        weights: tensors by name, on the CPU.
        checkpoint: what the entry says of them.

    Raises:
        CandidateError: unknown architecture or arguments, names or shapes that do not match, or
            values that are not the file's.
    """
    network = fit_network(weights, checkpoint)
    _check_values(network, weights)
    return network


def fit_network(weights: dict[str, Tensor], checkpoint: Checkpoint) -> nn.Module:
    """As :func:`build_network`, by names and shapes alone: on the meta device there are no values.

    Raises:
        CandidateError: unknown architecture or arguments, names or shapes that do not match.
    """
    check_architecture(checkpoint.architecture)
    _check_arguments(checkpoint)
    registered = timm.get_pretrained_cfg(checkpoint.architecture)
    pretrained = {
        "architecture": checkpoint.architecture,
        "num_classes": checkpoint.num_classes,
        "input_size": (3, checkpoint.input_size, checkpoint.input_size),
        "fixed_input_size": bool(registered and registered.fixed_input_size),
        "mean": checkpoint.mean,
        "std": checkpoint.std,
        "interpolation": checkpoint.interpolation,
        # Without first_conv, classifier and label_offset timm adapts nothing and stays strict.
        "state_dict": weights,
    }
    try:
        network = build(
            checkpoint.architecture,
            sum(tensor.numel() for tensor in weights.values()),
            {
                **checkpoint.model_args,
                "pretrained_cfg": pretrained,
                "num_classes": checkpoint.num_classes,
            },
        )
    except CandidateError:
        raise
    except Exception as error:
        if lacks_memory(error):
            raise no_room() from error
        raise loading_error(error) from error
    # timm keeps a copy of all weights there.
    network.pretrained_cfg.pop("state_dict", None)  # type: ignore[operator, union-attr]
    return network


def _check_arguments(checkpoint: Checkpoint) -> None:
    refused = sorted((LOOSE_ARGUMENTS | _OWN_ARGUMENTS) & set(checkpoint.model_args))
    if refused:
        raise CandidateError(
            "bad_config",
            f"model_args of the checkpoint must not hold {', '.join(refused)}.",
            hint="num_classes and input_size have fields of their own.",
        )
    check_arguments(checkpoint.model_args, "model_args of the checkpoint")


def _check_values(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Refuse a network with values that are not the file's, in whatever order or shape.

    All zero is allowed: a bias that the other layout does not have.
    """
    own = {n: t for n, t in network.state_dict().items() if t.is_floating_point()}
    sizes = {tensor.numel() for tensor in own.values()}
    given = {_fingerprint(tensor) for tensor in weights.values() if tensor.numel() in sizes}
    for name, tensor in own.items():
        if _fingerprint(tensor) not in given and tensor.any():
            raise CandidateError(
                "keys_mismatch",
                f"the file does not give {name} of {type(network).__name__} as it would be used:"
                f" it was resized, or is random.",
                hint="input_size and architecture must be those of the checkpoint.",
            )


def _fingerprint(tensor: Tensor) -> _Fingerprint:
    """Equal for the same values in any order and shape; 16-bit values count as their 32-bit ones.

    The sums wrap around, and two different weights that agree in both are not to be expected.
    """
    first, second = torch.zeros(2, dtype=torch.int64)
    for part in torch.split(tensor.flatten(), _PART):
        bits = part.float().view(torch.int32).long()
        first, second = first + bits.sum(), second + (bits * bits).sum()
    return tensor.numel(), int(first), int(second)
