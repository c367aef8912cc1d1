"""Whether the ranking is right: the order of candidates against what AutoAttack leaves of them.

For every backbone, task and threat, selector measures as a user's run does (CPU preset standard);
then the very head that it recommends is attacked with AutoAttack: all of it, or with --attack apgd
its first two parts, which the others can be added to later (quality/autoattack.py).
Reported per task and norm: weighted Kendall tau, tau-b and top-1 regret of selector's objectives
and of baselines, and how estimates compare with what the attack found.

    make bench-ranking DATA=FOLDER_OR_HUB_ID TASKS="FOLDER ..."     # with known ground truths
    python benchmarks/ranking_quality.py --backbones "tiny_vit.*" --images 16
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from provenance import circumstances
from quality import cells, plots, sprites, tables, truth
from quality.autoattack import ATTACKS, named
from quality.boards import boards, lines, targets
from quality.cells import Cell, Found, Terms
from rich.console import Console

import selector
from selector.devices import choose_device, keep_freed_memory
from selector.norms import parse_eps
from selector.threat import ThreatModel

BUILT_IN = Path(selector.__file__).parent / "demo" / "zoo"
THREATS = ("linf:1/255", "linf:2/255", "linf:4/255", "l2:0.125", "l2:0.25", "l2:0.5")
VERSIONS = ("selector", "torch", "timm", "pyautoattack", "scipy", "numpy")


def main() -> None:
    """Measure, print the tables, write the JSON and the figures."""
    options = parse()
    console = Console(width=110)
    with tempfile.TemporaryDirectory() as temporary:
        tasks = ["builtin:digits"] * options.digits + [options.data] * bool(options.data)
        tasks += options.task
        if options.sprites:
            tasks.append(str(sprites.write(Path(temporary) / "sprites")))
        wanted = list(plan(options, tasks))
        files = (*options.known, *[options.truth] * bool(options.truth))
        device = str(choose_device(options.device))
        terms = Terms(options.images, device, options.attack, files)
        found = list(measured(wanted, terms, options))
        found.sort(key=lambda cell: (cell.task, str(cell.threat), cell.seed, cell.backbone))
        checked = list(check(found, terms, options))
    some, aims = boards(found), targets(found)
    tables.show(found, some, aims, console)
    for line in checked:
        console.print(line)
    if options.output and found:
        report = head(options) | tables.document(found, some, aims) | {"checked": checked}
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        plots.calibration(found, options.output.with_suffix(".calibration.svg"))
        if best := lines(some):
            plots.taus(best, options.output.with_suffix(".taus.svg"))


def parse() -> argparse.Namespace:
    """What the user asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--zoo", type=Path, action="append", default=[], help="also each backbone of this folder")
    add("--backbones", default="*", help="only those whose names match")
    add("--digits", action=argparse.BooleanOptionalAction, default=True, help="the built-in task")
    add("--data", help="CIFAR-10: a folder of parquet files, or hf:owner/name")
    add("--task", action="append", default=[], help="a further task, as selector rank takes it")
    add("--sprites", action="store_true", help="a task of drawn shapes, too")
    add("--threats", nargs="+", default=list(THREATS), help="such as linf:1/255")
    add("--images", type=int, default=64, help="test images of each task")
    add("--seeds", type=int, default=1, help="draws of the tasks, each with its own attack")
    add("--attack", choices=ATTACKS, default="standard", help="apgd: AutoAttack's first two parts")
    add(
        "--known",
        type=Path,
        action="append",
        default=[],
        help="JSONL: ground truths that are known",
    )
    add("--truth", type=Path, help="JSONL: likewise, and new ones are added")
    add("--check", type=int, default=0, help="find so many known ground truths again, and compare")
    add("--device", default="cpu", help="cpu, cuda or auto")
    add("--workers", type=int, default=2, help="processes, of one thread each")
    add("-o", "--output", type=Path, help="JSON; the figures go beside it")
    return parser.parse_args()


def plan(options: argparse.Namespace, tasks: Sequence[str]) -> Iterator[Cell]:
    """All cells, a task at a time."""
    folders = [
        path
        for zoo in (BUILT_IN, *options.zoo)
        for path in sorted(zoo.iterdir())
        if (path / "config.json").is_file() and fnmatchcase(path.name, options.backbones)
    ]
    split = [threat.partition(":") for threat in options.threats]
    threats = [ThreatModel(norm, parse_eps(eps)) for norm, _, eps in split]
    for seed in range(options.seeds):
        for task in tasks:
            for threat in threats:
                for folder in folders:
                    yield Cell(folder, task, threat, seed)


def measured(wanted: Sequence[Cell], terms: Terms, options: argparse.Namespace) -> Iterator[Found]:
    """Each cell as it is done; ground truths that were not known are added to their file."""
    with workers(options.workers) as pool:
        futures = {pool.submit(cells.find, cell, terms): cell for cell in wanted}
        for count, future in enumerate(as_completed(futures), start=1):
            found = future.result()
            if isinstance(found, str):
                say(f"{count}/{len(wanted)} {futures[future].backbone.name}: {found}")
                continue
            if options.truth and not found.reused:
                truth.append(options.truth, found.truth)
            spent = "known" if found.reused else f"{found.truth.seconds:.0f} s"
            say(
                f"{count}/{len(wanted)} {found.task}, {found.threat}, {found.backbone}: robust"
                f" {found.robust.mean():.3f}, by selector {found.attacked:.3f};"
                f" {found.seconds:.0f} s + {spent}"
            )
            yield found


def check(found: Sequence[Found], terms: Terms, options: argparse.Namespace) -> Iterator[str]:
    """Attack some cells again whose truths were known, and say how the two compare.

    Those where an attack takes some images and leaves others, if there are such.
    """
    known = [one for one in found if one.reused]
    known = [one for one in known if 0.2 < one.robust.mean() < 0.9] or known
    some = random.Random(0).sample(known, min(options.check, len(known)))
    again = replace(terms, known=())
    with workers(options.workers) as pool:
        for one, new in zip(
            some, pool.map(cells.find, [one.cell for one in some], repeat(again)), strict=True
        ):
            assert isinstance(new, Found), new
            yield (
                f"checked {one.task}, {one.threat}, {one.backbone}:"
                f" {(one.robust == new.robust).sum()} of {len(one.robust)} images alike, robust"
                f" {one.robust.mean():.3f} known, {new.robust.mean():.3f} now"
            )


@contextmanager
def workers(count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes of one thread each: small networks gain nothing from a second one."""
    os.environ["OMP_NUM_THREADS"] = "1"
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=begin)
    try:
        yield pool
    finally:
        # After an error nobody waits for cells that have not begun.
        pool.shutdown(cancel_futures=True)


def begin() -> None:
    """At the start of a process."""
    torch.set_num_threads(1)
    keep_freed_memory()


def head(options: argparse.Namespace) -> dict[str, Any]:
    """What was run, on what, with which code."""
    kept = ("backbones", "threats", "images", "seeds", "device", "workers")
    return {
        **circumstances(choose_device(options.device), VERSIONS),
        "attack": named(ATTACKS[options.attack]),
        "settings": {name: getattr(options, name) for name in kept},
    }


def say(line: str) -> None:
    """Progress."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
