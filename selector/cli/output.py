"""What rank prints on stdout: a table for people, other forms for programs and pages."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, get_args

from selector.cli.plain import PlainConsole
from selector.errors import UsageError
from selector.reports import WIDTH

if TYPE_CHECKING:
    from selector.records import AnyRanking, Outcome

Format = Literal["table", "json", "jsonl", "csv", "markdown"]
FORMATS: tuple[Format, ...] = get_args(Format)


def choose_format(given: Format | None, *, as_json: bool, dry_run: bool) -> Format:
    """The form that ``--format`` and ``--json`` ask for together.

    Raises:
        UsageError: they contradict each other, or a dry run has no such form.
    """
    if as_json and given not in (None, "json"):
        raise UsageError(
            f"--json means --format json, found --format {given} beside it.",
            hint="Leave one of them out; -o FILE writes JSON to a file whatever the format.",
        )
    chosen: Format = "json" if as_json else given or "table"
    if dry_run and chosen not in ("table", "json"):
        raise UsageError(f"--dry-run prints table or json, found --format {chosen}.")
    return chosen


def stdout() -> PlainConsole:
    """Where tables go; piped, a table keeps its width and does not shrink to rich's 80."""
    return PlainConsole(width=None if sys.stdout.isatty() else WIDTH, highlight=False)


def on_outcome(form: Format) -> Callable[[Outcome], None] | None:
    """What to do with each candidate as it finishes; None: nothing before the end."""
    return _print_line if form == "jsonl" else None


def print_ranking(ranking: AnyRanking, form: Format) -> None:
    """Print a ranking in a form; of jsonl its last line."""
    if form == "table":
        _print_table(ranking)
    else:
        sys.stdout.write(_text(ranking, form))
        sys.stdout.flush()


def _print_line(outcome: Outcome) -> None:
    from selector.records import CertifiedCandidate
    from selector.reports.stream import candidate_line

    # Certificates come after the candidates, and are in the last line.
    if not isinstance(outcome, CertifiedCandidate):
        sys.stdout.write(candidate_line(outcome))
        sys.stdout.flush()


def _text(ranking: AnyRanking, form: Format) -> str:
    from selector.reports import delimited, document, markdown, stream

    match form:
        case "jsonl":
            return stream.ranking_line(ranking)
        case "csv":
            return delimited.to_csv(ranking)
        case "markdown":
            return markdown.to_markdown(ranking)
        case _:
            return document.to_json(ranking)


def _print_table(ranking: AnyRanking) -> None:
    from selector.records import Ranking
    from selector.reports import regression, table

    if isinstance(ranking, Ranking):
        table.print_table(ranking, stdout())
    else:
        regression.print_table(ranking, stdout())
