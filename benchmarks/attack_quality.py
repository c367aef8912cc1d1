"""How much of the largest displacement that is known an attack attains, and at what cost.

For every network, threat and attack: the attained displacement ||g(x') - g(x)||_2 as a share of the
best known, in the mean over images and for the worst image; and the passes that it took. Best known
is, per image, the largest that any attack of the run attained, one of ours with ten times the
budget of ``standard`` included.

    make bench                                              # sets up the peers' environment
    python benchmarks/attack_quality.py                     # a CPU: six networks, six minutes
    python benchmarks/attack_quality.py --weights DIR --task FOLDER --device cuda --images 256
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from statistics import mean, median

import torch
from competitors import Bench
from networks import built_in, pretrained
from peers import PEERS
from provenance import circumstances, write
from rich.console import Console
from rich.table import Table
from torch import Tensor

from selector.devices import choose_device
from selector.precision import full_precision

# Restarts and steps of the presets, of a GPU 2x10, 5x20 and 10x50, of a CPU 1x8, 2x10 and 5x20, of
# as many passes as peers take, 1x9 as PGD of 10 steps, and of fewer than the shortest of them.
OURS = (
    (1, 3), (1, 4), (1, 5), (1, 6), (1, 7), (1, 8), (1, 9),
    (2, 10), (1, 20), (2, 20), (3, 20), (5, 20), (10, 50),
)  # fmt: skip
STANDARD, TENFOLD = "ours 5x20", "ours, tenfold"
PRESETS = {"ours 2x10": "standard of a CPU", STANDARD: "standard of a GPU"}
# Their import is not what is timed.
LIBRARIES = ("foolbox", "torchattacks", "art.attacks.evasion", "art.estimators.classification")
TARGET_MEAN, TARGET_WORST = 0.98, 0.90
VERSIONS = (
    "selector", "torch", "timm", "foolbox", "torchattacks", "adversarial-robustness-toolbox",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One attack on one network; shares of the best known displacement, passes per image."""

    network: str
    threat: str
    attack: str
    mean: float
    worst: float
    forward: float
    backward: float
    seconds: float

    @property
    def passes(self) -> float:
        """Forward and backward passes per image."""
        return self.forward + self.backward


def main() -> None:
    """Measure, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--weights", type=Path, help="also a folder of networks in timm's layout")
    parser.add_argument("--weights-images", type=int, default=8, help="images for each of these")
    parser.add_argument("--task", default="builtin:digits", help="whose images these are shown")
    parser.add_argument(
        "--rounds", type=int, default=1, help="time every attack so often, for the least"
    )
    parser.add_argument("--no-peers", action="store_true", help="ours and the controls alone")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    device = choose_device(options.device)
    warnings.filterwarnings("ignore", module="art|foolbox|torchattacks")
    rows: list[Row] = []
    for library in () if options.no_peers else LIBRARIES:
        import_module(library)
    with full_precision():
        nets = built_in(options.images, device)
        if options.weights:
            nets += pretrained(options.weights, options.task, options.weights_images, device)
        for network in nets:
            for threat in network.threats:
                bench = Bench.of(network, threat, device)
                rows += measure(bench, not options.no_peers, options.rounds)
                show(rows[-1].network, rows[-1].threat, rows)
    behind = summarise(rows)
    print("over the threats of each network:")
    summarise(over_threats(rows))
    speed = speedups(rows)
    if options.output:
        report = {
            **circumstances(device, VERSIONS[:3] if options.no_peers else VERSIONS),
            "seeds": {"ours": 0, "tenfold": 1, "peers": 0},
            "images": options.images,
            "rounds": options.rounds,
            "weights_images": options.weights_images if options.weights else 0,
            "task": Path(options.task).name,
            "speedups": speed,
            "ours_behind_at_equal_passes": behind,
            "rows": [asdict(row) for row in rows],
        }
        write(report, options.output)


def measure(bench: Bench, peers: bool, rounds: int = 1) -> list[Row]:
    """All attacks on one network under one threat, each timed in so many rounds for the least.

    In rounds, since others who use the machine slow it for seconds at a time.
    """
    attacks: dict[str, Callable[[], Tensor]] = {
        f"ours {restarts}x{steps}": lambda r=restarts, s=steps: bench.ours(r, s)
        for restarts, steps in OURS
    }
    attacks[TENFOLD] = lambda: bench.ours(20, 50, seed=1)
    if peers:
        attacks |= {name: lambda p=peer: bench.theirs(p) for name, peer in PEERS.items()}
    attacks["random search 200"] = lambda: bench.without_gradient(200)
    attacks["random noise"] = lambda: bench.without_gradient(0)

    attained, costs = {}, {}
    for name, attack in attacks.items():
        counted = bench.counted
        counted.forward_passes = counted.backward_passes = 0
        attained[name], seconds = timed(attack)
        costs[name] = (counted.forward_passes, counted.backward_passes, seconds)
    # The tenfold one is there for what it attains.
    again = [name for name in attacks if name != TENFOLD] * (rounds - 1)
    for name in again:
        forward, backward, seconds = costs[name]
        costs[name] = (forward, backward, min(seconds, timed(attacks[name])[1]))
    best = torch.stack(list(attained.values())).amax(dim=0)
    images = len(best)
    return [
        Row(
            network=bench.network.name,
            threat=str(bench.threat),
            attack=name,
            mean=(attained[name].mean() / best.mean()).item(),
            worst=(attained[name] / best).min().item(),
            forward=forward / images,
            backward=backward / images,
            seconds=seconds,
        )
        for name, (forward, backward, seconds) in costs.items()
    ]


def timed(attack: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """What an attack attains, in how many seconds."""
    began = time.perf_counter()
    attained = attack().cpu()
    return attained, time.perf_counter() - began


def show(network: str, threat: str, rows: list[Row]) -> None:
    """Print the table of one network under one threat."""
    table = Table(title=f"{network}, {threat}: share of the best known displacement")
    for column in ("attack", "mean", "worst image", "forward", "backward", "seconds"):
        table.add_column(column, justify="left" if column == "attack" else "right")
    for row in rows:
        if (row.network, row.threat) == (network, threat):
            table.add_row(
                row.attack,
                f"{row.mean:.3f}",
                f"{row.worst:.3f}",
                f"{row.forward:.0f}",
                f"{row.backward:.0f}",
                f"{row.seconds:.2f}",
            )
    Console(width=100).print(table)


def over_threats(rows: list[Row]) -> list[Row]:
    """Each attack on each network in the mean over threats; the worst image is that of them all."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.network, row.attack), []).append(row)
    return [
        Row(
            network=network,
            threat=", ".join(row.threat for row in group),
            attack=attack,
            mean=mean(row.mean for row in group),
            worst=min(row.worst for row in group),
            forward=mean(row.forward for row in group),
            backward=mean(row.backward for row in group),
            seconds=mean(row.seconds for row in group),
        )
        for (network, attack), group in groups.items()
    ]


