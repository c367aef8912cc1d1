"""A ranking by error, for the page."""

from __future__ import annotations

from selector.records import RankedRegression, RegressionRanking
from selector.regression.ranking import OBJECTIVES
from selector.reports.explain.regression import as_good_as_mean
from selector.reports.html.charts import displacement
from selector.reports.html.content import Charts, Content
from selector.reports.html.details import DETAILED, detail
from selector.reports.html.regression.charts import bounds, distributions, frontier, tradeoff
from selector.reports.html.regression.columns import columns
from selector.reports.html.regression.heads import heads
from selector.reports.html.regression.verdict import verdict
from selector.reports.html.run import Terms, facts
from selector.reports.html.standings import rows
from selector.reports.html.table import Kind
from selector.reports.squared import error

_KINDS: tuple[tuple[Kind, str], ...] = (
    ("attacked", "measured: a lower estimate of the error, as a stronger attack may find more"),
    ("estimated", "from theorems, fed with the displacement that attacks attained: no proof"),
    ("clean", "nothing attacked"),
)


def content(ranking: RegressionRanking) -> Content:
    """All that the page says of it alone."""
    shown, targets = columns(ranking), len(ranking.task.columns)
    return Content(
        by=_by(ranking),
        answers=(targets, "target column" if targets == 1 else "target columns"),
        kinds=_KINDS,
        verdict=verdict(ranking),
        columns=shown,
        rows=rows(ranking.ranking, shown, ranking.choice, lambda e: _says_nothing(ranking, e)),
        charts=_charts(ranking) if ranking.ranking else None,
        details=tuple(detail(ranking, e, heads(ranking, e)) for e in ranking.ranking[:DETAILED]),
        facts=facts(ranking, _terms(ranking)),
    )


def _by(ranking: RegressionRanking) -> str:
    return (
        f"{OBJECTIVES[ranking.objective].what}, lowest first. Errors are squared, mean over target"
        " columns in standard deviations of train; knowing only the mean has"
        f" {error(ranking.task.mean_error)}"
    )


def _says_nothing(ranking: RegressionRanking, e: RankedRegression) -> str:
    weak = as_good_as_mean(ranking, e)
    return "may do no better under attack than knowing only the mean" if weak else ""


def _charts(ranking: RegressionRanking) -> Charts:
    return Charts(
        results="Error",
        tradeoff=tradeoff.chart(ranking),
        frontier=frontier.chart(ranking),
        limits="Error bounds and displacement",
        bounds=bounds.chart(ranking),
        displacement=displacement.chart(ranking.ranking, "what the head makes of it, below"),
        distributions=distributions.charts(ranking),
    )


def _terms(ranking: RegressionRanking) -> Terms:
    task = ranking.task
    return Terms(
        answers=(
            ("target columns", str(len(task.columns))),
            *(
                (f"column {one.name}", f"mean {one.mean:.6g}, sd {one.sd:.6g} of train")
                for one in task.columns
            ),
            ("knowing only the mean", f"squared error {task.mean_error:.4f} on test images"),
        ),
        objective=OBJECTIVES[ranking.objective].what,
        clip=("error clip (C2)", f"{ranking.protocol.loss_clip:g} standard deviations"),
    )
