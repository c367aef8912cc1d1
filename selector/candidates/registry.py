"""Lists of candidates: a registry file, the built-in zoo, single model ids."""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from selector.candidates.entry import HUB_PREFIX, LOCAL_PREFIX, Candidate
from selector.errors import UsageError


def from_models(models: Sequence[str]) -> tuple[Candidate, ...]:
    """Candidates from ``--model`` values; ``owner/name`` alone means the Hub.

    Raises:
        UsageError: one of them has no known form, or is given twice.
    """
    found = []
    for model in models:
        known = model.startswith((HUB_PREFIX, LOCAL_PREFIX))
        try:
            found.append(Candidate(model=model if known else HUB_PREFIX + model))
        except ValidationError as error:
            what = _what_is_wrong(error).removeprefix("model: ")
            raise UsageError(f"--model {what}.") from None
    check_distinct(found, "--model")
    return tuple(found)


def read_registry(path: Path) -> tuple[Candidate, ...]:
    """All candidates of a registry file.

    A registry is YAML: ``candidates:`` followed by a list of entries with the fields of
    :class:`Candidate`. Folders of ``local-dir:`` entries are relative to the file.

    Raises:
        UsageError: the file is missing or is not a registry; with the line where that shows.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"--registry must name a readable file, found {path}: {error.strerror}."
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"--registry {path} must be UTF-8 text.") from None
    try:
        document = yaml.safe_load(text)
        lines = _entry_lines(text)
    except yaml.YAMLError as error:
        raise UsageError(
            f"--registry {path} is not YAML: {' '.join(str(error).split())}."
        ) from None
    if not isinstance(document, dict) or not isinstance(document.get("candidates"), list):
        raise UsageError(
            f"--registry {path} must hold a list called candidates:.",
            hint="The default registry shows the form: selector registry.",
        )
    if len(lines) != len(document["candidates"]):
        raise UsageError(f"--registry {path} must hold one list called candidates:, not several.")
    found = [
        _entry(entry, path, line) for entry, line in zip(document["candidates"], lines, strict=True)
    ]
    if not found:
        raise UsageError(f"--registry {path} lists no candidate.")
    check_distinct(found, f"--registry {path}")
    return tuple(found)


def default_registry() -> Path:
    """``registry.yaml`` of the current folder, else the one that comes with selector."""
    here = Path("registry.yaml")
    if here.is_file():
        return here
    packaged = Path(str(importlib.resources.files("selector") / "registry.yaml"))
    # An editable install has the file where it is edited: beside the package.
    return packaged if packaged.is_file() else Path(__file__).parents[2] / "registry.yaml"


def builtin_zoo() -> tuple[Candidate, ...]:
    """The tiny backbones that come with selector, for the demonstration."""
    return read_registry(Path(str(importlib.resources.files("selector.demo") / "zoo.yaml")))


def _entry(entry: Any, path: Path, line: int) -> Candidate:
    try:
        candidate = Candidate.model_validate(entry)
    except ValidationError as error:
        raise UsageError(
            f"--registry {path}, entry at line {line}: {_what_is_wrong(error)}."
        ) from None
    if candidate.source == "local" and not candidate.directory.is_absolute():
        model = f"{LOCAL_PREFIX}{path.parent / candidate.directory}"
        return Candidate.model_validate(entry | {"model": model})
    return candidate


def _entry_lines(text: str) -> list[int]:
    """The line of each entry, counted from 1, for messages."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        return []
    for key, value in root.value:
        if key.value == "candidates" and isinstance(value, yaml.SequenceNode):
            return [node.start_mark.line + 1 for node in value.value]
    return []


def _what_is_wrong(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    return f"{field}: {message}" if field else message


def check_distinct(candidates: Sequence[Candidate], where: str) -> None:
    """Raise a UsageError that starts with ``where`` if a candidate or a name is there twice."""
    seen: set[tuple[str, ...]] = set()
    names: set[str] = set()
    for candidate in candidates:
        if candidate.identity in seen:
            what = " ".join(candidate.identity if candidate.checkpoint else (candidate.model,))
            raise UsageError(f"{where} names {what} twice; every candidate once.")
        if candidate.name in names:
            raise UsageError(
                f"{where} has two candidates called {candidate.name}.",
                hint="A registry entry may give another with name:.",
            )
        seen.add(candidate.identity)
        names.add(candidate.name)
