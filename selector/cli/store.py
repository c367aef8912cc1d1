"""``selector store``: what is kept of earlier runs, whether it is sound, and what of it may go."""

from __future__ import annotations

import json as json_format
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from selector.cli.exits import EXIT_NONE_RANKED, exit_codes
from selector.cli.options import store_path
from selector.cli.output import stdout
from selector.cli.plain import inert
from selector.errors import UsageError, printable

Folder = Annotated[
    Path | None,
    typer.Option(
        "--store",
        help="Folder of the store. Default: SELECTOR_CACHE, else the cache folder of this user.",
        metavar="DIR",
        allow_from_autoenv=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.", allow_from_autoenv=False)]

store = typer.Typer(
    no_args_is_help=True,
    help="What earlier runs have measured: list it, look at it, check it, take it out.",
)


@store.command()
def ls(
    parts: Annotated[
        bool,
        typer.Option(
            "--parts",
            help="Also what single searches gave, of which measurements are made.",
            allow_from_autoenv=False,
        ),
    ] = False,
    folder: Folder = None,
    json: Json = False,
) -> None:
    """List measurements, the newest first.

    selector store ls
    """
    from selector.reports.held import print_held

    with exit_codes():
        from selector.store import upkeep

        path = _path(folder)
        held = upkeep.held(path)
        shown = [one for one in held if parts or one.kind == "measurement"]
    if json:
        _print_json([asdict(one) for one in shown])
    else:
        print_held(shown, held, path, stdout())


@store.command()
def show(
    key: Annotated[str, typer.Argument(help="Of a row, or its beginning.", metavar="KEY")],
    folder: Folder = None,
) -> None:
    """Print one measurement as JSON: all that it depends on, and the record.

    selector store show 3f8a01c2
    """
    with exit_codes():
        from selector.store import upkeep

        found = upkeep.details(_path(folder), key)
    _print_json(found)


@store.command()
def verify(
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Put what is sound into a new file in its place.",
            allow_from_autoenv=False,
        ),
    ] = False,
    folder: Folder = None,
) -> None:
    """Check every row of the store against its checksum; exit code 1: something is damaged.

    selector store verify --repair
    """
    with exit_codes():
        from selector.store import repair as repairing
        from selector.store import upkeep

        path = _path(folder)
        lines = upkeep.damage(path)
        kept, lost = repairing.repair(path) if lines and repair else (0, 0)
    for line in lines:
        _print_line(line)
    if not lines:
        _print_line(f"{path}: sound")
    elif repair:
        _print_line(f"{path}: {kept} sound rows kept, {lost} others found and left out")
    else:
        _print_line(f"{path}: damaged; `selector store verify --repair` keeps what is sound")
    raise typer.Exit(EXIT_NONE_RANKED if lines and not repair else 0)


@store.command()
def gc(
    older_than: Annotated[
        str | None,
        typer.Option(
            help="What was made, and of parts last used, before so many days: 30d.",
            metavar="DAYS",
            allow_from_autoenv=False,
        ),
    ] = None,
    parts: Annotated[
        bool,
        typer.Option(
            "--parts",
            help="All parts: measurements stay, and what they did not finish starts anew.",
            allow_from_autoenv=False,
        ),
    ] = False,
    parts_limit: Annotated[
        float | None,
        typer.Option(
            help="Parts beyond so many GB, those that were longest of no use.",
            metavar="GB",
            min=0,
            allow_from_autoenv=False,
        ),
    ] = None,
    folder: Folder = None,
) -> None:
    """Take out what is old, or too much; nothing goes but what an option names.

    selector store gc --older-than 90d --parts-limit 2
    """
    with exit_codes():
        from selector.store import upkeep

        if older_than is None and not parts and parts_limit is None:
            raise UsageError(
                "one of --older-than, --parts and --parts-limit must say what may go.",
                hint="For example: selector store gc --older-than 90d",
            )
        rule = upkeep.Rule(
            older_than=None if older_than is None else _days(older_than),
            parts=parts,
            parts_limit=None if parts_limit is None else int(parts_limit * 1e9),
        )
        path = _path(folder)
        rows, size = upkeep.collect_garbage(path, rule)
    _print_line(f"{path}: {rows} rows taken out, {size / 1e6:.1f} MB")


def _path(folder: Path | None) -> Path:
    from selector.store import default_path

    return store_path(folder) or default_path()


def _days(text: str) -> float:
    try:
        days = float(text.removesuffix("d"))
    except ValueError:
        days = -1.0
    if not 0 <= days < 1e6:
        raise UsageError(
            f"--older-than must be a number of days from 0 to 999999, such as 30d, found {text!r}."
        )
    return days


def _print_json(value: object) -> None:
    sys.stdout.write(json_format.dumps(value, indent=2, ensure_ascii=True) + "\n")


def _print_line(text: str) -> None:
    sys.stdout.write(inert(printable(text)) + "\n")
