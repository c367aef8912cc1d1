"""A ranking as a pandas data frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from selector.errors import UsageError
from selector.records import AnyRanking
from selector.reports.columns import names, rows
from selector.reports.further import Cell

if TYPE_CHECKING:
    import pandas

# Types that know a missing value, so that numbers of a candidate that has none change nothing.
_TYPES: dict[type, str] = {bool: "boolean", int: "Int64", float: "float64", str: "string"}


def to_frame(ranking: AnyRanking) -> pandas.DataFrame:
    """A row for each candidate, of several perturbations one under each.

    Columns are those of ``--format csv``: :mod:`selector.reports.columns`.

    Raises:
        UsageError: it is no ranking, or pandas is not there.
    """
    if not isinstance(ranking, AnyRanking):
        raise UsageError(
            "ranking must be what rank, rank_regression, read_ranking or read_regression returns,"
            f" found {type(ranking).__name__}."
        )
    try:
        import pandas
    except ImportError:
        raise UsageError(
            "to_frame needs pandas, which cannot be imported here.", hint="pip install pandas"
        ) from None
    found = rows(ranking)
    columns = {name: [row[name] for row in found] for name in names(ranking)}
    return pandas.DataFrame(
        {name: pandas.Series(cells, dtype=_type(cells)) for name, cells in columns.items()}
    )


def _type(cells: Sequence[Cell]) -> str:
    kinds = {type(cell) for cell in cells if cell is not None}
    return _TYPES[kinds.pop()] if kinds else "string"
