"""The rows of a ranking as a table, with as many columns as the terminal is wide enough for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from selector.errors import printable
from selector.objectives import DEFAULT_OBJECTIVE, OBJECTIVES
from selector.ranking import tier
from selector.records import Estimate, RankedEvaluation, Ranking
from selector.reports.explain.classification import as_good_as_constant

# A name may be folded, but not into less than this.
_SHORTEST_NAME, _LONGEST_NAME = 12, 26
# Of the frame, for each column; of all together one less.
_PADDING = 3


@dataclass(frozen=True)
class _Column:
    """One column beside the names.

    Attributes:
        header: one or two lines.
        width: of its widest cell.
        cell: of a candidate.
        legend: what its numbers are; empty where the header says it.
        stays: the lower, the longer as a terminal gets narrower.
        attacked: of what heads withstood, which a screening does not know.
    """

    header: str
    width: int
    cell: Callable[[RankedEvaluation], str]
    legend: str
    stays: int
    justify: Literal["right", "center"] = "right"
    attacked: bool = False


def standings(ranking: Ranking, width: int) -> Iterator[RenderableType]:
    """The table of a ranking that is not empty, and what its columns mean."""
    screened = any(e.screened for e in ranking.ranking)
    columns = [one for one in _columns(ranking) if not (screened and one.attacked)]
    shown = _that_fit(columns, [one.name for one in ranking.ranking], width)
    table = Table(width=width, pad_edge=False, header_style="bold")
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("backbone", ratio=1, overflow="fold")
    for column in shown:
        table.add_column(column.header, justify=column.justify, no_wrap=True)
    for e, following in zip_longest(ranking.ranking, ranking.ranking[1:]):
        ends_group = following is not None and following.group != e.group
        cells = (column.cell(e) for column in shown)
        style = "dim" if _says_nothing(e, ranking) else None
        table.add_row(
            str(e.rank), Text(printable(e.name)), *cells, style=style, end_section=ends_group
        )
    yield table
    yield Text(_legend(ranking, shown, fewer=len(shown) < len(columns)), style="dim")


def _columns(ranking: Ranking) -> tuple[_Column, ...]:
    by_default, by = ranking.objective == DEFAULT_OBJECTIVE, OBJECTIVES[ranking.objective]
    return (
        _Column(
            "withstood %\n(95 % int.)",
            13,
            lambda e: _with_interval(e.head.attacked_accuracy),
            "withstood: % of test images still right after every attack on the"
            f" {ranking.protocol.head} head, an upper estimate.",
            stays=0,
            attacked=True,
        ),
        _Column(
            "robust\nest. %",
            6,
            lambda e: "masked" if tier(e) else _share(e.head.on_task.estimated_robust_accuracy),
            "robust est.: % whose decision should hold (Theorem 2 on A∘g), fed with the"
            " displacement that attacks attained: an estimate, not a certificate.",
            stays=3,
        ),
        _Column("clean", 5, lambda e: _share(e.head.clean_accuracy), "", stays=2),
        _Column(
            "loss\nbound",
            7,
            _bound,
            "loss bound: estimated, in nats, of the bound-optimal head; vacuous: on validation"
            " images it says no more than class frequencies do.",
            stays=5,
        )
        if by_default
        else _Column(ranking.objective, max(7, len(ranking.objective)), _score, "", stays=1),
        _Column(
            "usual probe:\nclean withst.",
            13,
            lambda e: f"{_share(e.probe.clean_accuracy)}  {_share(e.probe.attacked_accuracy)}",
            "usual probe: the ordinary linear probe.",
            stays=6,
            attacked=True,
        ),
        _Column(
            "ranks",
            5,
            _places,
            "" if by.single else "ranks: 95 % of ranks over resampled test images.",
            stays=4,
            justify="center",
        ),
    )


def _that_fit(columns: Sequence[_Column], names: Sequence[str], width: int) -> list[_Column]:
    """Columns that leave room for the names, in their order; the first to stay in any case."""
    longest = max(cell_len(printable(name)) for name in names)
    for_names = min(max(longest, _SHORTEST_NAME), _LONGEST_NAME)
    left = width + 1 - (len(str(len(names))) + _PADDING) - (for_names + _PADDING)
    first, *others = sorted(columns, key=lambda one: one.stays)
    left -= first.width + _PADDING
    fitting = [first]
    for column in others:
        left -= column.width + _PADDING
        if left < 0:
            break
        fitting.append(column)
    return [column for column in columns if column in fitting]


def _legend(ranking: Ranking, shown: Sequence[_Column], *, fewer: bool) -> str:
    by = OBJECTIVES[ranking.objective]
    said = [
        f"Ranked by {by.what}: one number for all images, of which no interval is known, so that"
        " lines and ranks part whatever differs."
        if by.single
        else f"Ranked by {by.what}."
    ]
    said += [column.legend for column in shown if column.legend]
    if not by.single:
        said.append("Lines part groups that can be told apart.")
    if fewer:
        said.append("A wider terminal shows more columns.")
    return " ".join(said)


def _says_nothing(e: RankedEvaluation, ranking: Ranking) -> bool:
    """Whether it was measured unsoundly, or a constant answer may do as well."""
    return bool(tier(e)) or as_good_as_constant(ranking, e)


def _score(e: RankedEvaluation) -> str:
    """What it was ranked by; a dash where that could not be computed."""
    if e.score is None:
        return "–"
    return f"{e.score:,.0f}" if abs(e.score) >= 1000 else f"{e.score:.3f}"


def _bound(e: RankedEvaluation) -> str:
    bound = e.bound_optimal.on_task.estimated_worst_case_loss.value
    return "vacuous" if e.vacuous else f"{bound:.2f}"


def _places(e: RankedEvaluation) -> str:
    low, high = e.rank_interval
    return f"{low}" if low == high else f"{low}-{high}"


def _with_interval(share: Estimate) -> str:
    return f"{_share(share)} ({100 * share.low:.0f}-{100 * share.high:.0f})"


def _share(estimate: Estimate) -> str:
    return f"{100 * estimate.value:5.1f}"
