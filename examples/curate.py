"""The best backbones for each licence: a script that reads a ranking.

    python examples/curate.py ranking.json

For every licence among the candidates it prints those of the best group that any candidate of that
licence is in: a group's members cannot be told apart from its first. Tab-separated, for `cut`,
`sort` and spreadsheets. The attacked accuracy is an upper estimate of what a head withstands.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from selector.errors import printable
from selector.records import RankedEvaluation, Ranking

HEADER = ("licence", "backbone", "group", "attacked accuracy", "95 % interval", "parameters")


def best_by_licence(ranking: Ranking) -> Iterator[tuple[str, RankedEvaluation]]:
    """Licences in the order of their best candidates, and the candidates of that one's group.

    A candidate whose gradients are masked is left out: its numbers flatter.
    """
    groups: dict[str, int] = {}
    members: dict[str, list[RankedEvaluation]] = {}
    for e in ranking.ranking:
        licence = (e.provenance.license or "not stated").lower()
        if not e.masked and groups.setdefault(licence, e.group) == e.group:
            members.setdefault(licence, []).append(e)
    for licence, found in members.items():
        yield from ((licence, e) for e in found)


def row(licence: str, e: RankedEvaluation) -> tuple[str, ...]:
    """The cells of a candidate."""
    attacked = e.head.attacked_accuracy
    return (
        licence,
        e.name,
        str(e.group),
        f"{attacked.value:.3f}",
        f"{attacked.low:.3f}-{attacked.high:.3f}",
        str(e.provenance.parameters),
    )


def main(arguments: list[str]) -> int:
    """Read the ranking that is named, and print; returns the exit code."""
    if len(arguments) != 1:
        print("usage: curate.py RANKING.JSON", file=sys.stderr)
        return 2
    # Its schema stands in `selector schema`; without selector at hand, json.loads does as well.
    ranking = Ranking.model_validate_json(Path(arguments[0]).read_text(encoding="utf-8"))
    for cells in (HEADER, *(row(licence, e) for licence, e in best_by_licence(ranking))):
        # Names come from the Hub: no tab or line end of theirs may make a cell or a row.
        print("\t".join(map(printable, cells)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
