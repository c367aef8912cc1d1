"""``selector lock``: write down the commits and bytes that a registry means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from selector.cli import options
from selector.cli.exits import (
    EXIT_NONE_RANKED,
    EXIT_OK,
    EXIT_SOME_FAILED,
    exit_codes,
    stderr,
)
from selector.errors import printable

if TYPE_CHECKING:
    from selector.locking import LookedUp


def lock(
    registry: options.Registry = None,
    model: options.Models = None,
    only: options.Only = None,
    tag: options.Tags = None,
    license: options.Licenses = None,
    max_params: options.MaxParams = None,
    offline: options.Offline = False,
) -> None:
    """Resolve candidates to commits, sizes and sha256, into REGISTRY.lock.yaml.

    Options that select look up only those candidates; the others keep what the lock has. Weights
    are not downloaded. `selector rank` then measures what the lock says, and `rank --locked`
    refuses anything else.
    """
    if offline:
        options.go_offline()
    with exit_codes():
        from selector.candidates import (
            default_registry,
            lock_path,
            lock_yaml,
            read_lock,
            read_registry,
        )
        from selector.locking import look_up_all, merge
        from selector.reports.document import write_atomically
        from selector.selection import listed_by, named, select

        source = registry or default_registry()
        path = lock_path(source)
        wanted = named(tuple(model or ()), registry) or read_registry(source)
        selection = options.selection(only, tag, license, max_params)
        wanted = select(wanted, selection, listed_by(tuple(model or ()), registry))
        if path.exists():
            read_lock(path)  # one that cannot be brought up to date is told before the Hub is asked
        found = look_up_all(wanted, path, _tell)
        contents = merge(found, read_registry(source), path)
        if contents is None:
            raise typer.Exit(EXIT_NONE_RANKED)
        write_atomically(path, lock_yaml(contents))
        failed = sum(one.pin is None for one in found)
        typer.echo(f"{path}: {len(contents.candidates)} locked, {failed} not")
    raise typer.Exit(EXIT_SOME_FAILED if failed else EXIT_OK)


def _tell(found: LookedUp) -> None:
    if found.pin is None:
        said = f"{found.candidate.name}: {found.error}"
    else:
        size = sum(file.size for file in found.pin.files)
        commit = found.pin.commit or "local folder"
        said = f"{found.candidate.name}: {commit}, {size / 1e6:,.1f} MB"
    stderr.print(printable(said), markup=False, highlight=False, soft_wrap=True)
