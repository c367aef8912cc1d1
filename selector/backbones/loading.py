"""A candidate's files become a frozen backbone that is safe to measure."""

from __future__ import annotations

from pathlib import Path

import torch

from selector.backbones.backbone import Backbone
from selector.backbones.failures import check_finite
from selector.backbones.foreign import load_foreign
from selector.backbones.hub_layout import load_hub_layout
from selector.backbones.network import check_input_size, check_pooling
from selector.candidates import CONFIG_FILE, WEIGHTS_FILE, Checkpoint
from selector.errors import CandidateError, printable
from selector.reading import is_file, is_folder


def load_backbone(
    directory: Path, device: torch.device, checkpoint: Checkpoint | None = None
) -> Backbone:
    """Load the weights of ``directory``, strictly, and freeze.

    Args:
        directory: holds config.json and model.safetensors, or the file that ``checkpoint`` names.
        device: where the backbone goes.
        checkpoint: how to load weights of another layout; None: timm's own. A pickle is loaded
            where it names one: whether that is allowed is for the caller to ask. Even then nothing
            that the file holds is run.

    Raises:
        CandidateError: a file is missing, unreadable or malicious, keys or shapes do not match, the
            architecture is unknown or does not pool, a weight is not finite, or the preprocessing
            is impossible.
    """
    check_files(directory, checkpoint)
    loaded = load_foreign(directory, checkpoint) if checkpoint else load_hub_layout(directory)
    check_pooling(loaded.network)
    check_input_size(loaded.input_size)
    check_finite(loaded.network)
    backbone = Backbone(
        loaded.network,
        architecture=loaded.architecture,
        license=loaded.license,
        mean=loaded.mean,
        std=loaded.std,
        input_size=loaded.input_size,
        interpolation=loaded.interpolation,
    )
    # Convolutions run up to twice as fast this way, on CPUs too.
    backbone.to(device)
    backbone.to(memory_format=torch.channels_last)
    return backbone


def check_files(directory: Path, checkpoint: Checkpoint | None = None) -> None:
    """Raise a CandidateError that says what is missing where a folder lacks a candidate's files."""
    if not is_folder(directory):
        raise CandidateError(
            "not_found",
            f"local-dir: must name a folder, found none at {printable(str(directory))}.",
        )
    if checkpoint is not None:
        _check_file(directory, checkpoint.file)
        return
    if not is_file(directory / CONFIG_FILE):
        raise CandidateError(
            "no_config",
            f"{printable(str(directory))} has no {CONFIG_FILE}.",
            hint="timm's save_for_hf writes one; a registry entry's checkpoint: does without.",
        )
    if not is_file(directory / WEIGHTS_FILE):
        raise CandidateError(
            "no_safetensors",
            f"{printable(str(directory))} has no {WEIGHTS_FILE}; found {_contents(directory)}.",
            hint="Convert the weights with safetensors, or describe the file in a registry entry's"
            " checkpoint:.",
        )


def _check_file(directory: Path, file: str) -> None:
    if not is_file(directory / file):
        raise CandidateError(
            "not_found",
            f"{printable(str(directory))} has no {printable(file)}; found {_contents(directory)}.",
            hint="file of the entry's checkpoint must name one of them.",
        )


def _contents(directory: Path) -> str:
    return printable(", ".join(sorted(path.name for path in directory.iterdir())))
