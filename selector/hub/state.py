"""How this machine stands with the Hub: whether it answers, who asks, what the cache holds."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import HfApi, constants, get_session, get_token, scan_cache_dir
from huggingface_hub.utils._headers import build_hf_headers
from huggingface_hub.utils._http import hf_raise_for_status

from selector.errors import HubError, printable
from selector.hub.client import attempt
from selector.hub.failures import site


@dataclass(frozen=True)
class Connection:
    """Whether the Hub answers.

    Attributes:
        state: ``bad_token`` where it refuses a token, and with it every request; ``offline``
            where HF_HUB_OFFLINE forbids to ask.
        site: its address.
        identity: the name that the token stands for; None without a token.
        reason: what went wrong, in a sentence; empty where nothing did.
    """

    state: Literal["reachable", "bad_token", "unavailable", "offline"]
    site: str
    identity: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class CacheState:
    """What the Hub cache holds; sizes in bytes.

    Attributes:
        directory: where it is, or would be.
        size: of all files.
        repositories: how many.
        incomplete: size of the downloads that were interrupted, or are under way.
        damaged: how many repositories are not as the client left them.
    """

    directory: Path
    size: int = 0
    repositories: int = 0
    incomplete: int = 0
    damaged: int = 0


def connection(seconds: float) -> Connection:
    """Ask the Hub who we are; it must answer within so many seconds.

    Nothing is retried, and the token itself is in no answer.
    """
    if constants.is_offline_mode():
        return Connection("offline", site())
    answers: list[Connection] = []
    # A name that cannot be resolved takes as long as the system likes, whatever limit is set.
    asking = threading.Thread(target=lambda: answers.append(_ask()), daemon=True)
    asking.start()
    asking.join(seconds)
    if answers:
        return answers[0]
    reason = f"{site()} does not answer within {seconds:g} seconds."
    return Connection("unavailable", site(), reason=reason)


def cache_state() -> CacheState:
    """Scan the Hub cache; what is no folder, or not yet, holds nothing."""
    directory = Path(constants.HF_HUB_CACHE)
    if not directory.is_dir():
        return CacheState(directory)
    info = scan_cache_dir(directory)
    return CacheState(
        directory=directory,
        size=info.size_on_disk,
        repositories=len(info.repos),
        incomplete=info.incomplete_size_on_disk,
        damaged=len(info.warnings),
    )


def _ask() -> Connection:
    try:
        identity = attempt(_identity, "its list of models", None, again=False)
    except HubError as error:
        refused = error.code == "bad_token"
        return Connection(
            "bad_token" if refused else "unavailable", site(), reason=printable(error.message)
        )
    return Connection("reachable", site(), identity=identity)


def _identity() -> str | None:
    """The name of who asks; without a token something that anyone may ask."""
    token = get_token()
    if token is not None:
        return printable(str(HfApi(library_name="selector").whoami(token)["name"]))
    headers = build_hf_headers(library_name="selector")
    url = f"{constants.ENDPOINT}/api/models"
    response = get_session().get(url, params={"limit": 1}, headers=headers)
    hf_raise_for_status(response)
    if not isinstance(response.json(), list):
        raise TypeError
    return None
