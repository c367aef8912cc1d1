"""One candidate, as a registry or ``--model`` names it."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

from selector.norms import Norm

HUB_PREFIX, LOCAL_PREFIX = "hf-hub:", "local-dir:"
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
SAFE_SUFFIX, PICKLE_SUFFIXES = ".safetensors", (".bin", ".pt", ".pth", ".ckpt")
_REPO_ID = re.compile(r"(?!.*\.\.)[A-Za-z0-9][\w.-]*/[\w.-]+")
# Nothing that a path of one system or another could mean: the Hub client makes paths of revisions,
# and files are looked for in their folder.
_REVISION = re.compile(r"(?!.*\.\.)[^\s/\\:](?:[^\s\\:]*[^\s/\\:])?")

Format = Literal["timm", "open_clip", "transformers_clip", "transformers_vit"]
FORMATS: tuple[Format, ...] = get_args(Format)
Interpolation = Literal["bilinear", "bicubic"]
Source = Literal["hub", "local", "module"]
"""The Hub, a folder of this machine, or a module that a caller of the Python interface gave."""

Channel = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Whole = Annotated[int, Field(strict=True)]  # YAML's true and 3.0 are none
PositiveChannel = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


class Entry(BaseModel):
    """Immutable, closed to unknown fields, and free of NaN and infinity."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        json_schema_serialization_defaults_required=True,
    )


class Pretraining(Entry):
    """How a backbone was made, as far as its publisher says."""

    objective: Annotated[str, Field(description="for example supervised, DINO, adversarial")]
    data: Annotated[str, Field(description="the images it has seen, for example ImageNet-1k")]
    norm: Annotated[Norm | None, Field(description="norm of adversarial pretraining")] = None
    eps: Annotated[
        float | None, Field(ge=0, description="eps of adversarial pretraining, in units of [0,1]")
    ] = None


class Checkpoint(Entry):
    """How to load weights that do not come in timm's own layout (config.json, model.safetensors).

    Everything that such a file does not say about itself is said here, so that no code has to know
    any publisher by name.
    """

    file: Annotated[
        str,
        Field(
            description="the file in the repository or folder: .safetensors, or a pickle (.bin,"
            " .pt, .pth, .ckpt), which needs --allow-pickle"
        ),
    ]
    architecture: Annotated[
        str,
        Field(
            min_length=1,
            description="the architecture's name in timm; image towers that began as OpenAI's CLIP"
            " need one with quickgelu, which their weights do not show",
        ),
    ]
    num_classes: Annotated[
        int,
        Field(
            ge=0, strict=True, description="outputs of the checkpoint's own head; 0 if it has none"
        ),
    ]
    input_size: Annotated[
        int, Field(ge=1, strict=True, description="side of the images it was made for")
    ]
    mean: Annotated[
        tuple[Channel, Channel, Channel], Field(description="subtracted from pixels in [0,1]")
    ]
    std: Annotated[
        tuple[PositiveChannel, PositiveChannel, PositiveChannel],
        Field(description="divides what remains"),
    ]
    interpolation: Annotated[Interpolation, Field(description="how images are resized")] = "bicubic"
    format: Annotated[
        Format, Field(description="whose names the weights have: timm's or another library's")
    ] = "timm"
    model_args: Annotated[
        dict[str, Any], Field(description="further arguments of the architecture")
    ] = {}
    state_key: Annotated[
        str | None, Field(description="where in the file the weights lie; null: at its top")
    ] = None
    key_prefix: Annotated[
        str, Field(description="only weights whose names begin so are used, without it")
    ] = ""

    @field_validator("file")
    @classmethod
    def _known_file(cls, file: str) -> str:
        path = PurePosixPath(file)
        if path.suffix not in (SAFE_SUFFIX, *PICKLE_SUFFIXES):
            known = ", ".join((SAFE_SUFFIX, *PICKLE_SUFFIXES))
            raise ValueError(f"must end in one of {known}, found {file!r}")
        leaves = path.is_absolute() or ".." in path.parts or path.as_posix() != file
        if leaves or not file.isprintable() or set("\\:") & set(file):
            raise ValueError(f"must be a path inside the repository, found {file!r}")
        return file

    @property
    def pickled(self) -> bool:
        """Whether the file is in a format that can hold code."""
        return not self.file.endswith(SAFE_SUFFIX)


class Candidate(Entry):
    """One backbone to be measured, as the registry or ``--model`` names it.

    ``model`` is ``hf-hub:owner/name`` with an optional ``@revision``, or ``local-dir:PATH`` of a
    folder in the same layout: config.json and model.safetensors, unless ``checkpoint`` says
    otherwise.
    """

    model: Annotated[str, Field(description="hf-hub:owner/name[@revision] or local-dir:PATH")]
    name: Annotated[
        str,
        Field(
            description="what tables call it, of use where candidates share a repository; empty:"
            " the Hub id, or the folder's own name"
        ),
    ] = ""
    parameters: Annotated[
        int | None, Field(gt=0, strict=True, description="weights, classifier included")
    ] = None
    license: Annotated[str | None, Field(description="SPDX id, or the publisher's word")] = None
    pretraining: Pretraining | None = None
    tags: tuple[str, ...] = ()
    checkpoint: Checkpoint | None = None

    @field_validator("model")
    @classmethod
    def _known_form(cls, model: str) -> str:
        if model.startswith(LOCAL_PREFIX) and len(model) > len(LOCAL_PREFIX) and "\0" not in model:
            try:
                Path(model.removeprefix(LOCAL_PREFIX)).expanduser()
            except RuntimeError:
                raise ValueError(
                    f"must name a home folder that there is, found {model!r}"
                ) from None
            return model
        if model.startswith(HUB_PREFIX):
            repo, _, revision = model.removeprefix(HUB_PREFIX).partition("@")
            named = revision.isprintable() and _REVISION.fullmatch(revision)
            if _REPO_ID.fullmatch(repo) and (named or "@" not in model):
                return model
        raise ValueError(
            f"must be hf-hub:owner/name, hf-hub:owner/name@revision or local-dir:PATH,"
            f" found {model!r}"
        )

    def model_post_init(self, context: object) -> None:
        """Give a candidate without a name the one that its model has."""
        if not self.name:
            object.__setattr__(self, "name", self._own_name())

    @property
    def source(self) -> Source:
        """Where it comes from."""
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
    def files(self) -> tuple[str, ...]:
        """The files that loading needs, and no others."""
        return (self.checkpoint.file,) if self.checkpoint else (CONFIG_FILE, WEIGHTS_FILE)

    @property
    def identity(self) -> tuple[str, ...]:
        """What no two candidates of a run may share."""
        return (self.model, *self.files)

    def _own_name(self) -> str:
        if self.source == "hub":
            return self.model.removeprefix(HUB_PREFIX)
        return self.directory.resolve().name
