"""The choice, its rival, the reason and the doubt: what every ranking says in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from selector.records import AnyRanked
from selector.reports.explain.common import images
from selector.reports.html.wording import listed


@dataclass(frozen=True)
class Part:
    """One of the four.

    Attributes:
        question: what it answers.
        answer: in a word, mostly a name.
        text: why.
    """

    question: str
    answer: str
    text: str


def rival(ranked: Sequence[AnyRanked], paired: str, open_still: str = "") -> Part:
    """Who comes next.

    Args:
        ranked: the first, and at least none after it.
        paired: what comparing the first two image by image shows.
        open_still: who may yet be better; empty where nobody may.
    """
    best, *others = ranked
    if not others:
        return Part("Rival", "none", f"No other candidate was ranked.{open_still}")
    equals = [one.name for one in others if one.group == best.group]
    if equals:
        said = f"Cannot be told apart from {best.name} at the 5 % level: {listed(equals)}."
    elif others[0].masked != best.masked:
        said = "Next, but its gradients are masked, so that its numbers flatter."
    else:
        said = f"Next, and told apart from {best.name} at the 5 % level."
    return Part("Rival", others[0].name, f"{said} {paired}{open_still}")


def doubt(best: AnyRanked, test_images: int, said: Sequence[str]) -> Part:
    """How sure the first place is.

    Args:
        best: who has it.
        test_images: how many there are.
        said: what else there is to doubt, in sentences.
    """
    low, high = best.rank_interval
    answer = f"rank {low}" if low == high else f"rank {low} to {high}"
    warned = len(best.warnings)
    if warned:
        answer += f", {warned} warning" + ("s" if warned > 1 else "")
    return Part("Doubt", f"{answer}, on {images(test_images)}", " ".join(said))


def place(best: AnyRanked) -> str:
    """What other test images would leave of the first place."""
    low, high = best.rank_interval
    if low == high:
        return f"Resampling the test images leaves it at rank {low} in 95 % of cases."
    return f"On other test images like these its rank may be anything from {low} to {high}."
