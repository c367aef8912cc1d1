"""What is attacked: for each target valid input, how it is made wrong, and what then reads it."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pyarrow
import pyarrow.parquet
import torch
from rich.console import Console

from fuzz import mutation, seeds
from selector import configuration
from selector.allowed import parse_age
from selector.candidates import (
    Candidate,
    Pinned,
    builtin_zoo,
    from_models,
    pin,
    pin_all,
    read_lock,
    read_registry,
    require_pins,
    to_yaml,
)
from selector.comparing import compare
from selector.errors import CandidateError, SelectorError, UsageError
from selector.fetching import FetchRules, look_up, prepare
from selector.gating import gate
from selector.norms import format_threat, parse_threats
from selector.policy import Policy, combine, read_policy
from selector.preflight import check_backbone
from selector.protocol import Sizes
from selector.records import AnyRanked, AnyRanking, Ranking, RegressionRanking
from selector.regression.task import load_regression
from selector.reports import (
    again,
    card,
    comparison,
    delimited,
    document,
    explain,
    frame,
    markdown,
    table,
)
from selector.reports import gate as gate_report
from selector.reports import regression as regression_report
from selector.reports.html import page
from selector.run import as_candidate_errors
from selector.selection import parse_count
from selector.tasks import list_task, load_task
from selector.tasks.decoding import decode_readable
from selector.tasks.options import NO_OPTIONS, TaskOptions
from selector.threat import ThreatModel

Documented = tuple[type[Exception], ...]
SIZES = Sizes(train=6, validation=4, test=4)
NOW = datetime(2026, 11, 27, tzinfo=UTC)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Target:
    """One kind of input.

    Attributes:
        file: what a case is called; ``act`` is given its path.
        seeds: valid cases.
        mutate: makes another case of one.
        act: reads a case, and does with it what commands do.
        documented: what it may raise.
        beside: puts into its folder what a case needs beside it.
    """

    file: str
    seeds: Callable[[], Sequence[bytes]]
    mutate: mutation.Mutator
    act: Callable[[Path], object]
    documented: Documented = (UsageError,)
    beside: Callable[[Path], object] = lambda folder: None


def _registry(path: Path) -> None:
    candidates = read_registry(path)
    to_yaml(candidates, ["a header"])
    pin_all(candidates, path, locked=False)
    for one in candidates:
        if one.source == "local":
            with suppress(CandidateError):
                look_up(Pinned(one), FetchRules())


def _lock(path: Path) -> None:
    lock = read_lock(path)
    candidates = [*builtin_zoo(), *from_models(["timm/a", "local-dir:zoo/b"])]
    with suppress(UsageError):
        require_pins(pin(candidates, lock, path), path)


def _policy(path: Path) -> None:
    policy = combine(read_policy(path), {}, {})
    found = gate(_intact(), policy, NOW)
    for text in (gate_report.to_text, gate_report.to_github, document.to_json):
        text(found)


_RANKING: list[Ranking] = []


def _intact() -> Ranking:
    if not _RANKING:
        _RANKING.append(seeds.ranking())
    return _RANKING[0]


_EVERYTHING = Policy(
    min_attacked_accuracy=0.5,
    min_estimated_accuracy=0.5,
    min_certified_accuracy=0.5,
    min_clean_accuracy=0.5,
    max_bound=1.0,
    license=("mit",),
    max_params=10**6,
    max_skipped=0,
    max_age=parse_age("30d"),
)


_ERRORS = Policy(
    max_attacked_error=0.5, max_estimated_error=1.0, max_clean_error=0.5, max_age=parse_age("30d")
)


def _ranking(path: Path) -> None:
    read = document.read_ranking(path)
    table.print_table(read, Console(file=io.StringIO(), width=100))
    _everything(read, _EVERYTHING, path)


def _everything(read: AnyRanking, policy: Policy, path: Path) -> None:
    """All that is done with a ranking once it is read."""
    for text in (document.to_json, delimited.to_csv, frame.to_frame, markdown.to_markdown):
        text(read)  # type: ignore[operator]
    again.whole_command(read)
    again.eps_option(read)
    by_interval = policy.model_copy(update={"by": "interval"})
    for found in (gate(read, policy, NOW), gate(read, by_interval, NOW)):
        gate_report.to_text(found)
        gate_report.to_github(found)
    for e in read.ranking:
        explain.explain(read, e.name)
        _card(read, e)
    for other in (read, _intact()):
        _compared(other, read)
    # Drawing takes a hundred times as long as all of the above.
    if path.stat().st_size % 200 == 0:
        page.render(read)


def _card(read: AnyRanking, e: AnyRanked) -> None:
    try:
        card.require_sound(e)
    except UsageError:
        return
    card.markdown(read, e)
    with suppress(UsageError):  # of what is no dataset of the Hub
        card.to_yaml(card.eval_results(read, e))
    card.to_yaml({"model-index": card.model_index(read, e)})


def _compared(before: AnyRanking, after: AnyRanking) -> None:
    try:
        found = compare(before, after)
    except UsageError:
        return
    comparison.print_comparison(found, Console(file=io.StringIO(), width=100))
    comparison.to_markdown(found)
    document.to_json(found)


def _document(path: Path) -> None:
    read = document.read_any_ranking(path)
    assert isinstance(read, RegressionRanking), "a document of another kind was read as a ranking"
    regression_report.print_table(read, Console(file=io.StringIO(), width=100))
    _everything(read, _ERRORS, path)


_FORM = configuration.Form(flag=False, repeated=False)
_COMMANDS = {
    "rank": {
        "eps": _FORM,
        "task": _FORM,
        "seed": _FORM,
        "fresh": configuration.Form(flag=True, repeated=False),
        "model": configuration.Form(flag=False, repeated=True),
    },
    "gate": {"policy": _FORM},
}


def _readme(path: Path) -> None:
    text = path.read_bytes().decode("utf-8-sig", "replace")
    read = _intact()
    e = read.ranking[0]
    _each(
        lambda: card.into_readme(text, card.model_index(read, e)),
        lambda: card.into_results(text, card.eval_results(read, e)),
    )


def _configuration(path: Path) -> None:
    configuration.find(path.parent)
    read = configuration.read(path, _COMMANDS)
    read.table("rank")


def _words(path: Path) -> None:
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    # Each reads the same words; what one refuses another may take.
    _each(
        lambda: [ThreatModel(*one) for one in parse_threats(text, "linf")],
        lambda: [format_threat(*one) for one in parse_threats(text, "l2")],
        lambda: [
            look_up(Pinned(one), FetchRules())
            for one in from_models([text])
            if one.source == "local"
        ],
        lambda: parse_count(text),
        lambda: parse_age(text),
        lambda: list_task(text, image_size=8, seed=0, options=NO_OPTIONS),
        lambda: list_task(f"hf:{text}", image_size=8, seed=0, options=NO_OPTIONS),
        lambda: read_registry(text),
        lambda: document.read_ranking(text),
        lambda: read_policy(Path(text)),
    )


def _each(*acts: Callable[[], object]) -> None:
    """Do all; the first documented error is raised when all are done."""
    refused: list[SelectorError] = []
    for act in acts:
        try:
            act()
        except SelectorError as error:
            refused.append(error)
    for error in refused:
        if not str(error).isprintable():
            raise error
    if len(refused) == len(acts):
        raise refused[0]


_IMAGES = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def _measured(candidate: Candidate) -> None:
    """What happens to a candidate's files before it is measured."""
    pinned, rules = Pinned(candidate), FetchRules(allow_pickle=True)
    wanted = look_up(pinned, rules)
    prepared = prepare(pinned, wanted.commit, lambda count: None)
    with as_candidate_errors():
        backbone = prepared.load(CPU)
        check_backbone(backbone, _IMAGES, ThreatModel("linf", 4 / 255))
        features = backbone(_IMAGES)
    prepared.describe(backbone, features.shape[1])


