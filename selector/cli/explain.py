"""``selector explain``: one candidate of a ranking, in words."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from selector.cli.exits import exit_codes
from selector.cli.plain import inert
from selector.errors import UsageError, printable
from selector.reading import is_file


def explain(
    model: Annotated[str, typer.Argument(help="A candidate's name in the ranking.")],
    ranking: Annotated[
        Path, typer.Argument(help="What rank wrote with -o or --json.", metavar="RANKING.JSON")
    ],
) -> None:
    """Say of one candidate why it stands where it stands, and what the doubts are.

    selector rank --task DIR -o ranking.json && selector explain timm/resnet50.a1_in1k ranking.json
    """
    with exit_codes():
        from selector.reports.document import read_any_ranking
        from selector.reports.explain import explain as explained

        if is_file(Path(model)) and not is_file(ranking):
            raise UsageError(
                printable(f"MODEL comes before RANKING.JSON, found {model} before {ranking}.")
            )
        sys.stdout.write(inert(explained(read_any_ranking(ranking), model)))
