"""Where things are kept, whether that can be written, and how much room there is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from selector.doctor.check import Check, Facts, State, size_in_words
from selector.errors import UsageError, printable
from selector.trust import exposure

_LITTLE_ROOM = 5 * 10**9
_ENOUGH_FOR_RESULTS = 10**8


def results() -> Check:
    """The store of measurements, which every run opens."""
    from selector.store import Store, default_path

    path = default_path()
    if path.exists():
        try:
            Store(path).close()
        except UsageError as error:
            message, way_out = printable(error.message), printable(error.hint)
            return Check("results", "problem", message, way_out)
        size = path.stat().st_size
    else:
        size = 0
    set_by = " (SELECTOR_CACHE)" if os.environ.get("SELECTOR_CACHE") else ""
    place, free = _nearest(path.parent), _free(path.parent)
    facts: Facts = {"path": str(path), "size": size, "free": free}
    held = size_in_words(size) if size else "none yet"
    found = f"{_shown(path)}{set_by}: {held}, {size_in_words(free)} free"
    if not place.is_dir() or not os.access(place, os.W_OK):
        found = f"{_shown(path)}{set_by}: {_shown(place)} must be a folder that can be written"
        return Check("results", "problem", found, "Set SELECTOR_CACHE to another folder.", facts)
    if free < _ENOUGH_FOR_RESULTS:
        way_out = "Free some, or set SELECTOR_CACHE to another disk."
        return Check("results", "problem", found, way_out, facts)
    if exposed := exposure(path):
        way_out = (
            "Let SELECTOR_CACHE name a folder of your own: what lies there passes for measured."
        )
        state: State = "problem" if exposed.anyone else "warning"
        return Check("results", state, f"{found}; {exposed.words}", way_out, facts)
    return Check("results", "ok", found, facts=facts)


def hub_cache() -> Check:
    """The files of candidates from the Hub, and what interrupted downloads have left."""
    from selector.hub.state import cache_state

    state = cache_state()
    place, free = _nearest(state.directory), _free(state.directory)
    facts: Facts = {
        "path": str(state.directory),
        "size": state.size,
        "repositories": state.repositories,
        "incomplete": state.incomplete,
        "damaged": state.damaged,
        "free": free,
    }
    many = "1 repository" if state.repositories == 1 else f"{state.repositories} repositories"
    found = f"{_shown(state.directory)}: {size_in_words(state.size)} in {many}"
    found += f", {size_in_words(free)} free"
    if not place.is_dir() or not os.access(place, os.W_OK):
        found = f"{_shown(state.directory)}: {_shown(place)} must be a folder that can be written"
        way_out = "Set HF_HUB_CACHE to another; until then only what is cached can be had."
    elif state.incomplete:
        found += f", {size_in_words(state.incomplete)} of unfinished downloads"
        way_out = "If none is under way: `hf cache prune` removes them."
    elif state.damaged:
        found += f", {state.damaged} damaged"
        way_out = "`hf cache verify` tells which; `hf cache rm` removes them."
    elif free < _LITTLE_ROOM:
        way_out = "Free some, for example with `hf cache prune`, or set HF_HUB_CACHE."
    elif exposed := exposure(state.directory):
        found += f"; {exposed.words}"
        way_out = "Let HF_HUB_CACHE name a folder of your own, or pin hashes with `selector lock`."
    else:
        return Check("Hub cache", "ok", found, facts=facts)
    return Check("Hub cache", "warning", found, way_out, facts)


def _nearest(path: Path) -> Path:
    """The path, or the nearest above it that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _free(path: Path) -> int:
    return shutil.disk_usage(_nearest(path.absolute())).free


def _shown(path: Path) -> str:
    """A path for people, from the home folder on."""
    home = Path.home()
    within = home != Path(home.anchor) and path.is_relative_to(home)
    return printable(f"~/{path.relative_to(home)}" if within else str(path))
