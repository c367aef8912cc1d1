"""timm builds a network for the weights that are there, and no larger one.

What a publisher says of a network may ask for any number of layers and any amount of memory, which
is given before the weights are looked at. So the network is built without memory first, and what it
asks for is counted while it is built.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from selector.errors import CandidateError, shorten

# Layers are also made to be replaced, and some tables are computed and not in the file.
_MOST_TIMES, _MORE_VALUES = 4, 50_000_000
_MOST_LAYERS = 20_000
_LARGEST_ARGUMENT = 1_000_000


def build(name: str, values: int, arguments: Mapping[str, Any]) -> nn.Module:
    """What ``timm.create_model`` makes of a pretrained network, strictly.

    Args:
        name: of the architecture, or of a folder as timm takes it.
        values: that all weights together have.
        arguments: further ones.

    Raises:
        CandidateError: the network would be far larger than its weights; what else is wrong is
            raised as timm or torch raise it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _counted(values), torch.device("meta"):
                timm.create_model(name, pretrained=False, **arguments)
        except CandidateError:
            raise
        except Exception:  # noqa: BLE001 - what else is wrong shows in earnest
            pass
        with _counted(values):
            network: nn.Module = timm.create_model(name, pretrained=True, **arguments)
    return network


def check_arguments(arguments: object, where: str) -> None:
    """Raise a CandidateError if an argument of an architecture holds a number that none needs."""
    waiting = [arguments]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
        elif isinstance(one, int | float) and not abs(one) <= _LARGEST_ARGUMENT:
            raise CandidateError(
                "bad_config",
                f"numbers in {where} must lie within {_LARGEST_ARGUMENT:,} of 0,"
                f" found {shorten(_written(one), 40)}.",
            )


def _written(number: float) -> str:
    # An integer of some thousand digits cannot be written.
    return f"{number:g}" if isinstance(number, float) else f"one of {number.bit_length()} bits"


@contextmanager
def _counted(values: int) -> Iterator[None]:
    """Stop building a network in this thread once it is far larger than its weights."""
    most, thread = _MOST_TIMES * values + _MORE_VALUES, threading.get_ident()
    seen = {"layers": 0, "values": 0}

    def layer(*_: object) -> None:
        count("layers", 1, _MOST_LAYERS)

    def tensor(module: nn.Module, name: str, value: Tensor | None) -> None:
        with suppress(ValueError):  # one that has no shape yet
            count("values", 0 if value is None else value.numel(), most)

    def count(what: str, more: int, allowed: int) -> None:
        if threading.get_ident() == thread:
            seen[what] += more
            if seen[what] > allowed:
                raise CandidateError(
                    "too_large",
                    f"the network must be one for the {values:,} values of its weights; as it is"
                    f" described it would have more than {allowed:,} {what}.",
                    hint="Its configuration does not belong to these weights.",
                )

    hooks = (
        register_module_module_registration_hook(layer),
        register_module_parameter_registration_hook(tensor),
        register_module_buffer_registration_hook(tensor),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
