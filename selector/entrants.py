"""Candidates in a race: what was seen of them, about how long more would take, who comes next."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

from selector.candidates import Candidate, Pinned
from selector.fetching import Ahead
from selector.racing import Standing
from selector.records import Cost, Evaluation, Screened
from selector.run import Prepared
from selector.screening import Fitting
from selector.verdict import Runner
from selector.workload import Setting, planned_passes


@dataclass
class Entrant:
    """A candidate whose files are here, and what was seen of it.

    Attributes:
        candidate: which.
        prepared: its files.
        kept: what an earlier run measured in full; None: it has not.
        seen: by every look so far.
        fitting: that the looks used; None before the first, and where an earlier run took it.
        standing: how good it can at most be, by what was seen; None: nothing yet.
        open: it is neither measured in full nor given up.
    """

    candidate: Candidate
    prepared: Prepared
    kept: Evaluation | None = None
    seen: list[Screened] = field(default_factory=list)
    fitting: Fitting | None = None
    standing: Standing | None = None
    open: bool = True

    @property
    def running(self) -> bool:
        """It can be gone on with."""
        return self.open and self.standing is not None

    @property
    def order(self) -> tuple[int, float]:
        """What those who run are sorted by, the most promising first."""
        assert self.standing is not None
        return self.standing.order

    @property
    def images(self) -> int:
        """Test images it was looked at."""
        return sum(len(part.withstood) for part in self.seen)

    def runner(self) -> Runner:
        """What the verdict needs of it."""
        spent = sum(passes_of(part.cost) for part in self.seen)
        return Runner(self.candidate.name, self.prepared.model, self.standing, spent)

    def seconds_in_full(self, setting: Setting) -> float:
        """About how long the full measurement takes, at the pace of the first look; 0: unknown."""
        if not self.seen:
            return 0.0
        first = self.seen[0].cost
        pace = (first.seconds_features + first.seconds_attack) / passes_of(first)
        passes = planned_passes(setting).total
        return first.seconds_load + pace * passes + first.seconds_heads


@dataclass
class Unseen:
    """Who was not looked at yet.

    Attributes:
        candidates: they, in order.
        ahead: fetches them.
    """

    candidates: deque[Pinned]
    ahead: Ahead
    _files: Future[Prepared] | None = None

    def files(self) -> Future[Prepared]:
        """Those of the first."""
        self._files = self._files or self.ahead.next()
        return self._files

    def take(self) -> Candidate:
        """The first, who is looked at now; ``ahead.done()`` follows."""
        self._files = None
        return self.candidates.popleft().candidate


def passes_of(cost: Cost) -> int:
    """Images that went through the network, forward and back."""
    return cost.forward_passes + cost.backward_passes


def seconds_of(cost: Cost) -> float:
    """All that it took."""
    return cost.seconds
