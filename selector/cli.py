"""The command line: parse, build, call, print, exit code.

Heavy libraries are imported inside commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from selector import __version__
from selector.errors import SelectorError
from selector.norms import Norm, parse_eps
from selector.protocol import Overrides, Preset
from selector.shell import Shell, init_script

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
EXIT_OK, EXIT_NONE_RANKED, EXIT_USAGE, EXIT_SOME_FAILED, EXIT_TRY_AGAIN = 0, 1, 2, 3, 75
EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 143

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Rank pretrained image backbones by how robust they will be after transfer to your task.",
    epilog="Exit codes: 0 ranked; 1 nothing could be ranked; 2 usage; 3 ranked, some candidates"
    " failed; 75 the Hub is down, try again; 130/143 interrupted, results kept.",
)
_errors = Console(stderr=True)


def main() -> None:
    """Entry point of the console scripts ``selector`` and ``select``."""
    signal.signal(signal.SIGTERM, _terminate)
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"selector {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    del version


@app.command()
def rank(
    task: Annotated[
        str | None,
        typer.Option(
            help="Folder of labelled images: DIR/train/CLASS/* and DIR/test/CLASS/*, or"
            " DIR/CLASS/*. Default: the built-in digits.",
            metavar="DIR",
        ),
    ] = None,
    registry: Annotated[
        Path | None,
        typer.Option(
            help="YAML file of candidates. Default: ./registry.yaml, else the one shipped."
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A candidate instead of the registry: owner/name or owner/name@revision on the"
            " Hub, or local-dir:PATH. May be repeated.",
            metavar="MODEL",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Only candidates whose name matches: 'timm/vit_*'. May be repeated."),
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(help="Only candidates that carry this tag. Repeated: all of them."),
    ] = None,
    license: Annotated[
        list[str] | None,
        typer.Option(help="Only candidates of this licence. Repeated: one of them."),
    ] = None,
    max_params: Annotated[
        str | None,
        typer.Option(help="Only candidates of at most so many parameters.", metavar="100M"),
    ] = None,
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
    offline: Annotated[
        bool, typer.Option("--offline", help="Use only what the Hub cache of this machine holds.")
    ] = False,
) -> None:
    """Rank candidates by estimated robust accuracy after transfer to a task."""
    if offline:
        # Read by the Hub client when it is imported, which has not happened yet.
        os.environ["HF_HUB_OFFLINE"] = "1"
    demo = task is None and registry is None and not model
    with _exit_codes():
        from selector.reports import document
        from selector.selection import Selection, parse_count
        from selector.session import Request, run

        if output is not None:
            document.check_writable(output)
        if demo:
            _errors.print(DEMO_NOTICE, highlight=False, soft_wrap=True)
        ranking = run(
            Request(
                task=task or DEMO_TASK,
                registry=registry,
                models=tuple(model or ()),
                selection=Selection(
                    only=tuple(only or ()),
                    tags=tuple(tag or ()),
                    licenses=tuple(license or ()),
                    max_params=None if max_params is None else parse_count(max_params),
                ),
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
            _errors,
        )
        if output is not None:
            document.write_atomically(output, document.to_json(ranking))
    _print(ranking, as_json=json)
    raise typer.Exit(_exit_code(ranking))


@app.command()
def schema() -> None:
    """Print the JSON Schema of the ranking document."""
    from selector.reports.document import json_schema

    sys.stdout.write(json_schema())


@app.command("shell-init")
def shell_init(
    shell: Annotated[Shell, typer.Argument(help="The shell that will read this.")],
) -> None:
    """Print an alias and completion, so that `select rank` works in bash and zsh.

    Use as: eval "$(selector shell-init zsh)"
    """
    sys.stdout.write(init_script(shell))


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


@contextmanager
def _exit_codes() -> Iterator[None]:
    """Errors of the user as one line, an interruption as its own code; the rest is a bug."""
    try:
        yield
    except SelectorError as error:
        _errors.print(
            f"[bold red]error:[/] {escape(error.message)}", highlight=False, soft_wrap=True
        )
        if error.hint:
            _errors.print(f"  {escape(error.hint)}", highlight=False, soft_wrap=True)
        raise typer.Exit(EXIT_USAGE) from None
    except KeyboardInterrupt:
        _leave(EXIT_INTERRUPTED, "interrupted")
    except Terminated:
        _leave(EXIT_TERMINATED, "terminated")


def _leave(code: int, why: str) -> NoReturn:
    """End now: a measurement or a download may be running in a thread that cannot be stopped."""
    _errors.print(f"{why}: what was measured is kept; the same command continues from there.")
    sys.stdout.flush()
    os._exit(code)


class Terminated(BaseException):
    """SIGTERM arrived."""


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
