"""Speak to the Hugging Face Hub: which commit a name means, and its two files, verified.

The Hub client downloads and caches; this module adds what the client leaves out: a retry where it
has none, a time limit where it has none, a check of the content against the hash that the Hub
promised (the client checks the size only), and one coded error for each thing that can go wrong.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_download, hf_hub_url

from selector.errors import CandidateError, HubError
from selector.hub.client import CONFIG, WEIGHTS, attempt, missing
from selector.hub.failures import site

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_log = logging.getLogger(__name__)


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

    return attempt(ask, repo_id, revision)


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
            raise missing(CandidateError, name, str(directory), there) from None
        except OSError as error:
            message = f"{directory / name} must be a file that can be read: {error.strerror}."
            raise CandidateError("unreadable", message) from error
    return tuple(hashes)


def _fetch_file(repo_id: str, commit: str, name: str) -> tuple[Path, FileHash]:
    """One file: as cached or downloaded, and once more if it is not what the Hub promised."""
    path = _download(repo_id, commit, name)
    promised = _promised(path, repo_id, commit, name)
    found = attempt(lambda: _verified(path, name, promised), repo_id, commit, name)
    if found is None:
        _log.warning("%s of %s is not what the Hub promised: downloading again", name, repo_id)
        try:
            path = _download(repo_id, commit, name, again=True)
        except HubError as error:
            if error.code != "offline_not_cached":
                raise
        found = attempt(lambda: _verified(path, name, promised), repo_id, commit, name)
    if found is None:
        raise HubError(
            "altered",
            f"{name} of {repo_id} must have the hash {promised} that {site()} gives;"
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

    return Path(attempt(download, repo_id, commit, name))


def _promised(path: Path, repo_id: str, commit: str, name: str) -> str | None:
    """The hash that the Hub gave for a cached file: a sha256, or git's sha1 of a small file."""
    etag: str | None = None
    if path.is_symlink():
        # One step only: a blob can itself be a link into the store that all repositories share,
        # where names are Xet hashes, which look like a sha256 and are none.
        etag = path.readlink().name
    elif not constants.is_offline_mode():
        url = hf_hub_url(repo_id, name, revision=commit, endpoint=constants.ENDPOINT)
        etag = attempt(lambda: get_hf_file_metadata(url).etag, repo_id, commit, name)
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
