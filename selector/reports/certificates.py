"""Certificates as a table, of their own or below a ranking."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from selector.errors import printable
from selector.records import CertifiedCandidate, SmoothingRecord


def certificates(rows: Sequence[CertifiedCandidate], width: int) -> list[RenderableType]:
    """The table of candidates that were certified at the same radii, and what it says.

    Args:
        rows: in their order.
        width: of the table, in columns.
    """
    return [_table(rows, width), _legend(rows[0].smoothing)] if rows else []


def _table(rows: Sequence[CertifiedCandidate], width: int) -> Table:
    table = Table(width=width, pad_edge=False, header_style="bold")
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("backbone", ratio=1, overflow="fold")
    first, *others = rows[0].certified_accuracy
    table.add_column(f"certified %\nl2 {first.radius:g} (interval)", justify="right", no_wrap=True)
    for other in others:
        table.add_column(f"\nl2 {other.radius:g}", justify="right", no_wrap=True)
    table.add_column("smoo-\nthed", justify="right", no_wrap=True)
    table.add_column("ab-\nstains", justify="right", no_wrap=True)
    table.add_column("passes", justify="right", no_wrap=True)
    for place, row in enumerate(rows, start=1):
        table.add_row(str(place), Text(printable(row.name)), *_cells(row))
    return table


def _cells(row: CertifiedCandidate) -> tuple[str, ...]:
    first, *others = (one for one in row.certified_accuracy)
    return (
        f"{_share(first.value)} ({100 * first.low:3.0f}-{100 * first.high:3.0f})",
        *(_share(other.value) for other in others),
        _share(row.smoothed_accuracy.value),
        _share(row.abstained.value),
        f"{row.cost.forward_passes:,}",
    )


def _share(value: float) -> str:
    return f"{100 * value:.1f}"


def _legend(smoothing: SmoothingRecord) -> Text:
    confidence = f"{100 * (1 - smoothing.alpha):g} %"
    return Text(
        "certified: % of test images that the smoothed head gets right, with proof that no change"
        f" of this l2 size or less alters its answer; {confidence} confidence for each image, while"
        " the interval, of 95 %, is about other test images. The smoothed head answers what a"
        " linear head, fitted on noisy images, says most often of the image with noise of sigma"
        f" {smoothing.sigma:g}: it has to be used with that noise. smoothed: % right without a"
        f" change. {smoothing.draws} draws certify no radius above {smoothing.largest_radius:.3g}."
        " passes: images forward.",
        style="dim",
    )
