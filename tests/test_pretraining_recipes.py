"""The benchmark's zoo: each recipe trains, its losses are what they are called, all of it loads."""

from __future__ import annotations

import json
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from conftest import normal
from torch import Tensor
from torch.nn import functional

from selector.backbones import load_backbone
from selector.candidates.registry import read_registry
from selector.demo.pretrain import CLASSES, SIDE, Architecture, PixelInput, sha256

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
ZOO = BENCHMARKS / "zoo"
SHIPPED = sorted(path.parent for path in ZOO.glob("[!.]*/config.json"))
TAGS = (
    "cifar10",
    "cifar10_linf_2",
    "cifar10_linf_4",
    "cifar10_linf_8",
    "cifar10_l2_0.5",
    "cifar10_trades_4",
    "cifar10_noise",
    "cifar10_simclr",
)
SMALL = Architecture(
    "vit_tiny_patch16_224",
    {"img_size": SIDE, "patch_size": 16, "embed_dim": 16, "depth": 1, "num_heads": 1},
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    learning_rate=1e-3,
)


@pytest.fixture
def pretrain(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, imported as it is run: from its own folder; two batches are all its images."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import pretrain
    import recipes

    def images(file: Path) -> tuple[Tensor, Tensor]:
        drawn = torch.Generator().manual_seed(0)
        pixels = torch.randint(256, (256, 3, SIDE, SIDE), dtype=torch.uint8, generator=drawn)
        return pixels, torch.randint(CLASSES, (256,), generator=drawn)

    monkeypatch.setattr(pretrain.built_in, "load_cifar10", images)
    monkeypatch.setattr(recipes, "load_cifar10", images)
    yield pretrain
    del sys.modules["pretrain"], sys.modules["recipes"]


def test_every_recipe_is_tested(pretrain: Any) -> None:
    assert {*TAGS, "random"} == set(pretrain.RECIPES)


@pytest.mark.parametrize("tag", TAGS)
def test_a_recipe_trains(pretrain: Any, tag: str) -> None:
    torch.manual_seed(0)
    backbone = timm.create_model(SMALL.timm_name, num_classes=CLASSES, **SMALL.model_args)
    before = deepcopy(backbone.state_dict())
    pretrain.train(PixelInput(backbone, SMALL), pretrain.RECIPES[tag], 1e-3, 1, Path())
    after = backbone.state_dict()
    assert all(torch.isfinite(value).all() for value in after.values())
    assert not torch.equal(before["patch_embed.proj.weight"], after["patch_embed.proj.weight"])
    assert not torch.equal(before["head.weight"], after["head.weight"])


def test_trades_of_an_image_that_is_not_disturbed_is_cross_entropy(pretrain: Any) -> None:
    logits, y = normal(6, CLASSES, seed=1), torch.arange(6)
    loss = sys.modules["recipes"].trades_loss(logits, logits, y)
    torch.testing.assert_close(loss, functional.cross_entropy(logits, y))


def test_trades_adds_the_divergence_from_clean_to_attacked(pretrain: Any) -> None:
    clean, attacked, y = normal(6, CLASSES, seed=1), normal(6, CLASSES, seed=2), torch.arange(6)
    p, q = (np.exp(a) / np.exp(a).sum(1, keepdims=True) for a in (clean.numpy(), attacked.numpy()))
    expected = -np.log(p[range(6), y]).mean() + 6 * (p * np.log(p / q)).sum(1).mean()
    loss = sys.modules["recipes"].trades_loss(clean, attacked, y)
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_contrastive_loss_against_the_formula_of_simclr(pretrain: Any) -> None:
    recipes, n = sys.modules["recipes"], 5
    z = normal(2 * n, 7, seed=1)
    unit = z.numpy() / np.linalg.norm(z.numpy(), axis=1, keepdims=True)
    losses = []
    for i in range(2 * n):
        terms = [np.exp(unit[i] @ unit[k] / recipes.TEMPERATURE) for k in range(2 * n)]
        losses.append(-np.log(terms[(i + n) % (2 * n)] / (sum(terms) - terms[i])))
    assert recipes.contrastive_loss(z).item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_views_of_an_image_differ_and_are_images(pretrain: Any) -> None:
    x = torch.rand(8, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    drawn = torch.Generator().manual_seed(1)
    one, other = (sys.modules["recipes"].view(x, drawn) for _ in range(2))
    assert one.shape == x.shape
    assert one.min() >= 0
    assert one.max() <= 1
    assert ((one - other).abs().amax(dim=(1, 2, 3)) > 0.05).all()


def test_the_zoo_is_what_its_provenance_says(pretrain: Any) -> None:
    models = json.loads((ZOO / "PROVENANCE.json").read_text(encoding="utf-8"))["models"]
    names = [path.name for path in SHIPPED]
    assert names
    assert sorted(models) == names
    assert (ZOO / "zoo.yaml").read_text(encoding="utf-8") == pretrain.registry(names)
    assert [c.directory.resolve() for c in read_registry(ZOO / "zoo.yaml")] == SHIPPED
    for path in SHIPPED:
        assert sha256(path, "config.json", "model.safetensors") == models[path.name]["sha256"]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_backbone_loads(path: Path) -> None:
    model = timm.create_model(f"local-dir:{path}", pretrained=True).eval()
    backbone = load_backbone(path, torch.device("cpu"))
    with torch.inference_mode():
        logits, features = (f(torch.full((2, 3, SIDE, SIDE), 0.5)) for f in (model, backbone))
    assert logits.shape == (2, CLASSES)
    assert features.shape == (2, model.num_features)
    assert torch.isfinite(logits).all()
