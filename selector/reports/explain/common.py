"""What is said of a candidate whatever it has to tell from images."""

from __future__ import annotations

from collections.abc import Iterator

from selector.norms import format_threat
from selector.records import AnyRanked, AnyRanking


def place(ranking: AnyRanking, e: AnyRanked, by: str) -> Iterator[str]:
    """Sentences: its number, how sure that is, and its equals.

    Args:
        ranking: it is in.
        e: the candidate.
        by: what it is ranked by, in words.
    """
    low, high = e.rank_interval
    yield (
        f"{e.name} is number {e.rank} of {len(ranking.ranking)} by {by}, on"
        f" {ranking.task.test_images} test images of {ranking.task.name} at"
        f" {format_threat(ranking.threat.norm, ranking.threat.eps)}."
    )
    if low != high:
        yield f"On other test images like these it may be anything from {low} to {high}."
    ranked: tuple[AnyRanked, ...] = ranking.ranking
    if equals := [one.name for one in ranked if one.group == e.group and one is not e]:
        yield f"It cannot be told apart from {', '.join(equals)}."


def warned(e: AnyRanked) -> Iterator[str]:
    """Its warnings, a sentence each."""
    return (f"With care: {flag.message}." for flag in e.warnings)


def images(count: int) -> str:
    """So many images, in words.

    >>> images(1), images(7)
    ('1 image', '7 images')
    """
    return "1 image" if count == 1 else f"{count} images"


MASKED = "Its gradients are masked, so that it is ranked below all others."
NOT_FINE_TUNED = (
    "All of it is about a linear head on the frozen backbone, not about fine-tuning the whole"
    " network."
)
