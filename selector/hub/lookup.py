"""What a name on the Hub means, and what fetching it would bring: no file's content is read."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, try_to_load_from_cache
from huggingface_hub.hf_api import RepoSibling

from selector.errors import HubError
from selector.hub.client import TIMM_FILES, attempt, failure, missing
from selector.hub.failures import MODEL, Kind, site

COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a commit, before it is fetched.

    Attributes:
        name: its path in the repository.
        size: bytes.
        sha256: of its content, as the Hub says; None for small files, of which it only knows
            git's hash.
        cached: whether it need not be fetched.
    """

    name: str
    size: int
    sha256: str | None
    cached: bool


def resolve(repo_id: str, revision: str | None) -> str:
    """Return the commit, 40 hex digits, that a branch or tag (None: the default branch) means.

    A commit is returned as it is, without a request. When the Hub is down or HF_HUB_OFFLINE is
    set, the commit that the name meant when last asked is taken from the cache.
    """
    if revision is not None and COMMIT.fullmatch(revision):
        return revision

    def ask() -> str:
        api = HfApi(library_name="selector")
        offline = constants.is_offline_mode()
        return api.resolve_revision(repo_id, revision=revision, local_files_only=offline).resolved

    return require_commit(attempt(ask, repo_id, revision), repo_id)


def require_commit(commit: str | None, repo_id: str, kind: Kind = MODEL) -> str:
    """The same commit, 40 hex digits: paths of the cache are made of it.

    Raises:
        HubError: the Hub or the cache says something else.
    """
    if commit is None or not COMMIT.fullmatch(commit):
        raise failure("unexpected", repo_id, kind, reason="it names no commit")
    return commit


def look_up(repo_id: str, commit: str, names: Sequence[str] = TIMM_FILES) -> tuple[RemoteFile, ...]:
    """Return what fetching files of a commit would bring; no request if all are in the cache.

    Raises:
        HubError: a file is not in the repository; its content is not looked at yet.
    """
    cached = {name: _cached(repo_id, commit, name) for name in names}
    if all(cached.values()) or constants.is_offline_mode():
        return tuple(
            RemoteFile(name, path.stat().st_size if path else 0, None, cached=path is not None)
            for name, path in cached.items()
        )
    return survey(repo_id, commit, names)[1]


def survey(
    repo_id: str, revision: str | None, names: Sequence[str] = TIMM_FILES
) -> tuple[str, tuple[RemoteFile, ...]]:
    """Return the commit that a revision means now, and files of it, in one request.

    Unlike :func:`resolve` it never answers from the cache, except when HF_HUB_OFFLINE is set.

    Raises:
        HubError: a file is not in the repository.
        HubUnavailable: the Hub is down.
    """
    if constants.is_offline_mode():
        commit = resolve(repo_id, revision)
        return commit, look_up(repo_id, commit, names)
    api = HfApi(library_name="selector")
    info = attempt(
        lambda: api.model_info(repo_id, revision=revision, files_metadata=True), repo_id, revision
    )
    commit = require_commit(info.sha, repo_id)
    there = {sibling.rfilename: sibling for sibling in info.siblings or ()}
    for name in names:
        if name not in there:
            raise missing(HubError, name, f"{site()}/{repo_id}", there)
    return commit, tuple(_remote(repo_id, commit, there[name]) for name in names)


def require_space(repo_id: str, count: int) -> None:
    """Raise a HubError if ``count`` bytes do not fit where the cache is."""
    folder = Path(constants.HF_HUB_CACHE)
    existing = next((f for f in (folder, *folder.parents) if f.is_dir()), folder)
    if existing.is_dir() and shutil.disk_usage(existing).free < count:
        raise failure("disk_full", repo_id, what=f"{count / 1e9:.2g} GB of {repo_id}")


def _cached(repo_id: str, commit: str, name: str) -> Path | None:
    path = try_to_load_from_cache(repo_id, name, cache_dir=constants.HF_HUB_CACHE, revision=commit)
    return Path(path) if isinstance(path, str) else None


def _remote(repo_id: str, commit: str, sibling: RepoSibling) -> RemoteFile:
    cached = _cached(repo_id, commit, sibling.rfilename) is not None
    sha256 = sibling.lfs.sha256 if sibling.lfs else None
    return RemoteFile(sibling.rfilename, sibling.size or 0, sha256, cached)
