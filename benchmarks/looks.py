"""What the looks of a race show, beside full measurements of the same images.

The confidence of a race takes for granted that looks do not fall behind by more than its allowance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from selector.candidates import Pinned
from selector.fetching import prepare
from selector.keys import measurement
from selector.racing import ALLOWANCE, Field
from selector.ranking import order_key
from selector.records import Eliminated, RankedEvaluation, Screened
from selector.screening import Look, places, shortened
from selector.store import Store
from selector.workload import Setting


@dataclass(frozen=True)
class Compared:
    """What the looks at a candidate and its full measurement show on the same images.

    Attributes:
        name: of the candidate.
        images: it was looked at.
        look: share of them that withstood, 0..1.
        full: the same of the full measurement.
    """

    name: str
    images: int
    look: float
    full: float


def compare_looks(
    candidates: list[Pinned], setting: Setting, path: Path, full: tuple[RankedEvaluation, ...]
) -> tuple[Compared, ...]:
    """All looks at every candidate, beside its full measurement."""
    store, by_model = Store(path), {one.model: one for one in full}
    stops = Field(len(setting.task.test), 1, 0.95).looks
    looks = [Look(start, stop) for start, stop in zip((0, *stops), stops, strict=False)]
    found = []
    for pinned in candidates:
        prepared = prepare(pinned, None, lambda count: None)
        images = by_model[prepared.model].per_image
        shown: list[float] = []
        for look in looks:
            key = measurement(pinned.candidate, prepared, shortened(setting), look)
            seen = store.get(key, Screened)
            if seen is None:
                break
            shown += seen.withstood
        seen_at = places(setting, Look(0, len(shown))).tolist()
        there = [float(images.attacked_correct[place]) for place in seen_at]
        found.append(Compared(prepared.name, len(shown), mean(shown), mean(there)))
    store.close()
    return tuple(found)


def failed(eliminated: Eliminated, exhaustive: tuple[RankedEvaluation, ...]) -> bool:
    """Whether a candidate is better than its bound."""
    (full,) = (one for one in exhaustive if one.model == eliminated.model)
    return order_key(full)[:2] < (0, -eliminated.upper)


def summary(looks: Sequence[Compared]) -> dict[str, dict[str, float]]:
    """Looks less full measurements: of looks at all images, and at some."""
    whole = max(one.images for one in looks)
    groups = {
        "all images": [one for one in looks if one.images == whole],
        "some images": [one for one in looks if one.images < whole],
    }
    found = {}
    for name, members in groups.items():
        above = [one.look - one.full for one in members] or [0.0]
        found[name] = {
            "candidates": len(members),
            "mean": mean(above),
            "lowest": min(above),
            "highest": max(above),
            "below": sum(difference < 0 for difference in above),
            "below_allowance": sum(difference < -ALLOWANCE for difference in above),
        }
    return found
