"""Datasets of the Hub: which commit a name means, and its tables, of that commit and no other."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import datasets
import httpx2
from datasets.packaged_modules.cache.cache import Cache
from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub import errors as hf

from selector.errors import HubError, printable
from selector.hub.client import attempt
from selector.hub.failures import DATASET, site
from selector.hub.lookup import COMMIT, require_commit

_OF_THE_HUB = (
    httpx2.HTTPError,
    hf.LocalEntryNotFoundError,
    hf.OfflineModeIsEnabled,
    hf.HFValidationError,
    hf.OIDCError,
    UnicodeEncodeError,
)
_NOT_A_DATASET = (datasets.exceptions.DatasetsError, FileNotFoundError, ValueError, RuntimeError)


def resolve_dataset(repo_id: str, revision: str | None) -> str:
    """Return the commit, 40 hex digits, that a branch or tag (None: the default branch) means.

    As with models, the commit that was last seen is taken when the Hub is down or HF_HUB_OFFLINE
    is set.
    """
    if revision is not None and COMMIT.fullmatch(revision):
        return revision

    def ask() -> str:
        api = HfApi(library_name="selector", endpoint=constants.ENDPOINT)
        return api.resolve_revision(
            repo_id,
            repo_type="dataset",
            revision=revision,
            local_files_only=constants.is_offline_mode(),
        ).resolved

    return require_commit(attempt(ask, repo_id, revision, kind=DATASET), repo_id, DATASET)


def cache_folders() -> tuple[Path, ...]:
    """Where the files of datasets of the Hub are kept."""
    folders = datasets.config.HF_DATASETS_CACHE, constants.HF_HUB_CACHE
    return tuple(Path(folder).resolve() for folder in folders)


def load_dataset(repo_id: str, config: str | None, commit: str) -> dict[str, datasets.Dataset]:
    """Return the splits of a commit, downloaded and converted if need be.

    Raises:
        HubError: the Hub does not give it, or it is none of tables or images; one with the code
            ``not_a_dataset`` says what the library said.
    """
    # A folder for each: where the Hub is down the library takes the newest commit in its cache.
    cache = Path(datasets.config.HF_DATASETS_CACHE, "selector", commit)
    cache /= f"config-{quote(config, safe='')}" if config else "default"
    prepared = any(cache.glob(f"*/*/*/{commit}/dataset_info.json"))

    def load() -> dict[str, datasets.Dataset] | str:
        try:
            if prepared:
                return dict(_from_cache(repo_id, config, cache))
            if constants.is_offline_mode():
                raise hf.OfflineModeIsEnabled(f"{commit} is not in {cache}")
            _ask_for_access(repo_id, commit)
            return dict(
                datasets.load_dataset(
                    f"hf://datasets/{repo_id}", config, revision=commit, cache_dir=str(cache)
                )
            )
        except Exception as error:
            failure = next(filter(_is_of_the_hub, _chain(error)), None)
            if failure is not None:
                raise failure from failure.__cause__
            if isinstance(error, _NOT_A_DATASET):
                return _said(error)
            raise

    _prepare()
    found = attempt(load, repo_id, commit, kind=DATASET)
    if isinstance(found, str):
        raise HubError(
            "not_a_dataset",
            f"{repo_id} ({config or 'without a configuration'}) must be a dataset that can be"
            f" loaded without code; the library says: {found}.",
            hint=f"See {site()}/datasets/{repo_id}; a configuration is named as"
            f" hf:{repo_id}:CONFIG.",
        )
    return found


def _prepare() -> None:
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # a request to a third party
    # It warns of every dataset without a card.
    logging.getLogger("huggingface_hub.repocard").setLevel(logging.ERROR)


def _from_cache(repo_id: str, config: str | None, cache: Path) -> datasets.DatasetDict:
    """What an earlier run has converted, without a request."""
    builder = Cache(
        cache_dir=str(cache),
        dataset_name=repo_id.partition("/")[2],
        repo_id=repo_id,
        config_name=config,
        version="auto",
        hash="auto",
    )
    return builder.as_dataset()


def _ask_for_access(repo_id: str, commit: str) -> None:
    """Raise what the client raises where the library would hide it: unknown, gated, no token."""
    with contextlib.suppress(hf.RemoteEntryNotFoundError):
        hf_hub_download(
            repo_id,
            "README.md",
            repo_type="dataset",
            revision=commit,
            endpoint=constants.ENDPOINT,
            library_name="selector",
        )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised in the handling of, also where the library hides it."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _is_of_the_hub(error: BaseException) -> bool:
    """Whether it tells what happened between here and the Hub, or on the disk.

    That a file is not there does not: the library asks for some that few datasets have.
    """
    if isinstance(error, hf.RemoteEntryNotFoundError):
        return False
    if isinstance(error, OSError) and error.errno is not None:
        return not isinstance(error, FileNotFoundError)
    return isinstance(error, _OF_THE_HUB) or type(error).__name__.startswith("Xet")


def _said(error: Exception) -> str:
    """What the library says, without its examples and, should there be any, signed addresses."""
    text = " ".join(line.strip() for line in str(error).strip().splitlines()[:2])
    return printable(re.sub(r"https?://\S+", "...", text)[:400]).rstrip(".")
