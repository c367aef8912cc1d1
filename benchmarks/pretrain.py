"""Train the zoo of the ranking's benchmark: more architectures and more recipes than the built-in.

    python benchmarks/pretrain.py --cifar10 DIR --out benchmarks/zoo

The built-in zoo, made by ``selector.demo.pretrain``, is not trained again; what is here goes beyond
it. A finished backbone is skipped, so an interrupted run is continued by the same command.
``--out`` receives a folder per backbone in timm's Hub layout, ``zoo.yaml`` and ``PROVENANCE.json``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import timm
import torch
from recipes import RECIPES, Projected, Recipe, probe, simclr
from torch import Tensor

from selector.demo import pretrain as built_in
from selector.demo.pretrain import CLASSES, SEED, Architecture, PixelInput

ARCHITECTURES = built_in.ARCHITECTURES | {
    "tiny_convnext": Architecture(
        "convnext_atto",
        # Patches as the stem cost as much. From timm's layer scale of 1e-6 the blocks would
        # first have to grow in, and epochs are few.
        {"depths": [1, 2, 1, 0], "dims": [24, 48, 64, 64], "kernel_sizes": 5}
        | {"stem_type": "overlap_tiered", "conv_mlp": False, "ls_init_value": 0.1},
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        learning_rate=4e-3,
    ),
    # timm's MLP mixers cannot be made small by arguments.
    "tiny_regnet": Architecture(
        "regnetx_002",
        {"depth": 6, "w0": 16, "wa": 16.0, "wm": 1.8, "group_size": 8, "stem_width": 16},
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        learning_rate=4e-3,
    ),
}
# Source accuracy below which a network has not learned, without and with a threat in training.
FLOOR, ROBUST_FLOOR = 0.35, 0.25
# In this order, so that what an interrupted run leaves is already of many kinds.
BACKBONES = (
    "tiny_convnext.cifar10",
    "tiny_convnext.cifar10_linf_4",
    "tiny_resnet.cifar10_trades_4",
    "tiny_resnet.cifar10_noise",
    "tiny_regnet.cifar10_linf_2",
    "tiny_resnet.cifar10_simclr",
    "tiny_convnext.cifar10_linf_8",
    "tiny_resnet.cifar10_l2_0.5",
    "tiny_regnet.cifar10",
    "tiny_convnext.cifar10_noise",
    "tiny_vit.cifar10_trades_4",
    "tiny_regnet.cifar10_linf_8",
    "tiny_convnext.cifar10_linf_2",
    "tiny_vit.cifar10_simclr",
    "tiny_convnext.random",
    "tiny_vit.cifar10_noise",
)


class NotLearnedError(Exception):
    """A network that is below its floor after training; it does not enter the zoo."""


def train(model: PixelInput, recipe: Recipe, rate: float, epochs: int, cifar10: Path) -> None:
    """Follow a recipe that has a loss; eps grows to its full value at first."""
    trained = Projected(model) if recipe.loss is simclr else model

    def loss(x: Tensor, y: Tensor, share: float, seed: int) -> Tensor:
        threat = recipe.threat and replace(recipe.threat, eps=share * recipe.threat.eps)
        return recipe.loss(trained, x, y, threat, seed)

    built_in.fit(trained, loss, rate, epochs, cifar10)
    if isinstance(trained, Projected):
        probe(trained, cifar10)


def build(name: str, epochs: int | None, cifar10: Path, out: Path) -> dict[str, Any]:
    """Train, test and save one backbone; its entry of PROVENANCE.json."""
    label, _, tag = name.partition(".")
    shape, recipe, start = ARCHITECTURES[label], RECIPES[tag], time.perf_counter()
    epochs = recipe.epochs if epochs is None or recipe.loss is None else epochs
    torch.manual_seed(SEED)
    backbone = timm.create_model(shape.timm_name, num_classes=CLASSES, **shape.model_args)
    model = PixelInput(backbone, shape)
    if recipe.loss is not None:
        train(model, recipe, shape.learning_rate, epochs, cifar10)
    seconds = round(time.perf_counter() - start)
    accuracies = built_in.source_test(model, cifar10)
    floor = ROBUST_FLOOR if recipe.threat else FLOOR
    if recipe.loss is not None and accuracies["source_accuracy"] < floor:
        raise NotLearnedError(f"{name} has not learned: {accuracies}")

    # Others may read the zoo: a folder appears whole or not at all.
    partial, folder = out / f".{name}.partial", out / name
    built_in.save(backbone, shape, tag, partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return {
        "architecture": shape.timm_name,
        "parameters": sum(p.numel() for p in backbone.parameters()),
        "objective": recipe.objective,
        "train_threat": recipe.threat and str(recipe.threat),
        "epochs": epochs,
        **accuracies,
        "train_seconds": seconds,
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {name: version(name) for name in ("torch", "timm", "numpy")},
        "sha256": built_in.sha256(folder, "config.json", "model.safetensors"),
    }


def registry(names: Sequence[str]) -> str:
    """The registry of backbones, with paths relative to it."""
    lines = ["# Made by benchmarks/pretrain.py, see PROVENANCE.json.", "candidates:"]
    for name in names:
        recipe = RECIPES[name.partition(".")[2]]
        data, threat = "CIFAR-10" if recipe.loss else "none", recipe.threat
        attack = f", norm: {threat.norm}, eps: {threat.eps!r}" if threat else ""
        lines += [
            f"  - model: local-dir:{name}",
            "    license: Apache-2.0",
            f"    pretraining: {{objective: {recipe.objective}, data: {data}{attack}}}",
            "    tags: [benchmark]",
        ]
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> None:
    """Replace a file as a whole."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def main(argv: Sequence[str] | None = None) -> None:
    """Train what is missing; after each backbone, write down what there is."""
    parser = argparse.ArgumentParser("python benchmarks/pretrain.py", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--cifar10", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--only", nargs="+", choices=BACKBONES, default=BACKBONES, metavar="NAME")
    parser.add_argument("--epochs", type=int, metavar="N", help="instead of each recipe's own")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)

    file = args.out / "PROVENANCE.json"
    models = json.loads(file.read_text(encoding="utf-8"))["models"] if file.exists() else {}
    failures = []
    for name in args.only:
        if name in models and (args.out / name).is_dir():
            continue
        try:
            models[name] = build(name, args.epochs, args.cifar10, args.out)
        except NotLearnedError as error:
            failures.append(str(error))
            print(error, flush=True)
            continue
        provenance = {
            "command": f"{parser.prog} --cifar10 DIR --out benchmarks/zoo",
            "data": "CIFAR-10 (Krizhevsky 2009) as parquet with JPEG-encoded images",
            "data_sha256": built_in.sha256(args.cifar10, built_in.TRAIN_FILE, built_in.TEST_FILE),
            "seed": SEED,
            "source_test": f"first {built_in.TEST_IMAGES} test images,"
            f" PGD-{built_in.TEST_STEPS} at {built_in.TEST_THREAT}",
            "models": dict(sorted(models.items())),
        }
        write(args.out / "zoo.yaml", registry(sorted(models)))
        write(file, json.dumps(provenance, indent=2) + "\n")
        print(name, models[name], flush=True)
    if failures:
        raise SystemExit("\n".join(failures))


if __name__ == "__main__":
    main()
