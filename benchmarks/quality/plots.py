"""The two figures, as SVG; the same numbers give the same file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quality.boards import Line
from quality.cells import Found


def calibration(cells: Sequence[Found], path: Path) -> None:
    """Criterion against attacked accuracy, and bound against attacked loss: a dot for each cell."""
    pyplot = _pyplot()
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8, 4), layout="constrained")
    for task in dict.fromkeys(cell.task for cell in cells):
        mine = [cell for cell in cells if cell.task == task]
        style = {"label": task, "s": 12, "alpha": 0.6, "linewidths": 0}
        left.scatter([c.robust.mean() for c in mine], [c.criterion for c in mine], **style)
        losses = [c.truth.attacked_loss for c in mine]
        right.scatter(losses, [c.bound for c in mine], **style)
    highest = max(max(cell.truth.attacked_loss, cell.bound) for cell in cells)
    for axes, high in ((left, 1.0), (right, highest)):
        axes.plot([0, high], [0, high], color="0.6", linewidth=0.8, zorder=0)
        axes.set_aspect("equal")
    left.set(xlabel="robust accuracy, ground truth", ylabel="estimated: criterion on A∘g")
    right.set(xlabel="loss at the attack's images, nats", ylabel="estimated worst-case loss, nats")
    left.legend(frameon=False, fontsize="small")
    _save(figure, path)


def taus(found: Sequence[Line], path: Path) -> None:
    """Weighted tau of each score with its interval, best on top, baselines hollow."""
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(figsize=(6, 0.6 + 0.26 * len(found)), layout="constrained")
    for place, line in enumerate(reversed(found)):
        tau = line.statistics["weighted_tau"]
        if tau.low is not None:
            axes.plot([tau.low, tau.high], [place, place], color="C0", linewidth=1)
        face = "white" if line.baseline else "C0"
        axes.plot(tau.value, place, "o", color="C0", markerfacecolor=face, markersize=5)
    axes.set_yticks(range(len(found)), [line.score for line in reversed(found)])
    axes.set(xlabel="weighted Kendall tau with the ground truth", xlim=(None, 1.02))
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    _save(figure, path)


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "selector"
    from matplotlib import pyplot

    return pyplot


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})