def _candidate(path: Path) -> None:
    _measured(Candidate(model=f"local-dir:{path.parent}"))


def _entry(path: Path) -> None:
    (first, *_) = read_registry(path)
    if first.source == "local":
        _measured(first)


def _pickle(path: Path) -> None:
    checkpoint = {
        "file": path.name,
        "architecture": "resnet10t",
        "num_classes": 10,
        "input_size": 32,
        "mean": (0.5,) * 3,
        "std": (0.25,) * 3,
        "model_args": seeds.ARGUMENTS,
        "state_key": "state_dict",
        "key_prefix": "module.",
    }
    _measured(
        Candidate.model_validate({"model": f"local-dir:{path.parent}", "checkpoint": checkpoint})
    )


def _task(path: Path) -> None:
    options = TaskOptions(target_columns=("value",))
    _each(
        lambda: load_task(str(path), image_size=8, sizes=SIZES, seed=0),
        lambda: load_regression(str(path), image_size=8, sizes=SIZES, seed=0, options=options),
    )


def _image(path: Path) -> None:
    unreadable: list[str] = []
    split = decode_readable([(path, 0)], 8, unreadable, "test")
    if len(split) + len(unreadable) != 1:
        raise AssertionError("an image is neither read nor named")
    if len(split):
        assert split.pixels[:].shape == (1, 3, 8, 8)


