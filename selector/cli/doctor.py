"""``selector doctor``: whether this machine can work."""

from __future__ import annotations

import json as json_format
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from selector import __version__
from selector.cli.exits import EXIT_NONE_RANKED, EXIT_OK, exit_codes, stderr
from selector.cli.plain import PlainConsole

if TYPE_CHECKING:
    from selector.doctor import Check

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}
_WIDTH = 80


def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say whether this machine can measure: libraries, device, speed, disk, Hub, shell.

    Exit codes: 0 it can, warnings or not; 1 it cannot.
    """
    with exit_codes():
        from selector.doctor import examine, works

        with stderr.status("Looking at this machine"):
            checks = tuple(examine())
        sound = works(checks)
    if json:
        _print_json(checks, sound)
    else:
        _print(checks, sound)
    raise typer.Exit(EXIT_OK if sound else EXIT_NONE_RANKED)


def _print(checks: tuple[Check, ...], sound: bool) -> None:
    console = PlainConsole(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        words = Text(check.finding)
        if check.way_out:
            words.append(f"\n{check.way_out}", style="italic")
        table.add_row(Text(check.state, style=_STYLES[check.state]), check.name, words)
    console.print(f"selector {__version__}", style="bold")
    console.print(table)
    console.print(_verdict(checks, sound), style="bold")


def _verdict(checks: tuple[Check, ...], sound: bool) -> str:
    warnings = sum(check.state == "warning" for check in checks)
    if not sound:
        return "This machine cannot work before what is marked as a problem is put right."
    if warnings:
        return f"This machine can work; {warnings} of the findings limit{'s' * (warnings == 1)} it."
    return "This machine can work."


def _print_json(checks: tuple[Check, ...], sound: bool) -> None:
    document = {
        "selector_version": __version__,
        "works": sound,
        "checks": [asdict(check) for check in checks],
    }
    sys.stdout.write(json_format.dumps(document, indent=2, allow_nan=False) + "\n")
