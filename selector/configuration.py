"""Options that were not typed: the configuration file, and what it may say.

The file is ``selector.toml``, with a table for each command, or ``pyproject.toml`` with these below
``[tool.selector]``. A ``pyproject.toml`` without them is no configuration, and is passed over. A
file of another name may have either form.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from selector.errors import UsageError, first_line, printable, shorten
from selector.reading import is_file, read_bytes

OWN_FILE, PROJECT_FILE = "selector.toml", "pyproject.toml"
Value = bool | str | list[str]
_MOST_BYTES = 1_000_000


@dataclass(frozen=True)
class Configured:
    """An option of the command that runs now which was not typed.

    Attributes:
        option: with its dashes.
        value: as it would be typed; of a list, parted by spaces.
        origin: name of the variable, or file and table.
    """

    option: str
    value: str
    origin: str


_used: ContextVar[tuple[Configured, ...]] = ContextVar("used", default=())


@dataclass(frozen=True)
class Form:
    """What a file gives to an option: true or false to a flag, a list to one that is repeated."""

    flag: bool
    repeated: bool


@dataclass(frozen=True)
class Configuration:
    """What a file says.

    Attributes:
        path: of the file; None where there is none.
        prefix: of the names of its tables: ``tool.selector.`` or nothing.
        tables: by command, then by option without its dashes; values as they would be typed.
    """

    path: Path | None = None
    prefix: str = ""
    tables: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)

    def table(self, command: str) -> str:
        """The file and the table where options of a command stand."""
        return printable(f"{self.path} [{self.prefix}{command}]")


def find(start: Path) -> Path | None:
    """The nearest configuration from a folder upwards; ``selector.toml`` before its neighbour.

    Raises:
        UsageError: a pyproject.toml on the way is not TOML, and may hold one.
    """
    for folder in (start, *start.parents):
        own, project = folder / OWN_FILE, folder / PROJECT_FILE
        if is_file(own):
            return own
        if is_file(project) and _own_tables(project) is not None:
            return project
    return None


def read(path: Path, commands: Mapping[str, Mapping[str, Form]]) -> Configuration:
    """What a file says of the options of some commands.

    Args:
        path: a pyproject.toml has ``[tool.selector]``; so has any other with a table ``tool`` and
            no command's, or it is all ours.
        commands: by name, their options without dashes. In the file - may be written as _.

    Raises:
        UsageError: it cannot be read, or holds a command, an option or a kind of value that is
            none; with the file and the key.
    """
    in_project = path.name == PROJECT_FILE or _is_project(_parse(path), commands)
    tables = _own_tables(path) if in_project else _parse(path)
    prefix = "tool.selector." if in_project else ""
    if tables is None:
        raise UsageError(f"{path} must have a table [tool.selector], found none.")
    checked = Configuration(path, prefix)
    return Configuration(
        path,
        prefix,
        {name: dict(_options(checked, name, table, commands)) for name, table in tables.items()},
    )


def _is_project(document: Mapping[str, object], commands: Mapping[str, object]) -> bool:
    return "tool" in document and not document.keys() & commands.keys()


def _own_tables(project: Path) -> dict[str, Any] | None:
    """Of a pyproject.toml; None where it has none of ours."""
    # Most are other people's, and broken ones are none of our business.
    if "selector" not in _text(project):
        return None
    tool = _parse(project).get("tool", {})
    tables = tool.get("selector") if isinstance(tool, dict) else None
    if tables is not None and not isinstance(tables, dict):
        raise UsageError(f"{project}: tool.selector must be a table, found {_short(tables)}.")
    return tables


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_text(path))
    # Beside its own errors, of a date or a number that is none and of deep nesting.
    except (ValueError, RecursionError) as error:
        said = first_line(error)
        raise UsageError(f"{printable(str(path))} is not TOML: {said}.") from None


def _text(path: Path) -> str:
    try:
        return read_bytes(path, _MOST_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or first_line(error)
        raise UsageError(
            f"{printable(str(path))} cannot be read: {said}.",
            hint="--config, or SELECT_CONFIG, must name a TOML file, or be left out.",
        ) from None


def _options(
    file: Configuration, command: str, table: object, commands: Mapping[str, Mapping[str, Form]]
) -> Iterator[tuple[str, Value]]:
    if command not in commands:
        raise UsageError(f"{file.table(command)}: unknown command; {_known(command, commands)}.")
    if not isinstance(table, dict):
        raise UsageError(f"{file.table(command)} must be a table, found {_short(table)}.")
    forms, seen = commands[command], set()
    for written, value in table.items():
        where = printable(f"{file.table(command)} {written}")
        key = written.replace("_", "-")
        if key not in forms:
            raise UsageError(f"{where}: unknown option; {_known(key, forms)}.")
        if key in seen:
            raise UsageError(f"{where} is given already, as {key} or with other dashes.")
        seen.add(key)
        yield key, _typed(value, forms[key], where)


def _typed(value: object, form: Form, where: str) -> Value:
    """A value as it would be typed."""
    if form.flag:
        if isinstance(value, bool):
            return value
        raise UsageError(f"{where} must be true or false, found {_short(value)}.")
    if form.repeated:
        if isinstance(value, list) and all(map(_is_word, value)):
            return [str(one) for one in value]
        raise UsageError(f"{where} must be a list of texts or numbers, found {_short(value)}.")
    if not _is_word(value):
        raise UsageError(f"{where} must be a text or a number, found {_short(value)}.")
    return str(value)


def _is_word(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _known(name: str, names: Mapping[str, object]) -> str:
    close = get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]}"
    return f"known are {', '.join(names)}" if names else "there is none"


def _short(value: object) -> str:
    return shorten(repr(value), 80)


@contextmanager
def using(options: tuple[Configured, ...]) -> Iterator[None]:
    """Let documents that are written meanwhile say which options were not typed."""
    token = _used.set(options)
    try:
        yield
    finally:
        _used.reset(token)


def configured() -> tuple[Configured, ...]:
    """The options of the command that runs now which were not typed, and where they come from."""
    return _used.get()
