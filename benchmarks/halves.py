"""How far the test images go: what AutoAttack finds on half of them, as a score for the other half.

    cd benchmarks/results
    python ../halves.py ranking_truth.jsonl ranking_quality.cpu.json

No score computed on so few images can be expected to order candidates better on other images. Clean
accuracy on the same half stands beside it. Means over the boards that are not degenerate, which the
second file says, and over random halves; weighted tau and regret as in quality/statistics.py.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from quality import statistics, truth
from quality.autoattack import ATTACKS, named

DRAWS = 200


def main() -> None:
    """Print a line for either score."""
    report = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    ordered = {one["board"] for one in report["boards"] if one["degenerate"] is None}
    boards: dict[str, list[truth.Truth]] = defaultdict(list)
    for row in truth.read(Path(sys.argv[1])):
        board = f"{row.names[1]}, {row.key.threat}, seed {row.key.seed}"
        if board in ordered and row.key.attack == named(ATTACKS["standard"]):
            boards[board].append(row)
    sound = [halves(rows) for rows in boards.values()]
    for name, tau, regret in zip(
        ("AutoAttack", "clean accuracy"),
        np.mean([values[0] for values in sound], axis=0),
        np.mean([values[1] for values in sound], axis=0),
        strict=True,
    ):
        print(f"{name}: weighted tau {tau:.3f}, regret {regret:.1f} points, {len(sound)} boards")


def halves(rows: list[truth.Truth]) -> tuple[np.ndarray, np.ndarray]:
    """Weighted tau and regret, (2,) each, of both scores on one board."""
    robust = np.stack([truth.as_flags(row.robust) for row in rows])
    clean = np.stack([truth.as_flags(row.clean) for row in rows])
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
