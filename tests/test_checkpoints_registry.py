"""The registry that comes with selector: every entry can be built, and its publisher's names fit.

Everything is built on the meta device, which has names and shapes and no values.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import open_clip
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from transformers.models.clip.configuration_clip import CLIPConfig
from transformers.models.clip.modeling_clip import CLIPModel
from transformers.models.vit.configuration_vit import ViTConfig
from transformers.models.vit.modeling_vit import ViTModel

from selector.backbones.foreign import fit_network
from selector.candidates import Candidate, Checkpoint, read_registry
from selector.checkpoints.formats import TO_TIMM
from selector.errors import UsageError

REGISTRY = Path(__file__).parents[1] / "registry.yaml"
ENTRIES = {candidate.name: candidate for candidate in read_registry(REGISTRY)}
FOREIGN = {name: entry.checkpoint for name, entry in ENTRIES.items() if entry.checkpoint}
SIZES = {"tiny": 8e6, "small": 40e6, "base": 120e6, "large": float("inf")}


@pytest.fixture(autouse=True)
def on_meta() -> Iterator[None]:
    """Builds take no time; the warnings of other libraries are not ours."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# --- the same networks, as their publishers' libraries build them --------------------------------


def of_torchvision(name: str) -> Callable[[], nn.Module]:
    return lambda: torchvision.models.get_model(name, weights=None)


def of_open_clip(name: str) -> Callable[[], nn.Module]:
    return lambda: open_clip.CLIP(**open_clip.get_model_config(name))


def clip(width: int, layers: int, heads: int, outputs: int) -> nn.Module:
    vision = {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "patch_size": 14,
        "hidden_act": "quick_gelu" if outputs == 768 else "gelu",
    }
    return CLIPModel(CLIPConfig(vision_config=vision, projection_dim=outputs))


def dino() -> nn.Module:
    """In transformers 5 the names in memory differ from those in files, which are of old."""
    network = ViTModel(ViTConfig())
    network.names_in_files = {  # type: ignore[assignment]
        "layers.": "encoder.layer.",
        ".attention.q_proj.": ".attention.attention.query.",
        ".attention.k_proj.": ".attention.attention.key.",
        ".attention.v_proj.": ".attention.attention.value.",
        ".attention.o_proj.": ".attention.output.dense.",
        ".mlp.fc1.": ".intermediate.dense.",
        ".mlp.fc2.": ".output.dense.",
    }
    return network


# By what an entry's name begins with; the first that fits.
PUBLISHED: dict[str, Callable[[], nn.Module]] = {
    "madrylab/resnet18_": of_torchvision("resnet18"),
    "madrylab/resnet50_": of_torchvision("resnet50"),
    "madrylab/wide_resnet50_2_": of_torchvision("wide_resnet50_2"),
    "madrylab/resnext50_32x4d_": of_torchvision("resnext50_32x4d"),
    "madrylab/densenet_": of_torchvision("densenet161"),
    "madrylab/vgg16_bn_": of_torchvision("vgg16_bn"),
    "chs20/fare": of_open_clip("ViT-L-14-quickgelu"),
    "chs20/tecoa": of_open_clip("ViT-L-14-quickgelu"),
    "chs20/TeCoA4-ViT-B-32": of_open_clip("ViT-B-32"),
    "chs20/FARE4-ViT-B-32": of_open_clip("ViT-B-32"),
    "chs20/TeCoA4-ViT-B-16": of_open_clip("ViT-B-16"),
    "chs20/FARE4-ViT-B-16": of_open_clip("ViT-B-16"),
    "chs20/TeCoA4-convnext_base_w-": of_open_clip("convnext_base_w"),
    "chs20/FARE4-convnext_base_w-": of_open_clip("convnext_base_w"),
    "chs20/dino-vitb16": dino,
    "LEAF-CLIP/CLIP-ViT-L": lambda: clip(1024, 24, 16, 768),
    "LEAF-CLIP/OpenCLIP-ViT-H": lambda: clip(1280, 32, 16, 1024),
}


def published_as(name: str) -> str:
    return next(prefix for prefix in PUBLISHED if name.startswith(prefix))


@cache
def published(prefix: str) -> dict[str, Tensor]:
    with torch.device("meta"):
        network = PUBLISHED[prefix]()
    weights = dict(network.state_dict())
    for ours, in_files in getattr(network, "names_in_files", {}).items():
        weights = {name.replace(ours, in_files): tensor for name, tensor in weights.items()}
    return weights


@cache
def fitted(prefix: str, checkpoint: str) -> tuple[nn.Module, int]:
    """The network of an entry, and how many values of the publisher's it holds."""
    entry = Checkpoint.model_validate_json(checkpoint)
    network = fit_network(TO_TIMM[entry.format](dict(published(prefix))), entry)
    return network, sum(parameter.numel() for parameter in network.parameters())


