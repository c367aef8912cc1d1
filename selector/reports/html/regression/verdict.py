"""Choice, rival, reason and doubt of a ranking by error."""

from __future__ import annotations

from selector.norms import format_threat
from selector.records import RankedRegression, RegressionRanking
from selector.regression.ranking import OBJECTIVES
from selector.reports.explain.regression import as_good_as_mean, doubts
from selector.reports.html.verdict import Part, doubt, place, rival
from selector.reports.html.wording import percent
from selector.reports.squared import error, with_span


def verdict(ranking: RegressionRanking) -> tuple[Part, ...]:
    """Choice, rival, reason and doubt; nothing where nothing could be ranked."""
    if not ranking.ranking:
        return ()
    best = ranking.ranking[0]
    return (_choice(ranking, best), _rival(ranking, best), _reason(ranking, best), _doubt(ranking))


def _choice(ranking: RegressionRanking, best: RankedRegression) -> Part:
    head, threat = best.head, format_threat(ranking.threat.norm, ranking.threat.eps)
    mean = error(ranking.task.mean_error)
    text = (
        f"With the {ranking.protocol.head} linear head: attacked squared error"
        f" {with_span(head.attacked_squared_error)} at {threat}, a lower estimate; clean"
        f" {with_span(head.clean_squared_error)}; error bound, estimated,"
        f" {with_span(head.on_task.estimated_squared_error)}. Knowing only the mean has {mean}."
    )
    if OBJECTIVES[ranking.objective].tier(best):
        return Part("Choice", "none", f"Every attack was blind. First is {best.name}. {text}")
    if best.masked:
        return Part("Choice", best.name, f"Attacks on it were blind, so it is flattered. {text}")
    if as_good_as_mean(ranking, best):
        lead = (
            "Nothing is clearly better under attack than knowing only the mean. First is"
            f" {best.name}."
        )
        return Part("Choice", "none to rely on", f"{lead} {text}")
    return Part("Choice", best.name, text)


def _rival(ranking: RegressionRanking, best: RankedRegression) -> Part:
    ranked = ranking.ranking
    return rival(ranked, _paired(best, ranked[1]) if len(ranked) > 1 else "")


def _paired(best: RankedRegression, other: RankedRegression) -> str:
    """Attacked errors image by image, which say more than two intervals."""
    pairs = list(zip(best.per_image.attacked, other.per_image.attacked, strict=True))
    ahead = sum(mine < theirs for mine, theirs in pairs)
    behind = sum(theirs < mine for mine, theirs in pairs)
    return (
        f"Its attacked error is {with_span(other.head.attacked_squared_error)}. Of {len(pairs)}"
        f" test images, {best.name} has the lower one on {ahead}, {other.name} on {behind}."
    )


def _reason(ranking: RegressionRanking, best: RankedRegression) -> Part:
    by, head = OBJECTIVES[ranking.objective], best.head
    clean, bound = head.clean_squared_error.value, head.on_task.estimated_squared_error.value
    said = [
        f"First of {len(ranking.ranking)} by {by.what}.",
        "Attacks move the features that this task uses by"
        f" {percent(best.task_sensitivity.relative)} % of the distance between two images'"
        " features, a lower estimate.",
        f"Of the error bound, {error(clean)} is clean error and an estimated {error(bound - clean)}"
        " what that displacement adds." + (" The bound is vacuous." if best.vacuous else ""),
        _instead(ranking),
    ]
    return Part("Reason", f"{by.kind}: {_score(ranking, best)}", " ".join(said).rstrip())


def _score(ranking: RegressionRanking, best: RankedRegression) -> str:
    if ranking.objective == "attacked":
        return with_span(best.head.attacked_squared_error)
    return error(best.score)


def _instead(ranking: RegressionRanking) -> str:
    """What choosing by clean error would have cost."""
    choice = ranking.choice
    if choice is None:
        return ""
    if choice.by_clean_error == choice.name:
        return "It also has the lowest clean error of ordinary ridge."
    return (
        f"Choosing by clean error would have taken {choice.by_clean_error}:"
        f" {-choice.clean_error_saved:+.2f} clean, {choice.attacked_error_added:+.2f} attacked."
    )


def _doubt(ranking: RegressionRanking) -> Part:
    best = ranking.ranking[0]
    said = [
        place(best),
        *doubts(best),
        "Attacked error is a lower estimate: a stronger attack may find more.",
        "Nothing here is certified.",
        f"All of it is about {ranking.scope}.",
    ]
    return doubt(best, ranking.task.test_images, said)
