"""Commands that print a document and measure nothing: schemas, shell set-up."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from selector.shell import Shell, init_script

Document = Literal[
    "ranking",
    "regression",
    "plan",
    "certification",
    "registry",
    "lock",
    "policy",
    "gate",
    "comparison",
    "regression-comparison",
]


def schema(
    document: Annotated[
        Document,
        typer.Argument(
            help="ranking, regression (of --target-column), plan (of --dry-run), certification,"
            " registry, lock, policy (of gate --policy), gate (of gate --format json), comparison"
            " or regression-comparison (of compare --format json)."
        ),
    ] = "ranking",
) -> None:
    """Print the JSON Schema of a document: what selector writes, or reads."""
    from selector.reports.document import SCHEMAS, json_schema

    sys.stdout.write(json_schema(SCHEMAS[document]))


def shell_init(
    shell: Annotated[Shell, typer.Argument(help="The shell that will read this.")],
) -> None:
    """Print an alias and completion, so that `select rank` works in bash and zsh.

    Use as: eval "$(selector shell-init zsh)"
    """
    sys.stdout.write(init_script(shell))
