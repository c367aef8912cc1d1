"""Speak to the Hugging Face Hub: which commit a name means, and its two files, verified.

The Hub client downloads and caches; this module adds what the client leaves out: a retry where it
has none, a time limit where it has none, a check of the content against the hash that the Hub
promised (the client checks the size only), and one coded error for each thing that can go wrong.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import (
    HfApi,
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    set_client_factory,
)
from huggingface_hub import errors as hf
from huggingface_hub.utils._http import hf_request_event_hook, parse_ratelimit_headers
from huggingface_hub.utils.tqdm import disable_progress_bars

from selector.errors import CandidateError, HubError, HubUnavailable

CONFIG, WEIGHTS = "config.json", "model.safetensors"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SECRET = re.compile(r"(https?://[^\s?]+\?|Bearer )\S+")

_WAITS = (1.0, 2.0, 4.0)
_LONGEST_WAIT = 300  # the Hub counts requests in windows of five minutes
_PATIENCE = 30.0  # a call that took this many seconds has been retried by the client itself
_TIMEOUT = 20.0
_sleep: Callable[[float], None] = time.sleep

_log = logging.getLogger(__name__)
_prepared = False
_preparing = threading.Lock()
_T = TypeVar("_T")


@dataclass(frozen=True)
class FileHash:
    """What a file holds: its size in bytes and the sha256 of its content, computed here."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Snapshot:
    """The two files of one commit of a Hub repository, verified, in the Hub cache."""

    repo_id: str
    commit: str
    directory: Path
    files: tuple[FileHash, ...]


def resolve(repo_id: str, revision: str | None) -> str:
    """Return the commit, 40 hex digits, that a branch or tag (None: the default branch) means.

    A commit is returned as it is, without a request. When the Hub is down or HF_HUB_OFFLINE is
    set, the commit that the name meant when last asked is taken from the cache.
    """
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision

    def ask() -> str:
        api = HfApi(library_name="selector")
        offline = constants.is_offline_mode()
        return api.resolve_revision(repo_id, revision=revision, local_files_only=offline).resolved

    return _attempt(ask, repo_id, revision)


def fetch(repo_id: str, commit: str) -> Snapshot:
    """Return config.json and model.safetensors of a commit, downloaded if need be, and verified.

    Cached files cost no request. Where the cache has no symbolic links (Windows) it does not keep
    the promised hashes, and each file costs one.
    """
    if not _COMMIT.fullmatch(commit):
        raise ValueError(f"commit must be 40 hex digits as resolve() gives, found {commit!r}")
    config_path, config = _fetch_file(repo_id, commit, CONFIG)
    _, weights = _fetch_file(repo_id, commit, WEIGHTS)
    return Snapshot(repo_id, commit, config_path.parent, (config, weights))


def hash_files(directory: Path, names: Iterable[str] = (CONFIG, WEIGHTS)) -> tuple[FileHash, ...]:
    """Return the hashes of files of a local folder.

    Raises:
        CandidateError: a file is missing (with the code that the Hub's files have) or unreadable.
    """
    hashes = []
    for name in names:
        try:
            hashes.append(_hash(directory / name, name))
        except (FileNotFoundError, NotADirectoryError):
            there = [path.name for path in directory.iterdir()] if directory.is_dir() else []
            raise _missing(CandidateError, name, str(directory), there) from None
        except OSError as error:
            message = f"{directory / name} must be a file that can be read: {error.strerror}."
            raise CandidateError("unreadable", message) from error
    return tuple(hashes)


def _fetch_file(repo_id: str, commit: str, name: str) -> tuple[Path, FileHash]:
    """One file: as cached or downloaded, and once more if it is not what the Hub promised."""
    path = _download(repo_id, commit, name)
    promised = _promised(path, repo_id, commit, name)
    found = _attempt(lambda: _verified(path, name, promised), repo_id, commit, name)
    if found is None:
        _log.warning("%s of %s is not what the Hub promised: downloading again", name, repo_id)
        try:
            path = _download(repo_id, commit, name, again=True)
        except HubError as error:
            if error.code != "offline_not_cached":
                raise
        found = _attempt(lambda: _verified(path, name, promised), repo_id, commit, name)
    if found is None:
        raise HubError(
            "altered",
            f"{name} of {repo_id} must have the hash {promised} that {_site()} gives;"
            " the file in the cache has another.",
            hint=f"Delete {path} and try again online; if it stays so, a proxy, a mirror or the"
            " disk alters it.",
        )
    return path, found


def _download(repo_id: str, commit: str, name: str, *, again: bool = False) -> Path:
    def download() -> str:
        return hf_hub_download(
            repo_id,
            name,
            revision=commit,
            endpoint=constants.ENDPOINT,
            force_download=again,
            library_name="selector",
        )

    return Path(_attempt(download, repo_id, commit, name))


