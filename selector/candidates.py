"""Which backbones are to be compared: the registry file, the built-in zoo, single model ids."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from selector.errors import UsageError
from selector.norms import Norm

HUB_PREFIX, LOCAL_PREFIX = "hf-hub:", "local-dir:"
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class Pretraining(BaseModel):
    """How a backbone was made, as far as its publisher says."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        json_schema_serialization_defaults_required=True,
    )

    objective: Annotated[str, Field(description="for example supervised, DINO, adversarial")]
    data: Annotated[str, Field(description="the images it has seen, for example ImageNet-1k")]
    norm: Annotated[Norm | None, Field(description="norm of adversarial pretraining")] = None
    eps: Annotated[
        float | None, Field(ge=0, description="eps of adversarial pretraining, in units of [0,1]")
    ] = None


class Candidate(BaseModel):
    """One backbone to be measured, as the registry or ``--model`` names it.

    ``model`` is ``hf-hub:owner/name`` with an optional ``@revision``, or ``local-dir:PATH`` of a
    folder in the same layout (config.json and model.safetensors).
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        json_schema_serialization_defaults_required=True,
    )

    model: Annotated[str, Field(description="hf-hub:owner/name[@revision] or local-dir:PATH")]
    parameters: Annotated[int | None, Field(gt=0, description="weights, classifier included")] = (
        None
    )
    license: Annotated[str | None, Field(description="SPDX id, or the publisher's word")] = None
    pretraining: Pretraining | None = None
    tags: tuple[str, ...] = ()

    @field_validator("model")
    @classmethod
    def _known_form(cls, model: str) -> str:
        if model.startswith(LOCAL_PREFIX) and len(model) > len(LOCAL_PREFIX):
            return model
        if model.startswith(HUB_PREFIX):
            repo, _, revision = model.removeprefix(HUB_PREFIX).partition("@")
            if _REPO_ID.fullmatch(repo) and (revision or "@" not in model):
                return model
        raise ValueError(
            f"must be hf-hub:owner/name, hf-hub:owner/name@revision or local-dir:PATH,"
            f" found {model!r}"
        )

    @property
    def source(self) -> Literal["hub", "local"]:
        """Where the files come from."""
        return "local" if self.model.startswith(LOCAL_PREFIX) else "hub"

    @property
    def repo_id(self) -> str:
        """``owner/name`` on the Hub."""
        return self.model.removeprefix(HUB_PREFIX).partition("@")[0]

    @property
    def revision(self) -> str | None:
        """The branch, tag or commit asked for; None for the default branch."""
        return self.model.removeprefix(HUB_PREFIX).partition("@")[2] or None

    @property
    def directory(self) -> Path:
        """The folder of a local candidate."""
        return Path(self.model.removeprefix(LOCAL_PREFIX)).expanduser()

    @property
    def name(self) -> str:
        """What tables call it: the Hub id, or the folder's own name."""
        if self.source == "hub":
            return self.model.removeprefix(HUB_PREFIX)
        return self.directory.resolve().name


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
    return packaged if packaged.is_file() else Path(__file__).parent.parent / "registry.yaml"


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
        return candidate.model_copy(update={"model": model})
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
    """Raise a UsageError that starts with ``where`` if a candidate is named twice."""
    seen: set[str] = set()
    for candidate in candidates:
        if candidate.model in seen:
            raise UsageError(f"{where} names {candidate.model} twice; every candidate once.")
        seen.add(candidate.model)
