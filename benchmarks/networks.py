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
from selector.threat import ThreatModel

ZOO = Path(selector.__file__).parent / "demo" / "zoo"
BUILT_IN = (
    "tiny_resnet.cifar10",
    "tiny_resnet.cifar10_linf_8",
    "tiny_resnet.random",
    "tiny_vit.cifar10",
    "tiny_vit.cifar10_linf_4",
)
NOISE_TRAINED = "tiny_resnet.digits_noise"
THREATS = (ThreatModel("linf", 4 / 255), ThreatModel("linf", 8 / 255), ThreatModel("l2", 0.5))
# Networks of ImageNet are disturbed by less, and 4/255 is what their robust relatives are for.
LARGE_THREATS = (ThreatModel("linf", 1 / 255), ThreatModel("linf", 4 / 255), ThreatModel("l2", 0.5))
SIDE, SIGMA, NOISE_STEPS = 32, 0.25, 400


@dataclass(frozen=True)
class Network:
    """A network and the images it is attacked on.

    Attributes:
        name: as in the tables.
        features: images (n,3,S,S) in [0,1] -> (n,d), frozen.
        pixels: (n,3,S,S) uint8.
        threats: under which it is attacked.
    """

    name: str
    features: nn.Module
    pixels: Tensor
    threats: tuple[ThreatModel, ...]


def built_in(images: int, device: torch.device) -> list[Network]:
    """Six tiny ones, on the built-in task.

    Args:
        images: how many of its test images, at least 10.
        device: where to put them.
    """
    task = load("builtin:digits", images, SIDE)
    return [
        *(
            Network(name, load_backbone(ZOO / name, device), task.test.pixels, THREATS)
            for name in BUILT_IN
        ),
        Network(NOISE_TRAINED, trained_on_noise(task, device), task.test.pixels, THREATS),
    ]


def pretrained(weights: Path, source: str, images: int, device: torch.device) -> list[Network]:
    """Each folder of ``weights`` in timm's layout, on another task's images.

    Args:
        weights: a folder of folders.
        source: a task as ``selector rank --task`` takes it; its images are made 128 px large.
        images: how many test images.
        device: where to put them.
    """
    # A task needs an image of each class; no set of a hundred has more of them.
    pixels = load(source, max(images, 100), 4 * SIDE).test.pixels[:images]
    return [
        Network(folder.name, load_backbone(folder, device), pixels, LARGE_THREATS)
        for folder in sorted(path for path in weights.iterdir() if path.is_dir())
    ]


def load(source: str, images: int, side: int) -> Task:
    """A task with this many test images of this side."""
    sizes = Sizes(train=1000, validation=10, test=images)
    return load_task(source, image_size=side, sizes=sizes, seed=0)


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
