"""Checkpoints of other libraries: the features are those that the library itself computes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from conftest import normal
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models import densenet161, resnet18
from transformers.models.clip.configuration_clip import CLIPConfig
from transformers.models.clip.modeling_clip import CLIPModel
from transformers.models.vit.configuration_vit import ViTConfig
from transformers.models.vit.modeling_vit import ViTModel

from selector.backbones import load_backbone
from selector.candidates import Checkpoint
from selector.errors import CandidateError
from selector.norms import NORMS, Norm
from selector.preflight import check_backbone
from selector.threat import ThreatModel

CPU = torch.device("cpu")
MEAN, STD = (0.48, 0.45, 0.40), (0.26, 0.25, 0.27)
SIZE, WIDTH, OUTPUTS = 32, 32, 12

# One layer more than one, so that layers cannot be confused unseen; heads of 16.
TOWER = {"embed_dim": WIDTH, "depth": 2, "num_heads": 2, "patch_size": 16}
THEIRS = {
    "hidden_size": WIDTH,
    "intermediate_size": 4 * WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIZE,
    "patch_size": 16,
}
TEXT = {
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "vocab_size": 10,
    "max_position_embeddings": 4,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The warnings of other libraries are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def scrambled(network: nn.Module) -> nn.Module:
    """The network with all values random: initial zeros and ones would hide what is exchanged."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            drawn = torch.rand(tensor.shape, generator=generator)
            tensor.copy_(drawn + 0.5 if "running_var" in name else 0.4 * (drawn - 0.5))
    return network.eval()


def checkpoint(**fields: Any) -> Checkpoint:
    own = {"file": "w.safetensors", "input_size": SIZE, "mean": MEAN, "std": STD}
    return Checkpoint(**(own | fields))


def images() -> Tensor:
    return normal(3, 3, SIZE, SIZE, seed=0, dtype=torch.float32).mul(0.2).add(0.5).clamp(0, 1)


