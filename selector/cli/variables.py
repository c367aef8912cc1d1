"""Variables of the environment that look like options and set nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from selector.cli.configured import PREFIX, TYPED_ONLY, variables_of
from selector.cli.exits import stderr
from selector.errors import printable

# Names of one command share most of their letters.
_CLOSE = 0.8


def tell_ignored(ctx: Any) -> None:
    """Say on stderr which variables are not used: nothing else would.

    Args:
        ctx: of the program.
    """
    ours = sorted(name for name in os.environ if name.startswith(f"{PREFIX}_"))
    # Most environments have none, and the options of all commands are many.
    if not ours:
        return
    for said in _ignored(ours, variables_of(ctx)):
        stderr.print(printable(said), markup=False, highlight=False, soft_wrap=True)


def _ignored(ours: list[str], known: dict[str, str]) -> Iterator[str]:
    settable = [f"{PREFIX}_CONFIG", *(name for name in known if known[name] not in TYPED_ONLY)]
    for name in ours:
        if name in settable:
            continue
        if name in known:
            option = known[name]
            yield f"{name} is ignored: --{option} counts only if typed, as {TYPED_ONLY[option]}."
            continue
        close = get_close_matches(name, settable, n=1, cutoff=_CLOSE)
        fix = f"; did you mean {close[0]}?" if close else "."
        yield f"{name} is set, but is no option of selector{fix}"
