"""Batch normalisations become part of convolutions, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
from conftest import normal
from timm.layers import BatchNormAct2d, StdConv2d
from torch import Tensor, nn

from selector import builtin_zoo
from selector.backbones import Folded, fold_batch_norms
from selector.candidates import Pinned
from selector.fetching import prepare


def images() -> Tensor:
    return normal(4, 3, 32, 32, seed=1, dtype=torch.float32)


def lively(network: nn.Module) -> nn.Module:
    """Frozen, with normalisations that have seen images and do something."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight, module.running_var):
                values.data.uniform_(0.5, 2, generator=generator)
            for values in (module.bias, module.running_mean):
                values.data.normal_(generator=generator)
    return network.eval().requires_grad_(False)


def gradient(network: nn.Module) -> Tensor:
    x = images().requires_grad_(True)
    return torch.autograd.grad(network(x).square().sum(), x)[0]


def normalisations(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize(
    ("name", "maps"),
    [("resnet18", 0), ("test_efficientnet", 0), ("mobilenetv3_small_050", 0), ("densenet121", 62)],
)
def test_networks_of_timm_give_the_same_features_and_gradients(name: str, maps: int) -> None:
    torch.manual_seed(0)
    network = lively(timm.create_model(name, num_classes=0))
    there = normalisations(network)
    before, slope = network(images()), gradient(network)
    folded = fold_batch_norms(network, network, images())
    assert (folded, normalisations(network)) == (Folded(there - maps, maps), 0)
    assert torch.allclose(network(images()), before, rtol=1e-4, atol=1e-5 * before.abs().amax())
    assert torch.allclose(gradient(network), slope, rtol=1e-3, atol=1e-4 * slope.abs().amax())
    assert not any(parameter.requires_grad for parameter in network.parameters())


class Flow(nn.Module):
    """A convolution and a normalisation, in some way one after the other."""

    def __init__(
        self, way: Callable[[Flow, Tensor], Tensor], conv: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.way = way
        self.conv = conv or nn.Conv2d(3, 5, 3)
        self.other = nn.Conv2d(3, 5, 3)
        self.norm, self.second = BatchNormAct2d(5), nn.BatchNorm2d(5)

    def forward(self, x: Tensor) -> Tensor:
        return self.way(self, x).mean(dim=(2, 3))


WAYS: dict[str, tuple[Callable[[Flow, Tensor], Tensor], Folded]] = {
    "one after the other": (lambda f, x: f.norm(f.conv(x)), Folded(convolutions=1)),
    "something between": (lambda f, x: f.norm(f.conv(x).sin()), Folded(maps=1)),
    "something in place between": (lambda f, x: f.norm(f.conv(x).sin_()), Folded(maps=1)),
    "the convolution counts elsewhere": (lambda f, x: f.norm(y := f.conv(x)) + y, Folded()),
    "the convolution is used twice": (
        lambda f, x: f.norm(f.conv(x)) + f.conv(x.sin()),
        Folded(maps=1),
    ),
    "the normalisation is used twice": (
        lambda f, x: f.norm(f.conv(x)) + f.norm(f.other(x)),
        Folded(maps=1),
    ),
    "one convolution, two normalisations": (
        lambda f, x: f.norm(y := f.conv(x)) + f.second(y),
        Folded(maps=2),
    ),
    "two of each": (
        lambda f, x: f.norm(f.conv(x)) + f.second(f.other(x)),
        Folded(convolutions=2),
    ),
    "its weight counts elsewhere": (
        lambda f, x: f.norm(f.conv(x)) * f.conv.weight.sum(),
        Folded(),
    ),
}


@pytest.mark.parametrize("name", WAYS)
def test_only_what_comes_right_after_is_folded(name: str) -> None:
    way, expected = WAYS[name]
    torch.manual_seed(0)
    network = lively(Flow(way))
    before, slope = network(images()), gradient(network)
    assert fold_batch_norms(network, network, images()) == expected
    assert torch.allclose(network(images()), before, rtol=1e-4, atol=1e-5)
    assert torch.allclose(gradient(network), slope, rtol=1e-3, atol=1e-4 * slope.abs().amax())


@pytest.mark.parametrize("conv", ["standardised", "parametrised", "hooked"])
def test_convolutions_that_compute_more_stay(conv: str) -> None:
    made = StdConv2d(3, 5, 3) if conv == "standardised" else nn.Conv2d(3, 5, 3)
    if conv == "parametrised":
        nn.utils.parametrizations.weight_norm(made)
    if conv == "hooked":
        made.register_forward_hook(lambda module, given, output: output.sin())
    network = lively(Flow(WAYS["one after the other"][0], made))
    before = network(images())
    found = fold_batch_norms(network, network, images())
    assert found == Folded(convolutions=0, maps=1)
    assert network.conv is made
    assert torch.allclose(network(images()), before, rtol=1e-4, atol=1e-5)


def test_a_normalisation_by_the_batch_stays() -> None:
    network = lively(Flow(WAYS["one after the other"][0]))
    network.norm = by_batch = BatchNormAct2d(5, track_running_stats=False).eval()
    assert fold_batch_norms(network, network, images()).convolutions == 0
    assert network.norm is by_batch


@pytest.mark.parametrize("affine", [True, False])
def test_a_map_is_of_the_type_of_what_it_is_given_as_a_normalisation_is(affine: bool) -> None:
    network = nn.Sequential(nn.BatchNorm2d(3, affine=affine), nn.Flatten())
    network[0].running_mean.fill_(0.25)
    network[0].running_var.fill_(4)
    network.eval()
    x = images().bfloat16().double().float()
    before = network(x)
    assert fold_batch_norms(network, network, x) == Folded(maps=1)
    assert torch.allclose(network(x), before, rtol=1e-6, atol=1e-6)
    assert network(x.bfloat16()).dtype == torch.bfloat16


def test_where_the_features_would_change_all_stays() -> None:
    network = lively(Flow(WAYS["its weight counts elsewhere"][0]))
    before, modules = network(images()), dict(network.named_modules())
    assert fold_batch_norms(network, network, images()) == Folded()
    assert dict(network.named_modules()) == modules
    assert torch.equal(network(images()), before)


def functional(f: Flow, x: Tensor) -> Tensor:
    return nn.functional.batch_norm(f.conv(x), f.norm.running_mean, f.norm.running_var) + f.norm(
        f.other(x)
    )


HARMLESS: dict[str, Callable[[Flow, Tensor], Tensor]] = {
    "its statistics are read": functional,
    "its type is read": lambda f, x: f.norm(f.conv(x).to(f.norm.weight.dtype)),
    "it is given its input by name": lambda f, x: f.second(input=f.conv(x)),
    "it is never used": lambda f, x: f.conv(x),
    "one large feature hides the others": lambda f, x: torch.cat(
        [f.norm(y := f.conv(x)) + y, torch.full_like(x[:, :1, :-2, :-2], 1e5)], dim=1
    ),
    "one large feature hides a shift that has no gradient": lambda f, x: torch.cat(
        [f.norm(f.conv(x)) + f.conv.bias[:, None, None], torch.full_like(x[:, :1, :-2, :-2], 1e5)],
        dim=1,
    ),
    "only the gradient goes elsewhere": lambda f, x: f.norm(y := f.conv(x)) + y - y.detach(),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_code_that_folding_would_break_stays_as_it_is(name: str) -> None:
    torch.manual_seed(0)
    network = lively(Flow(HARMLESS[name]))
    before, slope, modules = network(images()), gradient(network), dict(network.named_modules())
    assert fold_batch_norms(network, network, images()) == Folded()
    assert dict(network.named_modules()) == modules
    assert torch.equal(network(images()), before)
    assert torch.equal(gradient(network), slope)


def test_a_convolution_in_training_mode_stays() -> None:
    network = lively(Flow(WAYS["one after the other"][0]))
    network.conv.train()
    assert fold_batch_norms(network, network, images()).convolutions == 0


def test_no_hook_is_left_behind() -> None:
    network = lively(timm.create_model("test_efficientnet", num_classes=0))
    fold_batch_norms(network, network, images())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_the_parameters_that_are_told_are_those_of_the_published_network() -> None:
    (one,) = [one for one in builtin_zoo() if one.name == "tiny_resnet.cifar10"]
    prepared = prepare(Pinned(one), None, lambda count: None)
    backbone = prepared.load(torch.device("cpu"))
    published = sum(each.numel() for each in backbone.network.parameters())
    few = images()
    assert fold_batch_norms(backbone.network, backbone, few).convolutions > 0
    assert sum(each.numel() for each in backbone.network.parameters()) < published
    assert prepared.describe(backbone, 64).parameters == published
