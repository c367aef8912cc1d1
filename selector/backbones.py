"""A candidate's files become a frozen backbone that is safe to measure."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from timm.data.config import resolve_model_data_config
from torch import Tensor, nn

from selector.candidates import CONFIG_FILE, WEIGHTS_FILE
from selector.errors import CandidateError

_RESIZE_MODES = {"bilinear": "bilinear", "bicubic": "bicubic"}


@dataclass
class Passes:
    """Images that went forward and backward through one backbone.

    Attributes:
        on_pass: called with the number of images after each pass, for progress displays.
    """

    forward: int = 0
    backward: int = 0
    on_pass: Callable[[int], None] = lambda images: None

    def count(self, images: int, *, backward: bool) -> None:
        """Record one pass of a batch."""
        self.forward += images
        self.backward += images if backward else 0
        self.on_pass(images)


class Backbone(nn.Module):
    """(n,3,S,S) in [0,1] -> features (n,d): resize, normalise, network and pooling in one.

    The threat lives on the canonical image, before all of these, so that eps means the same for
    every candidate. The canonical image is resized to the backbone's own input size without a
    further crop.
    """

    mean: Tensor
    std: Tensor

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
        self.passes = Passes()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Features (n,d) of images (n,3,S,S) in [0,1]."""
        self.passes.count(len(x), backward=x.requires_grad)
        if tuple(x.shape[-2:]) != self.input_size:
            x = nn.functional.interpolate(
                x, self.input_size, mode=self.interpolation, antialias=True, align_corners=False
            )
        features = self.network.forward_features((x - self.mean) / self.std)  # type: ignore[operator]
        pooled: Tensor = self.network.forward_head(features, pre_logits=True)  # type: ignore[operator]
        return pooled


