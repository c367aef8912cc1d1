"""Tasks from datasets of the Hub: ``hf:owner/name``, with ``@revision`` and ``:config``."""

from __future__ import annotations

import re
from dataclasses import replace

from selector.errors import HubError, HubUnavailable, UsageError, printable
from selector.tasks.cells import Tables
from selector.tasks.listing import Listing
from selector.tasks.options import TaskOptions
from selector.tasks.tables import list_tables, prepare

HUB_PREFIX = "hf:"
_SPEC = re.compile(
    r"(?!.*\.\.)(?P<repo>[A-Za-z0-9][\w.-]*/[\w.-]+)(@(?P<revision>[^/\\:@\s][^\\:@\s]*))?"
    r"(:(?P<config>\S+))?"
)


def list_hub(spec: str, options: TaskOptions, seed: int) -> Listing:
    """The rows of a dataset of the Hub, at the commit that its revision means now.

    Raises:
        UsageError: there is no such dataset, no access to it, or no labelled images in it.
        HubUnavailable: the Hub or the network is down.
    """
    match = _SPEC.fullmatch(spec.removeprefix(HUB_PREFIX))
    if match is None:
        raise UsageError(
            f"--task hf: must be hf:owner/name[@revision][:config], found {printable(spec)!r}."
        )
    from selector.hub.datasets import cache_folders, load_dataset, resolve_dataset

    prepare()
    repo = match["repo"]
    try:
        commit = resolve_dataset(repo, match["revision"])
        splits = load_dataset(repo, match["config"], commit)
    except HubUnavailable:
        raise
    except HubError as error:
        raise UsageError(f"--task hf: {printable(error.message)}", hint=error.hint) from None
    name = f"{repo}:{match['config']}" if match["config"] else repo
    tables = Tables(splits, cache_folders())
    listing = list_tables(name, tables, options, seed, where=f"--task {printable(spec)}")
    return replace(listing, revision=commit)
