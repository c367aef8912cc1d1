"""``selector certify``: what can be proven of each candidate, with noise instead of attacks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from selector.cli import options
from selector.cli.exits import exit_codes, stderr
from selector.cli.output import stdout
from selector.cli.rank import (
    DEFAULT_SIZE,
    DEMO_NOTICE,
    DEMO_SIZE,
    DEMO_TASK,
    choose,
    exit_code,
)
from selector.norms import parse_eps
from selector.protocol import Overrides
from selector.radii import Smoothing, default_radii, parse_radii

DEFAULT_SIGMA = "0.25"


def certify(
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
    sigma: options.Sigma = None,
    radii: Annotated[
        str | None,
        typer.Option(
            help="Sizes of an l2 change, in pixel units of [0,1], at which the certified accuracy"
            " is told; candidates are ordered by the first. Default: half of --sigma, as much,"
            " twice as much.",
            metavar="NUMBER,...",
        ),
    ] = None,
    draws: Annotated[
        int,
        typer.Option(
            help="Noisy copies of each test image that are counted, after 100 that choose its"
            " class. More certify larger radii."
        ),
    ] = 1000,
    alpha: Annotated[
        float, typer.Option(help="The certificate of an image may be wrong with this probability.")
    ] = 0.001,
    image_size: Annotated[
        int | None,
        typer.Option(
            help="Side of the canonical images, on which noise and changes live. Default: 224.",
            metavar="PIXELS",
        ),
    ] = None,
    train_images: Annotated[
        int, typer.Option(help="Images to fit heads on, four noisy copies of each.")
    ] = 1000,
    test_images: Annotated[int, typer.Option(help="Images to certify.")] = 64,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of draws, splits and noise.", min=0)] = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the certificates as JSON to this file."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the certificates as JSON instead of the table.")
    ] = False,
    engine: options.Engine = "local",
    store: options.Store = None,
    fresh: options.Fresh = False,
    offline: options.Offline = False,
    locked: options.Locked = False,
    allow_pickle: options.AllowPickle = False,
) -> None:
    """Certify candidates: accuracy that is proven to withstand l2 changes, by smoothed heads.

    Exit codes: 0 certified; 1 nothing could be; 2 usage; 3 some candidates failed; 75 the Hub is
    down, try again.
    """
    if offline:
        options.go_offline()
    demo = task is None and registry is None and not model
    with exit_codes():
        from selector.reports import document

        if output is not None:
            document.check_writable(output)
        noise = parse_eps(DEFAULT_SIGMA if sigma is None else sigma, "--sigma")
        asked = default_radii(noise) if radii is None else parse_radii(radii)
        smoothing = Smoothing(noise, asked, draws, alpha)
        smoothing.require_reach("--radii")
        overrides = Overrides(train_images=train_images, test_images=test_images)
        selection = options.selection(only, tag, license, max_params)
        chosen = choose(tuple(model or ()), registry, selection, demo=demo, locked=locked)
        if demo:
            notice = DEMO_NOTICE.replace("selector rank", "selector certify")
            stderr.print(notice, highlight=False, soft_wrap=True)
        default_size = DEMO_SIZE if task is None else DEFAULT_SIZE
        from selector import certification
        from selector.engines import choose_engine

        request = certification.Request(
            task=task or DEMO_TASK,
            task_options=options.task_options(
                image_column, label_column, train_split, validation_split, test_split, None
            ),
            chosen=chosen,
            allow_pickle=allow_pickle,
            smoothing=smoothing,
            image_size=default_size if image_size is None else image_size,
            overrides=overrides,
            device=device,
            seed=seed,
            fresh=fresh,
            store=options.store_path(store),
            engine=choose_engine(engine),
        )
        found = certification.run(request, stderr)
        if output is not None:
            document.write_atomically(output, document.to_json(found))
    if json:
        sys.stdout.write(document.to_json(found))
    else:
        from selector.reports.certification import print_certification

        print_certification(found, stdout())
    raise typer.Exit(exit_code(len(found.certified), [one.retryable for one in found.skipped]))
