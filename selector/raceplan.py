"""What a race would take, without running it: about the least and about the most that it can.

How many class pairs are in doubt is not known before; one per image and head is counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from selector.racing import Field, Goal
from selector.records import PlannedCandidate, PlannedRace
from selector.screening import first_passes, look_passes
from selector.workload import Setting


def plan_race(rows: Sequence[PlannedCandidate], setting: Setting, goal: Goal) -> PlannedRace:
    """About the least and the most that a race takes.

    Args:
        rows: what each candidate's full measurement would take.
        setting: of the full measurement.
        goal: of the race.
    """
    images, wanted = len(setting.task.test), goal.wanted(len(rows))
    looks = Field(images, wanted, goal.confidence).looks
    # Where all are wanted, looks only decide the order.
    last = looks[0] if wanted == len(rows) else looks[-1]
    least = first_passes(setting, heads=1).plus(look_passes(setting, looks[0]))
    most = first_passes(setting).plus(look_passes(setting, last))
    running = sorted((one for one in rows if not one.code), key=lambda one: one.estimated_seconds)
    timed = [one for one in running if not one.kept]
    return PlannedRace(
        top=goal.top,
        budget_seconds=goal.budget,
        # Looks at what an earlier run has measured in full may be kept as well, or not.
        least_passes=least.total * len(timed) + sum(one.passes for one in running[:wanted]),
        most_passes=most.total * len(running) + sum(one.passes for one in running),
        least_seconds=least.forward * sum(one.seconds_per_image for one in timed)
        + sum(one.estimated_seconds for one in running[:wanted]),
        most_seconds=most.forward * sum(one.seconds_per_image for one in running)
        + sum(one.estimated_seconds for one in running),
    )
