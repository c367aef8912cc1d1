"""Networks in timm's own layout: config.json and model.safetensors."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from timm.data.config import resolve_model_data_config
from torch import nn

from selector.backbones.building import build, check_arguments
from selector.backbones.failures import loading_error
from selector.backbones.network import LOOSE_ARGUMENTS, Loaded, check_architecture
from selector.batches import lacks_memory
from selector.candidates import CONFIG_FILE, WEIGHTS_FILE
from selector.devices import no_room
from selector.errors import CandidateError, first_line, shorten
from selector.reading import read_bytes

# The names and descriptions of 21,000 classes take less than half.
_MOST_BYTES = 10_000_000
_LARGEST_SIDE = 2048
# Of mean and std: beyond these, images leave what fp32 holds.
_LARGEST_CHANNEL, _SMALLEST_STD = 1e6, 1e-6

_LONGEST_LICENSE = 100


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
    except Exception as error:
        raise CandidateError(
            "bad_preprocessing",
            f"pretrained_cfg of {CONFIG_FILE} makes no sense: {first_line(error)}.",
        ) from error
    _check_preprocessing(preprocessing)
    _, height, width = preprocessing["input_size"]
    return Loaded(
        network,
        architecture=config["architecture"],
        license=_license(config.get("pretrained_cfg", config).get("license")),
        mean=preprocessing["mean"],
        std=preprocessing["std"],
        input_size=(height, width),
        interpolation=preprocessing["interpolation"],
    )


def _build(directory: Path) -> nn.Module:
    try:
        return build(f"local-dir:{directory}", _values(directory / WEIGHTS_FILE), {})
    except CandidateError:
        raise
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


def _values(weights: Path) -> int:
    """How many values a safetensors file holds."""
    with safe_open(weights, framework="pt") as file:
        # It has keys, and cannot be iterated over.
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118


def read_config(path: Path) -> dict[str, Any]:
    """What config.json says, of which ``architecture`` is a name that timm knows.

    Raises:
        CandidateError: it is not one as timm writes it, or would load a part of a checkpoint.
    """
    try:
        config: dict[str, Any] = json.loads(read_bytes(path, _MOST_BYTES).decode())
        architecture = config["architecture"]
    except OSError as error:
        raise CandidateError(
            "bad_config", f"{CONFIG_FILE} cannot be read: {error.strerror}."
        ) from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
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
    check_arguments(arguments, f"model_args of {CONFIG_FILE}")
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


def _license(said: object) -> str | None:
    if said is None:
        return None
    if not isinstance(said, str):
        raise CandidateError(
            "bad_config",
            f"license of {CONFIG_FILE} must be text, found {shorten(repr(said), 80)}.",
        )
    return shorten(said, _LONGEST_LICENSE)


def _check_preprocessing(preprocessing: dict[str, Any]) -> None:
    size, mean, std = (preprocessing[name] for name in ("input_size", "mean", "std"))
    if not (_is_list_of(size, int) and 1 <= min(size) <= max(size) <= _LARGEST_SIDE):
        raise CandidateError(
            "bad_preprocessing",
            f"input_size must be three whole numbers of 1 to {_LARGEST_SIDE},"
            f" found {_found(size)}.",
        )
    if size[0] != 3:
        raise CandidateError(
            "bad_preprocessing", f"the network must take 3 channels, found {size[0]}."
        )
    for name, values in (("mean", mean), ("std", std)):
        numbers = _is_list_of(values, (int, float))
        if not (numbers and all(abs(value) <= _LARGEST_CHANNEL for value in values)):
            raise CandidateError(
                "bad_preprocessing",
                f"{name} must be three finite numbers of at most {_LARGEST_CHANNEL:g},"
                f" found {_found(values)}.",
            )
    if not isinstance(preprocessing["interpolation"], str):
        found = _found(preprocessing["interpolation"])
        raise CandidateError("bad_preprocessing", f"interpolation must be a text, found {found}.")
    if min(std) < _SMALLEST_STD:
        raise CandidateError(
            "bad_preprocessing", f"std must be above 0 in every channel, found {tuple(std)}."
        )


def _is_list_of(values: object, kind: type | tuple[type, ...]) -> bool:
    return (
        isinstance(values, list | tuple)
        and len(values) == 3
        and all(isinstance(value, kind) and not isinstance(value, bool) for value in values)
    )


def _found(value: object) -> str:
    try:
        return shorten(repr(value))
    except ValueError:  # an integer of some thousand digits cannot be written
        return "a number of too many digits"
