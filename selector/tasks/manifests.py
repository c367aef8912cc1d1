"""Tasks from lists of files: CSV, TSV or JSON lines with a path and a label in each row."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from selector.errors import UsageError, first_line, printable
from selector.reading import read_bytes
from selector.tasks.cells import read_image
from selector.tasks.labelling import Label, Parts, Rows, assemble
from selector.tasks.listing import Listing
from selector.tasks.options import TaskOptions
from selector.tasks.splits import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    called,
    choose_column,
    choose_splits,
)
from selector.tasks.targets import TargetRows, assemble_targets, target_columns

_ONLY = "rows"  # what the split is called where no column says
_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,17}")
# Millions of rows. A line that is longer holds no path and no label.
_MOST_BYTES = 256 * 2**20
_LONGEST_LINE = 2**20
_Row = dict[str, object]
_Numbered = tuple[int, _Row]


@dataclass(frozen=True, slots=True)
class Line:
    """The image that one line of a manifest names."""

    path: Path
    place: str

    def read(self) -> bytes:
        """The file's content."""
        return read_image(self.path)

    def __str__(self) -> str:
        return f"{self.place}: {self.path}"


def list_manifest(spec: str, options: TaskOptions, seed: int) -> Listing:
    """The files that a manifest names; a relative path begins at the manifest's folder.

    Raises:
        UsageError: it cannot be read as what its name says, a column or a label is missing, or
            its splits and classes make no task.
    """
    path = Path(spec).expanduser()
    where = f"--task {printable(str(path))}"
    rows = _read(path, where)
    columns = list(dict.fromkeys(column for _, row in rows for column in row))

    def column(names: Sequence[str], option: str, given: str | None) -> str:
        likely = called(columns, names)
        return choose_column(columns, likely, option=option, given=given, where=where)

    image = column(IMAGE_COLUMNS, "--image-column", options.image_column)

    def lines(split: str) -> list[Line]:
        return [
            Line(path.parent / str(rows[i][1].get(image, "")), f"{path.name} line {rows[i][0]}")
            for i in by_split[split]
        ]

    if options.target_columns:
        by_split = _by_split(rows, columns, options, where)
        targets = target_columns(columns, options, image, where)

        def numbers(split: str) -> TargetRows:
            cells = [[rows[i][1].get(name) for name in targets] for i in by_split[split]]
            return TargetRows(split, lines(split), cells)

        chosen = choose_splits(list(by_split), options, where)
        return assemble_targets(path.resolve().stem, chosen, numbers, targets, seed, where=where)
    label = column(LABEL_COLUMNS, "--label-column", options.label_column)
    labels = _labels(rows, label, where)
    by_split = _by_split(rows, columns, options, where)
    chosen = choose_splits(list(by_split), options, where)

    def part(split: str | None) -> Rows | None:
        if split is None:
            return None
        return Rows(split, lines(split), [labels[i] for i in by_split[split]])

    train = part(chosen.train)
    assert train is not None
    parts = Parts(train, part(chosen.validation), part(chosen.test))
    return assemble(path.resolve().stem, parts, seed, where=where)


def _by_split(
    rows: list[_Numbered], columns: list[str], options: TaskOptions, where: str
) -> dict[str, list[int]]:
    """Places of rows by what their column ``split`` says."""
    column = next(iter(called(columns, ["split"])), None)
    if column is None:
        options.refuse_splits("the manifest has no column called split")
        return {_ONLY: list(range(len(rows)))}
    splits: dict[str, list[int]] = {}
    for i, (line, row) in enumerate(rows):
        name = row.get(column)
        if not isinstance(name, str) or not name.strip():
            raise UsageError(f"{where} line {line}: {printable(column)} must name a split.")
        splits.setdefault(name.strip(), []).append(i)
    return splits


def _labels(rows: list[_Numbered], column: str, where: str) -> list[Label]:
    """Names, or numbers where all are; None where there is none."""
    labels: list[Label] = []
    for line, row in rows:
        value = row.get(column)
        value = (value.strip() or None) if isinstance(value, str) else value
        if isinstance(value, bool) or not isinstance(value, str | int | None):
            raise UsageError(
                f"{where} line {line}: {printable(column)} must be a class name or a whole number,"
                f" found {printable(json.dumps(value)[:80])}."
            )
        labels.append(value)
    # 007 is a name: as a number it would be shown as 7.
    if all(label is None or _NUMBER.fullmatch(str(label)) for label in labels):
        return [None if label is None else int(label) for label in labels]
    return labels


def _read(path: Path, where: str) -> list[_Numbered]:
    """The rows with the numbers of their lines."""
    try:
        data = io.BytesIO(read_bytes(path, _MOST_BYTES))
        with io.TextIOWrapper(data, encoding="utf-8-sig", newline="") as file:
            rows = list(READERS[path.suffix.lower()](_lines(file, where), where))
    except UnicodeDecodeError:
        raise UsageError(
            f"{where} must be text in UTF-8; it is not.", hint="Save it as UTF-8."
        ) from None
    except OSError as error:
        raise UsageError(f"{where} must be a file that can be read: {error.strerror}.") from None
    if not rows:
        raise UsageError(f"{where} must have rows, found none.")
    return rows


def _lines(file: TextIO, where: str) -> Iterator[str]:
    number = 0
    while line := file.readline(_LONGEST_LINE + 1):
        number += 1
        if len(line) > _LONGEST_LINE:
            raise UsageError(
                f"{where} line {number} must have at most {_LONGEST_LINE:,} characters;"
                " it has more."
            )
        yield line


def _csv(file: Iterable[str], where: str, delimiter: str = ",") -> Iterator[_Numbered]:
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if len(set(header)) < len(header):
            raise UsageError(f"{where}: columns must have different names, found {header}.")
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(header):
                raise UsageError(
                    f"{where} line {reader.line_num} must have {len(header)} fields as the first"
                    f" line has, found {len(fields)}."
                )
            yield reader.line_num, dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise UsageError(
            f"{where} line {reader.line_num} is no CSV: {first_line(error)}."
        ) from None


def _tsv(file: Iterable[str], where: str) -> Iterator[_Numbered]:
    return _csv(file, where, delimiter="\t")


def _json_lines(file: Iterable[str], where: str) -> Iterator[_Numbered]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            said = first_line(error)
            raise UsageError(f"{where} line {number} is no JSON: {said}.") from None
        if not isinstance(row, dict):
            raise UsageError(f"{where} line {number} must be a JSON object, as {{...}}.")
        yield number, row


READERS: dict[str, Callable[[Iterable[str], str], Iterator[_Numbered]]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
}