def normalised() -> Tensor:
    return (images() - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def write(folder: Path, weights: dict[str, Tensor]) -> None:
    save_file({k: v.contiguous().clone() for k, v in weights.items()}, folder / "w.safetensors")


def same(found: Tensor, expected: Tensor) -> None:
    assert expected.std() > 1e-2
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


# --- open_clip -----------------------------------------------------------------------------------


def clip_tower(*, quick: bool) -> tuple[nn.Module, dict[str, Any]]:
    vision = {"image_size": SIZE, "layers": 2, "width": WIDTH, "head_width": 16, "patch_size": 16}
    text = {"context_length": 4, "vocab_size": 10, "width": 8, "heads": 1, "layers": 1}
    network = open_clip.CLIP(OUTPUTS, vision, text, quick_gelu=quick)
    architecture = "vit_base_patch16_clip_quickgelu_224" if quick else "vit_base_patch16_clip_224"
    fields = {"architecture": architecture, "model_args": TOWER, "num_classes": OUTPUTS}
    return scrambled(network), fields | {"format": "open_clip"}


@pytest.mark.parametrize("quick", [True, False], ids=["quick-gelu", "gelu"])
@pytest.mark.parametrize("pickled", [True, False], ids=["pickle", "safetensors"])
@torch.no_grad()
def test_an_open_clip_tower(tmp_path: Path, quick: bool, pickled: bool) -> None:
    network, fields = clip_tower(quick=quick)
    write(tmp_path, network.state_dict())
    if pickled:
        torch.save(network.state_dict(), tmp_path / "w.bin")
        fields["file"] = "w.bin"
    backbone = load_backbone(tmp_path, CPU, checkpoint(**fields))
    features = backbone(images())
    same(features @ network.visual.proj, network.encode_image(normalised()))
    assert features.shape == (3, WIDTH)


@torch.no_grad()
def test_quick_gelu_is_for_the_entry_to_say(tmp_path: Path) -> None:
    # Nothing in the weights shows it, so the wrong architecture loads; that it differs is why the
    # registry must choose.
    network, fields = clip_tower(quick=True)
    write(tmp_path, network.state_dict())
    plain = fields | {"architecture": "vit_base_patch16_clip_224"}
    right = load_backbone(tmp_path, CPU, checkpoint(**fields))(images())
    wrong = load_backbone(tmp_path, CPU, checkpoint(**plain))(images())
    assert (right - wrong).abs().max() > 1e-3


@torch.no_grad()
def test_an_open_clip_tower_of_timm(tmp_path: Path) -> None:
    tower = open_clip.timm_model.TimmModel("test_convnext", OUTPUTS, SIZE, pool="", proj="linear")
    tower = scrambled(tower)
    weights = {f"visual.{name}": tensor for name, tensor in tower.state_dict().items()}
    write(tmp_path, weights | {"logit_scale": torch.ones(()), "text_projection": torch.ones(2, 2)})
    fields = {"architecture": "test_convnext", "num_classes": OUTPUTS, "format": "open_clip"}
    backbone = load_backbone(tmp_path, CPU, checkpoint(**fields))
    same(backbone(images()), tower.trunk(normalised()))
    same(tower.head(backbone(images())), tower(normalised()))


# --- transformers --------------------------------------------------------------------------------


def saved(network: nn.Module, folder: Path) -> dict[str, Tensor]:
    """The weights with the names that the library gives them in files."""
    network.save_pretrained(folder)  # type: ignore[operator]
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize(
    ("activation", "architecture"),
    [
        ("quick_gelu", "vit_base_patch16_clip_quickgelu_224"),
        ("gelu", "vit_base_patch16_clip_224"),
    ],
)
@pytest.mark.parametrize("projected", [True, False])
@torch.no_grad()
def test_a_clip_model(tmp_path: Path, activation: str, architecture: str, projected: bool) -> None:
    vision = THEIRS | {"hidden_act": activation}
    config = CLIPConfig(vision_config=vision, text_config=TEXT, projection_dim=OUTPUTS)
    network = scrambled(CLIPModel(config))
    weights = saved(network, tmp_path)
    weights["vision_model.embeddings.position_ids"] = torch.arange(5)[None]  # as older versions do
    if not projected:
        del weights["visual_projection.weight"]
    write(tmp_path, weights)
    backbone = load_backbone(
        tmp_path,
        CPU,
        checkpoint(
            architecture=architecture,
            model_args=TOWER,
            num_classes=OUTPUTS if projected else 0,
            format="transformers_clip",
        ),
    )
    same(backbone(images()), network.vision_model(normalised()).pooler_output)


def test_names_that_the_format_does_not_have(tmp_path: Path) -> None:
    weights = saved(scrambled(ViTModel(ViTConfig(**THEIRS))), tmp_path)
    write(tmp_path, weights | {"adapter.bias": torch.ones(2)})
    fields = {"architecture": "vit_base_patch16_224", "num_classes": 0, "model_args": TOWER}
    with pytest.raises(CandidateError, match=r"found adapter\.bias") as caught:
        load_backbone(tmp_path, CPU, checkpoint(format="transformers_vit", **fields))
    assert caught.value.code == "keys_mismatch"


@pytest.mark.parametrize("prefix", ["", "vit."])
@torch.no_grad()
def test_a_vit_model(tmp_path: Path, prefix: str) -> None:
    network = scrambled(ViTModel(ViTConfig(**THEIRS)))
    weights = {prefix + name: tensor for name, tensor in saved(network, tmp_path).items()}
    write(tmp_path, weights | ({"classifier.bias": torch.ones(3)} if prefix else {}))
    fields = {"architecture": "vit_base_patch16_224", "num_classes": 0, "model_args": TOWER}
    fields |= {"format": "transformers_vit", "key_prefix": prefix}
    backbone = load_backbone(tmp_path, CPU, checkpoint(**fields))
    same(backbone(images()), network(normalised()).last_hidden_state[:, 0])


def test_an_attention_layer_in_parts(tmp_path: Path) -> None:
    weights = saved(scrambled(ViTModel(ViTConfig(**THEIRS))), tmp_path)
    del weights["encoder.layer.1.attention.attention.key.bias"]
    write(tmp_path, weights)
    fields = {"architecture": "vit_base_patch16_224", "num_classes": 0, "model_args": TOWER}
    with pytest.raises(CandidateError) as caught:
        load_backbone(tmp_path, CPU, checkpoint(format="transformers_vit", **fields))
    assert caught.value.code == "keys_mismatch"
    assert "blocks.1.attn.k_proj.bias" in caught.value.message


# --- torchvision ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "architecture"), [(resnet18, "resnet18"), (densenet161, "densenet161")]
)
@torch.no_grad()
def test_a_network_of_torchvision(tmp_path: Path, network: Any, architecture: str) -> None:
    built = network(weights=None).eval()
    write(tmp_path, {f"module.{name}": tensor for name, tensor in built.state_dict().items()})
    fields = {"architecture": architecture, "num_classes": 1000, "key_prefix": "module."}
    backbone = load_backbone(tmp_path, CPU, checkpoint(**fields))
    classify = built.fc if architecture == "resnet18" else built.classifier
    same(classify(backbone(images())), built(normalised()))


