"""What a search of the Hub found: as a table, as JSON, and as the comment of a registry."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from selector import __version__
from selector.errors import printable
from selector.reports import WIDTH

if TYPE_CHECKING:
    from datetime import datetime

    from selector.discovery import Discovery, Found

_UNITS = ((10**9, "B"), (10**6, "M"), (10**3, "k"))


def print_found(discovery: Discovery, console: Console) -> None:
    """Print one row for each repository that can be measured."""
    table = Table(width=min(WIDTH, console.width), pad_edge=False, header_style="bold")
    table.add_column("repository", ratio=1, overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("licence", max_width=16, overflow="fold")
    table.add_column("down-\nloads", justify="right", no_wrap=True)
    table.add_column("likes", justify="right", no_wrap=True)
    table.add_column("changed", no_wrap=True)
    for found in discovery.found:
        listed = found.listed
        name = Text(printable(listed.repo_id))
        if listed.gated:
            name.append(" (gated)", style="yellow")
        table.add_row(
            name,
            short(listed.parameters),
            Text(printable(listed.license or "not said")),
            short(listed.downloads),
            short(listed.likes),
            f"{listed.modified:%Y-%m-%d}" if listed.modified else "?",
        )
    console.print(table)


def short(count: int | None) -> str:
    """A count in few characters.

    >>> short(25_557_032), short(912), short(None)
    ('25.6M', '912', '?')
    """
    if count is None:
        return "?"
    for size, unit in _UNITS:
        # What would be rounded to 1000 of a unit is 1 of the next.
        if count >= 0.99995 * size:
            return f"{count / size:.1f}{unit}"
    return str(count)


def remarks(discovery: Discovery) -> list[str]:
    """What the rows do not say, one sentence each: what is left out and why, what comes next."""
    said = []
    if discovery.excluded:
        reasons = "; ".join(f"{count} {words}" for words, count in discovery.reasons().items())
        said.append(f"{len(discovery.excluded)} left out: {reasons}.")
    if discovery.not_examined:
        more = discovery.not_examined
        said.append(f"Not examined, since --limit was reached: {more} more that match.")
    if not discovery.complete:
        said.append("The Hub's list was too long to be read to its end: narrow the query.")
    gated = sum(found.listed.gated for found in discovery.found)
    if gated:
        said.append(f"Gated: {gated}. Ask their publishers for access, or use --no-gated.")
    return said


def header(discovery: Discovery) -> list[str]:
    """Lines of the comment at the top of a written registry: which query, when, what is missing."""
    asked = "; ".join(f"{name} {_words(value)}" for name, value in _query(discovery).items())
    paragraphs = [
        f"{len(discovery.found)} repositories of the Hugging Face Hub, as selector {__version__}"
        f" found them on {discovery.asked.isoformat()}.",
        f"Query: {asked}",
        *remarks(discovery),
        "Sizes and licences are what the Hub says. Revisions are not pinned.",
    ]
    # Every line is a comment: what the user searched for must not begin one of its own.
    return [line for text in paragraphs for line in textwrap.wrap(printable(text), WIDTH - 2)]


def to_json(discovery: Discovery) -> str:
    """The document for scripts: what was found, and each repository that is left out with why."""
    document = {
        "selector_version": __version__,
        "asked": discovery.asked.isoformat(),
        "query": _query(discovery),
        "found": [_row(found) for found in discovery.found],
        "excluded": [
            {"repo_id": each.repo_id, "code": each.code, "reason": each.reason}
            for each in discovery.excluded
        ],
        "not_examined": discovery.not_examined,
        "complete": discovery.complete,
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def _query(discovery: Discovery) -> dict[str, Any]:
    """The query without what asks for nothing."""
    query = discovery.query
    fields = {
        "pipeline_tags": query.pipeline_tags,
        "author": query.author,
        "search": query.search,
        "licenses": query.licenses,
        "min_params": query.min_params,
        "max_params": query.max_params,
        "min_downloads": query.min_downloads,
        "since": _moment(query.since),
        "gated": query.gated,
        "sort": query.sort,
        "limit": query.limit,
    }
    given = {name: value for name, value in fields.items() if value not in (None, "", (), 0)}
    return given | {"gated": query.gated}


def _words(value: Any) -> str:
    """A value of a query, for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return " or ".join(value) if isinstance(value, tuple) else str(value)


def _row(found: Found) -> dict[str, Any]:
    listed = found.listed
    return {
        "repo_id": listed.repo_id,
        "commit": listed.commit,
        "architecture": found.architecture,
        "parameters": listed.parameters,
        "license": listed.license,
        "gated": listed.gated,
        "downloads": listed.downloads,
        "likes": listed.likes,
        "modified": _moment(listed.modified),
        "created": _moment(listed.created),
    }


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
