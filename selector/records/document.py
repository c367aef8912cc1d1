"""Records of a whole run: the ranking, and what it rests on."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from selector.records.base import Estimate, Record, Share
from selector.records.certified import CertifiedCandidate, SmoothingRecord
from selector.records.measured import Evaluation, Flag, Skipped
from selector.records.run import (
    ImagesRecord,
    LeftOut,
    Place,
    RankingRecord,
    RunRecord,
    ThreatRecord,
    check_is_one,
)


class RankedEvaluation(Evaluation, Place):
    """An evaluation and its place."""

    score: Annotated[
        float | None,
        Field(description="by the objective, higher is better; null: could not be computed"),
    ]


class TaskRecord(ImagesRecord):
    """The images and classes that were used."""

    classes: tuple[str, ...]
    prior_entropy: Annotated[
        float, Field(description="nats; entropy of the class frequencies of train")
    ]
    constant_accuracy: Annotated[
        float, Field(description="on test images, of always naming the most frequent class")
    ]


class Choice(Record):
    """The advice, and what choosing by clean accuracy would have cost (accuracies of 0..1)."""

    name: str
    estimated_robust_accuracy: Annotated[float, Field(description="of its head")]
    attacked_accuracy: Annotated[float, Field(description="of its head")]
    clean_accuracy: Annotated[float, Field(description="of its head")]
    by_clean_accuracy: Annotated[
        str, Field(description="of the ranking, with the best clean probe")
    ]
    clean_accuracy_gained: Annotated[float, Field(description="of its probe over the choice's")]
    estimated_robust_accuracy_lost: Annotated[float, Field(description="head against head")]
    attacked_accuracy_lost: Annotated[float, Field(description="head against head")]
    sentence: str

    @property
    def cleanest(self) -> str:
        """Who would have been chosen, nothing attacked."""
        return self.by_clean_accuracy


class Eliminated(Record):
    """A candidate of a race that is not among the best, found out before it was measured in full.

    Shares are of the images that withstand attacks, class pairs included.
    """

    name: str
    model: str
    images: Annotated[int, Field(ge=1, description="test images it was looked at")]
    passes: Annotated[int, Field(ge=0, description="images forward and back")]
    upper: Annotated[float, Field(description="confidence bound of its share on all test images")]
    bar: Annotated[float, Field(description="share of the last of the best, measured in full")]
    reason: str


class Unsettled(Record):
    """A candidate of a race of which it is not known whether it is among the best."""

    name: str
    model: str
    images: Annotated[int, Field(ge=0, description="test images it was looked at; 0: not at all")]
    passes: Annotated[int, Field(ge=0, description="images forward and back")]
    upper: Annotated[float | None, Field(description="as for the eliminated; null: not looked at")]
    reason: str


class RaceRecord(Record):
    """How the best were found without measuring all in full: ``--top``, ``--budget``.

    The confidence covers one thing: that the test images which a candidate was looked at are a
    random part of them. It does not cover that a short attack, with a head chosen under short
    attacks, shows at most two points less than the full measurement would, of which
    benchmarks/results/racing.cpu.json counts the exceptions; nor what other test images would show,
    of which rank intervals and groups tell.
    """

    top: Annotated[int | None, Field(ge=1, description="how many were wanted; null: all")]
    confidence: Annotated[
        float,
        Field(
            description="that the best are those which measuring all in full on these test images"
            " would give, as far as it depends on which images were looked at"
        ),
    ]
    budget_seconds: float | None
    seconds: float
    passes: Annotated[
        int, Field(ge=0, description="images forward and back, of all that was finished")
    ]
    exhaustive_passes: Annotated[
        int,
        Field(
            ge=0,
            description="that measuring all would take, by the mean of those that were measured;"
            " by the plan where none was",
        ),
    ]
    settled: Annotated[bool, Field(description="time sufficed: nobody is unsettled")]
    eliminated: Annotated[tuple[Eliminated, ...], Field(description="highest bound first")]
    unsettled: Annotated[tuple[Unsettled, ...], Field(description="most promising first")]
    sentence: str


class CurvePoint(Record):
    """One candidate under one threat: of the head that --head picks for this very threat."""

    threat: ThreatRecord
    rank: Annotated[int, Field(ge=1, description="among the candidates measured under it")]
    rank_interval: Annotated[
        tuple[int, int],
        Field(
            description="95 % of ranks over resampled test images; where an objective is one number"
            " for all of them, the places of its equals"
        ),
    ]
    masked: Annotated[bool, Field(description="the attack was blind: its numbers flatter")]
    radius_scale: Annotated[float, Field(description="of the head")]
    clean_accuracy: Share
    attacked_accuracy: Share
    estimated_robust_accuracy: Annotated[Share, Field(description="criterion on A∘g")]
    estimated_worst_case_loss: Annotated[
        Estimate, Field(description="of the bound-optimal head, on A∘g, nats")
    ]
    vacuous: Annotated[bool, Field(description="of that loss bound")]
    warnings: tuple[Flag, ...] = ()


class Curve(Record):
    """One candidate under every threat of a run with several: ``--eps 1/255,2/255,l2:0.5``."""

    name: str
    model: str
    points: Annotated[
        tuple[CurvePoint, ...],
        Field(
            min_length=1, description="by norm and eps; without threats it was not measured under"
        ),
    ]


class Ranking(RankingRecord):
    """The result of ``selector rank``."""

    task: TaskRecord
    choice: Choice | None
    ranking: tuple[RankedEvaluation, ...]
    race: Annotated[
        RaceRecord | None, Field(description="null: every candidate was measured in full")
    ] = None
    certified: Annotated[
        tuple[CertifiedCandidate | Skipped, ...] | None,
        Field(description="the first of the ranking, smoothed: --certify; null: not asked for"),
    ] = None
    curves: Annotated[
        tuple[Curve, ...] | None,
        Field(
            description="each of the ranking, in its order, under all threats of the run, the"
            " document's own included; null: there is one threat"
        ),
    ] = None

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Who has no place, and why: skipped, then eliminated and unsettled of a race."""
        found = list(super().left_out)
        if self.race is not None:
            for code, some in (
                ("eliminated", self.race.eliminated),
                ("unsettled", self.race.unsettled),
            ):
                found += [LeftOut(one.name, one.model, code, one.reason) for one in some]
        return tuple(found)

    @model_validator(mode="after")
    def _is_one_ranking(self) -> Self:
        chosen = None if self.choice is None else self.choice.name
        check_is_one(self.ranking, chosen, self.task.test_images)
        return self


class Certification(RunRecord):
    """The result of ``selector certify``."""

    task: TaskRecord
    smoothing: SmoothingRecord
    certified: Annotated[
        tuple[CertifiedCandidate, ...],
        Field(description="highest certified accuracy at the first radius first"),
    ]
    skipped: tuple[Skipped, ...]
