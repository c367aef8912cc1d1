"""Which repositories the Hub has: its list of models, row by row, none of it taken on trust."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._pagination import paginate
from pydantic import AfterValidator, BaseModel, Field, StringConstraints, ValidationError

from selector.errors import HubError, UsageError, printable
from selector.hub.client import CONFIG, attempt
from selector.hub.failures import site

Sort = Literal["downloads", "likes", "last_modified", "created_at"]

_SORT_KEYS = {"last_modified": "lastModified", "created_at": "createdAt"}
_WHAT = "its list of models"
_MOST_ROWS = 20_000  # per question: far more than timm publishes; a list without end stops here
_LONGEST_WORD = 100

_EXPAND = (
    "sha", "downloads", "likes", "gated", "disabled", "lastModified", "createdAt", "library_name",
    "pipeline_tag", "tags", "safetensors", "cardData", "siblings",
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """One question to the Hub; the Hub filters by what is not empty.

    Attributes:
        tags: all of which a repository must carry (``timm``, ``license:mit``).
        pipeline_tag: the task that its card names.
        author: user or organisation; empty: anyone.
        search: part of the id.
        parameters: ``min:1000,max:2000``, of which either may be left out; empty: any.
        gated: False leaves out what needs its publisher's consent; None: both.
        sort: by what, largest or latest first.
    """

    tags: tuple[str, ...]
    pipeline_tag: str
    author: str = ""
    search: str = ""
    parameters: str = ""
    gated: bool | None = None
    sort: Sort = "downloads"


@dataclass(frozen=True)
class Listed:
    """One repository, as the Hub describes it. Words in it are the publisher's, made printable.

    Attributes:
        repo_id: ``owner/name``.
        commit: of its default branch, 40 hex digits.
        downloads: of the last 30 days.
        likes: how many.
        modified: when it was last changed, with a time zone.
        created: when it was made, with a time zone.
        gated: its publisher gives access on request.
        disabled: the Hub does not give out its files.
        tags: the library's name and the pipeline tag included.
        parameters: as the safetensors file says; None where the Hub has not read one.
        license: as its card says; None where it does not.
        files: their names.
    """

    repo_id: str
    commit: str
    downloads: int
    likes: int
    modified: datetime | None
    created: datetime | None
    gated: bool
    disabled: bool
    tags: frozenset[str]
    parameters: int | None
    license: str | None
    files: frozenset[str]


@dataclass(frozen=True)
class Malformed:
    """A row that is not what the Hub's interface promises: what it calls itself, and why."""

    repo_id: str
    reason: str


@dataclass(frozen=True)
class Answer:
    """What came for one question; ``complete`` is False where reading stopped before the end."""

    rows: tuple[Listed | Malformed, ...]
    complete: bool


def list_repositories(asked: Asked) -> Answer:
    """Ask the Hub, page after page.

    The client's own ``list_models`` ends at the first row that it cannot read; here such a row is
    Malformed and the others are kept.

    Raises:
        UsageError: HF_HUB_OFFLINE is set.
        HubError: the Hub refuses, or answers something else than a list.
        HubUnavailable: the Hub or the network is down, after the client's five retries.
    """
    if constants.is_offline_mode():
        raise UsageError(
            "HF_HUB_OFFLINE is set, and what the Hub has can only be asked online.",
            hint="Unset it; or name candidates yourself: --model, --registry.",
        )
    # Every attempt begins a list of its own, so that none has the rows of two. The client retries
    # each page, five times.
    try:
        raw = attempt(lambda: _read(asked), _WHAT, None, again=False)
    except HubError as error:
        if error.code != "not_found":
            raise
        raise HubError(
            "forbidden",
            f"{site()} must allow {_WHAT} to be read, and refuses it.",
            hint="Run `hf auth login`, or set HF_TOKEN.",
        ) from None
    rows = tuple(map(_listed, raw[:_MOST_ROWS]))
    return Answer(rows, complete=len(raw) <= _MOST_ROWS)


