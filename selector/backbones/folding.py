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

# Rounding of float32 in a deep network: of how far apart images are, and of the features' norm.
_OF_SPREAD, _OF_NORM = 1e-3, 1e-5
# Of the mean absolute gradient of an image; kinks that rounding crosses move single pixels.
_OF_GRADIENT = 0.005


@dataclass(frozen=True)
class Folded:
    """How many batch normalisations became something cheaper.

    Attributes:
        convolutions: part of the convolution before them.
        maps: a map of their own.
    """

    convolutions: int = 0
    maps: int = 0


def fold_batch_norms(network: nn.Module, features: Callable[[Tensor], Tensor], x: Tensor) -> Folded:
    """Fold what can be, in place, if features and their gradients stay what they are.

    Args:
        network: in evaluation mode, frozen.
        features: (n,3,S,S) -> (n,d), through the network.
        x: some images (n,3,S,S), at which the two are compared.
    """
    if not any(_is_norm(module) for module in network.modules()):
        return Folded()
    seen = _Seen()
    with _watching(network, seen):
        before = _observed(features, x)
    replaced = {name: network.get_submodule(name) for pair in seen.pairs for name in pair}
    replaced |= {name: network.get_submodule(name) for name in seen.norms}
    try:
        found = _replace(network, seen)
        same = _the_same(_observed(features, x), before)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - its code may read what a successor has not
        same = False
    if same:
        return found
    for name, module in replaced.items():
        network.set_submodule(name, module)
    return Folded()


def _replace(network: nn.Module, seen: _Seen) -> Folded:
    pairs = seen.foldable
    maps = [name for name in seen.norms if name not in dict(pairs).values()]
    for convolution, normalisation in pairs:
        conv, norm = map(network.get_submodule, (convolution, normalisation))
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
        network.set_submodule(convolution, fuse_conv_bn_eval(conv, norm).requires_grad_(False))
        network.set_submodule(normalisation, _followed(nn.Identity(), norm))
    for name in maps:
        norm = network.get_submodule(name)
        network.set_submodule(name, _followed(_Affine(norm), norm))
    return Folded(len(pairs), len(maps))


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


def _observed(features: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Features (n,d), and the gradient (n,3,S,S) of a product with fixed numbers of either sign."""
    x = x.detach().requires_grad_(True)
    found = features(x)
    signs = torch.where(torch.arange(found.shape[1], device=x.device) % 2 == 0, 1.0, -1.0)
    (gradient,) = torch.autograd.grad((found * signs).sum(), x)
    return found.detach(), gradient


def _the_same(now: tuple[Tensor, Tensor], before: tuple[Tensor, Tensor]) -> bool:
    """Up to rounding; not the other way round, as NaN is a difference, too."""
    features, gradients = before
    moved, norms = (torch.linalg.vector_norm(z, dim=1) for z in (now[0] - features, features))
    spread = torch.linalg.vector_norm(features - features.mean(dim=0), dim=1).mean()
    turned, steep = (g.abs().mean(dim=(1, 2, 3)) for g in (now[1] - gradients, gradients))
    return bool(
        (moved <= _OF_SPREAD * spread + _OF_NORM * norms).all()
        and (turned <= _OF_GRADIENT * steep).all()
    )


@dataclass
class _Seen:
    """What one pass has shown.

    Attributes:
        calls: how often each convolution and normalisation was used.
        made: name, output and its version of convolutions; held, so that no other tensor gets its
            identity.
        pairs: convolutions, and the normalisations that were given what they gave.
    """

    calls: Counter[str] = field(default_factory=Counter)
    made: dict[int, tuple[str, Tensor, int]] = field(default_factory=dict)
    pairs: list[tuple[str, str]] = field(default_factory=list)
    norms: list[str] = field(default_factory=list)

    def convolved(self, name: str, output: Tensor) -> None:
        self.calls[name] += 1
        self.made[id(output)] = name, output, output._version

    def normalised(self, name: str, given: Tensor) -> None:
        self.calls[name] += 1
        if self.calls[name] == 1:
            self.norms.append(name)
        convolution, _, version = self.made.get(id(given), ("", given, -1))
        if version == given._version:
            self.pairs.append((convolution, name))

    @property
    def foldable(self) -> list[tuple[str, str]]:
        """Pairs of which neither does anything else."""
        used = Counter(name for pair in self.pairs for name in pair) | self.calls
        return [pair for pair in self.pairs if all(used[name] == 1 for name in pair)]


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
                        # Given by name, it is no usual call, and stays.
                        lambda _, given, name=name: seen.normalised(name, *given) if given else None
                    )
                )
        yield


def _is_norm(module: nn.Module) -> bool:
    """Whether it normalises by statistics that it has."""
    plain = _is_plain(module, nn.BatchNorm2d, BatchNormAct2d)
    return plain and getattr(module, "running_var", None) is not None


def _is_plain(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether it is one of these, in evaluation mode, and computes nothing besides."""
    hooked = module._forward_hooks or module._forward_pre_hooks
    return type(module) in kinds and not hooked and not module.training
