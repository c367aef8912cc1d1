"""The documents as JSON, and their schemas."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ValidationError
from pydantic.json_schema import JsonSchemaMode
from pydantic_core import from_json

from selector.candidates import Lock, Registry
from selector.errors import OutputError, UsageError, first_line, printable, shorten
from selector.policy import Policy
from selector.reading import is_folder, read_bytes
from selector.records import (
    ERROR_OBJECTIVE_NAMES,
    OBJECTIVE_NAMES,
    AnyRanking,
    Certification,
    Comparison,
    Gate,
    Plan,
    Ranking,
    Record,
    RegressionComparison,
    RegressionRanking,
)
from selector.reports.atomic import whole

# Some hundred candidates on ten thousand images each.
_MOST_BYTES = 256 * 2**20

SCHEMAS: dict[str, type[BaseModel]] = {
    "ranking": Ranking,
    "plan": Plan,
    "certification": Certification,
    "regression": RegressionRanking,
    "registry": Registry,
    "lock": Lock,
    "policy": Policy,
    "gate": Gate,
    "comparison": Comparison,
    "regression-comparison": RegressionComparison,
}


def to_json(document: Record) -> str:
    """The document, one trailing newline included; it holds no NaN and no infinity."""
    return escaped(document.model_dump_json(indent=2)) + "\n"


def escaped(text: str) -> str:
    """JSON whose names a terminal can show: what is not printable as escapes of JSON.

    >>> escaped('"a\x9b31m"')
    '"a\\\\u009b31m"'
    """
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def read_ranking(path: str | Path) -> Ranking:
    """The ranking of classes in a file; :func:`read_regression` reads one of numbers.

    Raises:
        UsageError: it cannot be read, or is not a ranking of this version.
    """
    return _ranking(_text(path), printable(str(path)))


def read_regression(path: str | Path) -> RegressionRanking:
    """The ranking for numbers in a file: what ``selector rank --target-column -o`` wrote.

    It has errors where :func:`read_ranking` has accuracies, hence a function of its own: either
    says what its fields are.

    Raises:
        UsageError: it cannot be read, or is not such a ranking of this version.
    """
    text, where = _text(path), printable(str(path))
    if not _is_regression(text):
        raise UsageError(
            f"{where} must be a ranking for numbers, found a document of another kind.",
            hint="selector.read_ranking reads a ranking of classes.",
        )
    return _regression(text, where)


def read_any_ranking(path: str | Path) -> AnyRanking:
    """The ranking in a file, of classes or of numbers.

    Raises:
        UsageError: it cannot be read, or is not a ranking of this version.
    """
    text, where = _text(path), printable(str(path))
    return _regression(text, where) if _is_regression(text) else _ranking(text, where)


def _is_regression(text: str) -> bool:
    """Whether a text says so of itself: to fail of the wrong form takes longer than to read it."""
    with suppress(ValueError):
        document = from_json(text)
        return isinstance(document, dict) and document.get("kind") == "regression"
    return False


def _text(path: str | Path) -> str:
    where = printable(str(path))
    if where == "-":
        raise UsageError("A ranking must be a file, found -.", hint="/dev/stdin is what is piped.")
    try:
        return read_bytes(Path(path), _MOST_BYTES).decode()
    except OSError as error:
        raise UsageError(f"{where} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{where} cannot be read: {first_line(error)}.") from error


def _ranking(text: str, where: str) -> Ranking:
    try:
        read = Ranking.model_validate_json(text)
    except ValidationError as error:
        if other := _other(text):
            numbers = other == "regression"
            wanted = "a ranking of classes" if numbers else "a ranking"
            hint = "This command reads what `selector rank` wrote"
            if numbers:
                hint += " without --target-column. In Python, selector.read_regression reads it"
            raise UsageError(
                f"{where} must be {wanted}, found a document of another kind: {other}.",
                hint=f"{hint}.",
            ) from None
        raise _another_version(error, where) from error
    _check_objective(read.objective, OBJECTIVE_NAMES, where)
    return read


def _regression(text: str, where: str) -> RegressionRanking:
    try:
        read = RegressionRanking.model_validate_json(text)
    except ValidationError as error:
        raise _another_version(error, where) from error
    _check_objective(read.objective, ERROR_OBJECTIVE_NAMES, where)
    return read


def _check_objective(found: str, known: Sequence[str], where: str) -> None:
    if found not in known:
        raise UsageError(
            f"{where} must be ranked by one of {', '.join(known)},"
            f" found {shorten(repr(found), 80)}.",
            hint="A newer selector may know it.",
        )


def _another_version(error: ValidationError, where: str) -> UsageError:
    first = error.errors(include_url=False)[0]
    place = shorten(".".join(map(str, first["loc"]))) or "document"
    return UsageError(
        f"{where} is not a ranking of this version of selector: {place}: {shorten(first['msg'])}.",
        hint="Write it again with: selector rank ... -o FILE",
    )


def _other(text: str) -> str | None:
    """The name of the document that a text is, of those that are no ranking."""
    for name, form in SCHEMAS.items():
        if form is not Ranking and issubclass(form, Record):
            with suppress(ValidationError):
                form.model_validate_json(text)
                return name
    return None


def json_schema(document: type[BaseModel] = Ranking) -> str:
    """JSON Schema of a document, as published in ``selector/*.schema.json``."""
    # What selector writes has every field; what people write may leave out those with defaults.
    mode: JsonSchemaMode = "serialization" if issubclass(document, Record) else "validation"
    schema = document.model_json_schema(mode=mode)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return json.dumps(schema, indent=2) + "\n"


def check_writable(path: Path) -> None:
    """Fail before hours of work rather than after.

    Raises:
        UsageError: the folder does not exist or cannot be written, or ``path`` is a folder.
    """
    where = printable(str(path))
    if where == "-":
        raise UsageError(
            "--output must name a file, found -.", hint="Without --output it is printed."
        )
    try:
        taken = path.exists() and not path.is_file()
    except OSError as error:
        raise UsageError(f"--output must name a file, found {where}: {error.strerror}.") from None
    if taken:
        kind = "a folder" if is_folder(path) else "a device or a pipe"
        raise UsageError(
            f"--output must name a file, found {kind}: {where}.",
            hint="What is printed can be sent anywhere; a file is written whole or not at all.",
        )
    # Only trying tells of every file system and every right.
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UsageError(
            "--output must lie in a folder that can be written, found"
            f" {printable(str(path.parent))}: {error.strerror}.",
            hint="Create the folder, or name another.",
        ) from None


def check_not_read(output: Path, *inputs: Path) -> None:
    """Raise UsageError if ``output`` is a file that is read, and would be lost."""
    for path in inputs:
        if output.resolve() == path.resolve():
            raise UsageError(
                f"--output must not be the file that is read, found {output}.",
                hint="It would be overwritten; write to another file.",
            )


def write_atomically(path: Path, text: str) -> None:
    """Write ``path`` whole or not at all, whenever the machine stops.

    Raises:
        OutputError: there is no room for it, or the folder has changed since it was checked.
    """
    try:
        whole(path, text)
    except OSError as error:
        raise OutputError(f"{path} could not be written: {error}.") from None
