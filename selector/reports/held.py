"""What a store holds, as a table for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from selector.errors import printable

if TYPE_CHECKING:
    from selector.store.upkeep import Held

_SHORT_KEY = 12


def print_held(shown: list[Held], held: list[Held], path: Path, console: Console) -> None:
    """Print some rows of a store, and how much all of them are.

    Args:
        shown: the rows of the table.
        held: all there are.
        path: of the store.
        console: for stdout.
    """
    if shown:
        table = Table("key", "what", "candidate", "made (UTC)", "KB")
        table.columns[-1].justify = "right"
        for one in shown:
            cells = (
                one.key[:_SHORT_KEY],
                one.what,
                one.name,
                one.created,
                f"{one.bytes / 1e3:,.0f}",
            )
            table.add_row(*(Text(printable(cell), overflow="fold") for cell in cells))
        console.print(table)
    measured = [one for one in held if one.kind == "measurement"]
    parts = [one for one in held if one.kind == "part"]
    console.print(
        f"{printable(str(path))}: {len(measured)} measurements, {_megabytes(measured)};"
        f" {len(parts)} parts, {_megabytes(parts)}.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _megabytes(rows: list[Held]) -> str:
    return f"{sum(one.bytes for one in rows) / 1e6:,.1f} MB"
