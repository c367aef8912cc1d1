"""The columns of the table for classes."""

from __future__ import annotations

from selector.objectives import DEFAULT_OBJECTIVE, OBJECTIVES
from selector.ranking import tier
from selector.records import CertifiedCandidate, Estimate, RankedEvaluation, Ranking
from selector.reports.html.table import (
    ABOUT,
    GROUP,
    OF_EQUALS,
    RESAMPLED,
    Cell,
    Column,
    ranks,
)
from selector.reports.html.wording import percent, span


def columns(ranking: Ranking) -> tuple[Column[RankedEvaluation], ...]:
    """What the table tells of each candidate, beside its place and name."""
    by = OBJECTIVES[ranking.objective]
    found: list[Column[RankedEvaluation]] = [
        Column(
            "attacked %",
            "attacked",
            f"Share of test images still right after every attack on the {ranking.protocol.head}"
            " head, class pairs included; an upper estimate.",
            lambda e: _share(e.head.attacked_accuracy, bar=True),
        ),
        ranks(len(ranking.ranking), OF_EQUALS if by.single else RESAMPLED),
        GROUP,
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
    if ranking.objective != DEFAULT_OBJECTIVE:
        found.insert(0, Column(ranking.objective, by.kind, f"Ranked by: {by.what}.", _score))
    if ranking.certified:
        found.append(_certified(ranking))
    return (*found, *_PROBE, *ABOUT)


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


def _certified(ranking: Ranking) -> Column[RankedEvaluation]:
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


_PROBE: tuple[Column[RankedEvaluation], ...] = (
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
