"""Does a race find the top 3 of the exhaustive run, and with what share of its passes?

Candidates are the built-in zoo and, of its trained networks, copies whose weights are disturbed by
two levels of seeded noise: 26 in all, many of them close. The task is the built-in one, drawn and
split anew for each seed; the size of the threat changes from seed to seed. Each seed is measured
exhaustively once, and raced once; the race's full measurements are the exhaustive run's own.

    strict agreement     the race's top 3 are the exhaustive run's
    up to groups         they are, or are in a group of the exhaustive run that has one of these
    share of passes      images forward and back of the race, looks included / of the exhaustive run
    looks                share that a candidate's looks show, less what its full measurement shows
                         on the same images
    bounds that failed   of the eliminated, below the share of the full measurement

The stated confidence takes for granted that looks do not fall behind full measurements by more than
the race allows for; this is where that is measured.

    python benchmarks/racing.py                                        # two seeds: five minutes
    python benchmarks/racing.py --seeds 20 --folder kept -o benchmarks/results/racing.cpu.json

With ``--folder`` networks and measurements are kept there, and an interrupted run continues.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from statistics import mean

import torch
from looks import Compared, compare_looks, failed, summary
from provenance import circumstances, write
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save_file

from selector.candidates import Candidate, Pinned
from selector.contest import Contest, Terms
from selector.devices import choose_device, keep_freed_memory
from selector.entrants import passes_of
from selector.events import Event, Finished
from selector.fetching import FetchRules
from selector.protocol import Overrides, choose_protocol
from selector.racing import ALLOWANCE, Goal
from selector.ranking import rank, tier
from selector.records import Evaluation, RaceRecord, RankedEvaluation
from selector.scheduling import Kept, measure_all, measuring_classes
from selector.tasks import load_task
from selector.threat import ThreatModel
from selector.workload import Setting

ZOO = Path(str(files("selector.demo") / "zoo"))
LEVELS = (0.05, 0.1)
EPS = (4, 2, 8)


@dataclass(frozen=True)
class Row:
    """One seed."""

    seed: int
    eps: str
    strict: bool
    up_to_groups: bool
    passes_share: float
    measured_in_full: int
    eliminated: int
    bounds_failed: int
    exhaustive_top: tuple[str, ...]
    race_top: tuple[str, ...]
    next_best: str
    tiers: tuple[int, ...]
    looks: tuple[Compared, ...]


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--top", type=int, default=3)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--train-images", type=int, default=600)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", type=Path, help="keep networks and measurements here")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        candidates = make_candidates(folder / "nets")
        rows = [
            compare(seed, candidates, folder / "measurements.sqlite", options)
            for seed in range(options.seeds)
        ]
    show(rows, len(candidates))
    if options.output:
        report = {
            **circumstances(choose_device(options.device)),
            "settings": {
                key: value
                for key, value in vars(options).items()
                if key not in ("folder", "output")
            },
            "candidates": [one.candidate.name for one in candidates],
            "strict": sum(row.strict for row in rows),
            "up_to_groups": sum(row.up_to_groups for row in rows),
            "passes_share": mean(row.passes_share for row in rows),
            "passes_share_highest": max(row.passes_share for row in rows),
            "allowance": ALLOWANCE,
            "looks": summary([one for row in rows for one in row.looks]),
            "eliminated": sum(row.eliminated for row in rows),
            "bounds_failed": sum(row.bounds_failed for row in rows),
            "rows": [asdict(row) for row in rows],
        }
        write(report, options.output)


def make_candidates(folder: Path) -> list[Pinned]:
    """The zoo, and disturbed copies of what was trained."""
    found = []
    for source in sorted(path for path in ZOO.iterdir() if path.is_dir()):
        trained = not source.name.endswith("random")
        for level in (0.0, *LEVELS) if trained else (0.0,):
            target = folder / (f"{source.name}.noise{level:g}" if level else source.name)
            if not target.exists():
                shutil.copytree(source, target)
                if level:
                    disturb(target / "model.safetensors", level)
            found.append(Pinned(Candidate(model=f"local-dir:{target.resolve()}")))
    return found


def disturb(path: Path, level: float) -> None:
    """Add noise to every matrix and filter, ``level`` of the standard deviation of its values."""
    digest = hashlib.sha256(path.parent.name.encode()).hexdigest()
    generator = torch.Generator().manual_seed(int(digest[:8], 16))
    weights = load_file(path)
    for name, values in sorted(weights.items()):
        if values.is_floating_point() and values.ndim > 1:
            noise = torch.randn(values.shape, generator=generator)
            weights[name] = values + level * values.std() * noise
    save_file(weights, path, metadata={"format": "pt"})


def compare(seed: int, candidates: list[Pinned], store: Path, options: argparse.Namespace) -> Row:
    """One seed, exhaustively and as a race."""
    device = choose_device(options.device)
    if device.type == "cpu":
        keep_freed_memory()
    eps = EPS[seed % len(EPS)]
    overrides = Overrides(train_images=options.train_images)
    protocol = choose_protocol("standard", device.type, overrides, seed)
    task = load_task("builtin:digits", image_size=32, sizes=protocol.sizes, seed=seed)
    setting = Setting(task, ThreatModel("linf", eps / 255), protocol, device)
    kept, found = Kept(store), Found()

    measure_all(candidates, measuring_classes(setting), store, FetchRules(), found.hear)
    exhaustive = rank(found.evaluations, seed=seed)
    found = Found()
    terms = Terms(Goal(options.top, options.confidence), time.monotonic())
    race = Contest(setting, kept, terms, found.hear).run(candidates, FetchRules())
    raced = rank(found.evaluations, seed=seed)
    looks = compare_looks(candidates, setting, store, exhaustive)
    return row_of(seed, f"{eps}/255", (exhaustive, raced), (race, looks), options.top)


class Found:
    """Evaluations that a run finished with."""

    def __init__(self) -> None:
        self.evaluations: list[Evaluation] = []

    def hear(self, event: Event) -> None:
        """Keep what was measured; a candidate that fails would make the comparison void."""
        if isinstance(event, Finished):
            assert isinstance(event.outcome, Evaluation), event.outcome
            self.evaluations.append(event.outcome)


def row_of(
    seed: int,
    eps: str,
    rankings: tuple[tuple[RankedEvaluation, ...], tuple[RankedEvaluation, ...]],
    raced_as: tuple[RaceRecord, tuple[Compared, ...]],
    top: int,
) -> Row:
    """Compare the tops."""
    (exhaustive, raced), (race, looks) = rankings, raced_as
    group = {one.name: one.group for one in exhaustive}
    wanted = tuple(one.name for one in exhaustive[:top])
    got = tuple(one.name for one in raced[:top])
    return Row(
        seed=seed,
        eps=eps,
        strict=set(got) == set(wanted),
        up_to_groups=all(group[name] <= exhaustive[top - 1].group for name in got),
        passes_share=race.passes / sum(passes_of(one.cost) for one in exhaustive),
        measured_in_full=len(raced),
        eliminated=len(race.eliminated),
        bounds_failed=sum(failed(one, exhaustive) for one in race.eliminated),
        exhaustive_top=wanted,
        race_top=got,
        next_best=exhaustive[top].name,
        tiers=tuple(tier(one) for one in exhaustive[:top]),
        looks=looks,
    )


def show(rows: list[Row], candidates: int) -> None:
    """Print the table."""
    table = Table(title=f"top {len(rows[0].race_top)} of {candidates} candidates")
    for column in ("seed", "eps", "strict", "up to groups", "passes", "in full", "exhaustive top"):
        table.add_column(column, justify="right" if column == "passes" else "left")
    for row in rows:
        table.add_row(
            str(row.seed),
            row.eps,
            "yes" if row.strict else "no",
            "yes" if row.up_to_groups else "no",
            f"{row.passes_share:.3f}",
            str(row.measured_in_full),
            "\n".join(row.exhaustive_top),
        )
    console = Console(width=110)
    console.print(table)
    console.print(
        f"the same top in {sum(row.strict for row in rows)} of {len(rows)} seeds, up to groups in"
        f" {sum(row.up_to_groups for row in rows)}; share of passes on average"
        f" {mean(row.passes_share for row in rows):.3f}, at most"
        f" {max(row.passes_share for row in rows):.3f}"
    )
    for name, found in summary([one for row in rows for one in row.looks]).items():
        console.print(
            f"looks less full measurements, {name}: {found['mean']:+.3f} on average,"
            f" {found['lowest']:+.3f} to {found['highest']:+.3f}; of {found['candidates']},"
            f" {found['below']} below 0 and {found['below_allowance']} below -{ALLOWANCE}"
        )
    eliminated, wrong = sum(row.eliminated for row in rows), sum(row.bounds_failed for row in rows)
    console.print(f"bounds that failed: {wrong} of {eliminated}")


if __name__ == "__main__":
    main()
