"""A ranking as Markdown, for issues, pull requests and pages: the table, the choice, the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from selector.norms import format_threat
from selector.objectives import DEFAULT_OBJECTIVE, OBJECTIVES
from selector.ranking import tier
from selector.records import (
    AnyRanking,
    CertifiedCandidate,
    Curve,
    Estimate,
    RaceRecord,
    RankedEvaluation,
    RankedRegression,
    Ranking,
    RegressionRanking,
    Skipped,
)
from selector.regression.ranking import OBJECTIVES as ERROR_OBJECTIVES
from selector.reports.curves import at_threat, points_of, threats_of
from selector.reports.escaping import code, prose


def to_markdown(ranking: AnyRanking) -> str:
    """Blocks with an empty line between them, one trailing newline included."""
    return "\n\n".join(_blocks(ranking)) + "\n"


def _blocks(ranking: AnyRanking) -> Iterator[str]:
    yield _heading(ranking)
    if ranking.choice is not None:
        yield f"**{prose(ranking.choice.sentence)}**"
    if isinstance(ranking, Ranking):
        yield from _classes(ranking)
    else:
        yield from _numbers(ranking)
    noted = [(e.name, flag.message) for e in ranking.ranking for flag in e.warnings]
    if noted:
        yield "Read with care:\n\n" + _list(noted)
    if ranking.skipped:
        yield "Not ranked:\n\n" + _list([_reason(one) for one in ranking.skipped])


def _heading(ranking: AnyRanking) -> str:
    task, threat, protocol = ranking.task, ranking.threat, ranking.protocol
    return (
        f"Backbones for {code(task.name)} under {format_threat(threat.norm, threat.eps)}:"
        f" {task.test_images} test images of {task.image_size} px, heads fitted on"
        f" {task.train_images}; {protocol.preset}, {prose(protocol.attack)} {protocol.restarts} x"
        f" {protocol.steps} steps on {ranking.device.type}, seed {protocol.seed}."
    )


def _classes(ranking: Ranking) -> Iterator[str]:
    if ranking.ranking:
        header = ["#", "backbone", "withstood attack", "95 % interval", "est. robust", "clean"]
        header += ["est. loss bound", "ranks"]
        cells = [_cells(e) for e in ranking.ranking]
        if ranking.objective != DEFAULT_OBJECTIVE:
            header.append(prose(ranking.objective))
            cells = [(*row, _score(e)) for row, e in zip(cells, ranking.ranking, strict=True)]
        yield _table(header, cells)
        yield (
            f"Ranked by {prose(OBJECTIVES[ranking.objective].what)}. Withstood attack: % of test"
            f" images still right after every attack on the {prose(ranking.protocol.head)} head, an"
            " upper estimate. Est. robust: % whose decision should hold, and est. loss bound: nats,"
            " of the bound-optimal head; both estimated, fed with the displacement that attacks"
            " attained, not certified."
        )
    if ranking.curves:
        yield from _curves(ranking.curves)
    if ranking.race is not None:
        yield from _race(ranking.race)
    if ranking.certified is not None:
        yield from _certified(ranking.certified)


def _cells(e: RankedEvaluation) -> tuple[str, ...]:
    withstood, loss = e.head.attacked_accuracy, e.bound_optimal.on_task.estimated_worst_case_loss
    robust = e.head.on_task.estimated_robust_accuracy
    return (
        str(e.rank),
        code(e.name),
        _share(withstood),
        f"{100 * withstood.low:.0f}–{100 * withstood.high:.0f}",
        "masked" if tier(e) else _share(robust),
        _share(e.head.clean_accuracy),
        "vacuous" if e.vacuous else f"{loss.value:.2f}",
        _places(e),
    )


def _score(e: RankedEvaluation) -> str:
    return "–" if e.score is None else f"{e.score:.4g}"


def _numbers(ranking: RegressionRanking) -> Iterator[str]:
    if ranking.ranking:
        header = ("#", "backbone", "attacked error", "95 % interval", "est. error bound", "clean")
        yield _table((*header, "ranks"), [_error_cells(e) for e in ranking.ranking])
        yield (
            f"Ranked by {prose(ERROR_OBJECTIVES[ranking.objective].what)}, lowest first. Errors are"
            " squared, in standard deviations of the training images; knowing only the mean has"
            f" {ranking.task.mean_error:.2f}. Attacked error: the largest after every attack, a"
            " lower estimate. Est. error bound: fed with the displacement that attacks attained,"
            " not certified."
        )


def _error_cells(e: RankedRegression) -> tuple[str, ...]:
    attacked, bound = e.head.attacked_squared_error, e.head.on_task.estimated_squared_error
    masked = ERROR_OBJECTIVES["attacked"].tier(e)
    said = "vacuous" if e.vacuous else f"{bound.value:.2f}"
    return (
        str(e.rank),
        code(e.name),
        f"{attacked.value:.2f}",
        f"{max(0.0, attacked.low):.2f}–{attacked.high:.2f}",
        "masked" if masked else said,
        f"{e.head.clean_squared_error.value:.2f}",
        _places(e),
    )


def _curves(curves: Sequence[Curve]) -> Iterator[str]:
    threats = threats_of(curves)
    header = ["#", "backbone", *(format_threat(one.norm, one.eps) for one in threats)]
    rows = [
        (str(place), code(curve.name), *map(at_threat, points_of(curve, threats)))
        for place, curve in enumerate(curves, start=1)
    ]
    yield "Under every perturbation:\n\n" + _table(header, rows)
    yield "Withstood attack, %, an upper estimate, and place, of the head picked for each."


def _race(race: RaceRecord) -> Iterator[str]:
    left = [(one.name, f"{one.reason}.") for one in race.eliminated]
    left += [(one.name, f"{one.reason}.") for one in race.unsettled]
    yield prose(race.sentence)
    if left:
        yield _list(left)


def _certified(rows: Sequence[CertifiedCandidate | Skipped]) -> Iterator[str]:
    said = []
    for one in rows:
        if isinstance(one, Skipped):
            said.append(_reason(one))
            continue
        shares = ", ".join(
            f"{_share(share)} % up to l2 {share.radius:g}" for share in one.certified_accuracy
        )
        confidence = f"{100 * (1 - one.smoothing.alpha):g} %"
        said.append((one.name, f"{shares}, each image with {confidence} confidence."))
    yield "Certified, of a smoothed head:\n\n" + _list(said)


def _reason(one: Skipped) -> tuple[str, str]:
    return one.name, f"[{one.code}] {one.reason} {one.hint}".rstrip()


def _list(rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"- {code(name)}: {prose(said)}" for name, said in rows)


def _table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """The first column and those after the second are numbers, at the right."""
    rule = ["---:", "---", *["---:"] * (len(header) - 2)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *cells))


def _share(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.1f}"


def _places(e: RankedEvaluation | RankedRegression) -> str:
    low, high = e.rank_interval
    return f"{low}" if low == high else f"{low}–{high}"
