"""``selector rank``: measure candidates on a task, and rank them."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selector.cli import options
from selector.cli.exits import (
    EXIT_NONE_RANKED,
    EXIT_OK,
    EXIT_SOME_FAILED,
    EXIT_TRY_AGAIN,
    exit_codes,
    stderr,
)
from selector.cli.output import Format, choose_format, on_outcome, print_ranking, stdout
from selector.errors import UsageError, printable
from selector.norms import Norm, parse_threats
from selector.protocol import Overrides, Preset

if TYPE_CHECKING:
    from selector.candidates import Chosen
    from selector.records import Plan, Ranking, RegressionRanking, Skipped
    from selector.selection import Selection

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
    target_column: options.TargetColumns = None,
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
            help="Size of the perturbation in pixel units of [0,1]; fractions are accepted. Several"
            " in one run: 4/255,2/255,l2:0.5; the first is ranked by, all make curves. Default:"
            " 4/255 for linf, 1.0 for l2.",
            metavar="NUMBER[,...]",
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
        Preset,
        typer.Option(
            help="How much to measure; every preset is smaller on a CPU. screen attacks the"
            " representation alone: other labels of the same images then need no attack."
        ),
    ] = "standard",
    objective: Annotated[
        str | None,
        typer.Option(
            help="What to rank by: attacked (accuracy under attack, class pairs included),"
            " criterion, smooth, bound, sensitivity; or what others rank by: clean, knn, lda,"
            " log_me, h_score, parameters. Default: attacked; criterion for --preset screen.",
            metavar="NAME",
        ),
    ] = None,
    head: Annotated[
        str,
        typer.Option(
            help="Which linear head to rank by: recommended, probe (ordinary), bound-optimal, or"
            " a radius scale between the latter two: 0, 0.25, 0.5, 0.75, 1."
        ),
    ] = "recommended",
    attack: Annotated[str, typer.Option(help="annealed, apgd or pgd.")] = "annealed",
    restarts: Annotated[int | None, typer.Option(help="Random starts per image.")] = None,
    steps: Annotated[int | None, typer.Option(help="Gradient steps per start.")] = None,
    train_images: Annotated[int | None, typer.Option(help="Images to fit heads on.")] = None,
    test_images: Annotated[int | None, typer.Option(help="Images to attack and report on.")] = None,
    top: options.Top = None,
    confidence: options.Confidence = None,
    budget: options.Budget = None,
    certify: options.Certify = None,
    sigma: options.Sigma = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of draws, splits and random starts.", min=0)] = 0,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write the ranking as JSON to this file, whatever --format is."
        ),
    ] = None,
    format: Annotated[
        Format | None,
        typer.Option(
            help="What stdout gets. jsonl: a JSON object per line, of each candidate as it is"
            ' finished ("kind": evaluation or skipped), at last the ranking of names ("kind":'
            " ranking). csv: a row per candidate and --eps. Default: table."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
    engine: options.Engine = "local",
    store: options.Store = None,
    fresh: options.Fresh = False,
    offline: options.Offline = False,
    locked: options.Locked = False,
    allow_pickle: options.AllowPickle = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print what it would take, in bytes, passes and time, and stop."
        ),
    ] = False,
) -> None:
    """Rank candidates by their accuracy under attack after transfer to a task.

    selector rank --task DIR --model timm/resnet50.a1_in1k --format csv > ranking.csv
    """
    began = time.monotonic()
    if offline:
        options.go_offline()
    demo = task is None and registry is None and not model
    with exit_codes():
        from selector.objectives import choose_objective
        from selector.reports import document

        # What is wrong with the arguments is said before the heavy libraries are waited for.
        form = choose_format(format, as_json=json, dry_run=dry_run)
        if output is not None:
            document.check_writable(output)
        threats = parse_threats(eps if eps is not None else DEFAULT_EPS[norm], norm)
        overrides = Overrides(attack, restarts, steps, train_images, test_images, head)
        goal = options.goal(top, confidence, budget)
        default_size = DEMO_SIZE if task is None else DEFAULT_SIZE
        side = default_size if image_size is None else image_size
        leaders = options.leaders(certify, sigma, *threats[0], side)
        selection = options.selection(only, tag, license, max_params)
        chosen = choose(tuple(model or ()), registry, selection, demo=demo, locked=locked)
        if demo:
            stderr.print(DEMO_NOTICE, highlight=False, soft_wrap=True)
        from selector import session
        from selector.engines import choose_engine
        from selector.request import Request

        request = Request(
            task=task or DEMO_TASK,
            task_options=options.task_options(
                image_column,
                label_column,
                train_split,
                validation_split,
                test_split,
                target_column,
            ),
            chosen=chosen,
            allow_pickle=allow_pickle,
            threats=threats,
            image_size=side,
            preset=preset,
            overrides=overrides,
            device=device,
            seed=seed,
            fresh=fresh,
            goal=goal,
            objective=choose_objective(objective, preset),
            began=began,
            leaders=leaders,
            store=options.store_path(store),
            engine=choose_engine(engine),
        )
        if dry_run and not target_column:
            raise typer.Exit(
                _plan(session.dry_run(request, stderr), output, as_json=form == "json")
            )
        ranking: Ranking | RegressionRanking
        if target_column:
            from selector.regression import session as regression

            ranking = regression.run(request, stderr, on_outcome(form), dry_run=dry_run)
        else:
            ranking = session.run(request, stderr, on_outcome(form))
        if output is not None:
            document.write_atomically(output, document.to_json(ranking))
        print_ranking(ranking, form)
    retryable = [skipped.retryable for skipped in (*ranking.skipped, *_uncertified(ranking))]
    raise typer.Exit(exit_code(len(ranking.ranking), retryable))


def choose(
    models: tuple[str, ...],
    registry: Path | None,
    selection: Selection,
    *,
    demo: bool,
    locked: bool,
) -> Chosen:
    """The candidates of the run, with their pins; says so where a lock has some."""
    from selector.candidates import (
        Chosen,
        Pinned,
        builtin_zoo,
        default_registry,
        pin_all,
        read_registry,
    )
    from selector.selection import listed_by, named, select

    if demo and locked:
        raise UsageError(
            "--locked needs --task, --registry or --model: the built-in zoo has no lock."
        )
    if demo:
        return Chosen(tuple(map(Pinned, select(builtin_zoo(), selection, "the built-in zoo"))))
    source = registry or default_registry()
    wanted = named(models, registry) or read_registry(source)
    admitted = select(wanted, selection, listed_by(models, registry))
    chosen = pin_all(admitted, source, locked=locked)
    if chosen.lock is not None:
        said = f"{len(chosen.pinned)} of {len(chosen.candidates)} candidates are pinned by"
        stderr.print(
            printable(f"{said} {chosen.lock}"), markup=False, highlight=False, soft_wrap=True
        )
    return chosen


def _uncertified(ranking: Ranking | RegressionRanking) -> list[Skipped]:
    from selector.records import Ranking, Skipped

    certified = ranking.certified if isinstance(ranking, Ranking) else None
    return [one for one in certified or () if isinstance(one, Skipped)]


def _plan(plan: Plan, output: Path | None, *, as_json: bool) -> int:
    """Print what a run would take; returns the exit code."""
    from selector.reports.document import to_json, write_atomically
    from selector.reports.plan import print_plan

    if output is not None:
        write_atomically(output, to_json(plan))
    if as_json:
        sys.stdout.write(to_json(plan))
    else:
        print_plan(plan, stdout())
    failed = [one for one in plan.candidates if one.code]
    return exit_code(len(plan.candidates) - len(failed), [one.retryable for one in failed])


def exit_code(good: int, retryable: list[bool]) -> int:
    """From the candidates that could be ranked, and whether each other one may be another time."""
    if not good:
        return EXIT_TRY_AGAIN if any(retryable) else EXIT_NONE_RANKED
    return EXIT_SOME_FAILED if retryable else EXIT_OK
