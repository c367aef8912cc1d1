"""Call the Hub client safely: time limits, retries in one place, coded errors, no secrets."""

from __future__ import annotations

import errno
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import httpx2
from huggingface_hub import HfApi, constants, set_client_factory
from huggingface_hub import errors as hf
from huggingface_hub.utils._http import hf_request_event_hook
from huggingface_hub.utils.tqdm import disable_progress_bars, tqdm

from selector.errors import CandidateError, HubError, HubUnavailable
from selector.hub.failures import (
    MESSAGES,
    MODEL,
    Kind,
    asked_wait,
    code_of,
    reason_of,
    root_cause,
    site,
)

CONFIG, WEIGHTS = TIMM_FILES = ("config.json", "model.safetensors")
# The password of an address, what a signed one is signed with, and the token.
_SECRET = re.compile(r"(?<=://)[^\s/@]+(?=@)|(?<=\?)\S+|(?<=Bearer )\S+")
_ETAG = re.compile(r'(W/)?"?(?!\.\.?"?\Z)[^/\\:\0"]+"?')

_WAITS = (1.0, 2.0, 4.0)
_LONGEST_WAIT = 300  # the Hub counts requests in windows of five minutes
_PATIENCE = 30.0  # a call that took this many seconds has been retried by the client itself
_TIMEOUT = 20.0
_sleep: Callable[[float], None] = time.sleep

_prepared = False
_preparing = threading.Lock()
_T = TypeVar("_T")

_NO_CONFIG = "no_config", "The layout must be timm's: config.json and model.safetensors."
_NO_SAFETENSORS = (
    "no_safetensors",
    "Weights of another name or format need a registry entry with checkpoint:, which says how to"
    " load them; see `selector schema registry`.",
)
_NO_FILE = "no_file", "Correct checkpoint.file in the registry, or the revision."


def attempt(
    call: Callable[[], _T],
    repo_id: str,
    revision: str | None,
    name: str | None = None,
    *,
    again: bool = True,
    kind: Kind = MODEL,
) -> _T:
    """Call the client, again while that may help, and turn its failure into one of ours.

    ``again=False`` is for a call that the client retries itself, whatever goes wrong.
    """
    _prepare()
    waits = iter(_WAITS if again else ())
    while True:
        began = time.monotonic()
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - what the client raises has no common base
            # The client retries some requests itself, for long; others not at all.
            given_up = isinstance(error, hf.LocalEntryNotFoundError)
            given_up |= time.monotonic() - began > _PATIENCE
            cause = root_cause(error)
        code = code_of(cause)
        asked, wait = asked_wait(cause), next(waits, None)
        if code != "hub_unavailable" or given_up or wait is None or asked > _LONGEST_WAIT:
            break
        _sleep(max(wait, asked))
    # Outside the handler, so that the cause is not chained: the client's texts hold signed URLs
    # and, where a token is malformed, the token.
    if code == "no_file" and name and revision:
        raise missing(HubError, name, f"{site()}/{repo_id}", _listing(repo_id, revision))
    code = "unexpected" if code == "no_file" else code
    what = f"{name} of {repo_id}" if name else repo_id
    raise failure(code, repo_id, kind, revision=revision, what=what, reason=reason_of(cause))


def failure(
    code: str,
    repo_id: str,
    kind: Kind = MODEL,
    *,
    revision: str | None = None,
    what: str = "",
    reason: str = "",
) -> HubError:
    """The error with the message and the way out that belong to a code."""
    message, hint = (
        text.format(
            what=what or repo_id,
            repo=repo_id,
            revision=revision or "its default branch",
            site=site(),
            page=f"{site()}/{kind.folder}{repo_id}",
            noun=kind.noun,
            variable=kind.cache,
            cache=getattr(constants, kind.cache),
            reason=reason,
        )
        for text in MESSAGES[code]
    )
    return (HubUnavailable if code == "hub_unavailable" else HubError)(code, message, hint=hint)


def missing(
    kind: type[CandidateError], name: str, place: str, there: Iterable[str]
) -> CandidateError:
    """The error that a place lacks a file that loading needs."""
    shown = ["".join(c if c.isprintable() else "?" for c in file) for file in sorted(there)]
    listed = ", ".join(shown[:12]) + (", ..." if len(shown) > 12 else "") or "nothing to be seen"
    known = {CONFIG: _NO_CONFIG, WEIGHTS: _NO_SAFETENSORS}
    code, hint = known.get(name, _NO_FILE)
    return kind(code, f"{place} must hold {name}; it holds {listed}.", hint=hint)


def counting_bar(on_bytes: Callable[[int], None]) -> type[tqdm]:
    """A progress bar for the client that shows nothing and tells the bytes to ``on_bytes``."""

    class Counting(tqdm):
        # Else tqdm starts a thread for each class that it is given, and none of them ends.
        monitor_interval = 0

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **(kwargs | {"disable": True}))  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> None:
            on_bytes(int(n or 0))

    return Counting


def _listing(repo_id: str, commit: str) -> list[str]:
    try:
        return HfApi(library_name="selector").list_repo_files(repo_id, revision=commit)
    except Exception:  # noqa: BLE001 - it only makes a message clearer
        return []


def _prepare() -> None:
    """Set up the Hub client, once in a process, before its first request."""
    global _prepared
    with _preparing:
        if _prepared:
            return
        set_client_factory(
            lambda: httpx2.Client(
                event_hooks={
                    "request": [hf_request_event_hook, _limit_time, _keep_token],
                    "response": [_refuse_paths],
                },
                follow_redirects=True,
                timeout=None,
            )
        )
        if constants.HF_HUB_DISABLE_PROGRESS_BARS is not False:
            disable_progress_bars()
        # They write whole addresses, and that of the storage is signed: whoever has it may read.
        logging.getLogger("httpx2").setLevel(logging.WARNING)
        for writer in ("file_download", "hf_api", "utils._http"):
            logging.getLogger(f"huggingface_hub.{writer}").addFilter(_without_secrets)
        _prepared = True


def _limit_time(request: httpx2.Request) -> None:
    """Give a request the time limits it lacks: the client waits for ever, or for minutes."""
    longest = max(_TIMEOUT, constants.HF_HUB_ETAG_TIMEOUT, constants.HF_HUB_DOWNLOAD_TIMEOUT)
    limits = request.extensions["timeout"]
    request.extensions["timeout"] = {
        kind: longest if limit is None else min(limit, longest) for kind, limit in limits.items()
    }


def _keep_token(request: httpx2.Request) -> None:
    """Send the token to the Hub alone, whatever address a page of a list gives as the next."""
    hub, asked = httpx2.URL(constants.ENDPOINT), request.url
    if (asked.scheme, asked.host, asked.port) != (hub.scheme, hub.host, hub.port):
        request.headers.pop("Authorization", None)


def _refuse_paths(response: httpx2.Response) -> None:
    """Refuse an ETag that is a path: the client names files of the cache after it."""
    if response.request.method != "HEAD":
        return
    for name in ("ETag", "X-Linked-Etag"):
        if not _ETAG.fullmatch(response.headers.get(name, "none")):
            raise hf.FileMetadataError(errno.EINVAL, f"its {name} is no name of a file")


def _without_secrets(record: logging.LogRecord) -> bool:
    record.msg, record.args = _SECRET.sub("...", record.getMessage()), ()
    return True
