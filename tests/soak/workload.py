"""Small rankings of every kind that ``selector.rank`` takes, one after the other."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from torch import Tensor, nn

import selector
from selector import UsageError, spool

SIDE = 16
ZOO = Path(selector.__file__).parent / "demo" / "zoo"
FEW: dict[str, Any] = {
    "threat": ("linf", "4/255"),
    "preset": "quick",
    "restarts": 1,
    "steps": 2,
    "train_images": 24,
    "test_images": 12,
    "device": "cpu",
    "image_size": SIDE,
}
# One of so many rankings, of each kind in turn, has candidates that fail, and before it an argument
# is wrong.
FAILING = 10


class Tiny(nn.Module):
    """Features of one convolution."""

    def __init__(self) -> None:
        super().__init__()
        # Of some weights every feature is zero, and nothing can be ranked.
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 6, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).relu().mean(dim=(2, 3))


class Failing(nn.Module):
    """A network that fails while its images and gradients are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        raise ValueError(f"sum {self.conv(x).sum()}")


@dataclass(frozen=True)
class Workload:
    """Rankings to repeat, and their files.

    Attributes:
        folder: of all files.
        kinds: arguments of a ranking, by its name; they are made anew for each.
    """

    folder: Path
    kinds: Mapping[str, Callable[[], dict[str, Any]]]

    def rank(self, number: int) -> None:
        """The ranking of that number; raises AssertionError if it is not what it must be."""
        kind = list(self.kinds)[number % len(self.kinds)]
        options = FEW | {"store": ":memory:"} | self.kinds[kind]()
        broken: list[Any] = []
        if number % FAILING == number // FAILING % FAILING:
            _refused(options)
            broken = _broken(self.folder)
        before = spool.IN_MEMORY
        if kind == "spooled":
            spool.IN_MEMORY = 0
        try:
            ranking = selector.rank(**options | {"candidates": [*options["candidates"], *broken]})
        finally:
            spool.IN_MEMORY = before
        assert ranking.ranking, f"{kind} ranked nothing: {ranking.skipped}"
        assert len(ranking.skipped) == len(broken), f"{kind} skipped {ranking.skipped}"


def _refused(options: dict[str, Any]) -> None:
    try:
        selector.rank(**options | {"threat": ("linf", "-1")})
    except UsageError:
        return
    raise AssertionError("a negative eps was accepted")


def _broken(folder: Path) -> list[Any]:
    return [selector.Module("failing", Failing()), f"local-dir:{folder / 'missing'}"]


def workload(folder: Path, repo: str | None = None) -> Workload:
    """All kinds of rankings, their files in ``folder``.

    Args:
        folder: exists.
        repo: ``owner/name`` of a network on the Hub of the environment, to fetch every time.
    """
    images, labels = _pictures()
    photos, table, manifest = folder / "photos", folder / "photos.parquet", folder / "photos.csv"
    pictures = [Image.fromarray(one) for one in images]
    lines = ["path,label"]
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        path = photos / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
        lines.append(f"{path},{label}")
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    Dataset.from_dict({"image": pictures, "label": labels}).to_parquet(table)
    tiny, zoo = "tiny_resnet.cifar10", "tiny_vit.cifar10_linf_8"

    def mine(count: int = 1) -> list[Any]:
        return [selector.Module(f"mine {place}", Tiny()) for place in range(count)]

    def local(*names: str) -> list[Any]:
        return [f"local-dir:{ZOO / name}" for name in names]

    def fetched() -> dict[str, Any]:
        shutil.rmtree(folder / "hub", ignore_errors=True)
        return {"task": str(photos), "candidates": [f"hf-hub:{repo}"]}

    kinds: dict[str, Callable[[], dict[str, Any]]] = {
        "arrays": lambda: {"task": (images, labels), "candidates": mine()},
        "data set": lambda: {
            "task": list(zip(pictures, labels, strict=True)), "candidates": mine()
        },
        "folder": lambda: {
            "task": str(photos), "candidates": local(zoo), "store": folder / "store", "fresh": True
        },
        "manifest": lambda: {"task": str(manifest), "candidates": local(tiny)},
        "parquet": lambda: {"task": str(table), "candidates": mine()},
        "several threats": lambda: {
            "task": (images, labels),
            "candidates": mine(),
            "threat": [("linf", "2/255"), ("linf", "4/255")],
        },
        "race": lambda: {"task": (images, labels), "candidates": mine(2), "top": 1},
        "spooled": lambda: {"task": (images, labels), "candidates": mine()},
        "kept": lambda: {
            "task": str(photos), "candidates": local(zoo), "store": folder / "store"
        },
    }  # fmt: skip
    return Workload(folder, kinds | ({"fetched": fetched} if repo else {}))


def _pictures() -> tuple[np.ndarray, list[str]]:
    """Dark and bright noise (48,16,16,3), and which it is."""
    draws = np.random.default_rng(0)
    both = [draws.normal(centre, 20, (24, SIDE, SIDE, 3)) for centre in (60, 190)]
    return np.concatenate(both).clip(0, 255).astype(np.uint8), ["dark"] * 24 + ["bright"] * 24
