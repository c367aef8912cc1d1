"""What the page tells of a candidate's heads."""

from __future__ import annotations

from selector.records import HeadReport, RankedEvaluation, Ranking
from selector.reports.html.details import Heads
from selector.reports.html.wording import nats, with_span

_LABELS = (
    "radius scale",
    "l2",
    "clean accuracy",
    "attacked accuracy",
    "estimated robust accuracy, A∘g",
    "estimated robust accuracy, g",
    "share of attacks survived, attacked",
    "clean loss",
    "estimated worst-case loss, A∘g",
    "estimated margin loss, A∘g",
    "estimated Theorem 1 loss, A∘g",
)


def heads(ranking: Ranking, e: RankedEvaluation) -> Heads:
    """The head it is ranked by, the ordinary probe and the bound-optimal head."""
    shown = (
        (f"{ranking.protocol.head} (ranked by)", e.head),
        ("ordinary probe", e.probe),
        ("bound-optimal", e.bound_optimal),
    )
    return Heads(_LABELS, tuple((title, _head(head)) for title, head in shown))


def _head(head: HeadReport) -> tuple[str, ...]:
    return (
        f"{head.radius_scale:g}",
        f"{head.l2:g}",
        with_span(head.clean_accuracy),
        with_span(head.attacked_accuracy),
        with_span(head.on_task.estimated_robust_accuracy),
        with_span(head.on_representation.estimated_robust_accuracy),
        with_span(head.attacked_tolerance),
        nats(head.clean_loss),
        nats(head.on_task.estimated_worst_case_loss),
        nats(head.on_task.estimated_margin_loss),
        f"{head.on_task.estimated_theorem1_loss:.2f} nats",
    )
