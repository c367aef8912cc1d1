"""A ranking as csv: a header, and a row for each candidate."""

from __future__ import annotations

import csv
import io
import re

from selector.errors import printable
from selector.records import AnyRanking
from selector.reports.columns import names, rows
from selector.reports.further import Cell

# A spreadsheet takes text that begins so for a formula, and runs it; the last four are full-width.
# In countries with a decimal comma it begins a cell after each semicolon, quoted or not.
_FORMULA = re.compile(r"(\A|;)(?=\s*[=+\-@＝＋－＠])")


def to_csv(ranking: AnyRanking) -> str:
    """UTF-8 text with a line end after each row; columns as :mod:`selector.reports.columns` says.

    Nothing is an empty cell, true and false are written so. In text control characters become
    question marks, and what a spreadsheet would take for a formula gets a ' in front.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, names(ranking), lineterminator="\n")
    writer.writeheader()
    for row in rows(ranking):
        writer.writerow({name: _written(cell) for name, cell in row.items()})
    return text.getvalue()


def _written(cell: Cell) -> str | int | float | None:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, str):
        return _FORMULA.sub(r"\1'", printable(cell))
    return cell
