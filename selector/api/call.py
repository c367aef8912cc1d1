"""A call as Python writes it, for the document that comes of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from selector.candidates import Candidate
from selector.modules import Module
from selector.tasks import Task
from selector.tasks.given import GivenTask
from selector.tasks.given_targets import GivenTargets
from selector.tasks.options import TaskOptions

# They change no number.
_UNSAID = ("progress", "on_outcome")


def written_call(function: Callable[..., object], arguments: Mapping[str, Any]) -> tuple[str]:
    """The call of a function, with what differs from its defaults; objects by their name."""
    usual = inspect.signature(function).parameters
    written = (
        f"{name}={_written(value)}"
        for name, value in arguments.items()
        if value is not usual[name].default and name not in _UNSAID
    )
    return (f"selector.{function.__name__}({', '.join(written)})",)


def _written(value: Any) -> str:
    if isinstance(value, GivenTask | GivenTargets | Task):
        return f"<{value.source} {value.name!r}>"
    if isinstance(value, Module):
        return f"<module {value.name!r}>"
    if isinstance(value, Candidate):
        return repr(value.model)
    if isinstance(value, Path):
        return repr(str(value))
    if isinstance(value, TaskOptions):
        said = ((field.name, getattr(value, field.name)) for field in fields(value))
        return f"TaskOptions({', '.join(f'{name}={found!r}' for name, found in said if found)})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name!r}: <module>" for name in value) + "}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_written, value))}]"
    return repr(value)
