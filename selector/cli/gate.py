"""``selector gate``: whether a ranking fulfils a policy, for continuous integration."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from selector.cli.exits import EXIT_NOT_MET, EXIT_OK, exit_codes, stderr
from selector.configuration import configured
from selector.errors import printable

Format = Literal["text", "json", "github"]

if TYPE_CHECKING:
    from selector.records import Gate


def gate(
    ranking: Annotated[
        Path, typer.Argument(help="What rank wrote with -o or --json.", metavar="RANKING.JSON")
    ],
    policy: Annotated[
        Path | None,
        typer.Option(
            help="YAML file with these options as keys, underscores for dashes:"
            " min_attacked_accuracy: 0.6. Options that are typed override it."
            " `selector schema policy`.",
            metavar="FILE",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="The model in use: it must be in the top group, and all else is required of it."
            " Default: of the first of the ranking.",
            metavar="NAME",
        ),
    ] = None,
    min_attacked_accuracy: Annotated[
        float | None,
        typer.Option(help="Of its head after every attack, 0..1: an upper estimate."),
    ] = None,
    min_estimated_accuracy: Annotated[
        float | None,
        typer.Option(help="Of its head by the criterion on A∘g, 0..1: rests on an attack."),
    ] = None,
    min_certified_accuracy: Annotated[
        float | None,
        typer.Option(help="Proven of its smoothed head, 0..1; needs rank --certify."),
    ] = None,
    at_radius: Annotated[
        str | None,
        typer.Option(
            help="l2 radius of the certified accuracy. Default: the first of the ranking.",
            metavar="NUMBER",
        ),
    ] = None,
    at_eps: Annotated[
        str | None,
        typer.Option(
            help="Of several eps of the ranking, the one that accuracies and bound are compared at:"
            " 2/255 or l2:0.5. Default: its first.",
            metavar="NUMBER",
        ),
    ] = None,
    min_clean_accuracy: Annotated[
        float | None, typer.Option(help="Of its head on clean images, 0..1.")
    ] = None,
    max_attacked_error: Annotated[
        float | None,
        typer.Option(
            help="Squared, of its head after every attack: a lower estimate; of a ranking by"
            " --target-column, where 1 is about that of knowing only the mean."
        ),
    ] = None,
    max_estimated_error: Annotated[
        float | None,
        typer.Option(help="The same by the bound on A∘g: rests on an attack."),
    ] = None,
    max_clean_error: Annotated[float | None, typer.Option(help="The same on clean images.")] = None,
    max_bound: Annotated[
        float | None,
        typer.Option(help="Estimated worst-case loss of its bound-optimal head, nats."),
    ] = None,
    license: Annotated[
        list[str] | None,
        typer.Option(help="An allowed licence; none stated is not allowed. May be repeated."),
    ] = None,
    max_params: Annotated[
        str | None, typer.Option(help="At most so many parameters.", metavar="100M")
    ] = None,
    max_skipped: Annotated[
        int | None, typer.Option(help="At most so many candidates that could not be measured.")
    ] = None,
    max_age: Annotated[
        str | None, typer.Option(help="The ranking is not older: 12h, 30d, 4w.", metavar="TIME")
    ] = None,
    by: Annotated[
        Literal["value", "interval"] | None,
        typer.Option(
            help="Compare the estimates themselves, or the worse end of their 95 % intervals."
            " Default: value."
        ),
    ] = None,
    format: Annotated[
        Format,
        typer.Option(help="github: annotations of a workflow."),
    ] = "text",
) -> None:
    """Check a ranking against a policy; a line for each requirement.

    selector gate ranking.json --min-attacked-accuracy 0.6 --license apache-2.0 --max-age 30d

    A candidate whose gradients are masked fails every attacked and estimated requirement, and a
    vacuous bound every maximum. What the ranking does not show is violated.

    Exit codes: 0 all hold; 2 usage; 4 something is violated.
    """
    with exit_codes():
        from selector.gating import gate as compared
        from selector.policy import combine, keys_of, read_policy
        from selector.reports.document import read_any_ranking

        options = {
            "model": model,
            "min_attacked_accuracy": min_attacked_accuracy,
            "min_estimated_accuracy": min_estimated_accuracy,
            "min_certified_accuracy": min_certified_accuracy,
            "at_radius": at_radius,
            "at_eps": at_eps,
            "min_clean_accuracy": min_clean_accuracy,
            "max_attacked_error": max_attacked_error,
            "max_estimated_error": max_estimated_error,
            "max_clean_error": max_clean_error,
            "max_bound": max_bound,
            "license": license,
            "max_params": max_params,
            "max_skipped": max_skipped,
            "max_age": max_age,
            "by": by,
        }
        not_typed = {_key(one.option) for one in configured()}
        file = read_policy(policy)
        required = combine(
            file,
            {key: value for key, value in options.items() if key not in not_typed},
            {key: value for key, value in options.items() if key in not_typed},
        )
        _tell_configured(policy, keys_of(file))
        found = compared(read_any_ranking(ranking), required, datetime.now(UTC))
        sys.stdout.write(_text(found, format))
    raise typer.Exit(EXIT_OK if found.holds else EXIT_NOT_MET)


def _tell_configured(policy: Path | None, overridden: frozenset[str]) -> None:
    """What was not typed decides as much as what was, and nobody sees it in the command."""
    told = [
        f"{one.option} {one.value} from {one.origin}"
        + (f" (not used: {policy} says it)" if _key(one.option) in overridden else "")
        for one in configured()
    ]
    if told:
        said = printable(f"not typed: {'; '.join(told)}")
        stderr.print(said, markup=False, highlight=False, soft_wrap=True)


def _key(option: str) -> str:
    """What a policy file calls an option."""
    return option.lstrip("-").replace("-", "_")


def _text(found: Gate, format: Format) -> str:
    from selector.reports.document import to_json
    from selector.reports.gate import to_github, to_text

    return {"text": to_text, "json": to_json, "github": to_github}[format](found)