def network_of(candidate: Candidate) -> tuple[nn.Module, int]:
    assert candidate.checkpoint is not None
    # Entries of one network differ in their file alone: it is built once.
    same = candidate.checkpoint.model_copy(update={"file": "w.safetensors"})
    return fitted(published_as(candidate.name), same.model_dump_json())


# --- what holds ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FOREIGN)
def test_the_publishers_network_fits(name: str) -> None:
    _, parameters = network_of(ENTRIES[name])
    assert parameters == ENTRIES[name].parameters


@pytest.mark.parametrize("name", FOREIGN)
def test_the_input_size_is_possible(name: str) -> None:
    network, _ = network_of(ENTRIES[name])
    size = FOREIGN[name].input_size
    network.eval()
    features = network.forward_head(  # type: ignore[operator]
        network.forward_features(torch.zeros(1, 3, size, size)),  # type: ignore[operator]
        pre_logits=True,
    )
    assert features.shape == (1, network.head_hidden_size)


@pytest.mark.parametrize("prefix", PUBLISHED)
def test_no_published_network_is_unused(prefix: str) -> None:
    assert any(published_as(name) == prefix for name in FOREIGN)


@pytest.mark.parametrize(
    ("prefix", "quick"),
    [
        ("chs20/fare", True),
        ("chs20/tecoa", True),
        ("LEAF-CLIP/CLIP-ViT-L", True),
        ("LEAF-CLIP/OpenCLIP-ViT-H", False),
        ("chs20/FARE4-ViT-B", False),
        ("chs20/TeCoA4-ViT-B", False),
    ],
)
def test_towers_that_began_as_openais_use_quick_gelu(prefix: str, quick: bool) -> None:
    names = [name for name in FOREIGN if name.startswith(prefix)]
    assert names
    for name in names:
        network, _ = network_of(ENTRIES[name])
        used = {type(m).__name__ for m in network.modules() if "GELU" in type(m).__name__}
        assert used == {"QuickGELU" if quick else "GELU"}, name


@pytest.mark.parametrize("name", [name for name in ENTRIES if name.startswith("timm/")])
def test_timms_own_entries_are_known_to_timm(name: str) -> None:
    assert timm.is_model_pretrained(name.removeprefix("timm/"))


def test_all_others_say_how_they_are_loaded() -> None:
    assert {name for name in ENTRIES if not name.startswith("timm/")} == FOREIGN.keys()


@pytest.mark.parametrize("name", ENTRIES)
def test_the_first_tag_is_the_size(name: str) -> None:
    entry = ENTRIES[name]
    assert entry.parameters is not None
    expected = next(size for size, limit in SIZES.items() if entry.parameters < limit)
    assert entry.tags[0] == ("test" if "/test_" in name else expected)
    assert len(entry.tags) >= 2


@pytest.mark.parametrize("name", [name for name in FOREIGN if name.startswith("madrylab/")])
def test_a_ladder_says_its_eps_in_pixels(name: str) -> None:
    entry, checkpoint = ENTRIES[name], FOREIGN[name]
    net, norm, published_eps = name.removeprefix("madrylab/").rsplit("_", 2)
    assert checkpoint.file == f"{net}_{norm}_{published_eps}.ckpt"
    assert checkpoint.pickled
    assert checkpoint.architecture == {"densenet": "densenet161"}.get(net, net)
    eps = float(published_eps.removeprefix("eps")) / (255 if norm == "linf" else 1)
    assert entry.pretraining is not None
    assert entry.pretraining.norm == norm
    assert entry.pretraining.eps == pytest.approx(eps, rel=1e-6)
    assert entry.tags[1] == ("robust" if eps else "standard")
    wrapped_twice = not net.startswith(("resnet", "wide_resnet"))
    assert checkpoint.key_prefix == f"module.model.{'model.' if wrapped_twice else ''}"


def test_the_ladders_are_whole() -> None:
    linf, l2 = ("0.5", "1.0", "2.0", "4.0", "8.0"), ("0", "0.5", "1", "3", "5")
    expected = {
        f"madrylab/{net}_{norm}_eps{eps}"
        for net in ("resnet18", "resnet50", "wide_resnet50_2")
        for norm, ladder in (("linf", linf), ("l2", l2))
        for eps in ladder
    } | {
        f"madrylab/{net}_l2_eps{eps}"
        for net in ("resnext50_32x4d", "densenet", "vgg16_bn")
        for eps in ("0", "3")
    }
    assert {name for name in FOREIGN if name.startswith("madrylab/")} == expected


def test_merged_entries_keep_their_lines(tmp_path: Path) -> None:
    text = REGISTRY.read_text(encoding="utf-8")
    spoilt = text.replace(
        "{<<: *densenet, file: densenet_l2_eps3.ckpt}", "{<<: *densenet, file: x}"
    )
    assert spoilt != text
    (tmp_path / "registry.yaml").write_text(spoilt, encoding="utf-8")
    line = spoilt[: spoilt.index("file: x}")].count("\n") + 1
    with pytest.raises(UsageError, match=rf"line {line}: checkpoint\.file"):
        read_registry(tmp_path / "registry.yaml")
