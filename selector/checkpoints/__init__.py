"""Checkpoints that are not in timm's layout: safely from a file to weights with timm's names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selector.candidates import Checkpoint
from selector.checkpoints.files import read_pickle, read_safetensors
from selector.checkpoints.formats import TO_TIMM
from selector.errors import CandidateError, printable

__all__ = ["read_weights"]

_SHOWN = 8


def read_weights(directory: Path, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The weights that an entry asks for, with the names that timm's converters know.

    Nothing of the file is run, of whichever format it is.

    Raises:
        CandidateError: the file is unreadable, malicious, or does not hold what the entry says.
    """
    path = directory / checkpoint.file
    document = read_pickle(path) if checkpoint.pickled else read_safetensors(path)
    return TO_TIMM[checkpoint.format](_chosen(document, checkpoint))


def _chosen(document: object, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """What lies at ``state_key`` and begins with ``key_prefix``, without it: tensors only."""
    key, prefix = checkpoint.state_key, checkpoint.key_prefix
    if key is not None:
        if not isinstance(document, Mapping) or key not in document:
            raise _absent(f"state_key {key!r}", document, depth=None)
        document = document[key]
    if not isinstance(document, Mapping):
        raise _absent("weights by name", document, depth=None)
    chosen = {
        name.removeprefix(prefix): value
        for name, value in document.items()
        if isinstance(name, str) and name.startswith(prefix)
    }
    if not chosen:
        raise _absent(f"key_prefix {prefix!r}", document, depth=prefix.count(".") or 1)
    others = [printable(name) for name, value in chosen.items() if not _is_plain(value)]
    if others:
        raise CandidateError(
            "no_such_weights",
            f"all that the entry chooses of {checkpoint.file} must be dense tensors of numbers,"
            f" found others: {_few(others)}.",
            hint="state_key and key_prefix of the entry say where the weights lie.",
        )
    return {name: tensor.detach() for name, tensor in chosen.items()}


def _is_plain(value: Any) -> bool:
    return (
        type(value) in (Tensor, torch.nn.Parameter)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not (value.is_quantized or value.is_complex())
        # Strides of 0 make any number of values of one.
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def _absent(what: str, document: object, *, depth: int | None) -> CandidateError:
    """An error that says what there is in place of what the entry names.

    Args:
        what: what the entry names.
        document: where it was looked for.
        depth: how many dotted parts of each name to show; None: all.
    """
    if isinstance(document, Mapping):
        names = dict.fromkeys(".".join(str(name).split(".")[:depth]) for name in document)
        found = _few([printable(name) for name in names]) or "nothing"
    else:
        found = f"a {printable(type(document).__name__)}"
    return CandidateError(
        "no_such_weights",
        f"the file must hold {printable(what)}, found {found}.",
        hint="The entry's state_key or key_prefix does not fit this file.",
    )


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(name[:60] for name in names[:_SHOWN]) + more
