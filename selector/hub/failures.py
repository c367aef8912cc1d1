"""What can go wrong between here and the Hub: one stable code and one message each."""

from __future__ import annotations

import errno
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import constants
from huggingface_hub import errors as hf
from huggingface_hub.utils._http import parse_ratelimit_headers


@dataclass(frozen=True)
class Kind:
    """What a repository holds.

    Attributes:
        noun: what messages call one.
        folder: what its address and its name at the Hub client begin with.
        cache: the variable that says where the client keeps them.
    """

    noun: str
    folder: str
    cache: str


MODEL = Kind("repository", "", "HF_HUB_CACHE")
DATASET = Kind("dataset", "datasets/", "HF_HOME")


def root_cause(error: Exception) -> Exception:
    """What happened, where the client only says that a file is not in the cache."""
    wrappers = (hf.LocalEntryNotFoundError, hf.RevisionResolutionError, ValueError)
    while isinstance(error, wrappers) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def asked_wait(error: Exception) -> int:
    """The seconds that the Hub asks to wait; 0 if it does not."""
    if not isinstance(error, hf.HfHubHTTPError):
        return 0
    limit = parse_ratelimit_headers(error.response.headers)
    if error.response.status_code == 429 and limit is not None and limit.remaining == 0:
        return limit.reset_in_seconds
    asked = error.response.headers.get("Retry-After", "")
    return int(asked) if re.fullmatch("[0-9]{1,9}", asked) else 0


def code_of(error: Exception) -> str:
    """Which of MESSAGES tells of a failure of the client; special cases come first."""
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
    if status == 403 and _origin(str(response.url)) == site():
        return "forbidden"
    # 403 from elsewhere: a signed link to the storage, which expires; the next try gets a new one.
    return "hub_unavailable" if status in (403, 408, 429) or status >= 500 else "unexpected"


def reason_of(error: Exception) -> str:
    """A failure in a few words, none of them a text of the client that could hold a secret."""
    match error:
        case hf.HfHubHTTPError():
            wait = asked_wait(error)
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


def site() -> str:
    """The Hub's address, or that of the mirror in use."""
    return _origin(constants.ENDPOINT)


def _origin(url: str) -> str:
    """Scheme, host and port of an address, without the password that a mirror's may hold."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


_LOG_IN = "run `hf auth login` or set HF_TOKEN"

MESSAGES = {  # code: what was required and found, the way out
    "not_found": (
        "{site} has no {noun} {repo}, or it is private: both look the same from outside.",
        f"Check the name; for a private one {_LOG_IN}.",
    ),
    "revision_not_found": (
        "{repo} has no branch, tag or commit {revision}.",
        "See {page}/commits/main.",
    ),
    "gated": (
        "{repo} is gated: its publisher gives access on request, and you have none.",
        f"Ask for access at {{page}}, then {_LOG_IN}.",
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
        "Free some, for example with `hf cache prune`, or set {variable} to another disk.",
    ),
    "cache_unusable": (
        "{what} must be stored in {cache}: {reason}.",
        "Make that folder usable, or set {variable} to another.",
    ),
    "offline_not_cached": (
        "HF_HUB_OFFLINE is set, so {what} ({revision}) must be in the cache {cache}; it is not.",
        "Unset HF_HUB_OFFLINE once to download it, or set {variable} to where it is.",
    ),
    "hub_unavailable": (
        "{what} could not be had from {site}: {reason}.",
        "Check the network and https://status.huggingface.co, then run the same command again;"
        " a token (`hf auth login`) allows more requests.",
    ),
    "offline_push": (
        "HF_HUB_OFFLINE is set, and a pull request to {repo} needs the Hub.",
        "Unset HF_HUB_OFFLINE.",
    ),
    "no_token": (
        "A pull request to {repo} needs a token, found none.",
        "Run `hf auth login` or set HF_TOKEN; its owner is who opens the pull request.",
    ),
    "push_forbidden": (
        "{site} must let the token open pull requests to {repo}, and forbids it (403).",
        "A fine-grained token needs the right to open discussions and pull requests there, others"
        " the role write; a publisher may also have closed {page}/discussions.",
    ),
    "push_refused": (
        "{site} must accept the change of {what} in {repo}, and does not: {reason}.",
        "Nothing was changed; correct {page}, or paste what `selector card` prints by hand.",
    ),
    "unexpected": (
        "{site} must answer as a Hub does; asked for {what} it did not: {reason}.",
        "Check HF_ENDPOINT, and whether a proxy or a login page stands in between.",
    ),
}
