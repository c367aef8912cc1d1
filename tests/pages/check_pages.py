"""Types what the pages say: ``make check-docs``.

    PYTHONPATH=tests python tests/pages/check_pages.py [--pasted | --commands] [--page NAME ...]
        [-o FILE] [--keep FOLDER]

Runs, page by page and in order, every command of README.md, docs/ and examples/README.md in a
folder in which everything that they name exists, against a Hub on this machine. The environment
makes options cheap, so that it takes minutes; what is typed is before it. Then what stands below
``<!-- run -->`` and every block of Python, without such options, and compares their output with the
page. Prints a table, and ends with 1 where something is not as the page says. Needs bash and jq.
Ctrl-C or SIGTERM ends it early, with the table so far.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from fakehub.server import FakeHub

from pages import place as places
from pages.agreed import AT_FIRST, NOT_RUN, complaints
from pages.pasted import block_of_commands, block_of_python
from pages.reading import PAGES, Block, blocks_of, name_of
from pages.running import Outcome, run


def commands(blocks: Sequence[Block], place: places.Place) -> Iterator[Outcome]:
    """Run the commands of a page, or say why not."""
    for block in blocks:
        for command in () if block.marked else block.commands:
            if command in NOT_RUN:
                yield Outcome(block.page, command, "not run", NOT_RUN[command])
            else:
                yield run(block.page, command, place)


def pasted(blocks: Sequence[Block], place: places.Place) -> Iterator[Outcome]:
    """Run what has been run before the page was written."""
    for block in blocks:
        if block.language == "python":
            yield block_of_python(block, place)
        elif block.marked:
            yield from block_of_commands(block, place)


def outcomes(given: argparse.Namespace, folder: Path, hub: FakeHub) -> Iterator[Outcome]:
    """Everything, page by page."""
    pages = [page for page in PAGES if not given.page or name_of(page) in given.page]
    found = {name_of(page): blocks_of(page) for page in pages}
    if not given.pasted:
        before = places.yesterday(places.for_commands(folder / "yesterday", hub))
        for name, blocks in found.items():
            if any(block.commands and not block.marked for block in blocks):
                place = places.for_commands(folder / name.replace("/", "-"), hub)
                for file, content in before.items():
                    (place.folder / file).write_bytes(content)
                if name in AT_FIRST:
                    places.begin(place, AT_FIRST[name])
                yield from commands(blocks, place)
    if not given.commands:
        for name, blocks in found.items():
            if any(block.marked or block.language == "python" for block in blocks):
                place = places.for_pasted(folder / f"pasted-{name.replace('/', '-')}", hub)
                yield from pasted(blocks, place)


def table(found: Sequence[Outcome]) -> str:
    """The outcomes as a table of Markdown, and how many there are of each kind."""
    rows = ["| page | command | came out | s |", "|---|---|---|---|"]
    for one in found:
        came = f"**WRONG**: {'; '.join(one.wrong)[:900]}" if one.wrong else one.came
        told = f"not run: {one.came}" if one.kind == "not run" else came
        cells = (one.page, f"`{one.command}`", told, f"{one.seconds:.0f}")
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    counts = Counter(one.kind for one in found)
    wrong = sum(bool(one.wrong) for one in found)
    told = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    return "\n".join([*rows, "", f"{told}; {wrong} not as the page says"])


def versions() -> dict[str, str]:
    """What the commands were run with."""
    names = ("selector", "torch", "timm", "huggingface-hub", "datasets")
    return {name: version(name) for name in names} | {"python": platform.python_version()}


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--pasted", action="store_true", help="only what has a pasted output")
    which.add_argument("--commands", action="store_true", help="only what has none")
    parser.add_argument("--page", action="append", choices=list(map(name_of, PAGES)))
    parser.add_argument("-o", "--output", type=Path, help="the outcomes as JSON")
    parser.add_argument("--keep", type=Path, help="a folder for the places, which stays")
    given = parser.parse_args()
    # In the background of a shell only this one reaches it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if wrong := complaints([block for page in PAGES for block in blocks_of(page)]):
        raise SystemExit("\n".join(wrong))
    if shutil.which("jq") is None:
        raise SystemExit("jq must be installed: pages pipe through it")

    found: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="selector-docs-") as temporary, FakeHub() as hub:
        places.fill(hub)
        try:
            for one in outcomes(given, given.keep or Path(temporary), hub):
                found.append(one)
                said = "; ".join(one.wrong) or one.came
                print(f"{one.page}: {one.command}: {said} ({one.seconds:.0f} s)", file=sys.stderr)
                sys.stderr.flush()
        except KeyboardInterrupt:
            print("interrupted: this is what was done by then", file=sys.stderr)
    if given.output:
        document = {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
            "outcomes": [asdict(one) for one in found],
        }
        given.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(table(found))
    return any(one.wrong for one in found)


if __name__ == "__main__":
    sys.exit(main())