def _promised(path: Path, repo_id: str, commit: str, name: str) -> str | None:
    """The hash that the Hub gave for a cached file: a sha256, or git's sha1 of a small file."""
    etag: str | None = None
    if path.is_symlink():
        # One step only: a blob can itself be a link into the store that all repositories share,
        # where names are Xet hashes, which look like a sha256 and are none.
        etag = path.readlink().name
    elif not constants.is_offline_mode():
        url = hf_hub_url(repo_id, name, revision=commit, endpoint=constants.ENDPOINT)
        etag = _attempt(lambda: get_hf_file_metadata(url).etag, repo_id, commit, name)
    if etag is not None and _HASH.fullmatch(etag):
        return etag
    _log.warning("%s of %s is not verified: the Hub's hash of it is not known", name, repo_id)
    return None


def _verified(path: Path, name: str, promised: str | None) -> FileHash | None:
    """The hash of a file; None if it is not what was promised."""
    found = _hash(path, name)
    if promised is None:
        return found
    if len(promised) == 64:
        return found if found.sha256 == promised else None
    blob = hashlib.sha1(b"blob %d\0" % found.size, usedforsecurity=False)
    with path.open("rb") as file:
        return found if hashlib.file_digest(file, lambda: blob).hexdigest() == promised else None


def _hash(path: Path, name: str) -> FileHash:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return FileHash(name, file.tell(), digest.hexdigest())


def _attempt(
    call: Callable[[], _T], repo_id: str, revision: str | None, name: str | None = None
) -> _T:
    """Call the client, again while that may help, and turn its failure into one of ours."""
    _prepare()
    waits = iter(_WAITS)
    while True:
        began = time.monotonic()
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - what the client raises has no common base
            # The client retries some requests itself, for long; others not at all.
            given_up = isinstance(error, hf.LocalEntryNotFoundError)
            given_up |= time.monotonic() - began > _PATIENCE
            cause = _cause(error)
        code = _code(cause)
        asked, wait = _asked_wait(cause), next(waits, None)
        if code != "hub_unavailable" or given_up or wait is None or asked > _LONGEST_WAIT:
            break
        _sleep(max(wait, asked))
    # Outside the handler, so that the cause is not chained: the client's texts hold signed URLs
    # and, where a token is malformed, the token.
    if code == "no_file" and name and revision:
        raise _missing(HubError, name, f"{_site()}/{repo_id}", _listing(repo_id, revision))
    code = "unexpected" if code == "no_file" else code
    message, hint = (
        text.format(
            what=f"{name} of {repo_id}" if name else repo_id,
            repo=repo_id,
            revision=revision or "its default branch",
            site=_site(),
            cache=constants.HF_HUB_CACHE,
            reason=_reason(cause),
        )
        for text in _MESSAGES[code]
    )
    raise (HubUnavailable if code == "hub_unavailable" else HubError)(code, message, hint=hint)


def _cause(error: Exception) -> Exception:
    """What happened, where the client only says that a file is not in the cache."""
    wrappers = (hf.LocalEntryNotFoundError, hf.RevisionResolutionError, ValueError)
    while isinstance(error, wrappers) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _asked_wait(error: Exception) -> int:
    """The seconds that the Hub asks to wait; 0 if it does not."""
    if not isinstance(error, hf.HfHubHTTPError):
        return 0
    limit = parse_ratelimit_headers(error.response.headers)
    if error.response.status_code == 429 and limit is not None and limit.remaining == 0:
        return limit.reset_in_seconds
    asked = error.response.headers.get("Retry-After", "")
    return int(asked) if re.fullmatch("[0-9]{1,9}", asked) else 0


def _code(error: Exception) -> str:
    """Which of _MESSAGES tells of a failure of the client; special cases come first."""
    match error:
        case hf.OfflineModeIsEnabled() | hf.RevisionResolutionError():
            return "offline_not_cached"
        case hf.GatedRepoError():
            return "gated"
        case hf.RepositoryNotFoundError() | hf.HFValidationError():
            return "not_found"
        case hf.RevisionNotFoundError():
            return "revision_not_found"
        case hf.RemoteEntryNotFoundError():
            return "no_file"
        case hf.HfHubHTTPError():
            return _code_of_status(error.response)
        case httpx2.LocalProtocolError() | UnicodeEncodeError() | hf.OIDCError():
            return "bad_token"
        case httpx2.UnsupportedProtocol() | hf.FileMetadataError():
            return "unexpected"
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return "disk_full"
        case httpx2.RequestError() | ConnectionError() | TimeoutError() | OSError(errno=None):
            return "hub_unavailable"
        case OSError():
            return "cache_unusable"
        case _:
            return "hub_unavailable" if _of_xet(error) else "unexpected"


def _code_of_status(response: httpx2.Response) -> str:
    status = response.status_code
    if status == 401:
        return "bad_token" if "Authorization" in response.request.headers else "not_found"
    if status == 403 and _origin(str(response.url)) == _site():
        return "forbidden"
    # 403 from elsewhere: a signed link to the storage, which expires; the next try gets a new one.
    return "hub_unavailable" if status in (403, 408, 429) or status >= 500 else "unexpected"


