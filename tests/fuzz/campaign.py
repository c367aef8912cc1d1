"""Many cases of one target, guided by what they reach: a process of its own, under libFuzzer."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import resource
import shutil
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from random import Random
from typing import Any

# What a process may map beyond what it has: the machine is protected from what a case would take.
_MAPPED = 6 * 2**30
_TIDY = 200


def main() -> None:
    """Run the cases that the command line asks for, and write what they have shown."""
    options = _options()
    from fuzz.guard import Sandbox

    sandbox = Sandbox(options.work / "sandbox")
    sandbox.make()
    # Libraries read them when they are imported.
    os.environ.update(sandbox.environment())
    tempfile.tempdir = None
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    import atheris

    with atheris.instrument_imports(include=["selector", "PIL", "yaml"]):
        from fuzz.targets import TARGETS
    import torch

    torch.set_num_threads(1)
    os.chdir(sandbox.elsewhere)
    mapped = resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (mapped + _MAPPED,) * 2)
    target = TARGETS[options.target]
    target.beside(sandbox.given)
    corpus = options.work / "corpus"
    corpus.mkdir(exist_ok=True)
    for seed in target.seeds():
        (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)
    campaign = _Campaign(options, sandbox, target)
    atheris.Setup(
        [
            *(sys.argv[0], str(corpus), f"-seed={options.seed}", "-max_len=400000", "-reload=0"),
            # The guard limits time and memory, and ends the process.
            *("-atheris_runs=1000000000", "-timeout=100000", "-rss_limit_mb=0"),
            "-report_slow_units=100000",
        ],
        campaign.one,
        custom_mutator=campaign.mutated,
    )
    atheris.Fuzz()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--cases", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--work", type=Path, required=True)
    return parser.parse_args()


class _Campaign:
    """What libFuzzer calls."""

    def __init__(self, options: argparse.Namespace, sandbox: Any, target: Any) -> None:
        from fuzz.guard import Guard

        self._options, self._sandbox, self._target = options, sandbox, target
        self._guard = Guard(sandbox)
        self._failures: dict[str, int] = {}

    def mutated(self, case: bytes, longest: int, seed: int) -> bytes:
        """Another case, made of one."""
        try:
            return self._target.mutate(case, Random(seed))[:longest]
        except Exception as error:  # noqa: BLE001 - a fault of the harness, to be told as one
            self._keep(case, error)
            return case

    def one(self, case: bytes) -> None:
        """Run one case; what it shows is kept, and the next one runs."""
        from fuzz.guard import Broken

        path = self._sandbox.given / self._target.file
        path.write_bytes(case)
        try:
            self._guard.run(lambda: self._target.act(path), self._target.documented)
        except Broken as broken:
            self._keep(case, broken)
        tally = self._guard.tally
        if tally.cases % _TIDY == 0:
            self._write()
            shutil.rmtree(self._sandbox.kept)
            self._sandbox.make()
        if tally.cases >= self._options.cases:
            self._write()
            sys.stderr.flush()
            os._exit(0)

    def _keep(self, case: bytes, broken: Exception) -> None:
        what = str(broken)
        self._failures[what] = self._failures.get(what, 0) + 1
        if self._failures[what] == 1:
            name = hashlib.sha256(what.encode()).hexdigest()[:12]
            kept = self._options.work / f"failure-{name}-{self._target.file}"
            kept.write_bytes(case)
            kept.with_suffix(".txt").write_text("".join(traceback.format_exception(broken)))
        for folder in (self._sandbox.temporary, self._sandbox.elsewhere):
            shutil.rmtree(folder)
        self._sandbox.make()
        os.chdir(self._sandbox.elsewhere)
        self._write()

    def _write(self) -> None:
        tally = self._guard.tally
        found = {
            "cases": tally.cases,
            "refused": tally.refused,
            "slowest_seconds": tally.slowest,
            "most_bytes": tally.most,
            "failures": self._failures,
        }
        whole = self._options.work / "result.tmp"
        whole.write_text(json.dumps(found))
        whole.replace(self._options.work / "result.json")


if __name__ == "__main__":
    main()
