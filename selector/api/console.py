"""Where progress is shown, or nowhere."""

from __future__ import annotations

import io

from rich.console import Console


def console(*, shown: bool) -> Console:
    """stderr, or what nobody reads."""
    return Console(stderr=True) if shown else Console(file=io.StringIO(), quiet=True)
