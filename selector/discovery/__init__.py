"""Which backbones on the Hub could be candidates, and why the others could not."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from selector.architectures import measurable
from selector.candidates import CONFIG_FILE, HUB_PREFIX, Candidate
from selector.discovery.query import IN_WORDS, LIBRARY, Query, in_order, mismatch, questions
from selector.errors import CandidateError, HubUnavailable, printable
from selector.hub.listing import Listed, Malformed, list_repositories, read_config

_LONGEST = 240  # characters of a reason

TIERS = {"tiny": 8_000_000, "small": 40_000_000, "base": 120_000_000}
"""Size tags, and the parameters that each stays below; what is above is large."""


@dataclass(frozen=True)
class Found:
    """A repository whose files can be loaded and measured, as far as can be known without them."""

    listed: Listed
    architecture: str


@dataclass(frozen=True)
class Excluded:
    """A repository that is left out: a stable word for scripts, and the reason for people."""

    repo_id: str
    code: str
    reason: str


@dataclass(frozen=True)
class Discovery:
    """What a query found.

    Attributes:
        query: the question.
        asked: when, in UTC.
        found: in the order asked for, no more than the limit.
        excluded: what came from the Hub and is left out.
        not_examined: how many more match the query, and were not looked at for the limit's sake.
        complete: False where the Hub's list was too long to be read to its end.
    """

    query: Query
    asked: datetime
    found: tuple[Found, ...]
    excluded: tuple[Excluded, ...]
    not_examined: int
    complete: bool

    def reasons(self) -> dict[str, int]:
        """How many are left out for each reason, in words, the most frequent first."""
        counts = Counter(excluded.code for excluded in self.excluded)
        return {IN_WORDS.get(code, code): count for code, count in counts.most_common()}


def discover(
    query: Query, on_examined: Callable[[Listed], None] = lambda listed: None
) -> Discovery:
    """Ask the Hub, filter again what it filtered, and examine the rest until the limit is reached.

    Args:
        query: what to look for.
        on_examined: called before each repository is examined, for progress displays.

    Raises:
        UsageError: HF_HUB_OFFLINE is set.
        HubError: the Hub refuses to answer; HubUnavailable where trying again may help.
    """
    asked = datetime.now(UTC).replace(microsecond=0)
    answers = [list_repositories(question) for question in questions(query)]
    rows = [row for answer in answers for row in answer.rows]
    excluded = [
        Excluded(row.repo_id, "malformed", row.reason) for row in rows if isinstance(row, Malformed)
    ]
    distinct = {row.repo_id: row for row in rows if isinstance(row, Listed)}
    matching: list[Listed] = []
    for row in distinct.values():
        code = mismatch(query, row)
        if code is None:
            matching.append(row)
        else:
            excluded.append(Excluded(row.repo_id, code, f"{IN_WORDS[code]}."))
    found: list[Found] = []
    waiting = deque(in_order(matching, query.sort))
    while waiting and len(found) < query.limit:
        row = waiting.popleft()
        on_examined(row)
        try:
            found.append(Found(row, _examine(row)))
        except HubUnavailable:
            raise
        except CandidateError as error:
            excluded.append(Excluded(row.repo_id, error.code, printable(error.message)[:_LONGEST]))
    return Discovery(
        query=query,
        asked=asked,
        found=tuple(found),
        excluded=tuple(excluded),
        not_examined=len(waiting),
        complete=all(answer.complete for answer in answers),
    )


def entries(found: Iterable[Found]) -> tuple[Candidate, ...]:
    """Registry entries: what the Hub says, and a size tag; nothing about the pretraining."""
    return tuple(
        Candidate(
            model=HUB_PREFIX + each.listed.repo_id,
            parameters=each.listed.parameters,
            license=each.listed.license,
            tags=(*size_tags(each.listed.parameters), "discovered"),
        )
        for each in found
    )


def size_tags(parameters: int | None) -> tuple[str, ...]:
    """The size tag of so many parameters, if the number is known.

    >>> size_tags(25_557_032)
    ('small',)
    """
    if parameters is None:
        return ()
    return (next((tag for tag, below in TIERS.items() if parameters < below), "large"),)


def _examine(row: Listed) -> str:
    """The architecture of a repository, which must be one that can be measured."""
    owner, _, name = row.repo_id.partition("/")
    # timm's own repositories are called ARCHITECTURE.TAG.
    architecture = name.partition(".")[0] if owner == LIBRARY else _configured(row)
    error = measurable(architecture)
    if error is not None:
        raise error.with_traceback(None)  # it is kept, and may be raised again
    return architecture


def _configured(row: Listed) -> str:
    """The architecture that config.json names."""
    try:
        config: dict[str, Any] = json.loads(read_config(row).read_bytes())
        architecture, arguments = config["architecture"], config.get("model_args") or {}
        # An older form has the fields of pretrained_cfg at the top.
        input_size = config.get("pretrained_cfg", config).get("input_size") or (3,)
        channels = arguments.get("in_chans", input_size[0])
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        architecture = channels = None
    if not isinstance(architecture, str):
        raise CandidateError(
            "bad_config",
            f'{CONFIG_FILE} must be a JSON object with "architecture", as timm writes it.',
        )
    if channels != 3:
        raise CandidateError(
            "bad_preprocessing", f"the network must take 3 channels, found {channels!r}."
        )
    return architecture
