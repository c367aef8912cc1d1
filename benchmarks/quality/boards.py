"""Boards: all candidates on one task at one threat, and what the scores make of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np

from quality import statistics
from quality.cells import Found
from quality.scores import DEFAULT, SCORES

DRAWS = 1000

Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]
STATISTICS: dict[str, Statistic] = {
    "weighted_tau": statistics.weighted_tau,
    "weighted_tau_both": statistics.weighted_tau_both,
    "tau_b": statistics.tau_b,
    "regret": statistics.regret,
}


@dataclass(frozen=True)
class Board:
    """The cells of one task, threat and seed, on the same test images."""

    cells: tuple[Found, ...]

    @cached_property
    def robust(self) -> np.ndarray:
        """Which of n images each of c candidates keeps: (c,n) bool."""
        return np.stack([cell.robust for cell in self.cells])

    @cached_property
    def degenerate(self) -> str | None:
        """Why there is no order to be found; None: there is."""
        return statistics.degenerate(self.robust, self.cells[0].majority)

    @cached_property
    def weights(self) -> np.ndarray:
        """Of images (1+b,n): all alike, then of b resamples, the same for every threat."""
        images = self.robust.shape[1]
        alike = np.full((1, images), 1 / images)
        drawn = statistics.resamples(images, DRAWS, self.cells[0].seed)
        return np.concatenate([alike, drawn])

    @cached_property
    def values(self) -> dict[str, dict[str, np.ndarray]]:
        """Of each score each statistic (1+b,), as measured and resampled."""
        truth = self.weights @ self.robust.T
        found = {}
        for score in SCORES:
            columns = [self._score(cell.scores[score]) for cell in self.cells]
            scores = np.stack(columns, axis=1)
            found[score] = {name: of(truth, scores) for name, of in STATISTICS.items()}
        return found

    def tau(self, score: str) -> float:
        """Weighted tau, as measured."""
        return float(self.values[score]["weighted_tau"][0])

    def _score(self, values: np.ndarray) -> np.ndarray:
        """(1+b,): resampled with the truth where there is a value for each image."""
        if len(values) == 1:
            return np.repeat(values, len(self.weights))
        return self.weights @ values


@dataclass(frozen=True)
class Mean:
    """A statistic on average over boards, its interval if one is known, and its worst board."""

    value: float
    low: float | None
    high: float | None
    worst: float

    def told(self, decimals: int) -> str:
        """For people; of the interval two decimals at most."""
        value = f"{self.value:.{decimals}f}"
        if self.low is None or self.high is None:
            return value
        fewer = min(2, decimals)
        return f"{value} [{self.low:.{fewer}f}, {self.high:.{fewer}f}]"


@dataclass(frozen=True)
class Line:
    """One score on some boards."""

    score: str
    baseline: bool
    boards: int
    statistics: dict[str, Mean]


def boards(cells: Iterable[Found]) -> list[Board]:
    """By task, threat and seed, in the order in which these come."""

    def place(cell: Found) -> tuple[str, str, float, int]:
        return cell.task, cell.threat.norm, cell.threat.eps, cell.seed

    ordered = sorted(cells, key=lambda cell: (*place(cell), cell.backbone))
    return [Board(tuple(group)) for _, group in groupby(ordered, key=place)]


def lines(some: Sequence[Board]) -> list[Line]:
    """Every score on those boards that are not degenerate, best first."""
    sound = [board for board in some if board.degenerate is None]
    if not sound:
        return []
    found = [_line(name, sound) for name in SCORES]
    return sorted(found, key=lambda line: -line.statistics["weighted_tau"].value)


def _line(score: str, some: Sequence[Board]) -> Line:
    means = {}
    for name in STATISTICS:
        values = np.stack([board.values[score][name] for board in some])
        measured, resampled = values[:, 0], _of_seeds(some, values[:, 1:])
        worst = measured.max() if name == "regret" else measured.min()
        low, high = statistics.interval(resampled) if _is_resampled(score, some) else (None, None)
        means[name] = Mean(float(measured.mean()), low, high, float(worst))
    return Line(score, SCORES[score].baseline, len(some), means)


def _is_resampled(score: str, some: Sequence[Board]) -> bool:
    """Whether resamples of the test images say how far a score's statistics can be trusted.

    Not of one number that was measured on these very images, which stays as it is while the truth
    is drawn anew. What baselines make of the training images has nothing to do with them.
    """
    single = any(len(cell.scores[score]) == 1 for board in some for cell in board.cells)
    return SCORES[score].baseline or not single


def _of_seeds(some: Sequence[Board], values: np.ndarray) -> np.ndarray:
    """Means (b,) of values (boards,b) of the seeds that each resample draws, then of its images."""
    seeds = sorted({board.cells[0].seed for board in some})
    of_seed = np.array([seeds.index(board.cells[0].seed) for board in some])
    draws = values.shape[1]
    drawn = np.random.default_rng(0).integers(len(seeds), size=(draws, len(seeds)))
    times = np.stack([(drawn == place).sum(axis=1) for place in of_seed])
    return (values * times).sum(axis=0) / times.sum(axis=0)


@dataclass(frozen=True)
class Target:
    """Something that is wanted, and what was found.

    Attributes:
        what: in words.
        wanted: the limit.
        found: the figure.
        met: whether it is within.
    """

    what: str
    wanted: str
    found: str
    met: bool


def targets(cells: Sequence[Found]) -> list[Target]:
    """Whether the default objective does what it has to."""
    sound = [board for board in boards(cells) if board.degenerate is None]
    if not sound:
        return []
    ours = _line(DEFAULT, sound).statistics
    beaten, fought = _duels(sound)
    passes = sum(cell.passes for cell in cells)
    attack = sum(cell.truth.forward + cell.truth.backward for cell in cells)
    criterion = sum(cell.criterion for cell in cells)
    attacked = sum(float(cell.robust.mean()) for cell in cells)
    attacks = sorted({cell.truth.key.attack for cell in cells})
    tau, lost = ours["weighted_tau"].value, ours["regret"].value
    share, tight = passes / max(1, attack), criterion / max(1e-9, attacked)
    return [
        Target("mean weighted tau", ">= 0.90", f"{tau:.3f}", tau >= 0.90),
        Target("mean top-1 regret, points", "<= 1", f"{lost:.2f}", lost <= 1),
        Target(
            "boards on which no baseline orders better", "all", f"{beaten} of {fought}",
            beaten == fought,
        ),
        Target(f"passes, share of {', '.join(attacks)}", "<= 0.25", f"{share:.3f}", share <= 0.25),
        Target("criterion / attacked accuracy", ">= 0.85", f"{tight:.3f}", tight >= 0.85),
    ]  # fmt: skip


def _duels(some: Sequence[Board]) -> tuple[int, int]:
    """On how many boards no baseline has a higher weighted tau, and how many there are."""
    baselines = [name for name, score in SCORES.items() if score.baseline]
    won = [all(board.tau(DEFAULT) >= board.tau(name) for name in baselines) for board in some]
    return sum(won), len(won)
