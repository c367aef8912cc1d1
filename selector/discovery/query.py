"""What ``selector discover`` looks for: the questions for the Hub, and the same filters here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product

from selector.candidates import CONFIG_FILE, WEIGHTS_FILE
from selector.errors import UsageError
from selector.hub.listing import Asked, Listed, Sort

LIBRARY = "timm"
PIPELINE_TAGS = ("image-classification", "image-feature-extraction")

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Query:
    """What to look for; the options of ``selector discover``. Empty or None: anything.

    Attributes:
        pipeline_tags: one of which it must have.
        author: user or organisation.
        search: words, all of which the id must hold, in any case of letters.
        licenses: one of which it must have, in any case of letters.
        min_params: at least so many parameters; None: any number, and unknown.
        max_params: at most so many.
        min_downloads: in the last 30 days.
        since: last changed then or later; with a time zone.
        gated: whether repositories are wanted whose publisher gives access on request.
        sort: by what, largest or latest first.
        limit: how many that can be measured are wanted.
    """

    pipeline_tags: tuple[str, ...] = PIPELINE_TAGS
    author: str = LIBRARY
    search: str = ""
    licenses: tuple[str, ...] = ()
    min_params: int | None = None
    max_params: int | None = None
    min_downloads: int = 0
    since: datetime | None = None
    gated: bool = True
    sort: Sort = "downloads"
    limit: int = 100

    def __post_init__(self) -> None:
        """Raise a UsageError where nothing can fulfil it."""
        least, most = self.min_params, self.max_params
        if least is not None and most is not None and least > most:
            raise UsageError(f"--min-params must be at most --max-params, found {least} > {most}.")


IN_WORDS = {
    "malformed": "described wrongly by the Hub",
    "library": f"not of the library {LIBRARY}",
    "pipeline_tag": "of another pipeline tag",
    "author": "of another author",
    "search": "--search not in the id",
    "license": "of another licence",
    "parameters": "of another size, or of none that the Hub knows",
    "downloads": "fewer downloads",
    "since": "last changed before --since",
    "gated": "gated",
    "disabled": "disabled by the Hub",
    "no_config": f"no {CONFIG_FILE}",
    "no_safetensors": f"no {WEIGHTS_FILE} (pickle formats are not loaded)",
    "bad_config": f"a {CONFIG_FILE} that is not timm's",
    "unknown_architecture": "an architecture that the timm installed here does not know",
    "no_pooled_features": "an architecture without pooled features",
    "bad_preprocessing": "not three input channels",
    "cannot_load": "an architecture that cannot be built",
    "forward_failed": "an architecture that fails on its own input size",
}


def questions(query: Query) -> list[Asked]:
    """What to ask the Hub, which takes one pipeline tag and one licence at a time."""
    bounds = {"min": query.min_params, "max": query.max_params}
    return [
        Asked(
            tags=(LIBRARY, *license),
            pipeline_tag=pipeline_tag,
            author=query.author,
            search=query.search,
            parameters=",".join(f"{name}:{n}" for name, n in bounds.items() if n is not None),
            gated=None if query.gated else False,
            sort=query.sort,
        )
        for pipeline_tag, license in product(query.pipeline_tags, _license_tags(query))
    ]


def _license_tags(query: Query) -> list[tuple[str, ...]]:
    # The Hub tags what has a name of its own as other, too.
    plain = [license.lower().partition(" (")[0] for license in query.licenses]
    return [(f"license:{license}",) for license in dict.fromkeys(plain)] or [()]


def _fits_license(query: Query, row: Listed) -> bool:
    license = (row.license or "").lower()
    words = {license, license.partition(" (")[0], *license.split(", ")}
    return not query.licenses or bool(words & {wanted.lower() for wanted in query.licenses})


def _fits_size(query: Query, row: Listed) -> bool:
    if query.min_params is None and query.max_params is None:
        return True
    if row.parameters is None:
        return False
    most = row.parameters if query.max_params is None else query.max_params
    return (query.min_params or 0) <= row.parameters <= most


def mismatch(query: Query, row: Listed) -> str | None:
    """The code of the first thing that a row lacks; None where it has all that is asked for."""
    return next((code for code, fits in _CHECKS.items() if not fits(query, row)), None)


# In this order.
_CHECKS: dict[str, Callable[[Query, Listed], bool]] = {
    "library": lambda query, row: LIBRARY in row.tags,
    "pipeline_tag": lambda query, row: bool(set(query.pipeline_tags) & row.tags),
    "author": lambda query, row: (
        query.author.lower() in ("", row.repo_id.partition("/")[0].lower())
    ),
    "search": lambda query, row: all(
        word in row.repo_id.lower() for word in query.search.lower().split()
    ),
    "license": _fits_license,
    "parameters": _fits_size,
    "downloads": lambda query, row: row.downloads >= query.min_downloads,
    "since": lambda query, row: query.since is None or (row.modified or _LONG_AGO) >= query.since,
    "gated": lambda query, row: query.gated or not row.gated,
    "disabled": lambda query, row: not row.disabled,
    "no_config": lambda query, row: CONFIG_FILE in row.files,
    "no_safetensors": lambda query, row: WEIGHTS_FILE in row.files,
}


def in_order(rows: Iterable[Listed], sort: Sort) -> list[Listed]:
    """Largest or latest first, equals by their ids."""
    keys: dict[Sort, Callable[[Listed], float]] = {
        "downloads": lambda row: row.downloads,
        "likes": lambda row: row.likes,
        "last_modified": lambda row: (row.modified or _LONG_AGO).timestamp(),
        "created_at": lambda row: (row.created or _LONG_AGO).timestamp(),
    }
    return sorted(rows, key=lambda row: (-keys[sort](row), row.repo_id))
