"""Any ``torch.nn.Module`` as a backbone: copied, frozen, and checked as others are."""

from __future__ import annotations

import copy
import hashlib
import math
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, get_args

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from selector.backbones import Backbone
from selector.backbones.failures import check_finite
from selector.batches import lacks_memory
from selector.candidates import Candidate, Interpolation, Source
from selector.errors import CandidateError, UsageError, first_line
from selector.origin import provenance
from selector.records import FileRecord
from selector.run import Prepared

MODULE_PREFIX = "module:"
_Three = tuple[float, float, float]


@dataclass(frozen=True)
class Module:
    """A network as a backbone.

    The module maps normalised images (n,3,h,w) float32 to features (n,d), pooled, of floating point
    and used as float32; maps (n,c,h,w) and sequences (n,t,d) are refused, since which pooling is
    meant is yours to say. It is used through a copy in evaluation mode whose weights take no
    gradient, so that the module itself stays as it is. The gradient with respect to the image must
    flow.

    Attributes:
        name: what tables call it.
        module: the network, with float32 weights, on any device.
        mean: subtracted from each channel of images in [0,1].
        std: divides what remains. By default images stay in [0,1].
        input_size: what canonical images are resized to: a side, or height and width; None: they
            stay as they are.
        interpolation: of resizing, ``bicubic`` or ``bilinear``.

    Raises:
        UsageError: an attribute is not what it must be.
    """

    name: str
    module: nn.Module
    mean: _Three = (0.0, 0.0, 0.0)
    std: _Three = (1.0, 1.0, 1.0)
    input_size: int | tuple[int, int] | None = None
    interpolation: Interpolation = "bicubic"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or not self.name.isprintable():
            raise UsageError(f"name of a Module must be printable, found {self.name!r}.")
        if not isinstance(self.module, nn.Module):
            raise UsageError(
                f"module of {self.name} must be a torch.nn.Module, found {_kind(self.module)}."
            )
        for what, values, least in (("mean", self.mean, -math.inf), ("std", self.std, 0.0)):
            if len(values) != 3 or not all(least < value < math.inf for value in values):
                above = " above 0" if what == "std" else ""
                raise UsageError(
                    f"{what} of {self.name} must be three finite numbers{above}, found {values}."
                )
        if self.input_size is not None and min(self.size((1, 1))) < 1:
            raise UsageError(
                f"input_size of {self.name} must be at least 1, found {self.input_size}."
            )
        if self.interpolation not in get_args(Interpolation):
            known = " or ".join(get_args(Interpolation))
            raise UsageError(
                f"interpolation of {self.name} must be {known}, found {self.interpolation!r}."
            )

    def size(self, images: tuple[int, int]) -> tuple[int, int]:
        """Height and width it is run at, for images of a height and width."""
        if self.input_size is None:
            return images
        return (self.input_size,) * 2 if isinstance(self.input_size, int) else self.input_size


class ModuleCandidate(Candidate):
    """A module among the candidates of a run; a registry cannot name one."""

    given: Annotated[Any, Field(exclude=True, repr=False)]
    image_size: int

    @field_validator("model")
    @classmethod
    def _known_form(cls, model: str) -> str:
        return model

    @property
    def source(self) -> Source:
        """It has no files."""
        return "module"

    @property
    def files(self) -> tuple[str, ...]:
        """None."""
        return ()


def module_candidate(module: Module, image_size: int) -> ModuleCandidate:
    """A module as a candidate, for canonical images of a side."""
    model = f"{MODULE_PREFIX}{module.name}"
    return ModuleCandidate(model=model, name=module.name, given=module, image_size=image_size)


def prepare_module(candidate: ModuleCandidate) -> Prepared:
    """Describe a module; its weights are hashed as they are now.

    Nothing that is measured of it is kept: what a module computes depends on its code and its
    attributes, too, which no hash of weights tells.
    """
    module = candidate.given
    return Prepared(
        candidate.name,
        candidate.model,
        load=partial(load_module, module, (candidate.image_size, candidate.image_size)),
        hashes=None,
        describe=partial(provenance, candidate, None, (_state(module.module),)),
    )


def load_module(module: Module, images: tuple[int, int], device: torch.device) -> Backbone:
    """A frozen copy of a module on a device, for images of a height and width.

    Raises:
        CandidateError: it cannot be copied, or a weight is not finite.
    """
    network = frozen(module.module)
    check_finite(network)
    backbone = Backbone(
        _Whole(network),
        architecture=type(module.module).__name__,
        license=None,
        mean=module.mean,
        std=module.std,
        input_size=module.size(images),
        interpolation=module.interpolation,
    )
    backbone.to(device)
    backbone.to(memory_format=torch.channels_last)
    return backbone


def frozen(module: nn.Module) -> nn.Module:
    """A copy in evaluation mode, none of whose weights takes a gradient.

    Raises:
        CandidateError: it cannot be copied.
    """
    try:
        # Copies of a scripted module's weights would be results of its weights.
        with torch.no_grad():
            copied = copy.deepcopy(module)
    except Exception as error:
        raise CandidateError(
            "cannot_copy",
            f"the module must be one that copy.deepcopy copies: {first_line(error)}.",
            hint="It is measured through a copy, so that it stays as it is.",
        ) from error
    # One by one: a scripted module has no requires_grad_.
    for parameter in copied.parameters():
        parameter.requires_grad_(False)
    return copied.eval()


class _Whole(nn.Module):
    """A module whose output is the features, in the two steps that a backbone takes."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward_features(self, x: Tensor) -> Any:
        try:
            return self.module(x)
        except Exception as error:
            if isinstance(error, CandidateError) or lacks_memory(error):
                raise
            raise CandidateError(
                "forward_failed",
                f"the module fails on {len(x)} images of {x.shape[2]} x {x.shape[3]}:"
                f" {first_line(error)}.",
            ) from error

    def forward_head(self, features: Any, *, pre_logits: bool) -> Tensor:
        del pre_logits
        return pooled(features)


def pooled(features: Any) -> Tensor:
    """What a module returned, as features (n,d) float32.

    Raises:
        CandidateError: it is none, or not of floating point.
    """
    if not isinstance(features, Tensor) or features.ndim != 2:
        is_tensor = isinstance(features, Tensor)
        found = f"shape {tuple(features.shape)}" if is_tensor else _kind(features)
        raise CandidateError(
            "no_pooled_features",
            f"the module must return features (n, d), found {found}.",
            hint="Pool them in it: maps by x.mean(dim=(2, 3)), sequences by x.mean(dim=1).",
        )
    if features.layout != torch.strided:
        found = str(features.layout).removeprefix("torch.")
        raise CandidateError(
            "no_pooled_features",
            f"features must be a dense tensor, found {found}.",
            hint="Return features.to_dense().",
        )
    if not features.is_floating_point():
        found = str(features.dtype).removeprefix("torch.")
        raise CandidateError(
            "no_floating_point",
            f"features must be floating point, found {found}.",
            hint="Return what comes before rounding or comparing, through which no gradient flows.",
        )
    return features.float()


def _state(module: nn.Module) -> FileRecord:
    """Its ``state_dict``: names, types, shapes and values, in their order."""
    digest, size = hashlib.sha256(), 0
    for name, value in module.state_dict().items():
        if not isinstance(value, Tensor):
            digest.update(repr((name, value)).encode())
            continue
        digest.update(repr((name, str(value.dtype), tuple(value.shape))).encode())
        content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        digest.update(content.data)
        size += content.nbytes
    return FileRecord(name="state_dict", size=size, sha256=digest.hexdigest())


def _kind(value: object) -> str:
    return type(value).__name__
