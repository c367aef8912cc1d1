"""How far the test images go: what AutoAttack finds on half of them, as a score for the other half.

    python benchmarks/halves.py benchmarks/results/ranking_truth.jsonl

No score computed on so few images can be expected to order candidates better on other images. Clean
accuracy on the same half stands beside it. Means over boards that are not degenerate and over
random halves; weighted tau and regret as in quality/statistics.py.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from quality import statistics, truth
from quality.autoattack import ATTACKS, named

DRAWS = 200


def main() -> None:
    """Print a line for either score."""
    boards: dict[tuple[str, str], list[truth.Truth]] = defaultdict(list)
    for row in truth.read(Path(sys.argv[1])):
        if row.key.attack == named(ATTACKS["standard"]):
            boards[row.names[1], row.key.threat].append(row)
    found = [halves(rows) for rows in boards.values()]
    sound = [values for values in found if values is not None]
    for name, tau, regret in zip(
        ("AutoAttack", "clean accuracy"),
        np.mean([values[0] for values in sound], axis=0),
        np.mean([values[1] for values in sound], axis=0),
        strict=True,
    ):
        print(f"{name}: weighted tau {tau:.3f}, regret {regret:.1f} points, {len(sound)} boards")


def halves(rows: list[truth.Truth]) -> tuple[np.ndarray, np.ndarray] | None:
    """Weighted tau and regret, (2,) each, of both scores on one board; None: it is degenerate."""
    robust = np.stack([truth.as_flags(row.robust) for row in rows])
    clean = np.stack([truth.as_flags(row.clean) for row in rows])
    if statistics.degenerate(robust, 0.0) is not None:
        return None
    order = np.random.default_rng(0).permuted(
        np.tile(np.arange(robust.shape[1]), (DRAWS, 1)), axis=1
    )
    seen, others = np.array_split(order, 2, axis=1)
    wanted = robust[:, others].mean(axis=2).T
    scores = [flags[:, seen].mean(axis=2).T for flags in (robust, clean)]
    taus = [statistics.weighted_tau(wanted, score).mean() for score in scores]
    regrets = [statistics.regret(wanted, score).mean() for score in scores]
    return np.array(taus), np.array(regrets)


if __name__ == "__main__":
    main()
