"""What the user asks ``selector rank`` for, before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from selector import store
from selector.candidates import Chosen
from selector.fetching import FetchRules
from selector.norms import Norm
from selector.protocol import Overrides, Preset
from selector.racing import Goal
from selector.radii import Leaders
from selector.scheduling import LOCAL, Engine, Kept, Means
from selector.tasks import Task
from selector.tasks.given import GivenTask
from selector.tasks.given_targets import GivenTargets
from selector.tasks.options import TaskOptions


@dataclass(frozen=True)
class Request:
    """What the user asked for; the options of ``selector rank``.

    Candidates are ranked under the first of ``threats``; the others are for curves. ``began`` is
    when, by ``time.monotonic``: a budget counts from there. Measurements are kept in ``store``;
    None: where they are by default. ``command`` is what documents say made them; None: what
    started this process. ``engine`` measures.
    """

    task: str | GivenTask | GivenTargets | Task
    task_options: TaskOptions
    chosen: Chosen
    allow_pickle: bool
    threats: tuple[tuple[Norm, float], ...]
    image_size: int
    preset: Preset
    overrides: Overrides
    device: str
    seed: int
    fresh: bool
    goal: Goal
    objective: str
    began: float
    leaders: Leaders | None = None
    store: Path | None = None
    command: tuple[str, ...] | None = None
    engine: Engine = LOCAL

    @property
    def kept(self) -> Kept:
        """Where results are kept and looked up."""
        return Kept(self.store or store.default_path(), self.fresh)

    @property
    def means(self) -> Means:
        """What candidates are measured by."""
        return Means(self.kept, FetchRules(self.allow_pickle), self.engine)
