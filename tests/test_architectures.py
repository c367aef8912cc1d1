"""What is known of an architecture without weights, against hand counts and against real runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import timm
import torch
from timm.models._registry import _model_entrypoints
from torch import Tensor, nn

from selector.architectures import Shape, measurable
from selector.errors import CandidateError


class Tiny(nn.Module):
    """A convolution, pooled, and a linear layer; each test spoils another part of it."""

    def __init__(self, channels: int = 3, width: int = 4, spoil: str = "") -> None:
        super().__init__()
        self.default_cfg = {"input_size": (channels, 10, 12)}
        self.conv = nn.Conv2d(channels, width, 3, stride=2)
        self.fc = nn.Linear(width, 5)
        self.spoil = spoil

    def forward_features(self, x: Tensor) -> Tensor:
        if self.spoil == "shape":
            raise RuntimeError("a grid\nof 3 lines")
        return self.conv(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Any:
        match self.spoil:
            case "map":
                return x
            case "list":
                return [x]
            case "no head":
                raise NotImplementedError("no \x1b[31mhead")
            case "batch":
                return self.fc(x.mean((2, 3))).repeat(2, 1)
        return self.fc(x.mean((2, 3)))


@pytest.fixture
def tiny() -> Iterator[str]:
    """The name of an architecture that timm knows during the test."""

    def build(pretrained: bool = False, pretrained_cfg_overlay: object = None, **args: Any) -> Tiny:
        del pretrained, pretrained_cfg_overlay
        args.pop("pretrained_cfg", None)
        args.pop("cache_dir", None)
        return Tiny(**args)

    _model_entrypoints["tiny_of_this_test"] = build
    measurable.cache_clear()
    yield "tiny_of_this_test"
    del _model_entrypoints["tiny_of_this_test"]
    measurable.cache_clear()


def spoiled(monkeypatch: pytest.MonkeyPatch, name: str, **arguments: Any) -> CandidateError:
    monkeypatch.setitem(_model_entrypoints, name, lambda **_: Tiny(**arguments))
    error = measurable(name)
    assert error is not None
    assert error.message.endswith(".")
    assert error.message.isprintable()
    return error


@pytest.mark.parametrize("name", ["resnet18", "test_vit", "test_mambaout", "convnext_atto"])
def test_ordinary_architectures_can_be_measured(name: str) -> None:
    assert measurable(name) is None


def test_encoders_without_a_head_are_found() -> None:
    # Not a list of names: what their heads do decides..
    encoders = timm.list_models("*_enc")
    assert encoders
    # Under timm 1.0.30 the second fails before it comes to its head.
    fails_early = timm.__version__ == "1.0.30"
    for name in encoders[: 1 if fails_early else 2]:
        error = measurable(name)
        assert error is not None
        assert error.code == "no_pooled_features"


def test_an_unknown_architecture_names_the_version_of_timm() -> None:
    error = measurable("re\x1bsnet")
    assert error is not None
    assert error.code == "unknown_architecture"
    assert timm.__version__ in error.message
    assert "\x1b" not in error.message


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        ("map", "no_pooled_features", "(1, 4, 4, 5)"),
        ("list", "no_pooled_features", "list"),
        ("no head", "no_pooled_features", "no ?[31mhead"),
        ("batch", "no_pooled_features", "(2, 5)"),
        ("shape", "forward_failed", "a grid"),
    ],
)
def test_what_does_not_pool_says_what_it_gives(
    monkeypatch: pytest.MonkeyPatch, tiny: str, spoil: str, code: str, words: str
) -> None:
    error = spoiled(monkeypatch, tiny, spoil=spoil)
    assert error.code == code
    assert words in error.message


def test_other_than_three_channels(monkeypatch: pytest.MonkeyPatch, tiny: str) -> None:
    error = spoiled(monkeypatch, tiny, channels=1)
    assert error.code == "bad_preprocessing"
    assert "found 1" in error.message


def test_what_cannot_be_built(monkeypatch: pytest.MonkeyPatch, tiny: str) -> None:
    error = spoiled(monkeypatch, tiny, width=-1)
    assert error.code == "cannot_load"


def test_an_architecture_is_built_once(monkeypatch: pytest.MonkeyPatch, tiny: str) -> None:
    built = []
    monkeypatch.setitem(_model_entrypoints, tiny, lambda **_: built.append(1) or Tiny())
    assert measurable(tiny) is None
    assert measurable(tiny) is None
    assert built == [1]


def test_flops_counted_by_hand(tiny: str) -> None:
    # The convolution gives 4 x 5 places of 4 channels, each a sum over 3 x 3 x 3; then 4 x 5.
    assert Shape(tiny, (10, 12)).flops() == 2 * (4 * 5 * 4 * 27 + 4 * 5)
    assert Shape(tiny, (11, 13)).flops() == 2 * (5 * 6 * 4 * 27 + 4 * 5)
    assert Shape(tiny, (10, 12), {"width": 8}).flops() == 2 * (4 * 5 * 8 * 27 + 8 * 5)


def test_flops_of_a_resnet18_as_published() -> None:
    # 1.82 GMAC (torchvision's model page), its classifier of 0.5 MMAC included.
    assert Shape("resnet18", (224, 224)).flops() == pytest.approx(2 * 1.814e9, rel=0.002)
    assert Shape("resnet18", (448, 448)).flops() == 4 * Shape("resnet18", (224, 224)).flops()


def test_flops_of_a_vit_include_attention_at_the_size_asked_for() -> None:
    blocks, width, classes, patch = 12, 384, 1, 16
    for side in (224, 384):
        n = (side // patch) ** 2
        tokens = n + classes
        linear = blocks * tokens * 12 * width**2
        attention = blocks * 2 * tokens**2 * width
        embedding = n * 3 * patch**2 * width
        expected = 2 * (linear + attention + embedding)
        assert Shape("vit_small_patch16_224", (side, side)).flops() == expected


def test_flops_do_not_depend_on_who_asks() -> None:
    with torch.enable_grad():
        inside = Shape("test_vit", (160, 160)).flops()
    assert Shape("test_vit", (160, 160)).flops() == inside
    # Its pooling attends with a parameter, on which counting stumbles unless it is frozen.
    assert Shape("vit_base_patch16_siglip_224", (224, 224)).flops() > inside


def test_flops_of_what_cannot_run_is_an_error() -> None:
    for name, arguments in (("nope\x1b", {}), ("resnet18", {"no_such": 1})):
        with pytest.raises(CandidateError, match="cannot build and run") as caught:
            Shape(name, (224, 224), arguments).flops()
        assert "\x1b" not in str(caught.value)
    with pytest.raises(CandidateError, match="0x224 pixels"):
        Shape("resnet18", (0, 224)).flops()


def test_nothing_is_computed_and_no_random_number_used() -> None:
    before = torch.get_rng_state()
    measurable.cache_clear()
    assert measurable("vit_giant_patch14_224") is None  # 4 GB of weights, were it built
    assert torch.equal(torch.get_rng_state(), before)
