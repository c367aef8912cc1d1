"""Options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from selector.selection import Selection

Registry = Annotated[
    Path | None,
    typer.Option(help="YAML file of candidates. Default: ./registry.yaml, else the one shipped."),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="A candidate instead of the registry: owner/name or owner/name@revision on the"
        " Hub, or local-dir:PATH. May be repeated.",
        metavar="MODEL",
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(help="Only candidates whose name matches: 'timm/vit_*'. May be repeated."),
]
Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", help="Only candidates that carry this tag. Repeated: all of them."),
]
Licenses = Annotated[
    list[str] | None,
    typer.Option("--license", help="Only candidates of this licence. Repeated: one of them."),
]
MaxParams = Annotated[
    str | None,
    typer.Option(help="Only candidates of at most so many parameters.", metavar="100M"),
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Use only what the Hub cache of this machine holds.")
]


def selection(
    only: list[str] | None, tags: list[str] | None, licenses: list[str] | None, params: str | None
) -> Selection:
    """Build the selection that the four options describe."""
    from selector.selection import Selection, parse_count

    return Selection(
        only=tuple(only or ()),
        tags=tuple(tags or ()),
        licenses=tuple(licenses or ()),
        max_params=None if params is None else parse_count(params),
    )


def go_offline() -> None:
    """Let the Hub client refuse every request; it reads this when it is imported, later on."""
    os.environ["HF_HUB_OFFLINE"] = "1"