def load_backbone(directory: Path, device: torch.device) -> Backbone:
    """Load config.json and model.safetensors of ``directory``, strictly, and freeze.

    Raises:
        CandidateError: a file is missing or unreadable, keys or shapes do not match, the
            architecture is unknown, a weight is not finite, or the preprocessing is impossible.
    """
    check_files(directory)
    config = _read_config(directory / CONFIG_FILE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = timm.create_model(f"local-dir:{directory}", pretrained=True)
    except (SafetensorError, OSError) as error:
        raise CandidateError(
            "unreadable_weights",
            f"{WEIGHTS_FILE} is not a readable safetensors file: {first_line(error)}.",
            hint="Fetch or export it again.",
        ) from error
    except Exception as error:
        raise _loading_error(error) from error
    _check_finite(network)
    try:
        preprocessing = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    except (TypeError, ValueError, AssertionError, KeyError, IndexError) as error:
        raise CandidateError(
            "bad_preprocessing", f"pretrained_cfg of {CONFIG_FILE} makes no sense: {error}."
        ) from error
    _check_preprocessing(preprocessing)
    _, height, width = preprocessing["input_size"]
    backbone = Backbone(
        network,
        architecture=config["architecture"],
        license=config.get("pretrained_cfg", config).get("license"),
        mean=preprocessing["mean"],
        std=preprocessing["std"],
        input_size=(height, width),
        interpolation=preprocessing["interpolation"],
    )
    # Convolutions run up to twice as fast this way, on CPUs too.
    backbone.to(device)
    backbone.to(memory_format=torch.channels_last)
    return backbone


def check_files(directory: Path) -> None:
    """Raise a CandidateError that says what is missing where a folder is not in hub layout."""
    if not directory.is_dir():
        raise CandidateError(
            "not_found", f"local-dir: must name a folder, found none at {directory}."
        )
    if not (directory / CONFIG_FILE).is_file():
        raise CandidateError(
            "no_config", f"{directory} has no {CONFIG_FILE}.", hint="timm's save_for_hf writes one."
        )
    if not (directory / WEIGHTS_FILE).is_file():
        found = sorted(path.name for path in directory.iterdir())
        raise CandidateError(
            "no_safetensors",
            f"{directory} has no {WEIGHTS_FILE}; found {', '.join(found)}.",
            hint="Pickle formats are not loaded; convert the weights with safetensors.",
        )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        architecture = config["architecture"]
    except (ValueError, TypeError, KeyError) as error:
        raise CandidateError(
            "bad_config",
            f'{CONFIG_FILE} must be a JSON object with "architecture", as timm writes it.',
        ) from error
    # An older form has the fields of pretrained_cfg at the top.
    pretrained, arguments = config.get("pretrained_cfg", config), config.get("model_args") or {}
    if not isinstance(pretrained, dict) or not isinstance(arguments, dict):
        raise CandidateError(
            "bad_config", f"pretrained_cfg and model_args of {CONFIG_FILE} must be JSON objects."
        )
    if not isinstance(architecture, str) or not timm.is_model(architecture):
        raise CandidateError(
            "unknown_architecture",
            f"architecture {architecture!r} is not known to timm {timm.__version__}.",
            hint="A newer timm may know it.",
        )
    _check_strictness(config, pretrained, arguments)
    return config


def _check_strictness(
    config: dict[str, Any], pretrained: dict[str, Any], arguments: dict[str, Any]
) -> None:
    """Refuse what makes timm load a part of a checkpoint and leave the rest at random values."""
    counts = {
        str(part["num_classes"])
        for part in (config, pretrained, arguments)
        if part.get("num_classes") is not None
    }
    if len(counts) > 1:
        raise CandidateError(
            "bad_config",
            f"num_classes must be the same wherever {CONFIG_FILE} gives it,"
            f" found {' and '.join(sorted(counts))}.",
        )
    loose = sorted({"pretrained_strict", "features_only", "pretrained_filter_fn"} & set(arguments))
    if loose:
        raise CandidateError(
            "bad_config", f"model_args of {CONFIG_FILE} must not hold {', '.join(loose)}."
        )


def _check_finite(network: nn.Module) -> None:
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CandidateError(
                "non_finite_weights",
                f"weights must be finite, found NaN or infinity in {name}.",
                hint="The checkpoint is damaged or its training diverged.",
            )


def _check_preprocessing(preprocessing: dict[str, Any]) -> None:
    size, mean, std = (preprocessing[name] for name in ("input_size", "mean", "std"))
    if not (_is_list_of(size, int) and min(size) >= 1):
        raise CandidateError(
            "bad_preprocessing", f"input_size must be three whole numbers, found {size!r}."
        )
    if size[0] != 3:
        raise CandidateError(
            "bad_preprocessing", f"the network must take 3 channels, found {size[0]}."
        )
    for name, values in (("mean", mean), ("std", std)):
        if not (_is_list_of(values, (int, float)) and all(map(math.isfinite, values))):
            raise CandidateError(
                "bad_preprocessing", f"{name} must be three finite numbers, found {values!r}."
            )
    if min(std) <= 0:
        raise CandidateError(
            "bad_preprocessing", f"std must be above 0 in every channel, found {tuple(std)}."
        )


def _is_list_of(values: object, kind: type | tuple[type, ...]) -> bool:
    return (
        isinstance(values, list | tuple)
        and len(values) == 3
        and all(isinstance(value, kind) for value in values)
    )


def _loading_error(error: Exception) -> CandidateError:
    text = str(error)
    if "Missing key" in text or "Unexpected key" in text or "size mismatch" in text:
        lines = [line.strip() for line in text.splitlines()[1:]]
        return CandidateError(
            "keys_mismatch",
            f"the checkpoint does not fit its architecture: {_shorten(' '.join(lines))}",
            hint="Part of the network would have stayed random.",
        )
    return CandidateError(
        "cannot_load", f"timm cannot build it: {type(error).__name__}: {first_line(error)}."
    )


def first_line(error: Exception) -> str:
    """What an exception of a library says, cut to one short line without its full stop."""
    return _shorten((str(error).strip() or type(error).__name__).splitlines()[0].rstrip("."))


def _shorten(text: str, width: int = 240) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
