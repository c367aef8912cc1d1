"""``selector compare``: what moved between two rankings, and whether it is more than noise."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from selector.cli.exits import exit_codes
from selector.cli.plain import PlainConsole
from selector.reports import WIDTH


def compare(
    before: Annotated[
        Path, typer.Argument(help="What rank wrote with -o or --json.", metavar="BEFORE.JSON")
    ],
    after: Annotated[Path, typer.Argument(help="The same of a later run.", metavar="AFTER.JSON")],
    format: Annotated[
        Literal["table", "json", "markdown"], typer.Option(help="Of what is printed.")
    ] = "table",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Also write the comparison as JSON to this file."),
    ] = None,
) -> None:
    """Say what moved between two rankings, and whether it is more than noise.

    selector compare last-week.json ranking.json

    Candidates are found by their names and compared with themselves image by image. Rankings that
    do not answer the same question (task, threat, protocol, image size, objective) are refused.

    Exit codes: 0 compared, whatever moved; 2 usage.
    """
    with exit_codes():
        from selector.comparing import compare as compared
        from selector.reports import comparison, document

        if output is not None:
            document.check_writable(output)
            document.check_not_read(output, before, after)
        found = compared(document.read_any_ranking(before), document.read_any_ranking(after))
        if output is not None:
            document.write_atomically(output, document.to_json(found))
        if format == "json":
            sys.stdout.write(document.to_json(found))
        elif format == "markdown":
            sys.stdout.write(comparison.to_markdown(found))
        else:
            width = None if sys.stdout.isatty() else WIDTH
            comparison.print_comparison(found, PlainConsole(width=width, highlight=False))
