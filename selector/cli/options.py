"""Options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from selector.errors import UsageError, printable

if TYPE_CHECKING:
    from selector.norms import Norm
    from selector.racing import Goal
    from selector.radii import Leaders
    from selector.selection import Selection
    from selector.tasks.options import TaskOptions

Task = Annotated[
    str | None,
    typer.Option(
        help="Labelled images. A folder: DIR/train/CLASS/* and DIR/test/CLASS/*, or DIR/CLASS/*;"
        " parquet files, or a folder of them; a .csv, .tsv or .jsonl manifest of paths and labels;"
        " a dataset's save_to_disk folder; hf:owner/name on the Hub, with @revision and :config if"
        " wanted; or builtin:digits. Default: the built-in digits.",
        metavar="DIR|FILE|hf:ID",
    ),
]
ImageColumn = Annotated[
    str | None,
    typer.Option(help="Column of a table or manifest that holds the images.", metavar="NAME"),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(help="Column of a table or manifest that holds the classes.", metavar="NAME"),
]
TargetColumns = Annotated[
    list[str] | None,
    typer.Option(
        "--target-column",
        help="Column of numbers to predict: a regression, ranked by squared error under attack."
        " May be repeated.",
        metavar="NAME",
    ),
]
TrainSplit = Annotated[
    str | None, typer.Option(help="Split of a table that heads are fitted on.", metavar="NAME")
]
ValidationSplit = Annotated[
    str | None,
    typer.Option(help="Split of a table that hyperparameters are chosen on.", metavar="NAME"),
]
TestSplit = Annotated[
    str | None, typer.Option(help="Split of a table that results are reported on.", metavar="NAME")
]
Registry = Annotated[
    Path | None,
    typer.Option(help="YAML file of candidates. Default: ./registry.yaml, else the one shipped."),
]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="A candidate instead of the registry: owner/name or owner/name@revision on the"
        " Hub, or local-dir:PATH. May be repeated.",
        metavar="MODEL",
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(help="Only candidates whose name matches: 'timm/vit_*'. May be repeated."),
]
Tags = Annotated[
    list[str] | None,
    typer.Option("--tag", help="Only candidates that carry this tag. Repeated: all of them."),
]
Licenses = Annotated[
    list[str] | None,
    typer.Option("--license", help="Only candidates of this licence. Repeated: one of them."),
]
MaxParams = Annotated[
    str | None,
    typer.Option(help="Only candidates of at most so many parameters.", metavar="100M"),
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Use only what the Hub cache of this machine holds.")
]
Engine = Annotated[
    str,
    typer.Option(
        help="What measures. local: this process, one candidate after the other. ray: many at once,"
        " on all devices of the cluster of Ray that RAY_ADDRESS names or `ray start` has made, else"
        " of this machine; or HOST:PORT of a cluster that this machine is in, or ray://HOST:PORT.",
        metavar="local|ray|ADDRESS",
    ),
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Measure again what an earlier run has measured.")
]
Store = Annotated[
    Path | None,
    typer.Option(
        help="Folder where what is measured is kept and looked up. Default: SELECTOR_CACHE, else"
        " the cache folder of this user.",
        metavar="DIR",
    ),
]
Locked = Annotated[
    bool, typer.Option("--locked", help="Refuse candidates that the lock file does not have.")
]
AllowPickle = Annotated[
    bool,
    typer.Option(
        "--allow-pickle",
        help="Also load .bin, .pt, .pth and .ckpt files; no code that they hold is run.",
    ),
]
Top = Annotated[
    int | None,
    typer.Option(
        help="Find the K best without measuring all candidates in full: a short attack on few"
        " images for all, more for those still in contention.",
        metavar="K",
    ),
]
Confidence = Annotated[
    float | None,
    typer.Option(
        help="Of --top: that these are the K best of measuring all in full. Default: 0.95.",
        metavar="SHARE",
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        help="The best ranking that can be reached in this time, from the start of the command:"
        " 90s, 10m, 2h. What it did not settle is said.",
        metavar="TIME",
    ),
]

Sigma = Annotated[
    str | None,
    typer.Option(
        help="Of certificates: standard deviation of the noise, in pixel units of [0,1]; fractions"
        " are accepted. Default: that of --eps for rank, 0.25 for certify.",
        metavar="NUMBER",
    ),
]
Certify = Annotated[
    int | None,
    typer.Option(
        help="Also certify the first K of the ranking, smoothed, up to l2 --eps; needs --norm l2."
        " Takes its time after the ranking, also after a --budget.",
        metavar="K",
    ),
]


def selection(
    only: list[str] | None, tags: list[str] | None, licenses: list[str] | None, params: str | None
) -> Selection:
    """Build the selection that the four options describe."""
    from selector.selection import Selection, parse_count

    return Selection(
        only=tuple(only or ()),
        tags=tuple(tags or ()),
        licenses=tuple(licenses or ()),
        max_params=None if params is None else parse_count(params),
    )


def goal(top: int | None, confidence: float | None, budget: str | None) -> Goal:
    """Build what the three options ask for.

    Raises:
        UsageError: a confidence without a race that it would be of; or a value is none.
    """
    from selector.racing import choose_goal, parse_budget

    return choose_goal(top, confidence, None if budget is None else parse_budget(budget))


def leaders(
    count: int | None, sigma: str | None, norm: Norm, eps: float, image_size: int
) -> Leaders | None:
    """Build what ``--certify`` and ``--sigma`` of rank ask for; None: nothing."""
    from selector.norms import parse_eps
    from selector.radii import choose_leaders

    if count is None:
        if sigma is not None:
            raise UsageError("--sigma is of certificates, which --certify K asks for.")
        return None
    noise = None if sigma is None else parse_eps(sigma, "--sigma")
    return choose_leaders(count, noise, norm, eps, image_size)


def task_options(
    image: str | None,
    label: str | None,
    train: str | None,
    validation: str | None,
    test: str | None,
    targets: list[str] | None,
) -> TaskOptions:
    """Build what the six options say about a task."""
    from selector.tasks.options import TaskOptions

    return TaskOptions(image, label, train, validation, test, tuple(targets or ()))


def store_path(folder: Path | None) -> Path | None:
    """The file of a store in a folder; None: where it is by default.

    Raises:
        UsageError: it is a file.
    """
    from selector.store import FILE

    if folder is None:
        return None
    try:
        found = folder.expanduser()
    except (RuntimeError, ValueError) as error:  # ~nobody, and a NUL after ~
        raise UsageError(f"--store {printable(str(folder))}: {error}.") from None
    if found.is_file():
        raise UsageError(
            f"--store must be a folder, found the file {printable(str(found))}.",
            hint=f"The store is the file {FILE} in it.",
        )
    return found / FILE


def go_offline() -> None:
    """Let the Hub client refuse every request; it reads this when it is imported, later on."""
    os.environ["HF_HUB_OFFLINE"] = "1"
