"""Networks in timm's own layout: config.json and model.safetensors."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import timm
from safetensors import SafetensorError
from timm.data.config import resolve_model_data_config
from torch import nn

from selector.backbones.failures import loading_error
from selector.backbones.network import LOOSE_ARGUMENTS, Loaded, check_architecture
from selector.batches import lacks_memory
from selector.candidates import CONFIG_FILE, WEIGHTS_FILE
from selector.devices import no_room
from selector.errors import CandidateError, first_line, shorten


def load_hub_layout(directory: Path) -> Loaded:
    """The network that config.json describes, with the weights of model.safetensors, strictly.

    Raises:
        CandidateError: the config is none, the weights are unreadable or do not fit, or the
            preprocessing is impossible.
    """
    config = read_config(directory / CONFIG_FILE)
    network = _build(directory)
    try:
        preprocessing = resolve_model_data_config(network)  # type: ignore[no-untyped-call]
    except (TypeError, ValueError, AssertionError, KeyError, IndexError) as error:
        raise CandidateError(
            "bad_preprocessing",
            f"pretrained_cfg of {CONFIG_FILE} makes no sense: {first_line(error)}.",
        ) from error
    _check_preprocessing(preprocessing)
    _, height, width = preprocessing["input_size"]
    return Loaded(
        network,
        architecture=config["architecture"],
        license=config.get("pretrained_cfg", config).get("license"),
        mean=preprocessing["mean"],
        std=preprocessing["std"],
        input_size=(height, width),
        interpolation=preprocessing["interpolation"],
    )


def _build(directory: Path) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network: nn.Module = timm.create_model(f"local-dir:{directory}", pretrained=True)
    except (SafetensorError, OSError) as error:
        raise CandidateError(
            "unreadable_weights",
            f"{WEIGHTS_FILE} is not a readable safetensors file: {first_line(error)}.",
            hint="Fetch or export it again.",
        ) from error
    except Exception as error:
        if lacks_memory(error):
            raise no_room() from error
        raise loading_error(error) from error
    return network


def read_config(path: Path) -> dict[str, Any]:
    """What config.json says, of which ``architecture`` is a name that timm knows.

    Raises:
        CandidateError: it is not one as timm writes it, or would load a part of a checkpoint.
    """
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
    check_architecture(architecture)
    _check_strictness(config, pretrained, arguments)
    return config


def _check_strictness(
    config: dict[str, Any], pretrained: dict[str, Any], arguments: dict[str, Any]
) -> None:
    """Refuse what makes timm load a part of a checkpoint and leave the rest at random values."""
    # Of the first two timm takes the first. Up to 1.0.30 it wrote the classes of the pretraining
    # into the second, so that they may differ there.
    named = config if "num_classes" in config else pretrained
    built, saved = arguments.get("num_classes"), named.get("num_classes")
    if (built is not None and str(built) != str(saved)) or named.get("num_classes", 0) is None:
        raise CandidateError(
            "bad_config",
            f"num_classes must be the same in model_args as in the rest of {CONFIG_FILE},"
            f" found {shorten(f'{built} and {saved}')}.",
        )
    loose = sorted(LOOSE_ARGUMENTS & set(arguments))
    if loose:
        raise CandidateError(
            "bad_config", f"model_args of {CONFIG_FILE} must not hold {', '.join(loose)}."
        )


def _check_preprocessing(preprocessing: dict[str, Any]) -> None:
    size, mean, std = (preprocessing[name] for name in ("input_size", "mean", "std"))
    if not (_is_list_of(size, int) and min(size) >= 1):
        raise CandidateError(
            "bad_preprocessing",
            f"input_size must be three whole numbers, found {shorten(repr(size))}.",
        )
    if size[0] != 3:
        raise CandidateError(
            "bad_preprocessing", f"the network must take 3 channels, found {size[0]}."
        )
    for name, values in (("mean", mean), ("std", std)):
        if not (_is_list_of(values, (int, float)) and all(map(math.isfinite, values))):
            raise CandidateError(
                "bad_preprocessing",
                f"{name} must be three finite numbers, found {shorten(repr(values))}.",
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