def _reason(error: Exception) -> str:
    """A failure in a few words, none of them a text of the client that could hold a secret."""
    match error:
        case hf.HfHubHTTPError():
            wait = _asked_wait(error)
            asks = f" and asks to wait {wait} seconds" if wait else ""
            return f"{error.response.url.host} answers {error.response.status_code}{asks}"
        case httpx2.ConnectError() if "CERTIFICATE" in str(error):
            return "the certificate of the other side is not trusted here"
        case OSError(errno=None) if str(error).startswith("Consistency check failed"):
            return "fewer bytes came than were promised"
        case OSError(strerror=str(words)):
            return words
        case _ if _of_xet(error):
            return "the Xet storage failed, which HF_HUB_DISABLE_XET=1 avoids"
        case _:
            return type(error).__name__


def _of_xet(error: Exception) -> bool:
    return type(error).__name__.startswith("Xet")


def _site() -> str:
    return _origin(constants.ENDPOINT)


def _origin(url: str) -> str:
    """Scheme, host and port of an address, without the password that a mirror's may hold."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _listing(repo_id: str, commit: str) -> list[str]:
    try:
        return HfApi(library_name="selector").list_repo_files(repo_id, revision=commit)
    except Exception:  # noqa: BLE001 - it only makes a message clearer
        return []


def _missing(
    kind: type[CandidateError], name: str, place: str, there: Iterable[str]
) -> CandidateError:
    """The error that a place lacks one of the two files."""
    shown = ["".join(c if c.isprintable() else "?" for c in file) for file in sorted(there)]
    listed = ", ".join(shown[:12]) + (", ..." if len(shown) > 12 else "") or "nothing to be seen"
    code, hint = _NO_CONFIG if name == CONFIG else _NO_SAFETENSORS
    return kind(code, f"{place} must hold {name}; it holds {listed}.", hint=hint)


def _prepare() -> None:
    """Set up the Hub client, once in a process, before its first request."""
    global _prepared
    with _preparing:
        if _prepared:
            return
        set_client_factory(
            lambda: httpx2.Client(
                event_hooks={"request": [hf_request_event_hook, _limit_time]},
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


def _without_secrets(record: logging.LogRecord) -> bool:
    record.msg, record.args = _SECRET.sub(r"\1...", record.getMessage()), ()
    return True


_LOG_IN = "run `hf auth login` or set HF_TOKEN"

_NO_CONFIG = "no_config", "The layout must be timm's: config.json and model.safetensors."
_NO_SAFETENSORS = (
    "no_safetensors",
    "Pickle formats (.bin, .pth, .ckpt) are not loaded, since loading one can run any code:"
    " convert the weights to safetensors and name the folder as local-dir:PATH.",
)

_MESSAGES = {  # code: what was required and found, the way out
    "not_found": (
        "{site} has no repository {repo}, or it is private: both look the same from outside.",
        f"Check the name; for a private one {_LOG_IN}.",
    ),
    "revision_not_found": (
        "{repo} has no branch, tag or commit {revision}.",
        "See {site}/{repo}/commits/main.",
    ),
    "gated": (
        "{repo} is gated: its publisher gives access on request, and you have none.",
        f"Ask for access at {{site}}/{{repo}}, then {_LOG_IN}.",
    ),
    "bad_token": (
        "The token must be valid: {site} refuses it, and so even public repositories like {repo}.",
        "Correct or unset HF_TOKEN, or run `hf auth login` (`hf auth logout` to use none).",
    ),
    "forbidden": (
        "{site} must allow access to {what}, and forbids it (403).",
        "If the token is fine-grained, let it read gated public repositories; without a token,"
        " a firewall may forbid it.",
    ),
    "disk_full": (
        "{what} must be stored in {cache}, and there is no space left.",
        "Free some, for example with `hf cache prune`, or set HF_HUB_CACHE to another disk.",
    ),
    "cache_unusable": (
        "{what} must be stored in {cache}: {reason}.",
        "Make that folder usable, or set HF_HUB_CACHE to another.",
    ),
    "offline_not_cached": (
        "HF_HUB_OFFLINE is set, so {what} ({revision}) must be in the cache {cache}; it is not.",
        "Unset HF_HUB_OFFLINE once to download it, or set HF_HUB_CACHE to where it is.",
    ),
    "hub_unavailable": (
        "{what} could not be had from {site}: {reason}.",
        "Check the network and https://status.huggingface.co, then run the same command again;"
        " a token (`hf auth login`) allows more requests.",
    ),
    "unexpected": (
        "{site} must answer as a Hub does; asked for {what} it did not: {reason}.",
        "Check HF_ENDPOINT, and whether a proxy or a login page stands in between.",
    ),
}
