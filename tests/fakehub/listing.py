"""The fake Hub's list of models: ``GET /api/models``, filtered, sorted and in pages."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

Query = Mapping[str, list[str]]


@dataclass
class Listing:
    """What the Hub says of repositories, apart from their files.

    Attributes:
        rows: as sent, in any shape that a test wants.
        page: how many rows a page holds.
        filters: False is a Hub that sends every row, whatever is asked for.
    """

    rows: list[Any] = field(default_factory=list)
    page: int = 1000
    filters: bool = True

    def add(
        self,
        repo_id: str,
        *,
        license: str | None = "apache-2.0",
        parameters: int | None = 11_689_512,
        tags: Iterable[str] = (),
        pipeline_tag: str = "image-classification",
        library: str = "timm",
        files: Iterable[str] = ("config.json", "model.safetensors", "README.md"),
        **fields: Any,
    ) -> dict[str, Any]:
        """Describe a repository as the Hub does; returns the row, which a test may spoil."""
        given = [library, pipeline_tag, *tags, *([f"license:{license}"] if license else [])]
        row = {
            "id": repo_id,
            "sha": hashlib.sha1(repo_id.encode()).hexdigest(),
            "downloads": 100,
            "likes": 1,
            "gated": False,
            "disabled": False,
            "private": False,
            "lastModified": "2025-01-21T18:21:17.000Z",
            "createdAt": "2023-04-05T18:03:14.000Z",
            "library_name": library,
            "pipeline_tag": pipeline_tag,
            "tags": given,
            "safetensors": parameters and {"parameters": {"F32": parameters}, "total": parameters},
            "cardData": {"license": license, "tags": given} if license else None,
            "siblings": [{"rfilename": name} for name in files],
            **fields,
        }
        self.rows.append(row)
        return row

    def answer(self, query: Query, url: str) -> tuple[list[Any], dict[str, str]]:
        """The page that a query asks for, and the header that leads to the next."""
        rows = [row for row in self.rows if not self.filters or _fits(row, query)]
        (sort,) = query.get("sort", ["downloads"])
        rows.sort(key=lambda row: _key(row, sort), reverse=True)
        size = min(self.page, *map(int, query.get("limit", [str(self.page)])))
        (cursor,) = map(int, query.get("cursor", ["0"]))
        shown = [_expanded(row, query.get("expand")) for row in rows[cursor : cursor + size]]
        if cursor + size >= len(rows):
            return shown, {}
        following = urlencode({**query, "cursor": [str(cursor + size)]}, doseq=True)
        return shown, {"Link": f'<{url}/api/models?{following}>; rel="next"'}


def _fits(row: Any, query: Query) -> bool:
    """Whether a row passes the filters; one that is spoiled passes all."""
    try:
        return (
            set(query.get("filter", [])) <= set(row["tags"])
            and query.get("pipeline_tag", [row["pipeline_tag"]]) == [row["pipeline_tag"]]
            and _owner(row["id"]) in map(str.lower, query.get("author", [_owner(row["id"])]))
            and all(text.lower() in row["id"].lower() for text in query.get("search", []))
            and all((text == "true") == bool(row["gated"]) for text in query.get("gated", []))
            and all(
                _within(row["safetensors"], bounds) for bounds in query.get("num_parameters", [])
            )
        )
    except (KeyError, TypeError, AttributeError):
        return True


def _owner(repo_id: str) -> str:
    return repo_id.partition("/")[0].lower()


def _within(safetensors: dict[str, int] | None, bounds: str) -> bool:
    """Whether a size is known and within ``min:1,max:2``."""
    limits = {name: int(count) for name, _, count in (b.partition(":") for b in bounds.split(","))}
    total = (safetensors or {}).get("total")
    return total is not None and limits.get("min", 0) <= total <= limits.get("max", total)


def _key(row: Any, sort: str) -> tuple[bool, Any]:
    value = row.get(sort) if isinstance(row, dict) else None
    usable = isinstance(value, int if sort in ("downloads", "likes") else str)
    return (usable, value if usable else 0)


def _expanded(row: Any, wanted: list[str] | None) -> Any:
    """The fields asked for; without ``expand`` the Hub leaves most of them out."""
    if not isinstance(row, dict):
        return row
    wanted = wanted or ["downloads", "likes", "tags", "createdAt", "pipeline_tag", "library_name"]
    return {name: value for name, value in row.items() if name in ("id", *wanted)}
