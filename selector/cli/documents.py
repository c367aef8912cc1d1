"""Commands that print a document and measure nothing: schemas, shell set-up."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from selector.shell import Shell, init_script


def schema() -> None:
    """Print the JSON Schema of the ranking document."""
    from selector.reports.document import json_schema

    sys.stdout.write(json_schema())


def shell_init(
    shell: Annotated[Shell, typer.Argument(help="The shell that will read this.")],
) -> None:
    """Print an alias and completion, so that `select rank` works in bash and zsh.

    Use as: eval "$(selector shell-init zsh)"
    """
    sys.stdout.write(init_script(shell))
