"""Train the built-in zoo: tiny timm backbones, ordinary, adversarially robust and random.

    python -m selector.demo.pretrain --cifar10 DIR --out DIR

``--cifar10`` holds CIFAR-10 (Krizhevsky 2009) as the Hub has it: ``train.parquet`` and
``test.parquet`` with the columns ``image`` (a struct with encoded ``bytes``) and ``label``.
``--out`` receives a folder per backbone in timm's Hub layout, and ``PROVENANCE.json``. Needs the
extra ``selector[pretrain]``. A backbone is trained on one thread, whatever ``--jobs`` says.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import io
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import timm
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from selector.threat import ThreatModel

TRAIN_FILE, TEST_FILE = "train.parquet", "test.parquet"
CLASSES, SIDE = 10, 32
SEED, BATCH, CROP_PADDING = 0, 128, 4
WEIGHT_DECAY, WARMUP_SHARE = 0.02, 0.2
TRAIN_STEPS, TEST_STEPS, TEST_IMAGES = 2, 20, 1000
TEST_THREAT = ThreatModel("linf", 4 / 255)
RANDOM, ORDINARY, ROBUST_EPS = "random", "cifar10", {f"cifar10_linf_{k}": k for k in (2, 4, 8)}
Loss = Callable[[Tensor, Tensor, float, int], Tensor]


@dataclass(frozen=True)
class Architecture:
    """One network shape of the zoo, with its own normalisation."""

    timm_name: str
    model_args: dict[str, Any]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    learning_rate: float


ARCHITECTURES = {
    "tiny_resnet": Architecture(
        "resnet10t",
        {"channels": [16, 32, 40, 48], "stem_width": 8, "stem_type": "deep"},
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        learning_rate=4e-3,
    ),
    "tiny_vit": Architecture(
        "vit_tiny_patch16_224",
        # patch_size 4, usual at 32 pixels, costs three to four times as much.
        {"img_size": SIDE, "patch_size": 8, "embed_dim": 64}
        | {"depth": 3, "num_heads": 2, "mlp_ratio": 1.5},
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        learning_rate=3e-3,
    ),
}


class PixelInput(nn.Module):
    """A timm model that takes images (n,3,h,w) in [0,1]: the threat lives before normalisation."""

    def __init__(self, model: nn.Module, architecture: Architecture) -> None:
        super().__init__()
        self.model = model
        self.mean = nn.Buffer(torch.tensor(architecture.mean).view(3, 1, 1))
        self.std = nn.Buffer(torch.tensor(architecture.std).view(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n,K)."""
        logits: Tensor = self.model((x - self.mean) / self.std)
        return logits


@functools.cache
def load_cifar10(file: Path) -> tuple[Tensor, Tensor]:
    """Images (n,3,32,32) uint8 and labels (n,) of one parquet file."""
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(file, columns=["image", "label"]).to_pydict()
    images = [Image.open(io.BytesIO(image["bytes"])).convert("RGB") for image in table["image"]]
    pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
    return pixels.permute(0, 3, 1, 2).contiguous(), torch.tensor(table["label"])


def pgd(
    model: nn.Module, x: Tensor, y: Tensor, threat: ThreatModel, steps: int, seed: int
) -> Tensor:
    """Adversarial images (n,3,h,w) for cross-entropy from a random start; the last iterate.

    ``y`` holds labels (n,) or probabilities (n,K); with the latter it ascends the divergence.
    """
    # 2.5 eps / steps is Madry et al. 2018; with very few steps it would overshoot the ball.
    step_size = min(2.5 / steps, 0.75) * threat.eps
    x_adv = threat.random_start(x, range(seed, seed + len(x)))
    for _ in range(steps):
        x_adv.requires_grad_()
        loss = functional.cross_entropy(model(x_adv), y, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, x_adv)
        x_adv = threat.project(x_adv.detach() + step_size * threat.steepest_step(gradient), x)
    return x_adv


