"""Propose a change to one file of a repository: a pull request, never a change of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token, hf_hub_download
from huggingface_hub import errors as hf

from selector.errors import HubError, HubUnavailable, printable, shorten
from selector.hub.client import attempt, failure
from selector.hub.failures import site
from selector.hub.lookup import require_commit


@dataclass(frozen=True)
class Proposal:
    """A pull request to be opened.

    Attributes:
        path: of the file in the repository.
        edit: its text now, None where there is no such file, to what it shall be.
        title: of the pull request.
        description: of it.
    """

    path: str
    edit: Callable[[str | None], str]
    title: str
    description: str


@dataclass(frozen=True)
class _Refused:
    """What the Hub says against the content of a commit."""

    reason: str


def propose(repo_id: str, proposal: Proposal) -> str | None:
    """Open a pull request with one commit, and return its address.

    The file is read, and the pull request begins, at the newest commit of the default branch. None
    means that nothing was sent, as the file is already as it shall be. The token is that of the Hub
    login or of HF_TOKEN.

    Raises:
        HubError: there is no token or it may not, no such repository, or the Hub refuses.
        HubUnavailable: the Hub is down.
        UsageError: of ``edit``.
    """
    if constants.is_offline_mode():
        raise failure("offline_push", repo_id)
    if get_token() is None:
        raise failure("no_token", repo_id)
    api = HfApi(library_name="selector", endpoint=constants.ENDPOINT)
    info = attempt(lambda: api.model_info(repo_id), repo_id, None)
    commit = require_commit(info.sha, repo_id)
    there = {sibling.rfilename for sibling in info.siblings or ()}
    before = _read(repo_id, commit, proposal.path) if proposal.path in there else None
    after = proposal.edit(before)
    if after == before:
        return None
    return _send(api, repo_id, commit, proposal, after)


def _read(repo_id: str, commit: str, path: str) -> str:
    found = attempt(
        lambda: hf_hub_download(
            repo_id, path, revision=commit, endpoint=constants.ENDPOINT, library_name="selector"
        ),
        repo_id,
        commit,
        path,
    )
    try:
        # With its line ends as they are, so that the change shows what is changed and no more.
        return Path(found).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise HubError(
            "not_text",
            f"{path} of {repo_id} must be text in UTF-8; it is not.",
            hint="Correct that file first.",
        ) from None


def _send(api: HfApi, repo_id: str, commit: str, proposal: Proposal, text: str) -> str:
    def send() -> str | _Refused:
        try:
            done = api.create_commit(
                repo_id,
                [CommitOperationAdd(proposal.path, text.encode())],
                commit_message=proposal.title,
                commit_description=proposal.description,
                parent_commit=commit,
                create_pr=True,
            )
        except json.JSONDecodeError as error:
            # The client reads what the validation of a card answers before it looks at the status.
            raise ConnectionError("no answer of a Hub") from error
        except (ValueError, hf.BadRequestError) as error:
            if isinstance(error, hf.HfHubHTTPError) or error.__cause__ is not None:
                return _Refused(_said(error))
            raise
        return str(done.pr_url)

    try:
        # Once: a second try may open a second pull request.
        answer = attempt(send, repo_id, None, again=False)
    except HubUnavailable as error:
        raise HubUnavailable(
            error.code,
            error.message,
            hint=f"Look whether {site()}/{repo_id}/discussions has the pull request before you run"
            " the same command again.",
        ) from None
    except HubError as error:
        if error.code == "forbidden":
            raise failure("push_forbidden", repo_id) from None
        raise
    if isinstance(answer, _Refused):
        raise failure("push_refused", repo_id, what=proposal.path, reason=answer.reason)
    return printable(answer)


def _said(error: Exception) -> str:
    """The Hub's own words on what is wrong with a file."""
    message = getattr(error, "server_message", None) or str(error)
    return shorten(" ".join(str(message).split())).rstrip(".")
