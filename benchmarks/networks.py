"""The networks and images of the benchmarks: the built-in zoo, one trained on noise, and others.

Every network takes images (n,3,S,S) in [0,1] and gives features (n,d), as in a ranking.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

import selector
from selector.backbones import load_backbone
from selector.demo.pretrain import ARCHITECTURES, BATCH, PixelInput
from selector.protocol import Sizes
from selector.tasks import Task, load_task

ZOO = Path(selector.__file__).parent / "demo" / "zoo"
BUILT_IN = (
    "tiny_resnet.cifar10",
    "tiny_resnet.cifar10_linf_8",
    "tiny_resnet.random",
    "tiny_vit.cifar10",
    "tiny_vit.cifar10_linf_4",
)
NOISE_TRAINED = "tiny_resnet.digits_noise"
SIDE, SIGMA, NOISE_STEPS = 32, 0.25, 400


@dataclass(frozen=True)
class Network:
    """A network and the images it is attacked on.

    Attributes:
        name: as in the tables.
        features: images (n,3,S,S) in [0,1] -> (n,d), frozen.
        pixels: (n,3,S,S) uint8.
    """

    name: str
    features: nn.Module
    pixels: Tensor


def networks(images: int, weights: Path | None, device: torch.device) -> list[Network]:
    """The built-in ones, and each folder of ``weights`` in timm's layout, at 64 px.

    Args:
        images: how many of the built-in task's test images, at least 10.
        weights: a folder of folders; None for none.
        device: where to put them.
    """
    task = digits(images, SIDE)
    found = [
        Network(name, load_backbone(ZOO / name, device), task.test.pixels) for name in BUILT_IN
    ]
    found.append(Network(NOISE_TRAINED, trained_on_noise(task, device), task.test.pixels))
    if weights is not None:
        larger = digits(max(10, images // 2), 2 * SIDE).test.pixels
        found += [
            Network(folder.name, load_backbone(folder, device), larger)
            for folder in sorted(path for path in weights.iterdir() if path.is_dir())
        ]
    return found


def digits(images: int, side: int) -> Task:
    """The built-in task with this many test images of this side."""
    sizes = Sizes(train=1000, validation=10, test=images)
    return load_task("builtin:digits", image_size=side, sizes=sizes, seed=0)


def trained_on_noise(task: Task, device: torch.device) -> nn.Module:
    """A tiny residual network taught to read digits under Gaussian noise; about ten seconds.

    Trained on the CPU from seeds, on one thread, so that it is the same network everywhere.
    """
    shape = ARCHITECTURES["tiny_resnet"]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(shape.timm_name, num_classes=10, **shape.model_args)
        taught = PixelInput(model, shape).train()
        optimizer = torch.optim.AdamW(taught.parameters(), shape.learning_rate / 4)
        for _ in range(NOISE_STEPS):
            rows = torch.randint(len(task.train), (BATCH // 2,))
            x = task.train.pixels[rows].float() / 255
            loss = functional.cross_entropy(
                taught(x + SIGMA * torch.randn_like(x)), task.train.labels[rows]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    torch.set_num_threads(threads)
    model.reset_classifier(0)
    return PixelInput(model, shape).eval().requires_grad_(False).to(device)
