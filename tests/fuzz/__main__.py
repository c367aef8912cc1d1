"""Fuzz every target: a table on stdout, and JSON.

The exit code is 1 if a case has done what none may do.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fuzz.guard import MEMORY, SECONDS
from fuzz.targets import TARGETS

_REACHED = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)")
_COLUMNS = (
    "target",
    "cases",
    "refused",
    "branches",
    "paths",
    "slowest s",
    "memory MiB",
    "failures",
)
# Processes of one target that may die before it is given up.
_DEATHS = 3


def main() -> int:
    """Run all, print, write; the exit code."""
    options = _options()
    shutil.rmtree(options.work, ignore_errors=True)
    began = time.monotonic()
    with ThreadPoolExecutor(options.jobs) as pool:
        found = list(pool.map(lambda name: _fuzz(name, options), options.target or TARGETS))
    print(_table(found))
    failed = [one for one in found if one["failures"] or one["cases"] < options.cases]
    for one in failed:
        for what, count in one["failures"].items():
            print(f"{one['target']}: {what} ({count} cases)")
    document = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "seconds": round(time.monotonic() - began),
        "seed": options.seed,
        "limit_seconds": SECONDS,
        "limit_bytes": MEMORY,
        "targets": found,
    }
    if options.output is not None:
        options.output.write_text(json.dumps(document, indent=2) + "\n")
    print(f"\n{document['seconds']} s with {options.jobs} processes at once, seed {options.seed}")
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="default: all")
    parser.add_argument("--cases", type=int, default=10_000, help="of each target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="targets at once")
    parser.add_argument("--work", type=Path, default=Path("bench/fuzz"), help="failures lie there")
    parser.add_argument("-o", "--output", type=Path, help="JSON")
    options = parser.parse_args()
    options.work = options.work.resolve()
    return options


def _fuzz(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """One target, in as many processes as it takes."""
    found: dict[str, Any] = {
        "target": name,
        "cases": 0,
        "refused": 0,
        "branches": 0,
        "paths": 0,
        "slowest_seconds": 0.0,
        "most_bytes": 0,
        "failures": {},
    }
    for attempt in range(_DEATHS):
        work = options.work / name / str(attempt)
        work.mkdir(parents=True)
        left = options.cases - found["cases"]
        command = [sys.executable, "-m", "fuzz.campaign", name, "--work", str(work)]
        command += ["--cases", str(left), "--seed", str(options.seed + attempt)]
        with (work / "log.txt").open("wb") as log:
            code = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
        _add(found, work, options.cases)
        if found["cases"] >= options.cases:
            break
        given = work / "sandbox" / "given" / TARGETS[name].file
        if given.is_file():
            shutil.copy(given, work / f"failure-death-{given.name}")
        found["failures"][f"the process ended with {code}: see {work.name}/log.txt"] = 1
    return found


def _add(found: dict[str, Any], work: Path, cases: int) -> None:
    """What one process has shown."""
    reached = _REACHED.findall((work / "log.txt").read_text(errors="replace"))
    if reached:
        found["branches"] = max(found["branches"], int(reached[-1][0]))
        found["paths"] += int(reached[-1][2])
    result = work / "result.json"
    if not result.is_file():
        return
    one = json.loads(result.read_text())
    found["cases"] += one["cases"]
    found["refused"] += one["refused"]
    for name in ("slowest_seconds", "most_bytes"):
        found[name] = max(found[name], one[name])
    found["failures"] |= one["failures"]
    if not one["failures"] and found["cases"] >= cases:
        shutil.rmtree(work / "sandbox")


def _table(found: Sequence[dict[str, Any]]) -> str:
    rows = [
        (
            one["target"],
            f"{one['cases']:,}",
            f"{one['refused']:,}",
            f"{one['branches']:,}",
            f"{one['paths']:,}",
            f"{one['slowest_seconds']:.2f}",
            f"{one['most_bytes'] / 2**20:.0f}",
            str(len(one["failures"])),
        )
        for one in found
    ]
    lines = [_COLUMNS, ("---", *["---:"] * (len(_COLUMNS) - 1)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
