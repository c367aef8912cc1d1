"""The certificates of a run as a table, and what could not be certified."""

from __future__ import annotations

from rich.console import Console, Group
from rich.text import Text

from selector.errors import printable
from selector.records import Certification
from selector.reports import WIDTH
from selector.reports.certificates import certificates
from selector.reports.table import not_ranked


def print_certification(certification: Certification, console: Console) -> None:
    """Print one row for each candidate, and the reasons of those that have none."""
    task, smoothing, device = certification.task, certification.smoothing, certification.device
    heading = Text.assemble(
        (printable(task.name), "bold"),
        f": {len(task.classes)} classes, {task.test_images} test images of {task.image_size} px,"
        f" heads fitted on {task.train_images} x {smoothing.training_draws} noisy ones\n",
        f"sigma {smoothing.sigma:g}; {smoothing.selection_draws} + {smoothing.draws} draws, alpha"
        f" {smoothing.alpha:g} on {device.type}, seed {smoothing.seed}",
    )
    parts = [heading, *certificates(certification.certified, min(WIDTH, console.width))]
    if certification.skipped:
        parts += [Text("\nNot certified", style="bold"), *not_ranked(certification.skipped)]
    console.print(Group(*parts))