# --- what does not fit ---------------------------------------------------------------------------

VIT = {"architecture": "vit_base_patch16_clip_224", "model_args": TOWER, "num_classes": OUTPUTS}


def vit_weights(**arguments: Any) -> dict[str, Tensor]:
    network = timm.create_model(
        "vit_base_patch16_clip_224", num_classes=OUTPUTS, img_size=SIZE, **(TOWER | arguments)
    )
    return scrambled(network).state_dict()


def refused(folder: Path, **fields: Any) -> CandidateError:
    with pytest.raises(CandidateError) as caught:
        load_backbone(folder, CPU, checkpoint(**(VIT | fields)))
    assert caught.value.message.endswith((".", "…"))
    return caught.value


def test_timms_own_names_are_taken_as_they_are(tmp_path: Path) -> None:
    weights = vit_weights()
    write(tmp_path, weights)
    backbone = load_backbone(tmp_path, CPU, checkpoint(**VIT, interpolation="bilinear"))
    for name, tensor in backbone.network.state_dict().items():
        torch.testing.assert_close(tensor, weights[name], rtol=0, atol=0)
    assert backbone.input_size == (SIZE, SIZE)
    assert backbone.interpolation == "bilinear"
    assert backbone.architecture == "vit_base_patch16_clip_224"
    assert backbone.mean.flatten().tolist() == pytest.approx(MEAN)
    assert backbone.std.flatten().tolist() == pytest.approx(STD)
    assert backbone.pretrained_license is None
    assert "state_dict" not in backbone.network.pretrained_cfg
    assert not any(p.requires_grad for p in backbone.parameters())


