"""One candidate of a ranking of classes in words."""

from __future__ import annotations

from collections.abc import Iterator

from selector.norms import format_threat
from selector.objectives import OBJECTIVES
from selector.ranking import tier
from selector.records import CertifiedCandidate, Estimate, HeadReport, RankedEvaluation, Ranking
from selector.reports.explain.common import MASKED, NOT_FINE_TUNED, images, place, warned


def paragraphs(ranking: Ranking, e: RankedEvaluation) -> tuple[str, ...]:
    """Of a candidate: its place, its numbers, what would change them, and what they are."""
    parts = (_place, _under_attack, _ladder, _bound, _frontier, _kinds)
    return tuple(part(ranking, e) for part in parts)


def _place(ranking: Ranking, e: RankedEvaluation) -> str:
    by = OBJECTIVES[ranking.objective]
    said = list(place(ranking, e, by.what))
    if tier(e, by):
        said.append(MASKED)
    if next_to_it := nearest(ranking, e):
        said.append(next_to_it)
    return " ".join(said)


def nearest(ranking: Ranking, e: RankedEvaluation) -> str | None:
    """How many images lie between it and its neighbour in the order."""
    if ranking.objective != "attacked" or len(ranking.ranking) == 1:
        return None
    other = ranking.ranking[1 if e.rank == 1 else e.rank - 2]
    mine, theirs = (sum(one.per_image.attacked_correct) for one in (e, other))
    if tier(e) != tier(other):
        return None
    if e.rank == 1:
        return f"{other.name} is next, with {images(mine - theirs)} fewer."
    return f"{other.name}, just above, withstands on {images(theirs - mine)} more."


def _under_attack(ranking: Ranking, e: RankedEvaluation) -> str:
    head, probe = e.head, e.probe
    said = (
        f"Clean and under attack: with the {_named(ranking.protocol.head)} it is right on"
        f" {_of_100(head.clean_accuracy)} of 100 test images, and still right after every attack on"
        f" {_of_100(head.attacked_accuracy)}. With the usual probe these are"
        f" {_of_100(probe.clean_accuracy)} and {_of_100(probe.attacked_accuracy)}."
    )
    if as_good_as_constant(ranking, e):
        said += (
            " Always naming the most frequent class is right on"
            f" {100 * ranking.task.constant_accuracy:.0f}, so that this is no robustness that can"
            " be relied on."
        )
    return said + _at_other_sizes(ranking, e)


def _named(head: str) -> str:
    """What --head picked, in words."""
    return f"{head} linear head" if head[0].isalpha() else f"linear head of radius scale {head}"


def _at_other_sizes(ranking: Ranking, e: RankedEvaluation) -> str:
    """What it keeps under the other perturbations of the run; nothing where there are none."""
    curve = next((one for one in ranking.curves or () if one.model == e.model), None)
    if curve is None:
        return ""
    told = ", ".join(
        f"{format_threat(one.threat.norm, one.threat.eps)}"
        f" {'masked' if one.masked else _of_100(one.attacked_accuracy)} (number {one.rank})"
        for one in curve.points
        if one.threat != ranking.threat
    )
    return f" With the head picked for each, it withstands on, of 100, at {told}." if told else ""


def as_good_as_constant(ranking: Ranking, e: RankedEvaluation) -> bool:
    """Whether a constant answer may withstand as much as its head."""
    return e.head.attacked_accuracy.low <= ranking.task.constant_accuracy


def _ladder(ranking: Ranking, e: RankedEvaluation) -> str:
    head = e.head
    on_g, on_task = (
        _of_100(side.estimated_robust_accuracy) for side in (head.on_representation, head.on_task)
    )
    return (
        "Three resolutions of one idea, how far attacks push the features against how far the"
        f" decision is away. In all directions: {on_g} of 100 images are safe. Only in the"
        f" directions that this task uses: {on_task}. Class pair by class pair, which settles it:"
        f" {_of_100(head.attacked_accuracy)}. The first serves any task, the last this head alone."
    )


def _bound(ranking: Ranking, e: RankedEvaluation) -> str:
    head = e.bound_optimal
    clean, worst = head.clean_loss.value, head.on_task.estimated_worst_case_loss.value
    prior = ranking.task.prior_entropy
    said = (
        "Loss bound, of the bound-optimal head, which is the one with the lowest on validation"
        f" images and may be another than the one above: {worst:.2f} nats, where {prior:.2f} is"
        " knowing only class frequencies."
        f" {clean:.2f} of it is this head's clean loss and {worst - clean:.2f} what displacement"
        f" adds. In the directions that the task uses, features move by"
        f" {100 * e.task_sensitivity.relative:.0f} % of the distance between two images'. By"
        " Theorem 1 alone, the coarsest form, this head could"
        f" turn that into {_growth(head):.2f} nats: {head.steepness:.3g} per unit times"
        f" {head.on_task.displacement.value:.3g} units."
    )
    if e.vacuous:
        return said + " The bound is vacuous: it says no more than class frequencies do."
    largest = "the clean loss" if clean > worst - clean else "displacement"
    return said + f" The larger part is {largest}."


def _growth(head: HeadReport) -> float:
    return head.steepness * head.on_task.displacement.value


def _frontier(ranking: Ranking, e: RankedEvaluation) -> str:
    points = "; ".join(
        f"{one.radius_scale:g}: {_of_100(one.clean_accuracy)} clean,"
        f" {_of_100(one.attacked_accuracy)} under attack"
        for one in e.frontier
    )
    said = [
        "What would change the verdict. Another head on this backbone, from the usual probe (radius"
        " scale 0) to one fitted against the whole displacement (1), of 100 images:"
        f" {points}. On these only what attacks on other heads found is counted, so they may"
        " flatter; --head picks one."
    ]
    said += doubts(e)
    return " ".join(said)


def doubts(e: RankedEvaluation) -> Iterator[str]:
    """What its numbers leave open: how few images they rest on, and its warnings."""
    width = e.head.attacked_accuracy.high - e.head.attacked_accuracy.low
    yield (
        f"More test images: {e.head.attacked_accuracy.n} leave"
        f" {100 * width / 2:.0f} points of doubt either way."
    )
    yield from warned(e)


def _kinds(ranking: Ranking, e: RankedEvaluation) -> str:
    return (
        "What these numbers are. Under attack: measured, an upper estimate, as a stronger attack"
        " may take more. Safe images and loss bound: estimated; they would be proven if attacks"
        f" found the farthest point. {certified(ranking, e)} {NOT_FINE_TUNED}"
    )


def certified(ranking: Ranking, e: RankedEvaluation) -> str:
    """What is proven of it; that nothing is, where it was not certified."""
    for one in ranking.certified or ():
        if isinstance(one, CertifiedCandidate) and one.model == e.model:
            shares = ", ".join(
                f"{_of_100(share)} up to l2 {share.radius:g}" for share in one.certified_accuracy
            )
            return (
                f"Certified: proven of a smoothed head, each image with confidence"
                f" {1 - one.smoothing.alpha:g}, of 100 images {shares}."
            )
    return "Nothing here is certified."


def _of_100(share: Estimate) -> str:
    return f"{100 * share.value:.0f}"
