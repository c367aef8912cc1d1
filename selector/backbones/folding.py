"""Batch normalisation after a convolution becomes part of it.

Of a frozen network it is an affine map of each channel, so that one convolution gives the same
features with rounding of another order; alone it takes a fifth to a third of a pass.
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


def fold_batch_norms(network: nn.Module, features: Callable[[], Tensor]) -> int:
    """Fold what can be, in place, if that leaves the features what they are.

    Args:
        network: in evaluation mode, frozen.
        features: runs it on some images -> (n,d).

    Returns:
        How many were folded.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return 0
    before, pairs = _pairs(network, features)
    replaced = [(name, network.get_submodule(name)) for pair in pairs for name in pair]
    for convolution, normalisation in pairs:
        conv, norm = map(network.get_submodule, (convolution, normalisation))
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
        network.set_submodule(convolution, fuse_conv_bn_eval(conv, norm).requires_grad_(False))
        network.set_submodule(normalisation, _what_is_left(norm))
    if pairs and not _the_same(features(), before):
        for name, module in replaced:
            network.set_submodule(name, module)
        return 0
    return len(pairs)


def _what_is_left(norm: nn.BatchNorm2d) -> nn.Module:
    return nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()


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
            elif _is_plain(module, nn.BatchNorm2d, BatchNormAct2d) and module.track_running_stats:
                hooks.enter_context(
                    module.register_forward_pre_hook(
                        lambda _, given, name=name: seen.normalised(name, given[0])
                    )
                )
        yield


def _is_plain(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether it is one of these and no descendant, and computes nothing besides."""
    hooked = module._forward_hooks or module._forward_pre_hooks
    return type(module) in kinds and not hooked
