"""Networks with random weights on drawn images, ranked as a user ranks; they serve for speed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from timm.models import save_for_hf

NETWORKS = {
    "small": ("resnet18", "mobilenetv3_small_100", "deit_tiny_patch16_224"),
    "imagenet": (
        "resnet18", "resnet50", "wide_resnet50_2", "convnext_tiny", "convnext_base",
        "efficientnet_b0", "mobilenetv3_large_100", "vit_small_patch16_224",
        "vit_base_patch16_224", "swin_tiny_patch4_window7_224", "xcit_small_12_p16_224",
        "densenet121",
    ),
}  # fmt: skip
CLASSES = 8
STAGES = ("load", "features", "attack", "heads")


def draw_images(folder: Path, images: int, size: int) -> None:
    """Noise around a colour for each class, as files, so that decoding counts."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 4 * images), ("val", images // 2), ("test", images)):
        for place in range(count):
            label = place % CLASSES
            target = folder / part / f"class{label}"
            target.mkdir(parents=True, exist_ok=True)
            noise = generator.normal(30 * label, 40, (size, size, 3)).clip(0, 255)
            Image.fromarray(noise.astype(np.uint8)).save(target / f"{place}.jpg", quality=90)


def save_network(name: str, folder: Path) -> None:
    """Files of a network with random weights, of a seed."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    save_for_hf(timm.create_model(name, pretrained=False), str(folder), safe_serialization=True)


@dataclass(frozen=True)
class Ranked:
    """One ranking.

    Attributes:
        document: its JSON.
        exit_code: 0, or 3 if some candidate failed.
        seconds: from the start of the process to its end.
    """

    document: dict[str, Any]
    exit_code: int
    seconds: float

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What each candidate cost, with its name and rank, in the order of the ranking."""
        return [
            {"network": one["name"].rsplit("/", 1)[-1], "rank": one["rank"], **one["cost"]}
            for one in self.document["ranking"]
        ]

    @property
    def images(self) -> dict[str, int]:
        """How many there were of each part of the task."""
        return {key: n for key, n in self.document["task"].items() if key.endswith("_images")}

    @property
    def seconds_measuring(self) -> float:
        """In which candidates were measured."""
        return sum(row[f"seconds_{stage}"] for row in self.rows for stage in STAGES)


def rank(networks: Sequence[Path], folder: Path, arguments: Sequence[str]) -> Ranked:
    """``selector rank`` of these, in a process and with a store of its own in ``folder``."""
    output = folder / "ranking.json"
    command = [sys.executable, "-m", "selector", "rank", *arguments]
    command += ["--store", str(folder / "store"), "-o", str(output)]
    for network in networks:
        command += ["--model", f"local-dir:{network}"]
    began = time.perf_counter()
    done = subprocess.run(command, check=False)
    seconds = time.perf_counter() - began
    if done.returncode not in (0, 3):
        raise SystemExit(f"selector rank ended with exit code {done.returncode}")
    return Ranked(json.loads(output.read_text(encoding="utf-8")), done.returncode, seconds)
