"""A ranking of classes, for the page."""

from __future__ import annotations

from selector.norms import format_threat
from selector.objectives import OBJECTIVES
from selector.records import CertifiedCandidate, RankedEvaluation, Ranking, Skipped
from selector.reports.explain.classification import as_good_as_constant
from selector.reports.html.charts import displacement
from selector.reports.html.classification.charts import (
    bounds,
    certificates,
    curves,
    distributions,
    frontier,
    tradeoff,
)
from selector.reports.html.classification.columns import columns
from selector.reports.html.classification.heads import heads
from selector.reports.html.classification.verdict import verdict
from selector.reports.html.content import Certified, Charts, Content
from selector.reports.html.details import DETAILED, detail
from selector.reports.html.run import Facts, Terms, facts
from selector.reports.html.standings import rows
from selector.reports.html.table import Kind


def content(ranking: Ranking) -> Content:
    """All that the page says of it alone."""
    shown = columns(ranking)
    return Content(
        by=OBJECTIVES[ranking.objective].what,
        answers=(len(ranking.task.classes), "classes"),
        kinds=_kinds(ranking),
        verdict=verdict(ranking),
        columns=shown,
        rows=rows(ranking.ranking, shown, ranking.choice, lambda e: _says_nothing(ranking, e)),
        charts=_charts(ranking) if ranking.ranking else None,
        details=tuple(detail(ranking, e, heads(ranking, e)) for e in ranking.ranking[:DETAILED]),
        facts=facts(ranking, _terms(ranking)),
        certified=_certified(ranking),
        race=ranking.race,
    )


def _kinds(ranking: Ranking) -> tuple[tuple[Kind, str], ...]:
    proven = any(isinstance(one, CertifiedCandidate) for one in ranking.certified or ())
    return (
        ("attacked", "measured: an upper estimate, as a stronger attack may take more"),
        (
            "estimated",
            "from theorems, fed with the displacement that attacks attained: no proof",
        ),
        (
            "certified",
            f"proven, with a confidence for each image{'' if proven else '; nothing here is'}",
        ),
        ("clean", "nothing attacked"),
    )


def _says_nothing(ranking: Ranking, e: RankedEvaluation) -> str:
    weak = as_good_as_constant(ranking, e)
    return "may withstand no more than a constant answer" if weak else ""


def _charts(ranking: Ranking) -> Charts:
    return Charts(
        results="Accuracy",
        tradeoff=tradeoff.chart(ranking),
        frontier=frontier.chart(ranking),
        limits="Loss bounds and displacement",
        bounds=bounds.chart(ranking),
        displacement=displacement.chart(ranking.ranking, "how far the decision is away, below"),
        distributions=distributions.charts(ranking),
        curves=curves.charts(ranking),
    )


def _certified(ranking: Ranking) -> Certified | None:
    if ranking.certified is None:
        return None
    return Certified(
        charts=certificates.charts(ranking),
        proven=tuple(one for one in ranking.certified if isinstance(one, CertifiedCandidate)),
        skipped=tuple(one for one in ranking.certified if isinstance(one, Skipped)),
    )


def _terms(ranking: Ranking) -> Terms:
    task = ranking.task
    return Terms(
        answers=(
            ("classes", str(len(task.classes))),
            ("prior entropy", f"{task.prior_entropy:.4f} nats"),
            ("constant answer", f"{100 * task.constant_accuracy:.1f} % of test images"),
        ),
        objective=OBJECTIVES[ranking.objective].what,
        clip=("loss clip (C2)", f"{ranking.protocol.loss_clip:.4f} nats"),
        threats=_threats(ranking),
    )


def _threats(ranking: Ranking) -> Facts:
    threats = [one.threat for curve in ranking.curves or () for one in curve.points]
    words = dict.fromkeys(format_threat(one.norm, one.eps) for one in threats)
    return (("all threats", ", ".join(words)),) if words else ()
