"""Backbones: files in hub layout become frozen features, or an error that says why not."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from conftest import normal
from safetensors.torch import load, save
from timm.models import save_for_hf
from torch import Tensor, nn

from selector.backbones import load_backbone
from selector.errors import CandidateError
from selector.preflight import check_backbone
from selector.threat import ThreatModel

CPU = torch.device("cpu")
CLASSES = 3
TINY = {"channels": [8, 8, 8, 12], "stem_width": 8, "stem_type": "deep"}
MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
SIZE = (40, 32)
THREAT = ThreatModel("linf", 4 / 255)


def save_tiny(folder: Path, architecture: str = "resnet10t", **network: Any) -> nn.Module:
    """Write a tiny network in hub layout, as timm itself does, with preprocessing of its own."""
    torch.manual_seed(0)
    arguments = network or TINY
    built: nn.Module = timm.create_model(architecture, num_classes=CLASSES, **arguments)
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    save_for_hf(
        built,
        str(folder),
        model_config={"num_classes": CLASSES, "model_args": arguments},
        safe_serialization=True,
    )
    if not network:
        with_config(
            folder,
            lambda config: config["pretrained_cfg"].update(
                mean=MEAN, std=STD, input_size=[3, *SIZE], interpolation="bilinear"
            ),
        )
    return built.eval()


def with_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the config in place."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def with_weights(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    """Change the checkpoint in place."""
    path = folder / "model.safetensors"
    path.write_bytes(save(change(load(path.read_bytes()))))


def first_half(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The half of a checkpoint that an interrupted export leaves."""
    return dict(sorted(weights.items())[: len(weights) // 2])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound tiny network."""
    save_tiny(tmp_path / "net")
    return tmp_path / "net"


def refused(folder: Path) -> CandidateError:
    with pytest.raises(CandidateError) as caught:
        load_backbone(folder, CPU)
    assert caught.value.message.endswith((".", "…"))
    assert "\n" not in caught.value.message
    return caught.value


def features_by_hand(
    network: nn.Module, x: Tensor, size: tuple[int, int], mode: str = "bilinear"
) -> Tensor:
    """What the files say: resize, normalise, features before the classifier."""
    if x.shape[-2:] != size:
        x = nn.functional.interpolate(x, size, mode=mode, antialias=True)
    x = (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    pooled: Tensor = network.forward_head(  # type: ignore[operator]
        network.forward_features(x),
        pre_logits=True,  # type: ignore[operator]
    )
    return pooled


# --- what is loaded ------------------------------------------------------------------------------


def test_features_are_those_of_the_saved_network(tmp_path: Path) -> None:
    network = save_tiny(tmp_path)
    backbone = load_backbone(tmp_path, CPU)
    x = torch.rand(4, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = backbone(x)
        expected = features_by_hand(network, x, SIZE)
        torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
        # and the classifier on them is the network that was saved
        resized = nn.functional.interpolate(x, SIZE, mode="bilinear", antialias=True)
        normalised = (resized - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[
            :, None, None
        ]
        torch.testing.assert_close(
            network.get_classifier()(features),
            network(normalised),
            rtol=1e-4,
            atol=1e-5,  # type: ignore[operator]
        )
    assert features.shape == (4, 12)
    assert features.std() > 1e-3


@pytest.mark.parametrize(
    ("named", "mode"),
    [("bilinear", "bilinear"), ("bicubic", "bicubic"), ("lanczos", "bicubic")],
)
def test_the_interpolation_is_that_of_the_config(
    folder: Path, tmp_path: Path, named: str, mode: str
) -> None:
    with_config(folder, lambda config: config["pretrained_cfg"].update(interpolation=named))
    backbone = load_backbone(folder, CPU)
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = features_by_hand(backbone.network, x, SIZE, mode)
        torch.testing.assert_close(backbone(x), expected, rtol=1e-5, atol=1e-6)
    assert backbone.interpolation == mode


def test_images_of_the_right_size_are_not_resized(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = load_backbone(folder, CPU)

    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError("resized")

    monkeypatch.setattr(nn.functional, "interpolate", fail)
    assert backbone(torch.rand(2, 3, *SIZE)).shape == (2, 12)
    with pytest.raises(AssertionError, match="resized"):
        backbone(torch.rand(2, 3, SIZE[1], SIZE[0]))


def test_what_is_known_of_it(folder: Path) -> None:
    backbone = load_backbone(folder, CPU)
    assert backbone.architecture == "resnet10t"
    assert backbone.pretrained_license == "apache-2.0"
    assert backbone.input_size == SIZE
    assert backbone.mean.flatten().tolist() == pytest.approx(MEAN)
    assert backbone.std.flatten().tolist() == pytest.approx(STD)


def test_it_is_frozen_and_in_evaluation_mode(folder: Path) -> None:
    backbone = load_backbone(folder, CPU)
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    x = torch.rand(4, 3, 48, 48, requires_grad=True)
    (gradient,) = torch.autograd.grad(backbone(x).square().sum(), x)
    assert gradient.abs().amax(dim=(1, 2, 3)).min() > 0
    for name, tensor in backbone.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0, msg=name)


def test_passes_are_counted_in_images(folder: Path) -> None:
    backbone, heard = load_backbone(folder, CPU), []
    backbone.passes.on_pass = heard.append
    backbone(torch.rand(3, 3, *SIZE))
    x = torch.rand(2, 3, *SIZE, requires_grad=True)
    features = backbone(x)
    assert (backbone.passes.forward, backbone.passes.backward) == (5, 0)
    for column in range(2):
        torch.autograd.grad(features[:, column].sum(), x, retain_graph=True)
    assert (backbone.passes.forward, backbone.passes.backward) == (5, 4)
    with pytest.raises(RuntimeError):
        backbone(torch.rand(3, 3, 0, 32))
    assert backbone.passes.forward == 5
    assert heard == [3, 2]


def test_a_transformer_is_loaded_with_its_own_pooling(tmp_path: Path) -> None:
    network = save_tiny(tmp_path, "test_vit", embed_dim=16, depth=1, num_heads=1)
    backbone = load_backbone(tmp_path, CPU)
    assert backbone.input_size == (160, 160)
    x = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        logits = network.get_classifier()(backbone(x))  # type: ignore[operator]
        expected = network((x - backbone.mean) / backbone.std)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    assert backbone(x).shape == (2, 16)


def test_the_older_flat_form_of_the_config(tmp_path: Path) -> None:
    def flatten(config: dict[str, Any]) -> None:
        older = config["pretrained_cfg"] | {
            name: config[name] for name in ("architecture", "num_classes")
        }
        config.clear()
        config.update(older)

    save_tiny(tmp_path, "test_resnet", drop_rate=0.0)
    expected = load_backbone(tmp_path, CPU)
    with_config(tmp_path, flatten)
    found = load_backbone(tmp_path, CPU)
    x = torch.rand(2, 3, 160, 160)
    torch.testing.assert_close(found(x), expected(x), rtol=0, atol=0)
    assert found.architecture == "test_resnet"
    assert found.pretrained_license == expected.pretrained_license == "apache-2.0"


def test_the_classes_of_the_pretraining_as_timm_up_to_1_0_30_wrote_them(folder: Path) -> None:
    expected = load_backbone(folder, CPU)
    with_config(folder, lambda config: config["pretrained_cfg"].update(num_classes=1000))
    x = torch.rand(2, 3, *SIZE)
    assert torch.equal(load_backbone(folder, CPU)(x), expected(x))


@pytest.mark.parametrize("name", ["a b", "a#b", "a?b", "a%20b", "a@b", "hf-hub:x", "ünï", "[x]"])
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    save_tiny(tmp_path / name)
    assert load_backbone(tmp_path / name, CPU).input_size == SIZE


def test_the_prefix_of_parallel_training_is_no_part_of_a_name(folder: Path) -> None:
    x = torch.rand(2, 3, *SIZE)
    expected = load_backbone(folder, CPU)(x)
    with_weights(folder, lambda weights: {f"module.{k}": v for k, v in weights.items()})
    torch.testing.assert_close(load_backbone(folder, CPU)(x), expected, rtol=0, atol=0)


# --- what is refused: files ----------------------------------------------------------------------


def test_a_missing_folder(tmp_path: Path) -> None:
    error = refused(tmp_path / "none")
    assert error.code == "not_found"
    assert str(tmp_path / "none") in error.message


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    assert refused(tmp_path / "file").code == "not_found"


def test_no_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert refused(folder).code == "no_config"


def test_no_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    error = refused(folder)
    assert error.code == "no_safetensors"
    assert "pytorch_model.bin" in error.message
    assert "safetensors" in error.hint


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"junk" * 100,
        lambda data: data[:4],
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: data[:8] + b"x" + data[9:],
    ],
    ids=["empty", "junk", "tiny", "half", "one-less", "one-more", "huge-header", "no-json"],
)
def test_damaged_weights(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    error = refused(folder)
    assert error.code == "unreadable_weights"
    assert error.hint


class Planted:
    """What a hostile pickle does when it is loaded."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.witness,))


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["model.safetensors"], "unreadable_weights"),
        (["pytorch_model.bin"], "no_safetensors"),
        (["model.safetensors", "pytorch_model.bin", "model.pth"], "unreadable_weights"),
    ],
)
def test_pickles_are_never_run(folder: Path, tmp_path: Path, names: list[str], code: str) -> None:
    witness = tmp_path / "witness"
    bomb = pickle.dumps({"conv1.weight": Planted(witness)})
    pickle.loads(bomb)
    assert witness.exists()  # the bomb works
    witness.unlink()
    (folder / "model.safetensors").unlink()
    for name in names:
        (folder / name).write_bytes(bomb)
    assert refused(folder).code == code
    assert not witness.exists()


def test_a_pickle_beside_sound_weights_is_not_touched(folder: Path, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    for name in ("pytorch_model.bin", "pytorch_model.pth", "model.pth"):
        (folder / name).write_bytes(pickle.dumps(Planted(witness)))
    load_backbone(folder, CPU)
    assert not witness.exists()


# --- what is refused: weights --------------------------------------------------------------------

MISFITS: dict[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]] = {
    "another-prefix": lambda weights: {f"backbone.{k}": v for k, v in weights.items()},
    "half-empty": first_half,
    "one-missing": lambda weights: {k: v for k, v in weights.items() if k != "bn1.bias"},
    "one-more": lambda weights: weights | {"more": torch.zeros(1)},
    "other-shape": lambda weights: weights | {"bn1.bias": torch.zeros(9)},
    "other-classes": lambda weights: (
        weights | {"fc.weight": torch.zeros(CLASSES + 2, 12), "fc.bias": torch.zeros(CLASSES + 2)}
    ),
    "none": lambda weights: {},
}


@pytest.mark.parametrize("misfit", MISFITS.values(), ids=MISFITS)
def test_weights_that_do_not_fit(
    folder: Path, misfit: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> None:
    with_weights(folder, misfit)
    error = refused(folder)
    assert error.code == "keys_mismatch"
    assert "random" in error.hint


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["model_args"].update(num_classes=CLASSES + 2),
        lambda c: c["model_args"].update(pretrained_strict=False),
        lambda c: c["model_args"].update(features_only=True),
        lambda c: (
            c.update(num_classes=CLASSES + 2),
            c["pretrained_cfg"].update(num_classes=CLASSES + 2),
            c["model_args"].update(num_classes=CLASSES),
        ),
        lambda c: (
            c.pop("num_classes"),
            c["pretrained_cfg"].update(num_classes=CLASSES + 2),
            c["model_args"].update(num_classes=CLASSES),
        ),
        lambda c: (c.update(num_classes=0), c["pretrained_cfg"].update(num_classes=0)),
        lambda c: c["pretrained_cfg"].update(num_classes=CLASSES + 2),
        lambda c: (
            c.pop("num_classes"),
            c["pretrained_cfg"].pop("num_classes"),
            c["model_args"].update(num_classes=CLASSES),
        ),
    ],
    ids=[
        "args-classes",
        "args-strict",
        "args-features",
        "cfg-classes",
        "no-classes",
        "zero",
        "older-timm",
        "args-only",
    ],
)
def test_no_config_lets_half_a_checkpoint_pass(
    folder: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    # Any disagreement on the number of classes makes timm load without strictness, and so do some
    # arguments: whatever the checkpoint lacks then keeps its random values.
    with_config(folder, change)
    with_weights(folder, first_half)
    refused(folder)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", ["layer1.0.conv1.weight", "bn1.running_var", "fc.bias"])
def test_weights_that_are_not_finite(folder: Path, name: str, value: float) -> None:
    def plant(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        weights[name].view(-1)[0] = value
        return weights

    with_weights(folder, plant)
    error = refused(folder)
    assert error.code == "non_finite_weights"
    assert name in error.message


# --- what is refused: config.json ----------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"resnet10t"', "{}", '{"model_type": "vit"}', "\xff"],
)
def test_configs_that_are_none(folder: Path, text: str) -> None:
    (folder / "config.json").write_bytes(text.encode("latin-1"))
    error = refused(folder)
    assert error.code == "bad_config"
    assert "architecture" in error.message


@pytest.mark.parametrize("architecture", ["no_such_net", "", "hf-hub:acme/tiny", "../net"])
def test_an_unknown_architecture(folder: Path, architecture: str) -> None:
    with_config(folder, lambda config: config.update(architecture=architecture))
    error = refused(folder)
    assert error.code == "unknown_architecture"
    assert repr(architecture) in error.message
    assert timm.__version__ in error.message


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda c: c.update(num_classes=None), "bad_config"),
        (lambda c: (c.update(num_classes=5), c["model_args"].clear()), "keys_mismatch"),
        (lambda c: c["model_args"].update(frobnicate=1), "cannot_load"),
        (lambda c: c["pretrained_cfg"].update(frobnicate=1), "cannot_load"),
        (lambda c: c.update(architecture="resnet18"), "keys_mismatch"),
        (lambda c: c["pretrained_cfg"].update(std=[0.5, 0, 0.5]), "bad_preprocessing"),
        (lambda c: c["pretrained_cfg"].update(std=[0.5, -1, 0.5]), "bad_preprocessing"),
    ],
    ids=[
        "no-classes",
        "classes-of-model",
        "unknown-argument",
        "unknown-field",
        "other-architecture",
        "std-0",
        "std-negative",
    ],
)
def test_configs_that_do_not_fit(
    folder: Path, change: Callable[[dict[str, Any]], object], code: str
) -> None:
    with_config(folder, change)
    assert refused(folder).code == code


@pytest.mark.parametrize(
    "change",
    [
        {"std": [float("nan")] * 3},
        {"mean": [float("inf")] * 3},
        {"std": [0.5]},
        {"mean": [0.5, 0.5]},
        {"std": 0.5},
        {"std": ["a", "b", "c"]},
        {"input_size": [3, 0, 0]},
        {"input_size": [3, 32.5, 32]},
        {"input_size": [32, 32]},
    ],
    ids=str,
)
def test_preprocessing_that_is_none(folder: Path, change: dict[str, object]) -> None:
    with_config(folder, lambda config: config["pretrained_cfg"].update(change))
    with pytest.raises(CandidateError):
        check_backbone(load_backbone(folder, CPU), images(), THREAT)


@pytest.mark.parametrize(
    "change",
    [
        {"pretrained_cfg": None},
        {"pretrained_cfg": []},
        {"pretrained_cfg": "resnet"},
        {"architecture": 5},
        {"architecture": ["resnet10t"]},
        {"num_classes": "3"},
        {"model_args": None},
    ],
    ids=str,
)
def test_configs_of_other_types(folder: Path, change: dict[str, object]) -> None:
    with_config(folder, lambda config: config.update(change))
    refused(folder)


@pytest.mark.filterwarnings("ignore")
def test_a_network_of_one_channel(tmp_path: Path) -> None:
    save_tiny(tmp_path, in_chans=1, **TINY)
    with_config(tmp_path, lambda config: config["pretrained_cfg"].update(input_size=[1, *SIZE]))
    error = refused(tmp_path)
    assert error.code == "bad_preprocessing"
    assert "3 channels, found 1" in error.message


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError("planted"), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out_of_memory"),
        (RuntimeError("planted"), "cannot_load"),
    ],
    ids=str,
)
def test_a_network_that_cannot_be_built(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(timm, "create_model", fail)
    assert refused(folder).code == code


def test_an_encoder_without_pooling(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Those of timm have neither a classifier nor a way to reset one.
    monkeypatch.delattr(timm.models.resnet.ResNet, "reset_classifier")
    error = refused(folder)
    assert error.code == "no_pooled_features"
    assert "ResNet" in error.message


def test_what_files_say_is_shown_without_control_characters(folder: Path) -> None:
    with_config(folder, lambda config: config.update(architecture="\x1b[31mnet\n"))
    assert refused(folder).message.isprintable()
    (folder / "model.safetensors").rename(folder / "\x1b[31m.bin")
    assert refused(folder).message.isprintable()


# --- what is measured ----------------------------------------------------------------------------


def images() -> Tensor:
    return normal(4, 3, 48, 48, seed=0, dtype=torch.float32).mul(0.1).add(0.5).clamp(0, 1)


@pytest.mark.parametrize("threat", [THREAT, ThreatModel("l2", 0.5)], ids=str)
def test_a_sound_backbone_passes_the_checks(folder: Path, threat: ThreatModel) -> None:
    check_backbone(load_backbone(folder, CPU), images(), threat)


@pytest.mark.parametrize("output", [lambda x: x, lambda x: [x], lambda x: x.flatten(2)])
def test_a_network_without_pooling_does_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch, output: Callable[[Tensor], object]
) -> None:
    backbone = load_backbone(folder, CPU)
    monkeypatch.setattr(backbone.network, "forward_head", lambda x, pre_logits: output(x))
    with pytest.raises(CandidateError) as caught:
        check_backbone(backbone, images(), THREAT)
    assert caught.value.code == "no_pooled_features"


# --- found by fuzzing ----------------------------------------------------------------------------


def changed(folder: Path, **pretrained: Any) -> CandidateError:
    """What is said of a network whose pretrained_cfg is another."""
    save_tiny(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["pretrained_cfg"] |= pretrained
    path.write_text(json.dumps(config))
    return refused(folder)


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("license", {"a": 1}, "bad_config"),
        ("interpolation", ["bicubic"], "bad_preprocessing"),
        ("mean", [10**400, 0, 0], "bad_preprocessing"),
        ("mean", [1e300, 0, 0], "bad_preprocessing"),
        ("std", [True, True, True], "bad_preprocessing"),
        ("std", [1e-30, 1, 1], "bad_preprocessing"),
        ("input_size", [3, 10**9, 10**9], "bad_preprocessing"),
    ],
)
def test_preprocessing_that_no_network_has(
    tmp_path: Path, field: str, value: object, code: str
) -> None:
    assert changed(tmp_path, **{field: value}).code == code


@pytest.mark.parametrize("text", ["[" * 100_000, f'{{"a": "{"b" * 10**6}"}}', "\ufeff{}"])
def test_a_config_that_is_none(tmp_path: Path, text: str) -> None:
    save_tiny(tmp_path)
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    assert refused(tmp_path).code == "bad_config"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"layers": [10**9] * 4}, "within 1,000,000 of 0, found one of 30 bits"),
        ({"layers": [900_000] * 4}, "more than 20,000 layers"),
        ({"channels": [300_000] * 4}, "values"),
    ],
)
def test_a_network_far_larger_than_its_weights(
    tmp_path: Path, arguments: dict[str, Any], said: str
) -> None:
    save_tiny(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config["model_args"] |= arguments
    path.write_text(json.dumps(config))
    assert said in refused(tmp_path).message