@pytest.mark.parametrize("norm", NORMS)
def test_it_can_be_measured(tmp_path: Path, norm: Norm) -> None:
    write(tmp_path, vit_weights())
    backbone = load_backbone(tmp_path, CPU, checkpoint(**VIT))
    canonical = nn.functional.interpolate(images(), size=(48, 48), mode="bilinear")
    check_backbone(backbone, canonical, ThreatModel(norm, 0.02))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precision(tmp_path: Path, dtype: torch.dtype) -> None:
    weights = {name: tensor.to(dtype) for name, tensor in vit_weights().items()}
    write(tmp_path, weights)
    backbone = load_backbone(tmp_path, CPU, checkpoint(**VIT))
    for name, tensor in backbone.network.state_dict().items():
        torch.testing.assert_close(tensor, weights[name].float(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        (lambda w: w.pop("blocks.1.norm1.bias"), {}),
        (lambda w: w.pop("head.weight"), {}),
        (lambda w: w.update(more=torch.ones(1)), {}),
        (lambda w: w.update({"norm.bias": torch.ones(7)}), {}),
        (lambda w: None, {"num_classes": OUTPUTS + 1}),
        (lambda w: None, {"num_classes": 0}),
        (lambda w: None, {"architecture": "vit_base_patch16_224"}),
        (lambda w: None, {"architecture": "resnet18", "model_args": {}}),
        (lambda w: None, {"model_args": TOWER | {"depth": 3}}),
        (lambda w: None, {"model_args": TOWER | {"depth": 1}}),
        (lambda w: None, {"format": "open_clip"}),
        (lambda w: None, {"format": "transformers_clip"}),
        (lambda w: None, {"format": "transformers_vit"}),
        # timm would resize these without a word
        (lambda w: None, {"input_size": 2 * SIZE}),
        (lambda w: None, {"model_args": TOWER | {"patch_size": 8}, "input_size": SIZE // 2}),
    ],
)
def test_weights_that_do_not_fit(tmp_path: Path, change: Any, fields: dict[str, Any]) -> None:
    weights = vit_weights()
    change(weights)
    write(tmp_path, weights)
    assert refused(tmp_path, **fields).code == "keys_mismatch"


def test_what_a_converter_makes_up_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = vit_weights()
    write(tmp_path, weights)
    module = timm.models.vision_transformer
    original = module.checkpoint_filter_fn

    def fill(state: dict[str, Tensor], model: nn.Module, *args: Any, **kw: Any) -> Any:
        own = {"blocks.0.mlp.fc2.weight": torch.rand(WIDTH, 4 * WIDTH)}
        return original(state, model, *args, **kw) | own

    monkeypatch.setattr(module, "checkpoint_filter_fn", fill)
    error = refused(tmp_path)
    assert error.code == "keys_mismatch"
    assert "blocks.0.mlp.fc2.weight" in error.message


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite(tmp_path: Path, value: float) -> None:
    weights = vit_weights()
    weights["norm.weight"][3] = value
    write(tmp_path, weights)
    error = refused(tmp_path)
    assert error.code == "non_finite_weights"
    assert "norm.weight" in error.message


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"architecture": "no_such_net"}, "unknown_architecture"),
        ({"architecture": "hf-hub:acme/net"}, "unknown_architecture"),
        ({"model_args": TOWER | {"frobnicate": 1}}, "cannot_load"),
        ({"model_args": TOWER | {"pretrained_strict": False}}, "bad_config"),
        ({"model_args": TOWER | {"checkpoint_path": "x.pth"}}, "bad_config"),
        ({"model_args": TOWER | {"num_classes": 3}}, "bad_config"),
        ({"file": "other.safetensors"}, "not_found"),
    ],
)
def test_entries_that_are_wrong(tmp_path: Path, fields: dict[str, Any], code: str) -> None:
    write(tmp_path, vit_weights())
    error = refused(tmp_path, **fields)
    assert error.code == code
    if code == "not_found":
        assert "other.safetensors; found w.safetensors" in error.message


@pytest.mark.parametrize("data", [b"", b"junk" * 99, b"\xff" * 8 + b"{}"])
def test_a_damaged_safetensors_file(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(data)
    assert refused(tmp_path).code == "unreadable_weights"


def test_an_encoder_that_does_not_pool(tmp_path: Path) -> None:
    small = {"embed_dim": 16, "depth": 1, "num_heads": 2, "out_features": 8}
    arguments = {"architecture": "deepseek_vit_412m_enc", "num_classes": 0}
    network = timm.create_model(arguments["architecture"], **small)
    write(tmp_path, network.state_dict())
    error = refused(tmp_path, **arguments, model_args=small, input_size=224)
    assert error.code == "no_pooled_features"
    assert "pooled to (n, d)" in error.message
