"""What a ranking of frozen representations says, and does not, of fine-tuned ones.

The best backbones of the built-in ranking, and the ordinary one that clean accuracy would choose,
are transferred to the built-in task in three ways:

    LP      linear probing: the usual probe on the frozen representation
    FT      fine-tuning: representation and a new linear layer, trained together
    LP-FT   the same, from the probe on (Kumar et al. 2022, "Fine-tuning can distort pretrained
            features and underperform out-of-distribution")

all on cross-entropy of clean images, with the learning rate that is best on validation images. Of
each, on the same test images and under the same threat, with searches as in a ranking (on A∘g, for
length in the shapes, for the layer's loss, and for class pairs in doubt): clean and attacked
accuracy, displacement on A∘g (of the layer that was trained, of the root mean square distance of
features from their mean), the mean of the loss bound in nats, and the share of images for which the
criterion holds, both with shapes. So they show how displacement and bound move when a
representation is no longer frozen.

    python benchmarks/finetuning.py -o finetuning.cpu.json             # a CPU: seven minutes
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from networks import ZOO
from provenance import circumstances, write
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from selector import bounds
from selector.attacks import ATTACKS
from selector.backbones import Backbone, load_backbone
from selector.batches import BatchSize, Images, extract
from selector.budget import Budget
from selector.choosing import choose_probe
from selector.devices import choose_device
from selector.heads import Labelled, LinearHead, task_projection
from selector.pairs import in_doubt, search_pairs
from selector.precision import full_precision
from selector.protocol import Sizes
from selector.search import search
from selector.sensitivity import Pool, displacement_aim, loss_aim
from selector.shapes import Extent, directions, length_aim, measure_grams, shapes_of
from selector.tasks import Task, load_task
from selector.tasks.decoding import Split
from selector.threat import ThreatModel

BEST = ("tiny_resnet.cifar10_linf_8", "tiny_resnet.cifar10_linf_4", "tiny_vit.cifar10_linf_8")
NETWORKS = (*BEST, "tiny_resnet.cifar10")
SIDE, BATCH, WARMUP = 32, 50, 0.1
RATES = (3e-4, 1e-3, 3e-3)
SIZES = Sizes(train=1000, validation=64, test=128)
WAYS = ("LP", "FT", "LP-FT")
# Of each aim, and of each class pair in doubt.
BUDGET = Budget(ATTACKS["annealed"], restarts=5, steps=20, seed=0)
PAIR_BUDGET = Budget(ATTACKS["annealed"], restarts=1, steps=20, seed=0)


@dataclass(frozen=True)
class Row:
    """One backbone, transferred one way."""

    network: str
    way: str
    rate: float | None
    clean_accuracy: float
    attacked_accuracy: float
    sensitivity: float
    loss_bound: float
    clean_loss: float
    criterion_accuracy: float


def main() -> None:
    """Transfer, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    device = choose_device(options.device)
    task = load_task("builtin:digits", image_size=SIDE, sizes=SIZES, seed=options.seed)
    threat = ThreatModel("linf", 4 / 255)
    began = time.perf_counter()
    with full_precision():
        rows = [
            transferred(name, way, task, threat, device, options.epochs, options.seed)
            for name in NETWORKS
            for way in WAYS
        ]
    show(rows)
    if options.output:
        report = {
            **circumstances(device),
            "task": task.name,
            "images": {part: len(getattr(task, part)) for part in ("train", "validation", "test")},
            "threat": str(threat),
            "settings": {"epochs": options.epochs, "seed": options.seed, "rates": RATES},
            "seconds": time.perf_counter() - began,
            "rows": [asdict(row) for row in rows],
        }
        write(report, options.output)


def transferred(
    name: str,
    way: str,
    task: Task,
    threat: ThreatModel,
    device: torch.device,
    epochs: int,
    seed: int,
) -> Row:
    """One backbone, one way; of the rates the one with the best validation accuracy."""
    classes = len(task.classes)
    frozen = load_backbone(ZOO / name, device)
    probe = linear_probe(frozen, task, classes, device)
    if way == "LP":
        return measured(name, way, None, frozen, probe, task.test, threat)
    found = []
    for rate in RATES:
        torch.manual_seed(seed)
        backbone = load_backbone(ZOO / name, device)
        layer = torch.nn.Linear(probe.weight.shape[1], classes).to(device)
        if way == "LP-FT":
            layer.weight.data, layer.bias.data = probe.weight.float(), probe.bias.float()
        train(backbone, layer, task.train, rate, epochs, seed)
        head = LinearHead(layer.weight.detach().double(), layer.bias.detach().double())
        x, labels = images(task.validation, device)
        with torch.no_grad():
            right = (head(backbone(x)).argmax(dim=1) == labels).double().mean().item()
        found.append((right, -rate, backbone, head))
    _, negative, backbone, head = max(found, key=lambda one: one[:2])
    return measured(name, way, -negative, backbone, head, task.test, threat)


