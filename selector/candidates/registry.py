"""Lists of candidates: a registry file, the built-in zoo, single model ids."""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationError, model_validator

from selector.candidates.entry import HUB_PREFIX, LOCAL_PREFIX, Candidate, Entry
from selector.candidates.yamlfile import YamlFile, explain, read_yaml
from selector.errors import UsageError


class Registry(Entry):
    """A registry file. Keys that begin with ``x-`` are free for YAML anchors."""

    model_config = ConfigDict(json_schema_extra={"patternProperties": {"^x-": {}}})

    candidates: Annotated[tuple[Candidate, ...], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _without_anchors(cls, document: Any) -> Any:
        return {k: v for k, v in document.items() if not str(k).startswith("x-")}


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
            what = explain(error, Candidate).removeprefix("model: ")
            raise UsageError(f"--model {what}.") from None
    check_distinct(found, "--model")
    return tuple(found)


def read_registry(path: str | Path) -> tuple[Candidate, ...]:
    """All candidates of a registry file.

    Folders of ``local-dir:`` entries are relative to the file.

    Raises:
        UsageError: the file is missing or is not a registry; with the line where that shows.
    """
    path = Path(path)
    file = read_yaml(path, "--registry")
    if not isinstance(file.document, dict) or not isinstance(file.document.get("candidates"), list):
        raise UsageError(
            f"{file.where} must hold a list called candidates:.",
            hint="`selector schema registry` prints the form.",
        )
    if not file.document["candidates"]:
        raise UsageError(f"{file.where} lists no candidate.")
    entries = file.validate(Registry).candidates
    _refuse_repetition(entries, file)
    return tuple(_relative_to(path.parent, entry) for entry in entries)


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


def _refuse_repetition(entries: Sequence[Candidate], file: YamlFile) -> None:
    """Say where both of two equal entries stand."""
    seen: dict[tuple[str, ...], int] = {}
    for place, entry in enumerate(entries):
        line = file.line(("candidates", place))
        for key, what in ((entry.identity, entry.model), (("name", entry.name), entry.name)):
            if key in seen:
                raise UsageError(
                    f"{file.where}, line {line}: {what} is there already, at line {seen[key]}.",
                    hint="Remove one of them, or tell them apart with name:, a revision or a file.",
                )
            seen[key] = line


def _relative_to(folder: Path, entry: Candidate) -> Candidate:
    if entry.source == "hub" or entry.directory.is_absolute():
        return entry
    model = f"{LOCAL_PREFIX}{folder / entry.directory}"
    # Anew, since a name that was not given is that of the folder.
    return Candidate.model_validate(entry.model_dump(exclude_unset=True) | {"model": model})
