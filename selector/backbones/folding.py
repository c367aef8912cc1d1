"""Batch normalisation of a frozen network becomes what it is: an affine map of each channel.

After a convolution that map becomes part of it, so that one convolution gives the same features
with rounding of another order; elsewhere it is one product and sum. As a layer of its own it takes
a tenth to a third of a pass, most of it backward.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

# Of the norm of the features: rounding of float32 in a deep network.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class Folded:
    """How many batch normalisations became something cheaper.

    Attributes:
        convolutions: part of the convolution before them.
        maps: a map of their own.
    """

    convolutions: int = 0
    maps: int = 0


def fold_batch_norms(network: nn.Module, features: Callable[[], Tensor]) -> Folded:
    """Fold what can be, in place, if that leaves the features what they are.

    Args:
        network: in evaluation mode, frozen.
        features: runs it on some images -> (n,d).
    """
    norms = {name: module for name, module in network.named_modules() if _is_norm(module)}
    if not norms:
        return Folded()
    before, pairs = _pairs(network, features)
    replaced = {name: network.get_submodule(name) for name, _ in pairs} | norms
    for convolution, normalisation in pairs:
        conv, norm = replaced[convolution], norms.pop(normalisation)
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
        network.set_submodule(convolution, fuse_conv_bn_eval(conv, norm).requires_grad_(False))
        network.set_submodule(normalisation, _followed(nn.Identity(), norm))
    for name, norm in norms.items():
        network.set_submodule(name, _followed(_Affine(norm), norm))
    if not _the_same(features(), before):
        for name, module in replaced.items():
            network.set_submodule(name, module)
        return Folded()
    return Folded(len(pairs), len(norms))


class _Affine(nn.Module):
    """What a batch normalisation does in evaluation mode."""

    scale: Tensor
    shift: Tensor

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None and norm.running_var is not None
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * norm.weight
        shift = -norm.running_mean * scale
        if norm.bias is not None:
            shift = shift + norm.bias
        for name, values in (("scale", scale), ("shift", shift)):
            self.register_buffer(name, values.to(norm.running_var)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Maps (n,C,h,w), of the type of ``x`` as from a batch normalisation."""
        return torch.addcmul(self.shift.to(x.dtype), x, self.scale.to(x.dtype))


def _followed(first: nn.Module, norm: nn.Module) -> nn.Module:
    """With what the normalisation does besides."""
    return nn.Sequential(first, norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else first


def _the_same(features: Tensor, before: Tensor) -> bool:
    moved, norms = (torch.linalg.vector_norm(z, dim=1) for z in (features - before, before))
    # Not the other way round: NaN is a difference, too.
    return bool((moved <= _ROUNDING * norms).all())


@dataclass
class _Seen:
    """What one pass has shown."""

    calls: Counter[str] = field(default_factory=Counter)
    # Name, output and its version of convolutions; held, so that no other tensor gets its identity.
    made: dict[int, tuple[str, Tensor, int]] = field(default_factory=dict)
    pairs: list[tuple[str, str]] = field(default_factory=list)

    def convolved(self, name: str, output: Tensor) -> None:
        self.calls[name] += 1
        self.made[id(output)] = name, output, output._version

    def normalised(self, name: str, given: Tensor) -> None:
        self.calls[name] += 1
        convolution, _, version = self.made.get(id(given), ("", given, -1))
        if version == given._version:
            self.pairs.append((convolution, name))


def _pairs(
    network: nn.Module, features: Callable[[], Tensor]
) -> tuple[Tensor, list[tuple[str, str]]]:
    """The features, and names of convolutions with the normalisation of what they give."""
    seen = _Seen()
    with _watching(network, seen), torch.no_grad():
        found = features()
    used = Counter(name for pair in seen.pairs for name in pair) | seen.calls
    return found, [pair for pair in seen.pairs if all(used[name] == 1 for name in pair)]


@contextmanager
def _watching(network: nn.Module, seen: _Seen) -> Iterator[None]:
    with ExitStack() as hooks:
        for name, module in network.named_modules():
            if _is_plain(module, nn.Conv2d, Conv2dSame):
                hooks.enter_context(
                    module.register_forward_hook(
                        lambda _, given, output, name=name: seen.convolved(name, output)
                    )
                )
            elif _is_norm(module):
                hooks.enter_context(
                    module.register_forward_pre_hook(
                        lambda _, given, name=name: seen.normalised(name, given[0])
                    )
                )
        yield


def _is_norm(module: nn.Module) -> bool:
    """Whether it normalises by statistics that it has."""
    plain = _is_plain(module, nn.BatchNorm2d, BatchNormAct2d)
    return plain and getattr(module, "running_var", None) is not None


def _is_plain(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether it is one of these and no descendant, and computes nothing besides."""
    hooked = module._forward_hooks or module._forward_pre_hooks
    return type(module) in kinds and not hooked
