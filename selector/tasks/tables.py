"""Tasks from tables with images in them: parquet files, saved datasets, datasets of the Hub."""

from __future__ import annotations

import glob
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from selector.errors import UsageError, printable
from selector.tasks.cells import Cell, Column, Tables
from selector.tasks.labelling import Parts, Rows, assemble, class_names, named
from selector.tasks.listing import Listing
from selector.tasks.options import TaskOptions
from selector.tasks.splits import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    called,
    choose_column,
    choose_splits,
    listed,
)
from selector.tasks.targets import TargetRows, assemble_targets, target_columns

if TYPE_CHECKING:
    from datasets import Dataset

SAVED_FILES = ("dataset_dict.json", "state.json")
_SHARD = re.compile(r"[-_.]?\d+(-of-\d+(-[0-9a-f]+)?)?$")
_NUMBER_TYPES = re.compile(r"u?int\d+")
_TEXT_TYPES = ("string", "large_string")
_BINARY_TYPES = ("binary", "large_binary")
# All of their labels are held in memory.
_MOST_ROWS = 20_000_000
_ONLY = "rows"  # what a split is called that has no name
_T = TypeVar("_T")


def list_parquet(spec: str, options: TaskOptions, seed: int) -> Listing:
    """The rows of a .parquet file, or of a folder of them whose names say the split.

    ``train-00000-of-00002.parquet``, ``data/train.parquet`` and ``train/0000.parquet`` are all of
    the split train.
    """
    path = Path(spec).expanduser()
    where = f"--task {printable(str(path))}"
    files = _by_split(path) if path.is_dir() else {_ONLY: [path]}

    def load() -> dict[str, Dataset]:
        from datasets import Dataset

        # The library takes names for patterns, and "[1]" in one for a set of characters.
        names = {split: [glob.escape(str(f.resolve())) for f in files[split]] for split in files}
        return {split: Dataset.from_parquet(names[split]) for split in names}

    if not path.is_dir():
        options.refuse_splits(f"{printable(path.name)} is one file, and so one split")
    _check_rows([file for some in files.values() for file in some], where)
    tables = Tables(
        _loaded(load, where), (path.resolve() if path.is_dir() else path.resolve().parent,)
    )
    return list_tables(path.resolve().stem, tables, options, seed, where=where)


def _check_rows(files: Sequence[Path], where: str) -> None:
    """A few bytes can stand for more rows than there is memory or disk for."""
    from pyarrow.parquet import read_metadata

    rows = _loaded(lambda: sum(read_metadata(file).num_rows for file in files), where)
    if rows > _MOST_ROWS:
        raise UsageError(f"{where} must have at most {_MOST_ROWS:,} rows, found {rows:,}.")


def list_saved(spec: str, options: TaskOptions, seed: int) -> Listing:
    """The rows of a folder that ``save_to_disk`` of a Dataset or a DatasetDict has written."""
    path = Path(spec).expanduser()
    where = f"--task {printable(str(path))}"

    def load() -> dict[str, Dataset]:
        from datasets import DatasetDict, load_from_disk

        found = load_from_disk(str(path))
        return dict(found) if isinstance(found, DatasetDict) else {_ONLY: found}

    if not (path / SAVED_FILES[0]).is_file():
        options.refuse_splits(f"{printable(path.name)} is a saved Dataset, and so one split")
    tables = Tables(_loaded(load, where), None)
    return list_tables(path.resolve().name, tables, options, seed, where=where)


def parquet_files(folder: Path) -> list[Path]:
    """The parquet files of a folder and of the folders in it, sorted."""
    return sorted([*folder.glob("*.parquet"), *folder.glob("*/*.parquet")])


def _by_split(folder: Path) -> dict[str, list[Path]]:
    """Parquet files by the split that their names, or the names of their folders, say."""
    files: dict[str, list[Path]] = {}
    for file in parquet_files(folder):
        here = file.parent in (folder, folder / "data")
        split = _SHARD.sub("", file.stem) or _ONLY if here else file.parent.name
        files.setdefault(split, []).append(file)
    return files


