"""Everything that the record has of one candidate, in words and numbers."""

from __future__ import annotations

from dataclasses import dataclass

from selector.norms import format_threat
from selector.records import Cost, Diagnostics, HeadReport, Provenance, RankedEvaluation, Ranking
from selector.reports.explain import explain
from selector.reports.html.wording import count, nats, percent, with_span

# The page has to stay small; the table has every candidate in any case.
DETAILED = 60

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Detail:
    """One candidate.

    Attributes:
        id: of its element.
        place: its rank.
        name: as the registry calls it.
        paragraphs: what ``selector explain`` says.
        heads: title and numbers of the head it is ranked by, the probe and the bound-optimal one.
        labels: of these numbers.
        diagnostics: how far attacks can be trusted.
        provenance: what was measured, and at what cost.
        files: name, size and sha256.
    """

    id: str
    place: int
    name: str
    paragraphs: tuple[str, ...]
    labels: tuple[str, ...]
    heads: tuple[tuple[str, tuple[str, ...]], ...]
    diagnostics: Pairs
    provenance: Pairs
    files: tuple[tuple[str, str, str], ...]


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


def details(ranking: Ranking) -> tuple[Detail, ...]:
    """The first of the ranking, best first."""
    return tuple(_detail(ranking, e) for e in ranking.ranking[:DETAILED])


def _detail(ranking: Ranking, e: RankedEvaluation) -> Detail:
    heads = (
        (f"{ranking.protocol.head} (ranked by)", e.head),
        ("ordinary probe", e.probe),
        ("bound-optimal", e.bound_optimal),
    )
    return Detail(
        id=f"candidate-{e.rank}",
        place=e.rank,
        name=e.name,
        paragraphs=tuple(explain(ranking, e.model).strip().split("\n\n")),
        labels=_LABELS,
        heads=tuple((title, _head(head)) for title, head in heads),
        diagnostics=_diagnostics(e.diagnostics),
        provenance=(("model", e.model), *_provenance(e.provenance), *_cost(e.cost)),
        files=tuple((f.name, f"{f.size:,} bytes", f.sha256) for f in e.provenance.files),
    )


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


def _diagnostics(found: Diagnostics) -> Pairs:
    spread = "one start" if found.restart_spread is None else percent(found.restart_spread) + " %"
    return (
        ("spread of random starts", spread),
        ("images that needed a long ascent", f"{percent(found.long_ascents)} %"),
        ("images still rising at the end", f"{percent(found.still_rising)} %"),
        ("images with a zero gradient", f"{percent(found.zero_gradient)} %"),
        (
            "noise's displacement / the attack's",
            f"{found.noise_ratio:.2f}, larger on {percent(found.noise_wins)} %",
        ),
        (
            "random search's displacement / the attack's",
            f"{found.search_ratio:.2f}, larger on {percent(found.search_wins)} %",
        ),
        ("effective rank of the features", f"{found.effective_rank:.1f}"),
    )


def _provenance(of: Provenance) -> Pairs:
    trained = of.pretraining
    pretraining = "not stated"
    if trained:
        pretraining = f"{trained.objective} on {trained.data}"
        if trained.norm and trained.eps:
            pretraining += f" at {format_threat(trained.norm, trained.eps)}"
    return (
        ("repository", of.repo or "a local folder"),
        ("commit", of.commit or "none: a local folder"),
        ("licence", of.license or "not stated"),
        ("pretraining", pretraining),
        ("tags", ", ".join(of.tags) or "none"),
        ("architecture", f"{of.architecture}, {count(of.parameters)} parameters"),
        ("run at", f"{of.input_size[0]} x {of.input_size[1]} px, {of.interpolation}"),
        ("mean and std of pixels", f"{_triple(of.mean)} and {_triple(of.std)}"),
        ("features", f"d = {of.feature_dim}"),
    )


def _triple(values: tuple[float, float, float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _cost(cost: Cost) -> Pairs:
    return (
        (
            "cost",
            f"{cost.forward_passes:,} passes forward, {cost.backward_passes:,} back,"
            f" {cost.seconds:,.1f} s, batches of {cost.batch_size}",
        ),
    )
