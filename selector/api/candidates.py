"""Candidates as a caller in Python gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from selector.arguments import said
from selector.candidates import (
    Candidate,
    Chosen,
    Pinned,
    check_distinct,
    from_models,
    pin_by,
    require_pins,
)
from selector.errors import UsageError
from selector.modules import Module, ModuleCandidate, module_candidate
from selector.reading import is_file

CandidateLike = str | Candidate | Module
Candidates = CandidateLike | Iterable[CandidateLike] | Mapping[str, nn.Module]


def choose(given: Candidates, image_size: int, lock: str | Path | None) -> Chosen:
    """The candidates of a run, held to what the lock file says of them if one is given.

    Raises:
        UsageError: one is no candidate, or there twice; or ``lock`` is none, or lacks one.
    """
    found = _candidates(given, image_size)
    if lock is None:
        return Chosen(tuple(map(Pinned, found)))
    if not isinstance(lock, str | Path):
        raise UsageError(f"lock must be the path of a file, found {said(lock)}.")
    module = next((one for one in found if isinstance(one, ModuleCandidate)), None)
    if module is not None:
        raise UsageError(
            f"lock holds candidates to the bytes of their files; {module.name} is a Module, which"
            " has none.",
            hint="Leave lock out, or the modules.",
        )
    path = Path(lock)
    if not is_file(path):
        raise UsageError(
            f"lock must be a lock file, found none at {said(str(path))}.",
            hint="`selector lock` writes one.",
        )
    chosen = pin_by(found, path)
    require_pins(chosen.candidates, path)
    return chosen


def _candidates(given: Candidates, image_size: int) -> tuple[Candidate, ...]:
    if isinstance(given, Mapping):
        given = [Module(name, module) for name, module in given.items()]
    each: Iterable[CandidateLike]
    # A Sequential can be iterated as well, but its layers are no candidates.
    if isinstance(given, str | Candidate | Module | nn.Module) or not isinstance(given, Iterable):
        each = (given,)
    else:
        each = given
    found = tuple(_candidate(one, image_size) for one in each)
    if not found:
        raise UsageError("candidates must be at least one, found none.")
    check_distinct(found, "candidates")
    return found


def _candidate(given: Any, image_size: int) -> Candidate:
    if isinstance(given, str):
        return from_models([given])[0]
    if isinstance(given, Module):
        return module_candidate(given, image_size)
    if isinstance(given, Candidate):
        return given
    raise UsageError(
        f"candidates must be names, registry entries or Modules, found {type(given).__name__}.",
        hint="A network becomes one by Module(name, network), or in {name: network}.",
    )
