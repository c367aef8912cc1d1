"""Bring files of a commit into the Hub cache, and check their content."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url

from selector.errors import CandidateError, HubError
from selector.hub.client import TIMM_FILES, attempt, counting_bar, missing
from selector.hub.failures import site
from selector.hub.lookup import COMMIT

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
    """Files of one commit of a Hub repository, verified, in the Hub cache."""

    repo_id: str
    commit: str
    directory: Path
    files: tuple[FileHash, ...]


@dataclass(frozen=True)
class Delivery:
    """How files are to come.

    Attributes:
        locked: the sha256 that files must have, by name, whatever the Hub says.
        on_bytes: called with the number of bytes that have arrived, from the fetching thread.
    """

    locked: Mapping[str, str] = field(default_factory=dict)
    on_bytes: Callable[[int], None] = lambda count: None


def fetch(
    repo_id: str, commit: str, names: Iterable[str] = TIMM_FILES, delivery: Delivery = Delivery()
) -> Snapshot:
    """Return files of a commit, downloaded if need be, and verified.

    Cached files cost no request. Where the cache has no symbolic links (Windows) it does not keep
    the promised hashes, and each file that is not locked costs one.
    """
    if not COMMIT.fullmatch(commit):
        raise ValueError(f"commit must be 40 hex digits as resolve() gives, found {commit!r}")
    found = [(name, *_fetch_file(repo_id, commit, name, delivery)) for name in names]
    name, path, _ = found[0]
    # A file may lie in a folder of the repository.
    directory = path.parents[len(Path(name).parts) - 1]
    return Snapshot(repo_id, commit, directory, tuple(file for _, _, file in found))


def hash_files(directory: Path, names: Iterable[str] = TIMM_FILES) -> tuple[FileHash, ...]:
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


def _fetch_file(repo_id: str, commit: str, name: str, delivery: Delivery) -> tuple[Path, FileHash]:
    """One file: as cached or downloaded, and once more if it is not what was promised."""
    path = _download(repo_id, commit, name, delivery)
    _remove_abandoned(path)
    promised = delivery.locked.get(name) or _promised(path, repo_id, commit, name)
    found = attempt(lambda: _verified(path, name, promised), repo_id, commit, name)
    if found is None:
        _log.warning("%s of %s is not what was promised: downloading again", name, repo_id)
        try:
            path = _download(repo_id, commit, name, delivery, again=True)
        except HubError as error:
            if error.code != "offline_not_cached":
                raise
        found = attempt(lambda: _verified(path, name, promised), repo_id, commit, name)
    if found is None:
        who = "the lock" if name in delivery.locked else site()
        raise HubError(
            "altered",
            f"{name} of {repo_id} must have the hash {promised} that {who} gives;"
            " the file in the cache has another.",
            hint=f"Delete {path} and try again online; if it stays so, a proxy, a mirror or the"
            " disk alters it.",
        )
    return path, found


def _download(
    repo_id: str, commit: str, name: str, delivery: Delivery, *, again: bool = False
) -> Path:
    def download() -> str:
        return hf_hub_download(
            repo_id,
            name,
            revision=commit,
            endpoint=constants.ENDPOINT,
            force_download=again,
            library_name="selector",
            tqdm_class=counting_bar(delivery.on_bytes),
        )

    return Path(attempt(download, repo_id, commit, name))


def _remove_abandoned(path: Path) -> None:
    """Delete unfinished downloads of a cached file, left by processes that were killed.

    The client begins each in a file of a new name, and never looks at it again. While it fetches
    a file it holds the file's lock, so whoever has that knows that nobody fetches it.
    """
    if not path.is_symlink():
        return
    blob = Path(os.path.normpath(path.parent / path.readlink()))
    left = list(blob.parent.glob(f"{blob.name}.*incomplete"))
    repository = blob.parents[1]
    lock = repository.parent / ".locks" / repository.name / f"{blob.name}.lock"
    # Another process may be fetching it, and in a cache that cannot be written they stay.
    for one in left:
        with suppress(OSError), lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            one.unlink()


def _promised(path: Path, repo_id: str, commit: str, name: str) -> str | None:
    """The hash that the Hub gave for a cached file: a sha256, or git's sha1 of a small file."""
    etag: str | None = None
    if path.is_symlink():
        # One step only: a blob can itself be a link into the store that all repositories share,
        # where names are Xet hashes, which look like a sha256 and are none.
        etag = path.readlink().name
    if (etag is None or not _HASH.fullmatch(etag)) and not constants.is_offline_mode():
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
