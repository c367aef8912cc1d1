"""What a card says differently of classes and of numbers."""

from __future__ import annotations

from dataclasses import dataclass

from selector.errors import printable
from selector.records import AnyRanking, Ranking


@dataclass(frozen=True)
class Subject:
    """What a head was asked for.

    Attributes:
        type: of the Hub's task.
        name: the same in words.
        asked: what the head tells of an image; not escaped.
        attacked: what an attacked number promises.
        ignorant: how well an answer does that knows nothing of the image.
        vacuous: what a bound says no more than.
        options: of the command, which say the same.
    """

    type: str
    name: str
    asked: str
    attacked: str
    ignorant: str
    vacuous: str
    options: tuple[str, ...]


def subject(ranking: AnyRanking) -> Subject:
    """That of a ranking."""
    if isinstance(ranking, Ranking):
        task = ranking.task
        return Subject(
            type="image-classification",
            name="Image classification, linear head on the frozen backbone",
            asked=f"{len(task.classes)} classes",
            attacked="measured: what the head withstood; an upper estimate, as a stronger attack"
            " may take more",
            ignorant="Always naming the most frequent class is right on"
            f" {100 * task.constant_accuracy:.1f} %; knowing only class frequencies costs"
            f" {task.prior_entropy:.3f} nats.",
            vacuous="The loss bound is vacuous: it says no more than class frequencies do.",
            options=(),
        )
    columns = [printable(column.name) for column in ranking.task.columns]
    spread = ", ".join(
        f"{column.mean:.4g} ± {column.sd:.4g} ({name})"
        for name, column in zip(columns, ranking.task.columns, strict=True)
    )
    return Subject(
        type="image-regression",
        name="Image regression, linear head on the frozen backbone",
        asked=f"target column{'s' * (len(columns) > 1)} {', '.join(columns)}",
        attacked="measured: the largest error found; a lower estimate, as a stronger attack may"
        " find more",
        ignorant="Errors are means over target columns, in standard deviations of the training"
        f" images, whose mean ± standard deviation is {spread}; knowing only the mean has"
        f" {ranking.task.mean_error:.3f}.",
        vacuous="The error bound is vacuous: it says no more than the mean of the targets does.",
        options=tuple(
            word for column in ranking.task.columns for word in ("--target-column", column.name)
        ),
    )
