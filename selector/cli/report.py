"""``selector report``: a ranking as a page to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from selector.cli.exits import exit_codes, stderr
from selector.errors import printable


def report(
    ranking: Annotated[
        Path, typer.Argument(help="What rank wrote with -o or --json.", metavar="RANKING.JSON")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Write the page to this file.")],
) -> None:
    """Write a ranking as one HTML file: charts, table, reasons, doubts and how to repeat it.

    selector rank --task DIR -o ranking.json && selector report ranking.json -o report.html

    The file needs nothing else: it opens without a network, and makes no request.
    """
    with exit_codes():
        from selector.reports import document
        from selector.reports.html import page

        document.check_writable(output)
        document.check_not_read(output, ranking)
        text = page.render(document.read_any_ranking(ranking))
        document.write_atomically(output, text)
        size = len(text.encode()) / 1e6
        stderr.print(
            printable(f"{output}: {size:.1f} MB"), markup=False, highlight=False, soft_wrap=True
        )
