"""``selector discover``: which backbones on the Hub could be candidates."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from selector.cli import options
from selector.cli.exits import EXIT_NONE_RANKED, EXIT_OK, exit_codes, stderr
from selector.cli.plain import PlainConsole
from selector.errors import UsageError, printable

if TYPE_CHECKING:
    from selector.discovery import Discovery
    from selector.discovery.query import Query

# In the comment at the top of a registry, see reports/found.py.
_WRITTEN_BY_US = "repositories of the Hugging Face Hub, as selector"


def discover(
    search: Annotated[
        str, typer.Option(help="Only ids that hold this: 'convnext'.", metavar="TEXT")
    ] = "",
    author: Annotated[
        str, typer.Option(help="Only repositories of this user or organisation.")
    ] = "timm",
    any_author: Annotated[
        bool, typer.Option("--any-author", help="All repositories of the library timm.")
    ] = False,
    pipeline_tag: Annotated[
        list[str] | None,
        typer.Option(
            help="Only of this pipeline tag. Repeated: one of them. Default:"
            " image-classification and image-feature-extraction."
        ),
    ] = None,
    license: options.Licenses = None,
    max_params: options.MaxParams = None,
    min_params: Annotated[
        str | None,
        typer.Option(help="Only candidates of at least so many parameters.", metavar="5M"),
    ] = None,
    min_downloads: Annotated[
        int, typer.Option(help="Only with so many downloads in the last 30 days.", min=0)
    ] = 0,
    since: Annotated[
        datetime | None,
        typer.Option(help="Only those changed on that day or later.", formats=["%Y-%m-%d"]),
    ] = None,
    gated: Annotated[
        bool, typer.Option(help="List also what needs its publisher's consent, marked.")
    ] = True,
    sort: Annotated[
        Literal["downloads", "likes", "last_modified", "created_at"],
        typer.Option(help="By what, largest or latest first."),
    ] = "downloads",
    limit: Annotated[int, typer.Option(help="How many to find.", min=1)] = 100,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write a registry of them, for rank --registry FILE."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with each exclusion and its reason.")
    ] = False,
) -> None:
    """Search the Hub for backbones that can be measured.

    Exit codes: 0 found; 1 nothing found; 2 usage; 75 the Hub is down, try again.
    """
    with exit_codes():
        from selector.discovery.query import PIPELINE_TAGS, Query
        from selector.reports import document
        from selector.selection import parse_count

        if output is not None:
            document.check_writable(output)
            _refuse_foreign(output)
        query = Query(
            pipeline_tags=tuple(dict.fromkeys(pipeline_tag or PIPELINE_TAGS)),
            author="" if any_author else author,
            search=search,
            licenses=tuple(license or ()),
            min_params=None if min_params is None else parse_count(min_params, "--min-params"),
            max_params=None if max_params is None else parse_count(max_params),
            min_downloads=min_downloads,
            since=since and since.replace(tzinfo=UTC),
            gated=gated,
            sort=sort,
            limit=limit,
        )
        found = _ask(query)
        _print(found, as_json=json)
        if output is not None and found.found:
            _write(found, output)
    raise typer.Exit(EXIT_OK if found.found else EXIT_NONE_RANKED)


def _ask(query: Query) -> Discovery:
    from selector.discovery import discover

    with stderr.status("Asking the Hub") as status:
        return discover(
            query, lambda row: status.update(f"Examining {escape(printable(row.repo_id))}")
        )


def _print(discovery: Discovery, *, as_json: bool) -> None:
    from selector.reports import WIDTH, found

    if as_json:
        sys.stdout.write(found.to_json(discovery))
    elif discovery.found:
        width = None if sys.stdout.isatty() else WIDTH
        found.print_found(discovery, PlainConsole(width=width, highlight=False))
    if not discovery.found:
        stderr.print("[bold red]nothing found[/] that can be measured.", highlight=False)
    for remark in found.remarks(discovery):
        stderr.print(escape(remark), highlight=False, soft_wrap=True)


def _refuse_foreign(path: Path) -> None:
    """Overwrite only what discover has written: a registry is often the work of hours."""
    if path.is_file() and _WRITTEN_BY_US not in path.read_text(encoding="utf-8", errors="replace"):
        raise UsageError(
            f"--output {path} is there already, and discover has not written it.",
            hint="Choose another name, or delete it.",
        )


def _write(discovery: Discovery, path: Path) -> None:
    """Write the registry, whole or not at all."""
    from selector.candidates import to_yaml
    from selector.discovery import entries
    from selector.reports import document, found

    text = to_yaml(entries(discovery.found), found.header(discovery))
    document.write_atomically(path, text)
    stderr.print(
        f"{len(discovery.found)} candidates written:"
        f" selector rank --task DIR --registry {escape(printable(str(path)))}",
        highlight=False,
        soft_wrap=True,
    )