def list_tables(
    name: str, tables: Tables, options: TaskOptions, seed: int, *, where: str
) -> Listing:
    """Images and classes of tables, one for each split; only labels are read.

    Args:
        name: the task's.
        tables: its splits.
        options: columns and splits that the user named.
        seed: of the split, where test has to be held out.
        where: the task, for messages.

    Raises:
        UsageError: no column can be meant, or no split, or a class lacks in train.
    """
    chosen = choose_splits(list(tables.splits), options, where)
    train = tables.splits[chosen.train]
    image = _image_column(train, options, where)

    def sources(split: str, columns: tuple[str, ...]) -> list[Cell]:
        table = tables.splits[split]
        if split != chosen.train:
            _check_alike(table, train, columns, f"{where}: the split {printable(split)}")
        images = Column(_undecoded(table, image))
        return [Cell(images, split, row, tables.folders) for row in range(len(table))]

    if options.target_columns:
        targets = target_columns(list(train.features), options, image, where)

        def numbers(split: str) -> TargetRows:
            cells = sources(split, (image, *targets))
            wanted = tables.splits[split].select_columns(list(targets)).with_format(None)
            values = _loaded(lambda: wanted[:], where)
            return TargetRows(split, cells, list(zip(*map(values.get, targets), strict=True)))

        return assemble_targets(name, chosen, numbers, targets, seed, where=where)
    label = _label_column(train, options, where)
    names = class_names(train.features[label], where)

    def rows(split: str | None) -> Rows | None:
        if split is None:
            return None
        cells = sources(split, (image, label))
        wanted = tables.splits[split].select_columns([label])
        values = _loaded(lambda: wanted[:][label], where)
        return Rows(split, cells, named(values, names, f"{where}: {printable(split)}"))

    trained = rows(chosen.train)
    assert trained is not None
    parts = Parts(trained, rows(chosen.validation), rows(chosen.test))
    return assemble(name, parts, seed, where=where, order=names)


def _image_column(table: Dataset, options: TaskOptions, where: str) -> str:
    from datasets import Image

    features = table.features
    likely = [c for c in features if isinstance(features[c], Image)]
    if not likely:
        likely = called([c for c in features if _holds_files(features[c])], IMAGE_COLUMNS)
    elif len(likely) > 1:
        likely = called(likely, IMAGE_COLUMNS) or likely
    column = choose_column(
        list(features), likely, option="--image-column", given=options.image_column, where=where
    )
    if not _holds_files(features[column]):
        raise UsageError(
            f"{where}: the column {printable(column)} must hold encoded images, found"
            f" {_kind(features[column])}.",
            hint="Name the image column with --image-column; a .csv, .tsv or .jsonl manifest may"
            " hold paths.",
        )
    return column


def _label_column(table: Dataset, options: TaskOptions, where: str) -> str:
    from datasets import ClassLabel

    features = table.features
    likely = [c for c in features if isinstance(features[c], ClassLabel)]
    if not likely:
        likely = called([c for c in features if _holds_labels(features[c])], LABEL_COLUMNS)
    elif len(likely) > 1:
        likely = called(likely, LABEL_COLUMNS) or likely
    column = choose_column(
        list(features), likely, option="--label-column", given=options.label_column, where=where
    )
    if not _holds_labels(features[column]):
        raise UsageError(
            f"{where}: the column {printable(column)} must hold class names or whole numbers,"
            f" found {_kind(features[column])}.",
            hint="Name the label column with --label-column.",
        )
    return column


def _holds_files(feature: Any) -> bool:
    from datasets import Image

    if isinstance(feature, dict):
        return getattr(feature.get("bytes"), "dtype", None) in _BINARY_TYPES
    return isinstance(feature, Image) or getattr(feature, "dtype", None) in _BINARY_TYPES


def _holds_labels(feature: Any) -> bool:
    kind = getattr(feature, "dtype", None)
    return isinstance(kind, str) and (
        kind in _TEXT_TYPES or _NUMBER_TYPES.fullmatch(kind) is not None
    )


def _kind(feature: Any) -> str:
    from datasets import Value

    return printable(feature.dtype if isinstance(feature, Value) else type(feature).__name__)


def _check_alike(table: Dataset, train: Dataset, columns: tuple[str, ...], where: str) -> None:
    for column in columns:
        if table.features.get(column) != train.features[column]:
            raise UsageError(
                f"{where} must have the column {printable(column)} of the train split, with the"
                f" same type and class names; it has the columns {listed(table.features)}."
            )


def _undecoded(table: Dataset, column: str) -> Dataset:
    from datasets import Image

    images = table.select_columns([column]).with_format(None)
    if isinstance(table.features[column], Image):
        images = images.cast_column(column, Image(decode=False))
    return images


def _loaded(load: Callable[[], _T], where: str) -> _T:
    """What ``load`` returns, quietly; what it raises becomes an error of the user."""
    prepare()
    try:
        return load()
    except Exception as error:  # noqa: BLE001 - pyarrow and datasets raise nearly anything
        reason = reason_of(error)
    raise UsageError(
        f"{where} cannot be read as a dataset: {reason}.",
        hint="Is it complete? The library `datasets` must be able to read it, and to write what it"
        " converts to HF_HOME or HF_DATASETS_CACHE.",
    )


def reason_of(error: Exception) -> str:
    """The innermost error, which says most, in one line."""
    while isinstance(error.__cause__, Exception):
        error = error.__cause__
    said = str(error).strip().partition("\n")[0].rstrip(".")
    return printable(f"{type(error).__name__}{': ' if said else ''}{said[:300]}")


def prepare() -> None:
    """Let the library say nothing beside the errors it raises."""
    import datasets

    datasets.logging.set_verbosity_error()
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
