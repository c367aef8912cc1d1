"""What a kind of ranking puts on the page, for the template to draw."""

from __future__ import annotations

from dataclasses import dataclass

from selector.records import CertifiedCandidate, RaceRecord, Skipped
from selector.reports.html.charts.base import Chart
from selector.reports.html.details import Detail
from selector.reports.html.run import Facts
from selector.reports.html.standings import Row
from selector.reports.html.table import Heading, Kind
from selector.reports.html.verdict import Part


@dataclass(frozen=True)
class Charts:
    """The charts, by where they stand.

    Attributes:
        results: title of the part about clean and attacked results.
        tradeoff: one against the other, candidate by candidate.
        frontier: the same of other heads.
        limits: title of the part about bounds.
        bounds: what they are made up of.
        displacement: how far attacks push features.
        distributions: what that does, image by image.
        curves: results against eps.
    """

    results: str
    tradeoff: Chart
    frontier: Chart
    limits: str
    bounds: Chart
    displacement: Chart
    distributions: tuple[Chart, ...]
    curves: tuple[Chart, ...] = ()

    @property
    def all(self) -> tuple[Chart, ...]:
        """Every one."""
        middle = (self.bounds, self.displacement, *self.distributions)
        return (self.tradeoff, *self.curves, *middle, self.frontier)


@dataclass(frozen=True)
class Certified:
    """What was certified.

    Attributes:
        charts: at least none.
        proven: candidates with certificates.
        skipped: candidates without, and why.
    """

    charts: tuple[Chart, ...]
    proven: tuple[CertifiedCandidate, ...]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True)
class Content:
    """The page, but for what all rankings have alike.

    Attributes:
        by: what it is ranked by, in words.
        answers: how many of what has to be told from an image.
        kinds: of its numbers, and what they promise.
        verdict: choice, rival, reason and doubt; none where nothing could be ranked.
        columns: heads of the table.
        rows: lines of the table.
        charts: None where nothing could be ranked.
        details: of the first candidates.
        facts: groups of label and value: what it rests on.
        certified: None where nothing was asked to be.
        race: None where every candidate was measured in full.
    """

    by: str
    answers: tuple[int, str]
    kinds: tuple[tuple[Kind, str], ...]
    verdict: tuple[Part, ...]
    columns: tuple[Heading, ...]
    rows: tuple[Row, ...]
    charts: Charts | None
    details: tuple[Detail, ...]
    facts: tuple[tuple[str, Facts], ...]
    certified: Certified | None = None
    race: RaceRecord | None = None

    @property
    def figures(self) -> tuple[Chart, ...]:
        """Every chart of the page."""
        certified = self.certified.charts if self.certified else ()
        return (*(self.charts.all if self.charts else ()), *certified)
