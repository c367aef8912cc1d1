"""What a result depends on, and the key that this gives: equal contents, equal keys."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeGuard

from selector.records import SCHEMA_VERSION

if TYPE_CHECKING:
    from torch import Tensor

# Digits of a part's key that say whose it is.
OWNED = 16


@dataclass(frozen=True)
class Content:
    """Everything that a measurement depends on.

    Attributes:
        parts: of values that JSON has; NaN and infinities are none.
    """

    parts: Mapping[str, Any]

    @cached_property
    def text(self) -> str:
        """The parts as JSON, in an order of their own, with the version of the documents."""
        return json.dumps({"schema": SCHEMA_VERSION, **self.parts}, sort_keys=True, allow_nan=False)

    @cached_property
    def key(self) -> str:
        """sha256 of it, 64 hex digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def part_key(owner: str, value: object) -> str:
    """Key of a part, 64 hex digits: it ends as that of its owner begins, that all can be listed.

    Args:
        owner: key of the backbone.
        value: which part of all that are its own, as :func:`digest` takes it.
    """
    return digest((owner, value))[:-OWNED] + owner[:OWNED]


def digest(value: object) -> str:
    """sha256 of a value made of numbers, words, tensors, functions, tuples and dataclasses.

    Tensors count with type, shape and every bit, wherever they are; functions by their names.

    >>> digest((1, "a")) == digest((1, "a")), digest((1,)) == digest((1.0,))
    (True, False)

    Raises:
        TypeError: something else is part of it.
    """
    found = hashlib.sha256()
    _add(found, value)
    return found.hexdigest()


def _add(found: hashlib._Hash, value: object) -> None:
    if _is_tensor(value):
        plain = value.detach().cpu().contiguous()
        _name(found, f"tensor {plain.dtype} {tuple(plain.shape)}")
        found.update(plain.reshape(-1).view(sys.modules["torch"].uint8).numpy().data)
    elif isinstance(value, tuple | list):
        _name(found, f"tuple {len(value)}")
        for item in value:
            _add(found, item)
    elif is_dataclass(value) and not isinstance(value, type):
        _name(found, f"record {type(value).__qualname__}")
        for field in fields(value):
            _add(found, field.name)
            _add(found, getattr(value, field.name))
    elif value is None or isinstance(value, bool | int | float | str | bytes):
        _name(found, f"{type(value).__name__} {value!r}")
    elif isinstance(value, Callable):  # type: ignore[arg-type]  # mypy: an abstract class
        _name(found, f"function {value.__module__}.{value.__qualname__}")  # type: ignore[attr-defined]
    else:
        raise TypeError(f"a {type(value).__name__} has no digest")


def _is_tensor(value: object) -> TypeGuard[Tensor]:
    # Who has a tensor has imported torch; who only looks into the store does not wait for it.
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _name(found: hashlib._Hash, text: str) -> None:
    """Add words, which end where they say."""
    data = text.encode()
    found.update(len(data).to_bytes(8, "little") + data)