def linear_probe(backbone: Backbone, task: Task, classes: int, device: torch.device) -> LinearHead:
    """The usual probe, its regularisation chosen on validation images."""
    parts = []
    for split in (task.train, task.validation):
        x, labels = images(split, device)
        with torch.no_grad():
            parts.append(
                Labelled.clean(torch.cat([backbone(some) for some in x.split(256)]), labels)
            )
    return choose_probe(parts[0], parts[1], classes).head


def train(
    backbone: Backbone, layer: torch.nn.Linear, split: Split, rate: float, epochs: int, seed: int
) -> None:
    """All weights on cross-entropy, by AdamW with one cycle; frozen again in the end."""
    x, labels = images(split, layer.weight.device)
    backbone.requires_grad_(True).train()
    weights = [*backbone.parameters(), *layer.parameters()]
    optimizer = torch.optim.AdamW(weights, rate)
    steps = epochs * (len(x) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps, pct_start=WARMUP)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        for rows in order[: len(x) // BATCH * BATCH].view(-1, BATCH):
            loss = functional.cross_entropy(layer(backbone(x[rows])), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    backbone.eval().requires_grad_(False)


def measured(
    name: str,
    way: str,
    rate: float | None,
    backbone: Backbone,
    head: LinearHead,
    split: Split,
    threat: ThreatModel,
) -> Row:
    """What is left of it under the threat."""
    device = head.weight.device
    labels = split.labels.to(device)
    pool, extent = attacked(
        Images(split.pixels, backbone, device, BatchSize(64)), labels, head, threat
    )
    features, reach = pool.clean, extent.reach(head, labels)
    logits, kept = head(features), pool.scores(head).always_correct(labels)
    held = bounds.pair_criterion_holds(logits, labels, reach)
    spread = (features - features.mean(dim=0)).double().square().sum(dim=1).mean().sqrt()
    return Row(
        network=name,
        way=way,
        rate=rate,
        clean_accuracy=(logits.argmax(dim=1) == labels).double().mean().item(),
        attacked_accuracy=kept.double().mean().item(),
        sensitivity=(extent.displacement.mean() / spread).item(),
        loss_bound=bounds.pair_worst_case_losses(logits, labels, reach).mean().item(),
        clean_loss=bounds.cross_entropy(logits, labels).mean().item(),
        criterion_accuracy=held.double().mean().item(),
    )


def attacked(
    some: Images, labels: Tensor, head: LinearHead, threat: ThreatModel
) -> tuple[Pool, Extent]:
    """What attacks attain on some images, class pairs in doubt included, and how far on A∘g."""
    clean, projection = extract(some), task_projection(head)
    along = directions(clean, head, labels, projection, seed=0)
    shapes = shapes_of(measure_grams(some, along), along)
    aims = (
        displacement_aim(clean, projection),
        length_aim(clean, projection, shapes),
        loss_aim(head, labels),
    )
    pool = Pool(clean, tuple(search(some, aim, threat, BUDGET).features for aim in aims))
    reach = Extent.of(pool, projection, shapes).reach(head, labels)
    lost = ~pool.scores(head).always_correct(labels)
    doubts = in_doubt(clean, head, labels, reach, lost)
    pool = pool.with_points(search_pairs(some, doubts, threat, PAIR_BUDGET))
    return pool, Extent.of(pool, projection, shapes)


def images(split: Split, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images (n,3,S,S) in [0,1] and labels (n,) of a part of the task."""
    return split.pixels[:].to(device).float() / 255, split.labels.to(device)


def show(rows: list[Row]) -> None:
    """Print the table."""
    table = Table(title="transferred three ways")
    columns = ("clean", "attacked", "sensitivity", "clean loss", "loss bound", "criterion", "rate")
    for column in ("network", "way", *columns):
        table.add_column(column, justify="left" if column in ("network", "way") else "right")
    for row in rows:
        table.add_row(
            row.network,
            row.way,
            f"{row.clean_accuracy:.1%}",
            f"{row.attacked_accuracy:.1%}",
            f"{row.sensitivity:.2f}",
            f"{row.clean_loss:.2f}",
            f"{row.loss_bound:.2f}",
            f"{row.criterion_accuracy:.1%}",
            "-" if row.rate is None else f"{row.rate:g}",
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
