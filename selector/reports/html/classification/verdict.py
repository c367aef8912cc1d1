"""Choice, rival, reason and doubt of a ranking of classes."""

from __future__ import annotations

from selector.norms import format_threat
from selector.objectives import OBJECTIVES
from selector.ranking import tier
from selector.records import RankedEvaluation, Ranking
from selector.reports.explain.classification import as_good_as_constant, certified, doubts
from selector.reports.html.verdict import Part, doubt, place, rival
from selector.reports.html.wording import listed, nats, percent, span, with_span


def verdict(ranking: Ranking) -> tuple[Part, ...]:
    """Choice, rival, reason and doubt; nothing where nothing could be ranked."""
    if not ranking.ranking:
        return ()
    best = ranking.ranking[0]
    return (_choice(ranking, best), _rival(ranking, best), _reason(ranking, best), _doubt(ranking))


def _choice(ranking: Ranking, best: RankedEvaluation) -> Part:
    head, threat = best.head, format_threat(ranking.threat.norm, ranking.threat.eps)
    text = (
        f"With the {ranking.protocol.head} linear head: attacked accuracy"
        f" {with_span(head.attacked_accuracy)} at {threat}, an upper estimate; clean accuracy"
        f" {with_span(head.clean_accuracy)}; estimated robust accuracy"
        f" {with_span(head.on_task.estimated_robust_accuracy)}."
    )
    if tier(best):
        return Part("Choice", "none", f"Every attack was blind. First is {best.name}. {text}")
    if as_good_as_constant(ranking, best):
        constant = percent(ranking.task.constant_accuracy)
        lead = (
            f"Nothing clearly withstands more than a constant answer, which is right on {constant}"
            f" %. First is {best.name}."
        )
        return Part("Choice", "none to rely on", f"{lead} {text}")
    return Part("Choice", best.name, text)


def _rival(ranking: Ranking, best: RankedEvaluation) -> Part:
    ranked = ranking.ranking
    unsettled = [one.name for one in ranking.race.unsettled] if ranking.race else []
    open_still = f" Not settled, and perhaps better: {listed(unsettled)}." if unsettled else ""
    paired = _paired(best, ranked[1]) if len(ranked) > 1 else ""
    return rival(ranked, paired, open_still)


def _paired(best: RankedEvaluation, rival: RankedEvaluation) -> str:
    """Attacked accuracy image by image, which says more than two intervals."""
    pairs = list(
        zip(best.per_image.attacked_correct, rival.per_image.attacked_correct, strict=True)
    )
    ahead = sum(mine and not theirs for mine, theirs in pairs)
    behind = sum(theirs and not mine for mine, theirs in pairs)
    return (
        f"Its attacked accuracy is {with_span(rival.head.attacked_accuracy)}. Of {len(pairs)} test"
        f" images, only {best.name} withstands the attacks on {ahead}, only {rival.name} on"
        f" {behind}."
    )


def _reason(ranking: Ranking, best: RankedEvaluation) -> Part:
    by = OBJECTIVES[ranking.objective]
    moved, bound = best.task_sensitivity.relative, best.bound_optimal.on_task
    said = [
        f"First of {len(ranking.ranking)} by {by.what}.",
        f"Attacks move the features that this task uses by {percent(moved)} % of the distance"
        " between two images' features, a lower estimate.",
        f"Estimated loss bound: {nats(bound.estimated_worst_case_loss)}, where"
        f" {ranking.task.prior_entropy:.2f} is knowing only class frequencies."
        + (" It is vacuous." if best.vacuous else ""),
        _instead(ranking),
    ]
    return Part("Reason", f"{by.kind}: {_score(ranking, best)}", " ".join(said).rstrip())


def _score(ranking: Ranking, best: RankedEvaluation) -> str:
    if ranking.objective == "attacked":
        share = best.head.attacked_accuracy
        return f"{percent(share.value)} % ({span(share)})"
    return "not computed" if best.score is None else f"{best.score:.4g}"


def _instead(ranking: Ranking) -> str:
    """What choosing by clean accuracy would have cost."""
    choice = ranking.choice
    if choice is None:
        return ""
    if choice.by_clean_accuracy == choice.name:
        return "It also has the best clean accuracy of the usual probes."
    lost = round(-100 * choice.attacked_accuracy_lost, 1) + 0.0
    gained = round(100 * choice.clean_accuracy_gained, 1) + 0.0
    return (
        f"Choosing by clean accuracy would have taken {choice.by_clean_accuracy}:"
        f" {gained:+.1f} points clean, {lost:+.1f} points attacked."
    )


def _doubt(ranking: Ranking) -> Part:
    best = ranking.ranking[0]
    said = [
        place(best),
        *doubts(best),
        "Attacked accuracy is an upper estimate: a stronger attack may take more.",
        certified(ranking, best),
        f"All of it is about {ranking.scope}.",
    ]
    if ranking.race and not ranking.race.settled:
        said.insert(0, "Time ended before the race was settled.")
    return doubt(best, ranking.task.test_images, said)
