"""The ranking of a regression as a table for a terminal of 100 columns."""

from __future__ import annotations

from itertools import zip_longest

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from selector.errors import printable
from selector.records import RankedRegression, RegressionRanking
from selector.regression.ranking import OBJECTIVES
from selector.reports import WIDTH
from selector.reports.explain.regression import as_good_as_mean
from selector.reports.table import below, heading


def print_table(ranking: RegressionRanking, console: Console) -> None:
    """Print the table, the reasons of what is not in it, and the choice in one sentence."""
    console.print(Group(*_parts(ranking, min(WIDTH, console.width))))


def _parts(ranking: RegressionRanking, width: int) -> list[RenderableType]:
    each = (f"{printable(c.name)} {c.mean:.4g} ± {c.sd:.4g}" for c in ranking.task.columns)
    columns = f"{', '.join(each)} (mean ± sd of train)"
    parts: list[RenderableType] = [heading(ranking, ranking.task, columns)]
    if ranking.ranking:
        parts += [_rows(ranking, width), _legend(ranking)]
    parts += below(ranking.skipped, ranking.ranking, ranking.choice)
    return parts


def _rows(ranking: RegressionRanking, width: int) -> Table:
    table = Table(width=width, pad_edge=False, header_style="bold")
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("backbone", ratio=1, overflow="fold")
    table.add_column("attacked error\n(95 % int.)", justify="right", no_wrap=True)
    table.add_column("error\nbound", justify="right", no_wrap=True)
    table.add_column("clean", justify="right", no_wrap=True)
    table.add_column("ridge:\nclean attacked", justify="right", no_wrap=True)
    table.add_column("ranks", justify="center", no_wrap=True)
    for e, following in zip_longest(ranking.ranking, ranking.ranking[1:]):
        ends_group = following is not None and following.group != e.group
        table.add_row(
            *_row(e), style="dim" if _says_nothing(e, ranking) else None, end_section=ends_group
        )
    return table


def _says_nothing(e: RankedRegression, ranking: RegressionRanking) -> bool:
    """Whether it was measured unsoundly, or knowing only the mean may do as well."""
    return e.masked or as_good_as_mean(ranking, e)


def _row(e: RankedRegression) -> tuple[str | Text, ...]:
    head, ridge, attacked = e.head, e.probe, e.head.attacked_squared_error
    bound = "vacuous" if e.vacuous else f"{head.on_task.estimated_squared_error.value:.2f}"
    low, high = e.rank_interval
    return (
        str(e.rank),
        Text(printable(e.name)),
        f"{attacked.value:.2f} ({max(0.0, attacked.low):.2f}-{attacked.high:.2f})",
        "masked" if e.masked else bound,
        f"{head.clean_squared_error.value:.2f}",
        f"{ridge.clean_squared_error.value:5.2f} {ridge.attacked_squared_error.value:8.2f}",
        f"{low}" if low == high else f"{low}-{high}",
    )


def _legend(ranking: RegressionRanking) -> Text:
    by, mean = OBJECTIVES[ranking.objective], ranking.task.mean_error
    return Text(
        f"Ranked by {by.what}, lowest first. Errors are squared, mean over target columns in"
        f" standard deviations of train; knowing only the mean has {mean:.2f} on these images."
        f" attacked error: the largest after every attack on the {ranking.protocol.head} head, a"
        " lower estimate. error bound: of the same head, fed with the displacement on A∘g that"
        " attacks attained: an estimate, not a certificate; vacuous: not even the bound-optimal"
        " head's, on validation images, is below knowing only the mean. ridge: the usual head."
        " Lines part groups that can be told apart; ranks: 95 % of ranks over resampled test"
        " images.",
        style="dim",
    )
