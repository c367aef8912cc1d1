"""The command line: parse, build, call, print, exit code.

Heavy libraries are imported inside commands, so that ``--help`` answers at once. A command is a
function in a module of its own, and a row at the bottom.
"""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from selector import __version__
from selector.cli.certify import certify
from selector.cli.discover import discover
from selector.cli.doctor import doctor
from selector.cli.documents import schema, shell_init
from selector.cli.exits import end, terminate
from selector.cli.explain import explain
from selector.cli.lock import lock
from selector.cli.rank import rank
from selector.cli.report import report

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Rank pretrained image backbones by how robust they will be after transfer to your task.",
    epilog="Exit codes: 0 ranked; 1 nothing could be ranked; 2 usage; 3 ranked, some candidates"
    " failed; 75 the Hub is down, try again; 130/143 interrupted, results kept.",
)


def main() -> None:
    """Entry point of the console scripts ``selector`` and ``select``."""
    signal.signal(signal.SIGTERM, terminate)
    try:
        app()
    except SystemExit as ended:
        end(int(ended.code or 0))


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"selector {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    del version


app.command()(rank)
app.command()(explain)
app.command()(report)
app.command()(certify)
app.command()(lock)
app.command()(discover)
app.command()(doctor)
app.command()(schema)
app.command("shell-init")(shell_init)
