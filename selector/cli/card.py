"""``selector card``: what was measured of one candidate, as metadata of its page on the Hub."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from selector.cli.exits import exit_codes, stderr
from selector.cli.plain import inert
from selector.errors import UsageError, printable

if TYPE_CHECKING:
    from selector.records import AnyRanked, AnyRanking

Format = Literal["model-index", "eval-results", "markdown"]


def card(
    ranking: Annotated[
        Path, typer.Argument(help="What rank wrote with -o or --json.", metavar="RANKING.JSON")
    ],
    model: Annotated[
        str, typer.Argument(help="A candidate's name in the ranking.", metavar="MODEL")
    ],
    format: Annotated[
        Format,
        typer.Option(
            help="model-index: metadata of README.md. eval-results: the file"
            " .eval_results/selector.yaml, of a task that is a dataset of the Hub. markdown: a"
            " section of a model card."
        ),
    ] = "model-index",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write it to this file instead of stdout."),
    ] = None,
    push: Annotated[
        bool,
        typer.Option(
            "--push",
            help="Send it to the candidate's repository on the Hub, with the token of"
            " `hf auth login` or HF_TOKEN, and print the address. Needs --create-pr.",
        ),
    ] = False,
    create_pr: Annotated[
        bool,
        typer.Option("--create-pr", help="Of --push: as a pull request, the only way there is."),
    ] = False,
) -> None:
    """Tell what was measured of a candidate, in the forms that its page on the Hub can hold.

    selector card ranking.json timm/resnet50.a1_in1k --format markdown

    Nothing leaves this machine unless --push and --create-pr are given. A candidate whose gradients
    are masked is refused.

    Exit codes: 0 done; 2 usage, or the Hub refuses; 75 the Hub is down, try again.
    """
    with exit_codes():
        from selector.reports import document
        from selector.reports.card import require_sound
        from selector.reports.lookup import find

        if output is not None:
            document.check_writable(output)
            document.check_not_read(output, ranking)
        _check(format, push=push, create_pr=create_pr)
        read = document.read_any_ranking(ranking)
        e = find(read, model)
        require_sound(e)
        text = _text(read, e, format)
        if output is not None:
            document.write_atomically(output, text)
        if push:
            _push(read, e, format)
        elif output is None:
            sys.stdout.write(text)


def _check(format: Format, *, push: bool, create_pr: bool) -> None:
    """Refuse a combination of options that means nothing, or too much."""
    if create_pr and not push:
        raise UsageError("--create-pr needs --push, without which nothing is sent.")
    if push and not create_pr:
        raise UsageError(
            "--push needs --create-pr: results are only proposed, never put into a repository"
            " unseen.",
            hint="Add --create-pr to open a pull request; its owner decides.",
        )
    if push and format == "markdown":
        raise UsageError(
            "--push needs --format model-index or eval-results, found markdown: a section of a"
            " model card is its author's text.",
        )


def _text(ranking: AnyRanking, e: AnyRanked, format: Format) -> str:
    from selector.reports.card import eval_results, markdown, model_index, to_yaml

    if format == "markdown":
        return markdown(ranking, e)
    if format == "eval-results":
        return to_yaml(eval_results(ranking, e))
    return to_yaml({"model-index": model_index(ranking, e)})


def _push(ranking: AnyRanking, e: AnyRanked, format: Format) -> None:
    """Open the pull request, and print its address."""
    from selector.reports.card import (
        README,
        RESULTS,
        eval_results,
        into_readme,
        into_results,
        model_index,
    )

    repo = e.provenance.repo
    if repo is None:
        raise UsageError(
            printable(f"--push needs a candidate of the Hub, and {e.name} is a local folder."),
            hint="Rank it as owner/name once it is published.",
        )
    from selector.hub.publishing import Proposal, propose
    from selector.reports.escaping import code

    title = "Robustness after transfer, measured by selector"
    description = (
        f"Measured at commit {e.provenance.commit} on {code(ranking.task.name)} by selector"
        f" {code(ranking.selector_version)}. Attacked accuracies are upper estimates, attacked"
        " errors lower ones; estimated numbers rest on an attack, certified ones are proven with"
        " the stated confidence."
    )
    if format == "eval-results":
        entries = eval_results(ranking, e)
        proposal = Proposal(RESULTS, lambda text: into_results(text, entries), title, description)
    else:
        index = model_index(ranking, e)
        proposal = Proposal(README, lambda text: into_readme(text, index), title, description)
    address = propose(repo, proposal)
    if address is None:
        said = f"{proposal.path} of {repo} has these results already; nothing was sent."
        stderr.print(escape(printable(said)), highlight=False, soft_wrap=True)
    else:
        typer.echo(inert(address))
