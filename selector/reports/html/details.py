"""Everything that the record has of one candidate, in words and numbers."""

from __future__ import annotations

from dataclasses import dataclass

from selector.norms import format_threat
from selector.records import AnyRanked, AnyRanking, Cost, Diagnostics, Provenance
from selector.reports.explain import explain
from selector.reports.html.wording import count, percent

# The page has to stay small; the table has every candidate in any case.
DETAILED = 30

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Heads:
    """Numbers of linear heads, side by side.

    Attributes:
        labels: of the numbers.
        numbers: title of each head, and its numbers.
    """

    labels: tuple[str, ...]
    numbers: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Detail:
    """One candidate.

    Attributes:
        id: of its element.
        place: its rank.
        name: as the registry calls it.
        paragraphs: what ``selector explain`` says.
        heads: that it is ranked by, the ordinary and the bound-optimal one.
        diagnostics: how far attacks can be trusted.
        provenance: what was measured, and at what cost.
        files: name, size and sha256.
    """

    id: str
    place: int
    name: str
    paragraphs: tuple[str, ...]
    heads: Heads
    diagnostics: Pairs
    provenance: Pairs
    files: tuple[tuple[str, str, str], ...]


def detail(ranking: AnyRanking, e: AnyRanked, heads: Heads) -> Detail:
    """A candidate of a ranking, with its heads."""
    return Detail(
        id=f"candidate-{e.rank}",
        place=e.rank,
        name=e.name,
        paragraphs=tuple(explain(ranking, e.model).strip().split("\n\n")),
        heads=heads,
        diagnostics=_diagnostics(e.diagnostics),
        provenance=(("model", e.model), *_provenance(e.provenance), *_cost(e.cost)),
        files=tuple((f.name, f"{f.size:,} bytes", f.sha256) for f in e.provenance.files),
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