def read_config(listed: Listed) -> Path:
    """Download config.json of a repository, alone; returns where it is in the cache.

    Raises:
        HubError: as for the files of a candidate; HubUnavailable if trying again may help.
    """

    def download() -> str:
        return hf_hub_download(
            listed.repo_id,
            CONFIG,
            revision=listed.commit,
            endpoint=constants.ENDPOINT,
            library_name="selector",
        )

    return Path(attempt(download, listed.repo_id, listed.commit, CONFIG))


def _read(asked: Asked) -> list[Any]:
    """All rows of all pages, up to one more than are wanted."""
    params: dict[str, Any] = {
        "filter": list(asked.tags),
        "pipeline_tag": asked.pipeline_tag,
        "author": asked.author,
        "search": asked.search,
        "num_parameters": asked.parameters,
        "sort": _SORT_KEYS.get(asked.sort, asked.sort),
        "expand": list(_EXPAND),
    }
    if asked.gated is not None:
        params["gated"] = asked.gated
    url = f"{constants.ENDPOINT}/api/models"
    headers = build_hf_headers(library_name="selector")
    pages = paginate(url, {name: value for name, value in params.items() if value != ""}, headers)
    return list(islice(pages, _MOST_ROWS + 1))


def _word(text: str) -> str:
    return printable(text)[:_LONGEST_WORD]


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_Word = Annotated[str, AfterValidator(_word)]
_Count = Annotated[int, Field(ge=0)]
_Moment = Annotated[datetime, AfterValidator(_in_utc)]


class _Sibling(BaseModel):
    rfilename: str


class _Safetensors(BaseModel):
    total: Annotated[int, Field(gt=0)]


class _Card(BaseModel):
    license: _Word | list[_Word] | None = None
    license_name: _Word | None = None


class _Row(BaseModel):
    """What is used of a row; unknown fields are left alone."""

    id: Annotated[
        str, StringConstraints(pattern=re.compile(r"^(?!.*\.\.)[A-Za-z0-9][\w.-]*/[\w.-]+\Z"))
    ]
    sha: Annotated[str, StringConstraints(pattern=re.compile(r"^[0-9a-f]{40}\Z"))]
    downloads: _Count = 0
    likes: _Count = 0
    lastModified: _Moment | None = None  # noqa: N815 - the Hub's names
    createdAt: _Moment | None = None  # noqa: N815
    gated: bool | Literal["auto", "manual"] = False
    disabled: bool | None = False
    library_name: _Word | None = None
    pipeline_tag: _Word | None = None
    tags: list[_Word] = []
    safetensors: _Safetensors | None = None
    cardData: _Card | None = None  # noqa: N815
    siblings: list[_Sibling] | None = None


def _listed(raw: Any) -> Listed | Malformed:
    try:
        row = _Row.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        named = raw.get("id") if isinstance(raw, dict) else None
        reason = f"the Hub describes it wrongly: {field}: {first['msg']}".replace(": :", ":")
        return Malformed(_word(named) if isinstance(named, str) else "?", printable(reason))
    labels = {row.library_name, row.pipeline_tag}
    return Listed(
        repo_id=row.id,
        commit=row.sha,
        downloads=row.downloads,
        likes=row.likes,
        modified=row.lastModified,
        created=row.createdAt,
        gated=bool(row.gated),
        disabled=bool(row.disabled),
        tags=frozenset(row.tags) | {label for label in labels if label},
        parameters=row.safetensors.total if row.safetensors else None,
        license=_license(row.cardData or _Card(), row.tags),
        files=frozenset(sibling.rfilename for sibling in row.siblings or ()),
    )


def _license(card: _Card, tags: Sequence[str]) -> str | None:
    """As the card says, else as a tag says; what is ``other`` is named where it has a name."""
    given = card.license if isinstance(card.license, list) else [card.license or ""]
    tagged = [tag.removeprefix("license:") for tag in tags if tag.startswith("license:")]
    license = ", ".join(word for word in given if word) or ", ".join(tagged)
    if license == "other" and card.license_name:
        return f"other ({card.license_name})"
    return license or None
