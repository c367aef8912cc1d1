"""The command line: parse, build, call, print, exit code.

Heavy libraries are imported inside commands, so that ``--help`` answers at once. A command is a
function in a module of its own, and a row at the bottom.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from selector import __version__
from selector.background import spin_briefly
from selector.cli.card import card
from selector.cli.certify import certify
from selector.cli.compare import compare
from selector.cli.config import config
from selector.cli.configured import PREFIX, ConfigurableCommand, ConfigurableGroup, configure
from selector.cli.discover import discover
from selector.cli.doctor import doctor
from selector.cli.documents import schema, shell_init
from selector.cli.exits import end, exit_codes, signals, written
from selector.cli.explain import explain
from selector.cli.gate import gate
from selector.cli.lock import lock
from selector.cli.plain import write_plainly
from selector.cli.rank import rank
from selector.cli.report import report
from selector.cli.store import store
from selector.cli.variables import tell_ignored

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    cls=ConfigurableGroup,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": PREFIX},
    help="Rank pretrained image backbones by how robust they will be after transfer to your task.",
    epilog="Exit codes: 0 ranked; 1 nothing could be ranked; 2 usage; 3 ranked, some candidates"
    " failed; 4 a gate is not met; 74 the output could not be written; 75 the Hub is down, try"
    " again; 130/143 interrupted, results kept.",
)


def main() -> None:
    """Entry point of the console scripts ``selector`` and ``select``."""
    spin_briefly()
    try:
        with signals(), written():
            app()
    except SystemExit as ended:
        end(int(ended.code or 0))


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"selector {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    ctx: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and exit.",
            callback=_print_version,
            is_eager=True,
            allow_from_autoenv=False,
        ),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            help="File with values of options. Default: the nearest selector.toml, or"
            " pyproject.toml with \\[tool.selector]. More: selector config --help",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    del version
    write_plainly()
    with exit_codes():
        tell_ignored(ctx)
        configure(ctx, config)


app.command(cls=ConfigurableCommand)(rank)
app.command(cls=ConfigurableCommand)(explain)
app.command(cls=ConfigurableCommand)(report)
app.command(cls=ConfigurableCommand)(compare)
app.command(cls=ConfigurableCommand)(gate)
app.command(cls=ConfigurableCommand)(card)
app.command(cls=ConfigurableCommand)(certify)
app.command(cls=ConfigurableCommand)(lock)
app.command(cls=ConfigurableCommand)(discover)
app.command(cls=ConfigurableCommand)(doctor)
app.add_typer(store, name="store")
app.command()(config)
app.command()(schema)
app.command("shell-init")(shell_init)