def summarise(rows: list[Row]) -> list[dict[str, str | float]]:
    """Print what was aimed at; return every case where ours is behind at equal passes.

    A peer is compared with the largest of our budgets that takes no more passes than it did.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.network, row.threat), []).append(row)
    behind: list[dict[str, str | float]] = []
    compared = 0
    for (network, threat), group in groups.items():
        ours = [row for row in group if row.attack.startswith("ours ")]
        for peer in (row for row in group if not row.attack.startswith(("ours", "random"))):
            within = [row for row in ours if row.passes <= peer.passes]
            if not within:
                continue
            compared += 1
            own = max(within, key=lambda row: row.passes)
            if own.mean < peer.mean:
                gap = peer.mean - own.mean
                behind.append({"network": network, "threat": threat, "peer": peer.attack}
                              | {"ours": own.attack, "by": gap})  # fmt: skip
    for attack, preset in PRESETS.items():
        found = [row for row in rows if row.attack == attack]
        met = [row for row in found if row.mean >= TARGET_MEAN and row.worst >= TARGET_WORST]
        print(
            f"{attack}, {preset}: at least {TARGET_MEAN:.0%} of the best known in the mean and"
            f" {TARGET_WORST:.0%} on the worst image in {len(met)} of {len(found)} cases; mean"
            f" {mean(row.mean for row in found):.3f}, lowest mean"
            f" {min(row.mean for row in found):.3f}, lowest worst image"
            f" {min(row.worst for row in found):.3f}"
        )
    print(f"ours behind at equal passes in {len(behind)} of {compared} comparisons")
    for case in behind:
        print("  {network}, {threat}: {ours} behind {peer} by {by:.4f}".format(**case))
    return behind


def speedups(rows: list[Row]) -> dict[str, dict[str, float]]:
    """Print and return how much faster ours attains what each peer does.

    Ours is the quickest of its budgets that attains no less in the mean; a case where none of them
    does counts as 0.
    """
    found: dict[str, list[float]] = {}
    for peer in rows:
        if peer.attack.startswith(("ours", "random")):
            continue
        same = [
            row
            for row in rows
            if (row.network, row.threat) == (peer.network, peer.threat)
            and row.attack.startswith("ours ")
            and row.mean >= peer.mean
        ]
        ratio = peer.seconds / min(row.seconds for row in same) if same else 0.0
        found.setdefault(peer.attack, []).append(ratio)
    summary = {
        name: {"median": median(ratios), "least": min(ratios), "cases": len(ratios)}
        for name, ratios in found.items()
    }
    for name, row in summary.items():
        print(
            f"{name}: the same displacement {row['median']:.1f} times as fast in the median of"
            f" {row['cases']} cases, at least {row['least']:.1f} times"
        )
    return summary


if __name__ == "__main__":
    main()
