"""The columns of the table, and what stands in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from selector.objectives import DEFAULT_OBJECTIVE, OBJECTIVES
from selector.ranking import tier
from selector.records import CertifiedCandidate, Estimate, RankedEvaluation, Ranking
from selector.reports.html.wording import count, percent, span

Kind = Literal["attacked", "estimated", "certified", "clean", ""]


@dataclass(frozen=True)
class Cell:
    """One number or word.

    Attributes:
        text: as shown.
        sort: what the column is sorted by; None is last in either direction.
        note: smaller, beside it.
        bar: low, value and high on a scale of 0..100, drawn below it.
    """

    text: str
    sort: float | str | None
    note: str = ""
    bar: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Column:
    """What stands in a column.

    Attributes:
        title: short.
        kind: what its numbers promise; empty where they are none of that.
        tip: what they are, in a sentence.
        cell: of a candidate.
    """

    title: str
    kind: Kind
    tip: str
    cell: Callable[[RankedEvaluation], Cell]


def columns(ranking: Ranking) -> tuple[Column, ...]:
    """What the table tells of each candidate, beside its place and name."""
    found = [
        Column(
            "attacked %",
            "attacked",
            f"Share of test images still right after every attack on the {ranking.protocol.head}"
            " head, class pairs included; an upper estimate.",
            lambda e: _share(e.head.attacked_accuracy, bar=True),
        ),
        Column(
            "robust %",
            "estimated",
            "Share of test images whose decision should hold (Theorem 2 on A∘g), fed with the"
            " displacement that attacks attained: an estimate, not a certificate.",
            _robust,
        ),
        Column(
            "clean %",
            "clean",
            "Share of test images that the head names correctly, nothing attacked.",
            lambda e: _share(e.head.clean_accuracy),
        ),
        Column(
            "loss bound",
            "estimated",
            "Worst-case loss of the bound-optimal head on A∘g, in nats; vacuous: on validation"
            " images no better than knowing only class frequencies.",
            _bound,
        ),
    ]
    found[1:1] = [_ranks(len(ranking.ranking)), _GROUP]
    if ranking.objective != DEFAULT_OBJECTIVE:
        by = OBJECTIVES[ranking.objective]
        found.insert(0, Column(ranking.objective, by.kind, f"Ranked by: {by.what}.", _score))
    if ranking.certified:
        found.append(_certified(ranking))
    return (*found, *_PROBE, *_ABOUT)


def _share(share: Estimate, *, bar: bool = False) -> Cell:
    drawn = (100 * share.low, 100 * share.value, 100 * share.high) if bar else None
    return Cell(percent(share.value), share.value, span(share), drawn)


def _robust(e: RankedEvaluation) -> Cell:
    share = e.head.on_task.estimated_robust_accuracy
    return Cell("masked", None) if tier(e) else _share(share)


def _bound(e: RankedEvaluation) -> Cell:
    loss = e.bound_optimal.on_task.estimated_worst_case_loss
    if e.vacuous:
        return Cell("vacuous", loss.value)
    return Cell(f"{loss.value:.2f}", loss.value, f"{loss.low:.2f}–{loss.high:.2f}")


def _score(e: RankedEvaluation) -> Cell:
    return Cell("–", None) if e.score is None else Cell(f"{e.score:.4g}", e.score)


def _certified(ranking: Ranking) -> Column:
    """At the first radius that was asked for."""
    proven = {
        one.model: one.certified_accuracy[0]
        for one in ranking.certified or ()
        if isinstance(one, CertifiedCandidate)
    }
    radius = next((f" l2 {one.radius:g}" for one in proven.values()), "")

    def cell(e: RankedEvaluation) -> Cell:
        return _share(proven[e.model]) if e.model in proven else Cell("–", None)

    return Column(
        f"certified %{radius}",
        "certified",
        "Share of test images that the smoothed head gets right, with proof, image by image, that"
        " no change of this size alters its answer. A dash: not certified in this run.",
        cell,
    )


def _ranks(candidates: int) -> Column:
    def cell(e: RankedEvaluation) -> Cell:
        low, high = e.rank_interval
        scale = 100 / candidates
        bar = (scale * (low - 1), scale * (e.rank - 0.5), scale * high)
        return Cell(str(low) if low == high else f"{low}–{high}", low + high / 1e6, "", bar)

    return Column("ranks", "", "95 % of its ranks over resampled test images.", cell)


_GROUP = Column(
    "group",
    "",
    "Candidates of a group cannot be told apart from its first on these test images, at the 5 %"
    " level.",
    lambda e: Cell(str(e.group), e.group),
)
_PROBE = (
    Column(
        "probe clean %",
        "clean",
        "Share of test images that the ordinary linear probe names correctly.",
        lambda e: _share(e.probe.clean_accuracy),
    ),
    Column(
        "probe attacked %",
        "attacked",
        "Share of test images on which the ordinary linear probe is still right after every"
        " attack; an upper estimate.",
        lambda e: _share(e.probe.attacked_accuracy),
    ),
)
_ABOUT = (
    Column(
        "moved %",
        "estimated",
        "Mean displacement that attacks attained on A∘g, of the mean distance between the features"
        " of two images: a lower estimate.",
        lambda e: Cell(percent(e.task_sensitivity.relative), e.task_sensitivity.relative),
    ),
    Column(
        "parameters",
        "",
        "Of the backbone, its classifier included.",
        lambda e: Cell(count(e.provenance.parameters), e.provenance.parameters),
    ),
    Column(
        "licence",
        "",
        "As its authors state it.",
        lambda e: Cell(e.provenance.license or "not stated", e.provenance.license),
    ),
)