def _in_parquet(data: bytes, rng: Random) -> bytes:
    """A table with a column dropped, of another type or with other metadata, or damaged bytes."""
    if rng.random() < 0.4:
        return mutation.as_bytes(data, rng)
    try:
        found = pyarrow.parquet.read_table(io.BytesIO(data))
        names = found.column_names
        name = rng.choice(names)
        at = names.index(name)
        step = rng.randrange(8)
        if step == 0:
            found = found.drop_columns([name])
        elif step == 1:
            found = found.append_column(
                rng.choice((name, "path", "", "label", "\x00")), found[name]
            )
        elif step == 2:
            kinds = (
                "string",
                "binary",
                "float64",
                "int64",
                "bool",
                "uint8",
                "timestamp[s]",
                "large_string",
            )
            column = found[name].cast(pyarrow.type_for_alias(rng.choice(kinds)), safe=False)
            found = found.set_column(at, name, column)
        elif step == 3:
            found = found.set_column(at, name, pyarrow.nulls(len(found), found[name].type))
        elif step == 4:
            values = found[name].to_pylist()
            for _ in range(rng.choice((1, len(values)))):
                odd = mutation.odd(rng)
                values[rng.randrange(len(values))] = None if isinstance(odd, mutation.Raw) else odd
            found = found.set_column(at, name, pyarrow.array(values))
        elif step == 5:
            found = found.rename_columns([rng.choice(("a", "image", "path", "split")), *names[1:]])
        elif step == 6:
            metadata = (found.schema.metadata or {}).get(
                b"huggingface", b'{"info": {"features": {}}}'
            )
            found = found.replace_schema_metadata({"huggingface": mutation.in_json(metadata, rng)})
        else:
            found = rng.choice(
                (found.slice(0, 0), found.slice(0, 1), pyarrow.concat_tables([found] * 3))
            )
        return seeds._parquet(found)
    except (
        pyarrow.ArrowException,
        ValueError,
        LookupError,
        TypeError,
        OverflowError,
        OSError,
        AttributeError,
    ):
        return mutation.as_bytes(data, rng)


TARGETS: dict[str, Target] = {
    "registry": Target(
        "registry.yaml", seeds.registries, mutation.in_yaml, _registry, (UsageError, CandidateError)
    ),
    "lock": Target("zoo.lock.yaml", seeds.locks, mutation.in_yaml, _lock),
    "policy": Target("policy.yaml", seeds.policies, mutation.in_yaml, _policy),
    "ranking": Target("ranking.json", seeds.rankings, mutation.in_json, _ranking),
    "document": Target("document.json", seeds.documents, mutation.in_json, _document),
    "readme": Target("README.md", seeds.readmes, mutation.in_yaml, _readme),
    "configuration": Target(
        "selector.toml", seeds.configurations, mutation.as_text, _configuration
    ),
    "words": Target("words.txt", seeds.words, mutation.as_text, _words, (SelectorError,)),
    "config": Target(
        "config.json", seeds.configs, mutation.in_json, _candidate, (CandidateError,), seeds.network
    ),
    "safetensors": Target(
        "model.safetensors",
        seeds.weights,
        mutation.in_safetensors,
        _candidate,
        (CandidateError,),
        seeds.network,
    ),
    "checkpoint": Target(
        "entry.yaml",
        seeds.entries,
        mutation.in_yaml,
        _entry,
        (UsageError, CandidateError),
        seeds.network,
    ),
    "pickle": Target("weights.pt", seeds.pickles, mutation.as_bytes, _pickle, (CandidateError,)),
    "csv": Target(
        "task.csv", lambda: seeds.cells(","), mutation.in_cells, _task, beside=seeds.pictures
    ),
    "tsv": Target(
        "task.tsv", lambda: seeds.cells("\t"), mutation.in_tabs, _task, beside=seeds.pictures
    ),
    "jsonl": Target(
        "task.jsonl", seeds.json_lines, mutation.in_json_lines, _task, beside=seeds.pictures
    ),
    "parquet": Target("task.parquet", seeds.tables, _in_parquet, _task),
    "image": Target("image.png", seeds.images, mutation.in_picture, _image),
}
