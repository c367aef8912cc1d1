"""Rankings with everything that a page can have in it, for its tests and for the browser."""

from __future__ import annotations

import test_regression_ranking as regression
from builders import certified, evaluation, ranking, right, share, skipped

from selector.records import (
    Curve,
    CurvePoint,
    Eliminated,
    Evaluation,
    Flag,
    LockRecord,
    RaceRecord,
    RankedEvaluation,
    Ranking,
    RegressionEvaluation,
    RegressionRanking,
    TargetColumn,
    ThreatRecord,
    Unsettled,
)

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    '<a href="javascript:alert(1)">x</a>',
    "<b>bold</b> &lt;i&gt; 100% %{y} $\\alpha$",
    "\"'><svg/onload=alert(1)>",
    "{{ 7 * 7 }} {% raw %}",
    "<!-- <script>",
    "a\u2028b\x1b[31m\x00",
)
"""Names that mean something to HTML, JSON, Plotly, Jinja or a terminal."""

THREATS = (
    ThreatRecord(norm="linf", eps=1 / 255),
    ThreatRecord(norm="linf", eps=2 / 255),
    ThreatRecord(norm="linf", eps=4 / 255),
    ThreatRecord(norm="l2", eps=0.5),
)


def full(names: tuple[str, ...] = HOSTILE) -> Ranking:
    """Hostile names, warnings, skipped candidates, curves, certificates, a race and a lock."""
    document = ranking(
        [_candidate(place, name) for place, name in enumerate(names)],
        [skipped(f"skipped {names[0]}", reason=f"no {names[1]}."), skipped("gone", retryable=True)],
        name=f"plates {names[0]}",
        source=f"/data/{names[1]}",
    )
    first = document.ranking[0]
    proof = certified(first.name, (0.5, 0.25, 0.0, 0.5) * 25, (True, True, True, False) * 25)
    return document.model_copy(
        update={
            "command": ("selector", "rank", "--task", f"my {names[1]}", "--certify", "1"),
            "curves": tuple(_curve(e, len(document.ranking)) for e in document.ranking),
            "certified": (proof, skipped(f"uncertified {names[2]}")),
            "race": _race(names),
            "lock": LockRecord(file="a.lock.yaml", sha256="a" * 64, pinned=(first.name,)),
        }
    )


def errors(names: tuple[str, ...] = HOSTILE) -> RegressionRanking:
    """The same of a ranking by error, with a column, licences and tags of such names, too."""
    document = regression.document(*(_predictor(place, name) for place, name in enumerate(names)))
    column = TargetColumn(name=f"column {names[3]}", mean=16.5, sd=3.25)
    task = {"name": f"discs {names[0]}", "source": f"/data/{names[1]}", "columns": (column,)}
    return document.model_copy(
        update={
            "command": ("selector", "rank", "--target-column", names[3], "--task", names[1]),
            "task": document.task.model_copy(update=task),
            "skipped": (
                skipped(f"skipped {names[0]}", reason=f"no {names[1]}."),
                skipped("gone", retryable=True),
            ),
            "lock": LockRecord(file="a.lock.yaml", sha256="a" * 64, pinned=(names[0],)),
        }
    )


def _predictor(place: int, name: str) -> RegressionEvaluation:
    made = regression.evaluation(
        name,
        regression.drawn(0.2 + 0.15 * place),
        clean=regression.drawn(0.2 - 0.02 * place),
        bound=0.3 + 0.2 * place,
        masked=place == 3,
        vacuous=place > 5,
    )
    flags = (*made.warnings, Flag(code="still_rising", message=f"still rising of {name}"))
    said = {"license": f"licence {name}", "tags": (f"tag {name}",), "repo": f"repo/{name}"}
    provenance = made.provenance.model_copy(update=said)
    return made.model_copy(update={"provenance": provenance, "warnings": flags})


def large(candidates: int, images: int = 100) -> Ranking:
    """Many candidates of ordinary names, each with its curves."""
    document = ranking(
        [
            evaluation(
                f"vit_base_patch{place}_clip_224.laion2b_ft_in12k_in1k",
                right(images - place * images // (candidates + 1), images),
                smooth=[(image * 37 + place) % 101 / 101 for image in range(images)],
                worst_case_loss=[(image * 53 + place) % 97 / 30 for image in range(images)],
            )
            for place in range(candidates)
        ]
    )
    curves = tuple(_curve(e, candidates) for e in document.ranking)
    return document.model_copy(update={"curves": curves})


def _candidate(place: int, name: str) -> Evaluation:
    warned = place == 3
    return evaluation(
        name,
        right(90 - 9 * place),
        clean_head=right(98 - 2 * place),
        clean=right(90 + place),
        vacuous=place > 5,
        flags=["masked_gradients"] if warned else [],
        messages=[f"noise beat {name}"] if warned else None,
        smooth=[(image * 37 + place) % 101 / 101 for image in range(100)],
        worst_case_loss=[(image * 53 + 9 * place) % 97 / 40 for image in range(100)],
        relative=0.1 * 1.6**place,
    )


def _curve(e: RankedEvaluation, candidates: int) -> Curve:
    attacked = e.head.attacked_accuracy.value
    points = [
        CurvePoint(
            threat=threat,
            rank=e.rank,
            rank_interval=(e.rank, min(candidates, e.rank + 1)),
            masked=step == 2 and e.rank == 1,
            radius_scale=0.5,
            clean_accuracy=e.head.clean_accuracy,
            attacked_accuracy=share([attacked**step] * 100),
            estimated_robust_accuracy=share([attacked ** (2 * step)] * 100),
            estimated_worst_case_loss=e.bound_optimal.on_task.estimated_worst_case_loss,
            vacuous=False,
        )
        for step, threat in enumerate(THREATS)
    ]
    return Curve(name=e.name, model=e.model, points=tuple(points))


def _race(names: tuple[str, ...]) -> RaceRecord:
    return RaceRecord(
        top=len(names),
        confidence=0.95,
        budget_seconds=None,
        seconds=12.5,
        passes=12_000,
        exhaustive_passes=40_000,
        settled=False,
        eliminated=(
            Eliminated(
                name=f"eliminated {names[0]}",
                model="local-dir:slow",
                images=40,
                passes=400,
                upper=0.31,
                bar=0.62,
                reason=f"of 40 images {names[1]} withstood 2",
            ),
        ),
        unsettled=(
            Unsettled(
                name=f"unsettled {names[2]}",
                model="local-dir:late",
                images=0,
                passes=0,
                upper=None,
                reason="there was no time to look at it",
            ),
        ),
        sentence=f"The best of these, but for {names[2]}.",
    )
