"""Crash tests: ``make check-crash``, or PYTHONPATH=tests python tests/crash/check_crash.py.

    check_crash.py [--kills N] [--seed N] [--fault NAME ...] [-o FILE] [--keep FOLDER]

Starts the real command line on a task in a temporary folder, with candidates from a Hub on this
machine; kills it, takes its disk, its memory, its clock or its Hub away, and runs the same command
again. The last ranking must be the one of a run that nobody disturbed. Prints a table, and ends
with 1 where something is not as it must be. Ctrl-C or SIGTERM ends it early, with the table so far.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from fakehub.server import FakeHub

from crash.bench import Bench, Outcome, table, versions
from crash.faults import FAULTS
from crash.kills import undisturbed
from crash.place import Place, fill


def main() -> int:
    """Run the faults that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="SIGKILLs, over all phases")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--fault", action="append", choices=FAULTS, help="these only")
    parser.add_argument("-o", "--output", type=Path, help="the outcomes as JSON")
    parser.add_argument("--keep", type=Path, help="a folder for the runs, which stays")
    given = parser.parse_args()
    # In the background of a shell only this one reaches it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    with tempfile.TemporaryDirectory(prefix="selector-crash-") as temporary, FakeHub() as hub:
        folder = given.keep or Path(temporary)
        fill(hub)
        reference, other = (
            undisturbed(Place(folder / f"undisturbed-{n}", hub)) for n in ("first", "second")
        )
        if (reference.document, reference.passes) != (other.document, other.passes):
            raise RuntimeError("two runs that nobody disturbs differ")
        bench = Bench(folder, hub, reference)
        outcomes: list[Outcome] = []
        try:
            for name in given.fault or FAULTS:
                begun = time.monotonic()
                for outcome in FAULTS[name](bench, given.kills, given.seed):
                    outcomes.append(outcome)
                    said = "; ".join(outcome.wrong) or outcome.came
                    print(f"{name}: {outcome.injected}: {said}", file=sys.stderr, flush=True)
                print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            print("interrupted: this is what was done by then", file=sys.stderr)
    if given.output:
        document = {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "kills": given.kills,
            "seed": given.seed,
            "versions": versions(),
            "outcomes": [asdict(one) for one in outcomes],
        }
        given.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(table(outcomes))
    return any(one.wrong for one in outcomes)


if __name__ == "__main__":
    sys.exit(main())
