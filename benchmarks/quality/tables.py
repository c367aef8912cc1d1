"""What is printed and written of the boards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from quality.boards import STATISTICS, Board, Line, Mean, Target, lines
from quality.cells import Found

CONVENTION = (
    "weighted_tau: scipy.stats.weightedtau(truth, score, rank=None), a pair weighs"
    " 1/(1+r) + 1/(1+q) by its ranks in the ground truth alone, from 0; weighted_tau_both: the"
    " mean over ranks by the truth and by the score, scipy's default; regret: points of robust"
    " accuracy that the first falls short of the best. Means over boards; intervals hold 95 % of"
    " 1000 resamples, first of seeds, then of test images, the same for all candidates; null for a"
    " score that is one number, measured on these very images"
)


def groups(some: Sequence[Board]) -> Iterator[tuple[str, list[Board]]]:
    """All boards, then those of each task and norm, with a title."""
    yield "all tasks and threats", list(some)
    titles = [f"{board.cells[0].task}, {board.cells[0].threat.norm}" for board in some]
    for title in dict.fromkeys(titles):
        mine = [board for board, name in zip(some, titles, strict=True) if name == title]
        yield title, mine


def show(
    cells: Sequence[Found], some: Sequence[Board], aims: Sequence[Target], console: Console
) -> None:
    """Print what was run, a table for each group of boards, what was left out, and the targets."""
    for attack in sorted({cell.truth.key.attack for cell in cells}):
        console.print(f"ground truth: {attack}")
    for title, mine in groups(some):
        found = lines(mine)
        if found:
            console.print(_table(title, found, len(mine[0].cells)))
    for board in some:
        if board.degenerate:
            console.print(f"left out: {_name(board)}: {board.degenerate}")
    broken, held = sum(cell.broken for cell in cells), sum(cell.held for cell in cells)
    console.print(f"the criterion holds for {held} images, of which the attack took {broken}")
    for aim in aims:
        console.print(f"{'met   ' if aim.met else 'MISSED'} {aim.what} {aim.wanted}: {aim.found}")


def _table(title: str, found: Sequence[Line], candidates: int) -> Table:
    table = Table(title=f"{title}: {candidates} candidates, {found[0].boards} boards")
    table.add_column("score")
    for column in ("weighted tau", "worst", "tau-b", "regret, points", "worst"):
        table.add_column(column, justify="right")
    for line in found:
        tau, regret = line.statistics["weighted_tau"], line.statistics["regret"]
        table.add_row(
            f"{line.score} (baseline)" if line.baseline else line.score,
            tau.told(3),
            f"{tau.worst:.2f}",
            f"{line.statistics['tau_b'].value:.3f}",
            regret.told(1),
            f"{regret.worst:.1f}",
        )
    return table


def document(cells: Sequence[Found], some: Sequence[Board], aims: Sequence[Target]) -> Any:
    """The same for a JSON file, with the numbers behind it."""
    return {
        "convention": CONVENTION,
        "targets": [asdict(aim) for aim in aims],
        "tables": {title: [_line(line) for line in lines(mine)] for title, mine in groups(some)},
        "boards": [_board(board) for board in some],
        "cells": [_cell(cell) for cell in cells],
    }


def _line(line: Line) -> dict[str, Any]:
    return {
        "score": line.score,
        "baseline": line.baseline,
        "boards": line.boards,
        **{name: _mean(mean) for name, mean in line.statistics.items()},
    }


def _mean(mean: Mean) -> dict[str, float | None]:
    found = asdict(mean).items()
    return {name: None if value is None else round(value, 4) for name, value in found}


def _board(board: Board) -> dict[str, Any]:
    return {
        "board": _name(board),
        "degenerate": board.degenerate,
        "scores": {
            score: {name: round(float(found[name][0]), 4) for name in STATISTICS}
            for score, found in board.values.items()
        },
    }


def _name(board: Board) -> str:
    cell = board.cells[0]
    return f"{cell.task}, {cell.threat}, seed {cell.seed}"


def _cell(cell: Found) -> dict[str, Any]:
    truth = cell.truth
    return {
        "backbone": cell.backbone,
        "task": cell.task,
        "threat": str(cell.threat),
        "seed": cell.seed,
        "clean_accuracy": round(truth.clean.count("1") / len(truth.clean), 4),
        "robust_accuracy": round(float(cell.robust.mean()), 4),
        "attacked_loss": truth.attacked_loss,
        "own_attacked_accuracy": round(cell.attacked, 4),
        "criterion_accuracy": round(cell.criterion, 4),
        "bound_loss": round(cell.bound, 4),
        "criterion_holds": cell.held,
        "criterion_broken": cell.broken,
        "scores": {name: round(float(values.mean()), 5) for name, values in cell.scores.items()},
        "passes": cell.passes,
        "truth_passes": truth.forward + truth.backward,
        "seconds": round(cell.seconds, 1),
        "truth_seconds": round(truth.seconds, 1),
        "truth_reused": cell.reused,
    }