def augmented_batches(images: Tensor, labels: Tensor, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of shuffled whole batches in [0,1]; a batch shares its crop, not its flips."""
    generator = torch.Generator().manual_seed(seed)
    padded = functional.pad(images, [CROP_PADDING] * 4)
    order = torch.randperm(len(images), generator=generator)
    for first in range(0, len(order) - BATCH + 1, BATCH):
        rows = order[first : first + BATCH]
        top, left = torch.randint(2 * CROP_PADDING + 1, (2,), generator=generator).tolist()
        x = padded[rows, :, top : top + SIDE, left : left + SIDE] / 255
        flipped = torch.rand(BATCH, 1, 1, 1, generator=generator) < 0.5
        yield torch.where(flipped, x.flip(3), x), labels[rows]


def train(model: PixelInput, rate: float, eps: int | None, epochs: int, cifar10: Path) -> None:
    """On cross-entropy; of adversarial images where there is an eps, in steps of 1/255."""

    def loss(x: Tensor, y: Tensor, share: float, seed: int) -> Tensor:
        if eps is not None:
            threat = ThreatModel("linf", share * eps / 255)
            x = pgd(model.eval(), x, y, threat, TRAIN_STEPS, seed)
        return functional.cross_entropy(model.train()(x), y)

    fit(model, loss, rate, epochs, cifar10)


def fit(model: nn.Module, loss: Loss, rate: float, epochs: int, cifar10: Path) -> None:
    """AdamW with one cycle of the learning rate, whatever the loss.

    Args:
        model: whose parameters are trained.
        loss: of images (n,3,32,32) in [0,1] and labels (n,), the share of the full eps in (0,1]
            that is due by now, and the batch's seed.
        rate: the highest learning rate.
        epochs: passes over the training images.
        cifar10: the folder with the data.
    """
    images, labels = load_cifar10(cifar10 / TRAIN_FILE)
    total = epochs * (len(images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total, pct_start=WARMUP_SHARE)
    step = 0
    for epoch in range(epochs):
        for x, y in augmented_batches(images, labels, SEED + epoch):
            step += 1
            # A usual precaution: small nets may not get started under the full eps.
            share = min(1.0, step / (2 * WARMUP_SHARE * total))
            value = loss(x, y, share, step * BATCH)
            optimizer.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()


def save(model: Any, shape: Architecture, tag: str, folder: Path) -> None:
    """Write config.json and model.safetensors as timm's ``local-dir:`` and ``hf-hub:`` read them.

    By hand, since ``timm.models.save_for_hf`` writes other fields in other versions of timm.
    """
    config = {
        "architecture": shape.timm_name,
        "num_classes": CLASSES,
        "num_features": model.num_features,
        "model_args": shape.model_args,
        "pretrained_cfg": {
            "tag": tag,
            "license": "apache-2.0",
            "input_size": (3, SIDE, SIDE),
            "fixed_input_size": model.pretrained_cfg["fixed_input_size"],
            "interpolation": "bicubic",
            "crop_pct": 1.0,
            "mean": shape.mean,
            "std": shape.std,
            "num_classes": CLASSES,
            "first_conv": model.pretrained_cfg["first_conv"],
            "classifier": model.pretrained_cfg["classifier"],
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "model.safetensors").write_bytes(safetensors.torch.save(model.state_dict()))


def build(label: str, tag: str, args: argparse.Namespace) -> dict[str, Any]:
    """Train, save and test one backbone; its entry of PROVENANCE.json."""
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    shape, folder, start = ARCHITECTURES[label], args.out / f"{label}.{tag}", time.perf_counter()
    backbone = timm.create_model(shape.timm_name, num_classes=CLASSES, **shape.model_args)
    model, eps = PixelInput(backbone, shape), ROBUST_EPS.get(tag)
    if tag != RANDOM:
        train(model, shape.learning_rate, eps, args.epochs, args.cifar10)
    save(backbone, shape, tag, folder)
    seconds = round(time.perf_counter() - start)
    return {
        "architecture": shape.timm_name,
        "parameters": sum(p.numel() for p in backbone.parameters()),
        "train_eps": eps and f"{eps}/255",
        **source_test(model, args.cifar10),
        "train_seconds": seconds,
        "sha256": sha256(folder, "config.json", "model.safetensors"),
    }


def source_test(model: nn.Module, cifar10: Path) -> dict[str, float]:
    """Accuracies in [0,1] on the first test images, as they are and attacked."""
    model.eval()
    images, y = (part[:TEST_IMAGES] for part in load_cifar10(cifar10 / TEST_FILE))
    attacked = pgd(model, images / 255, y, TEST_THREAT, TEST_STEPS, SEED)
    with torch.inference_mode():
        clean_hits, attacked_hits = (model(x).argmax(dim=1) == y for x in (images / 255, attacked))
    return {
        "source_accuracy": round(clean_hits.float().mean().item(), 3),
        "source_attacked_accuracy": round(attacked_hits.float().mean().item(), 3),
    }


def sha256(folder: Path, *names: str) -> dict[str, str]:
    """Of the files of a folder, by name."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def main(argv: Sequence[str] | None = None) -> None:
    """Train the whole zoo and write how it was made."""
    parser = argparse.ArgumentParser("python -m selector.demo.pretrain", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--cifar10", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--jobs", type=int, default=1, help="backbones trained at the same time")
    args = parser.parse_args(argv)

    # Forked workers would inherit a torch that already has threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.jobs, mp_context=context) as pool:
        futures = {
            f"{label}.{tag}": pool.submit(build, label, tag, args)
            for tag in (RANDOM, ORDINARY, *ROBUST_EPS)
            for label in ARCHITECTURES
        }
        models = {name: future.result() for name, future in sorted(futures.items())}
    provenance = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": f"{parser.prog} --cifar10 DIR --out DIR --epochs {args.epochs}",
        "data": "CIFAR-10 (Krizhevsky 2009) as parquet with JPEG-encoded images",
        "data_sha256": sha256(args.cifar10, TRAIN_FILE, TEST_FILE),
        "seed": SEED,
        "epochs": args.epochs,
        "source_test": f"first {TEST_IMAGES} test images, PGD-{TEST_STEPS} at {TEST_THREAT}",
        "versions": {name: version(name) for name in ("torch", "timm", "numpy")},
        "models": models,
    }
    (args.out / "PROVENANCE.json").write_text(json.dumps(provenance, indent=2) + "\n")


if __name__ == "__main__":
    main()
