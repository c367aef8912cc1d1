"""One candidate of a ranking by error in words."""

from __future__ import annotations

from collections.abc import Iterator

from selector.records import RankedRegression, RegressionRanking
from selector.regression.ranking import OBJECTIVES
from selector.reports.explain.common import MASKED, NOT_FINE_TUNED, place, warned
from selector.reports.squared import error, in_units

# Columns whose errors are said; the ranking's JSON has all.
_COLUMNS = 8


def paragraphs(ranking: RegressionRanking, e: RankedRegression) -> tuple[str, ...]:
    """Of a candidate: its place, its numbers, what would change them, and what they are."""
    parts = (_place, _under_attack, _displacement, _bound, _frontier, _kinds)
    return tuple(part(ranking, e) for part in parts)


def _place(ranking: RegressionRanking, e: RankedRegression) -> str:
    by = OBJECTIVES[ranking.objective]
    said = list(place(ranking, e, f"{by.what}, lowest first"))
    if by.tier(e):
        said.append(MASKED)
    if next_to_it := nearest(ranking, e):
        said.append(next_to_it)
    return " ".join(said)


def nearest(ranking: RegressionRanking, e: RankedRegression) -> str | None:
    """How much error lies between it and its neighbour in the order."""
    if ranking.objective != "attacked" or len(ranking.ranking) == 1:
        return None
    other = ranking.ranking[1 if e.rank == 1 else e.rank - 2]
    if e.masked != other.masked:
        return None
    apart = error(abs(e.score - other.score))
    if e.rank == 1:
        return f"{other.name} is next, with an attacked error {apart} higher."
    return f"{other.name}, just above, has an attacked error {apart} lower."


def _under_attack(ranking: RegressionRanking, e: RankedRegression) -> str:
    head, ridge = e.head, e.probe
    said = (
        f"Clean and under attack: with the {ranking.protocol.head} linear head its squared"
        f" error is {error(head.clean_squared_error.value)}, and"
        f" {error(head.attacked_squared_error.value)} after every attack. With ordinary ridge these"
        f" are {error(ridge.clean_squared_error.value)} and"
        f" {error(ridge.attacked_squared_error.value)}. Errors are squared, mean over target"
        " columns in standard deviations of train; knowing only the mean has"
        f" {error(ranking.task.mean_error)}."
    )
    if as_good_as_mean(ranking, e):
        said += (
            " Under attack that may be no better than knowing only the mean, so that this is no"
            " robustness that can be relied on."
        )
    return f"{said} {_by_column(ranking, e)}"


def as_good_as_mean(ranking: RegressionRanking, e: RankedRegression) -> bool:
    """Whether knowing only the mean may do as well as its head under attack."""
    return e.head.attacked_squared_error.high >= ranking.task.mean_error


def _by_column(ranking: RegressionRanking, e: RankedRegression) -> str:
    roots = in_units(e.head, ranking.task.columns)
    told = ", ".join(f"{name} {root}" for name, root in roots[:_COLUMNS])
    more = f" and {len(roots) - _COLUMNS} more columns" if len(roots) > _COLUMNS else ""
    return f"Nothing attacked, the root of its squared error in the table's units: {told}{more}."


def _displacement(ranking: RegressionRanking, e: RankedRegression) -> str:
    head = e.head
    everywhere, for_task = (
        f"{100 * moved.relative:.0f} %" for moved in (e.sensitivity, e.task_sensitivity)
    )
    return (
        f"How far attacks push the features, and what this head makes of it. In all directions:"
        f" {everywhere} of the distance between two images' features, with which its squared error"
        f" may reach an estimated {error(head.on_representation.estimated_squared_error.value)}."
        f" Only in the directions that this task uses: {for_task}, and an estimated"
        f" {error(head.on_task.estimated_squared_error.value)}. Attacks on the error itself reach"
        f" {error(head.attacked_squared_error.value)}. The first serves any task, the last this"
        " head alone."
    )


def _bound(ranking: RegressionRanking, e: RankedRegression) -> str:
    head, lowest = e.head, e.bound_optimal
    clean, worst = head.clean_squared_error.value, head.on_task.estimated_squared_error.value
    said = [
        f"Error bound: {error(worst)}, where {error(ranking.task.mean_error)} is knowing only the"
        f" mean. {error(clean)} of it is the head's clean error and {error(worst - clean)} what"
        " displacement adds. The bound-optimal head has"
        f" {error(lowest.on_task.estimated_squared_error.value)}. Theorem 1 alone, the coarsest"
        f" form, is about the absolute error, clipped at {ranking.protocol.loss_clip:g} standard"
        f" deviations: an estimated {head.on_task.estimated_theorem1_error:.2f} at most, on average"
        f" over images like these."
    ]
    if e.vacuous:
        said.append(
            "The bound is vacuous: on validation images no head's is below knowing only the mean."
        )
    else:
        largest = "the clean error" if clean > worst - clean else "displacement"
        said.append(f"The larger part is {largest}.")
    return " ".join(said)


def _frontier(ranking: RegressionRanking, e: RankedRegression) -> str:
    said = ["What would change the verdict."]
    if e.frontier:
        points = "; ".join(
            f"{one.radius_scale:g}: {error(one.clean_squared_error.value)} clean,"
            f" {error(one.attacked_squared_error.value)} under attack"
            for one in e.frontier
        )
        said.append(
            "Another head on this backbone, from ordinary ridge (radius scale 0) to one fitted"
            f" against the whole displacement (1): {points}. On these only what attacks on other"
            " heads found is counted, so they may flatter; recommended is who does best on"
            " validation images. --head picks one."
        )
    return " ".join([*said, *doubts(e)])


def doubts(e: RankedRegression) -> Iterator[str]:
    """What its numbers leave open: how few images they rest on, and its warnings."""
    attacked = e.head.attacked_squared_error
    yield (
        f"More test images: {attacked.n} leave {error((attacked.high - attacked.low) / 2)} of"
        " attacked error in doubt either way."
    )
    yield from warned(e)


def _kinds(ranking: RegressionRanking, e: RankedRegression) -> str:
    return (
        "What these numbers are. Under attack: measured, a lower estimate of the worst error, as a"
        " stronger attack may find more. Error bounds: estimated; they would be proven if attacks"
        f" found the farthest point. Nothing here is certified. {NOT_FINE_TUNED}"
    )
