"""``selector rank``: measure candidates on a task, and rank them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from selector.cli import options
from selector.cli.exits import (
    EXIT_NONE_RANKED,
    EXIT_OK,
    EXIT_SOME_FAILED,
    EXIT_TRY_AGAIN,
    exit_codes,
    stderr,
)
from selector.norms import Norm, parse_eps
from selector.protocol import Overrides, Preset

if TYPE_CHECKING:
    from selector.records import Ranking

DEMO_TASK, DEMO_SIZE = "builtin:digits", 32
DEMO_NOTICE = """\
Built-in demonstration: tiny backbones, handwritten digits. For your own task:
  selector rank --task DIR                        DIR/train/CLASS/*.jpg and DIR/test/CLASS/*.jpg
  selector rank --task DIR --model owner/name     candidates from the Hub, or local-dir:PATH
"""
DEFAULT_SIZE = 224
DEFAULT_EPS: dict[Norm, str] = {"linf": "4/255", "l2": "1.0"}


def rank(
    task: options.Task = None,
    image_column: options.ImageColumn = None,
    label_column: options.LabelColumn = None,
    train_split: options.TrainSplit = None,
    validation_split: options.ValidationSplit = None,
    test_split: options.TestSplit = None,
    registry: options.Registry = None,
    model: options.Models = None,
    only: options.Only = None,
    tag: options.Tags = None,
    license: options.Licenses = None,
    max_params: options.MaxParams = None,
    norm: Annotated[Norm, typer.Option(help="Norm of the perturbation.")] = "linf",
    eps: Annotated[
        str | None,
        typer.Option(
            help="Size of the perturbation in pixel units of [0,1]; fractions are accepted."
            " Default: 4/255 for linf, 1.0 for l2.",
            metavar="NUMBER",
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            help="Side of the canonical images, on which the perturbation lives. Default: 224.",
            metavar="PIXELS",
        ),
    ] = None,
    preset: Annotated[
        Preset, typer.Option(help="How much to measure; every preset is smaller on a CPU.")
    ] = "standard",
    attack: Annotated[str, typer.Option(help="apgd or pgd.")] = "apgd",
    restarts: Annotated[int | None, typer.Option(help="Random starts per image.")] = None,
    steps: Annotated[int | None, typer.Option(help="Gradient steps per start.")] = None,
    train_images: Annotated[int | None, typer.Option(help="Images to fit heads on.")] = None,
    test_images: Annotated[int | None, typer.Option(help="Images to attack and report on.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of draws, splits and random starts.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the ranking as JSON to this file.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the ranking as JSON instead of the table.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure again what an earlier run has measured.")
    ] = False,
    offline: options.Offline = False,
    locked: Annotated[
        bool, typer.Option("--locked", help="Refuse candidates that the lock file does not have.")
    ] = False,
    allow_pickle: Annotated[
        bool,
        typer.Option(
            "--allow-pickle",
            help="Also load .bin, .pt, .pth and .ckpt files; no code that they hold is run.",
        ),
    ] = False,
) -> None:
    """Rank candidates by estimated robust accuracy after transfer to a task."""
    if offline:
        options.go_offline()
    demo = task is None and registry is None and not model
    with exit_codes():
        from selector.fetching import FetchRules
        from selector.reports import document
        from selector.session import Request, run

        if output is not None:
            document.check_writable(output)
        if demo:
            stderr.print(DEMO_NOTICE, highlight=False, soft_wrap=True)
        ranking = run(
            Request(
                task=task or DEMO_TASK,
                task_options=options.task_options(
                    image_column, label_column, train_split, validation_split, test_split
                ),
                registry=registry,
                models=tuple(model or ()),
                selection=options.selection(only, tag, license, max_params),
                locked=locked,
                rules=FetchRules(allow_pickle),
                demo=demo,
                norm=norm,
                eps=parse_eps(eps if eps is not None else DEFAULT_EPS[norm]),
                image_size=image_size or (DEMO_SIZE if task is None else DEFAULT_SIZE),
                preset=preset,
                overrides=Overrides(attack, restarts, steps, train_images, test_images),
                device=device,
                seed=seed,
                fresh=fresh,
            ),
            stderr,
        )
        if output is not None:
            document.write_atomically(output, document.to_json(ranking))
    _print(ranking, as_json=json)
    raise typer.Exit(_exit_code(ranking))


def _print(ranking: Ranking, *, as_json: bool) -> None:
    from selector.reports import document, table

    if as_json:
        sys.stdout.write(document.to_json(ranking))
        return
    # Piped, a table keeps its width instead of shrinking to rich's default of 80.
    width = None if sys.stdout.isatty() else table.WIDTH
    table.print_table(ranking, Console(width=width, highlight=False))


def _exit_code(ranking: Ranking) -> int:
    if not ranking.ranking:
        retryable = any(skipped.retryable for skipped in ranking.skipped)
        return EXIT_TRY_AGAIN if retryable else EXIT_NONE_RANKED
    return EXIT_SOME_FAILED if ranking.skipped else EXIT_OK
