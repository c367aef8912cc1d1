"""``selector config``: the value of every option, and where it comes from."""

from __future__ import annotations

import json as json_format
import sys
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from selector.cli.configured import Resolved, commands_of, resolve
from selector.cli.exits import exit_codes
from selector.cli.plain import PlainConsole
from selector.errors import UsageError, printable
from selector.reports import WIDTH


def config(
    ctx: typer.Context,
    command: Annotated[
        str | None, typer.Argument(help="Only of this command.", metavar="[COMMAND]")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the value of every option, and where it comes from.

    selector config rank

    Options may be typed, or be set by the environment, or by a file; the first that says something
    counts, in this order:

    1. the command line: selector rank --eps 2/255 --tag small --offline

    2. the environment: SELECT_RANK_EPS=2/255 SELECT_RANK_TAG="small vit" SELECT_RANK_OFFLINE=1
    (SELECT_, the command, the option; - becomes _; lists are parted by spaces)

    3. a file: eps = "2/255", tag = ["small"], offline = true, in the table \\[rank] of
    selector.toml or \\[tool.selector.rank] of pyproject.toml, whichever is nearest from the working
    folder upwards, selector.toml first; `selector --config FILE rank`, or SELECT_CONFIG, names
    another, in either form; a key may have _ for -

    4. the default

    A list replaces the list of what is after it. Paths are those of the working folder, as when
    typed. --push, --create-pr and --allow-pickle only count if typed; a file that was found, not
    named, must not set --store and --engine, and --output only to a place in its own folder. A
    policy file of gate is before its
    options that were not typed. SELECTOR_CACHE, HF_HOME and HF_TOKEN are no options:
    what they are stays with them.
    """
    with exit_codes():
        parent = ctx.parent
        assert parent is not None, "a command of the program has it as its parent"
        commands = commands_of(parent)
        if command is not None and command not in commands:
            raise UsageError(
                f"COMMAND must be one of selector's, found {printable(command)!r}.",
                hint=f"There are: {', '.join(commands)}",
            )
        names = list(commands) if command is None else [command]
        found = {name: list(resolve(parent, name, commands[name])) for name in names}
        path = parent.obj.path
        if json:
            _print_json(found, None if path is None else str(path))
        else:
            _print(found, "none" if path is None else str(path))


def _print(found: dict[str, list[Resolved]], file: str) -> None:
    console = PlainConsole(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    console.print(Text(f"file: {printable(file)}"))
    table = Table(width=min(WIDTH, console.width), pad_edge=False, header_style="bold")
    table.add_column("option", no_wrap=True)
    table.add_column("value", ratio=1, overflow="fold")
    table.add_column("origin", ratio=2, overflow="fold")
    for name, options in found.items():
        for one in options:
            style = "dim" if one.origin == "default" else None
            origin = printable(one.where) or _origin(one)
            cells = (f"{name} {one.option}", printable(one.text) or "–", origin)
            table.add_row(*map(Text, cells), style=style)
        table.add_section()
    console.print(table)


def _origin(one: Resolved) -> str:
    return one.origin if one.variable else f"{one.origin}, command line only"


def _print_json(found: dict[str, list[Resolved]], file: str | None) -> None:
    document = {
        "file": file,
        "commands": {
            name: {
                one.option.lstrip("-"): {
                    "value": one.value,
                    "origin": one.origin,
                    "where": one.where or None,
                    "variable": one.variable or None,
                }
                for one in options
            }
            for name, options in found.items()
        },
    }
    sys.stdout.write(json_format.dumps(document, indent=2, allow_nan=False) + "\n")
