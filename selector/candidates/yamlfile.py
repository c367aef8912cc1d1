"""YAML files that people write: read safely, and checked with the line of what is wrong."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from selector.errors import UsageError, printable, shorten
from selector.reading import read_bytes

_Model = TypeVar("_Model", bound=BaseModel)
_Location = tuple[int | str, ...]
# A lock of 2,500 candidates; of other text that long the slowest takes some seconds to read.
_MOST_BYTES = 1_000_000
_MOST_VALUES = 100_000
# All parsers of YAML take long where nesting is deep.
_DEEPEST = 50
_LONGEST = 1000  # characters of what is said of a mistake
# libyaml is ten times as fast, and bounds the nesting; PyYAML may have been built without it.
_MOST_DIGITS = 100
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class YamlFile:
    """A YAML document and where in its file everything stands.

    Attributes:
        where: how messages name the file, such as ``--registry zoo.yaml``.
        document: what the file holds.
        root: the same as nodes, which know their lines.
    """

    where: str
    document: Any
    root: yaml.Node | None

    def line(self, location: _Location) -> int:
        """The line, counted from 1, of a part of the document, or of what should hold it."""
        node, line = self.root, 1
        for key in location:
            if isinstance(node, yaml.SequenceNode) and isinstance(key, int):
                if key >= len(node.value):  # what is missing has no line
                    break
                node = node.value[key]
                line = node.start_mark.line + 1
                continue
            found = next((pair for pair in _pairs(node) if pair[0].value == str(key)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        return line

    def validate(self, model: type[_Model]) -> _Model:
        """The document as a record.

        Raises:
            UsageError: it is none; with the line, the field, what was found and the fix.
        """
        try:
            return model.model_validate(self.document)
        except ValidationError as error:
            line = self.line(_first(error)["loc"])
            raise UsageError(f"{self.where}, line {line}: {explain(error, model)}.") from None


def read_yaml(path: Path, option: str) -> YamlFile:
    """Read a YAML file without constructing anything but plain values.

    Args:
        path: the file.
        option: the option that named it, for messages.

    Raises:
        UsageError: it cannot be read, is not YAML, or gives a key twice.
    """
    where = printable(f"{option} {path}")
    try:
        text = read_bytes(path, _MOST_BYTES).decode()
    except OSError as error:
        raise UsageError(
            f"{option} must name a readable file, found {printable(str(path))}: {error.strerror}."
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"{where} must be UTF-8 text.") from None
    try:
        _refuse_depth(text, where)
        root = yaml.compose(text, Loader=LOADER)
        _refuse_repeated_keys(root, where)
        _refuse_bombs(root, where)
        document = yaml.load(text, Loader=LOADER)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 - of a date or a number that is none, nearly anything
        said = shorten(" ".join(str(error).split()))
        raise UsageError(f"{where} is not YAML: {said}.") from None
    return YamlFile(where, document, root)


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The first thing that is wrong, in words, without its full stop."""
    first = _first(error)
    location, found = first["loc"], _short(first["input"])
    # Which entry of the file's list it is, the line tells.
    inside = location[2:] if len(location) > 1 and isinstance(location[1], int) else location
    field = ".".join(map(str, inside))
    if first["type"] == "extra_forbidden":
        known = _fields_beside(model, location)
        close = get_close_matches(str(location[-1]), known, n=1)
        fix = f"did you mean {close[0]}" if close else f"known are {', '.join(known)}"
        return f"{shorten(field)}: unknown field; {fix}"
    if first["type"] == "missing":
        return f"{shorten(field)}: is required, found nothing"
    message = first["msg"].removeprefix("Value error, ")
    said = message if "found" in message else f"{message}, found {found}"
    return shorten(f"{field}: {said}" if field else said, _LONGEST)


def _first(error: ValidationError) -> ErrorDetails:
    """An unknown field before all others: it explains the one that is missing."""
    errors = error.errors(include_url=False)
    return next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])


def _pairs(node: yaml.Node | None) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """Keys and values of a mapping, with those that ``<<`` merges into it."""
    if not isinstance(node, yaml.MappingNode):
        return
    yield from node.value
    for key, value in node.value:
        if key.tag == "tag:yaml.org,2002:merge":
            for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                yield from _pairs(merged)


def _refuse_repeated_keys(root: yaml.Node | None, where: str) -> None:
    """YAML takes the last of two equal keys, so that the first would be lost in silence."""
    waiting, done = [root], set()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in done:
            continue
        done.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        if isinstance(node, yaml.MappingNode):
            seen: dict[Hashable, int] = {}
            for key, value in node.value:
                line = key.start_mark.line + 1
                name = str(key.value)
                if name in seen:
                    raise UsageError(
                        f"{where}, line {line}: {printable(name)} is given already at line"
                        f" {seen[name]}.",
                        hint="Keep one of the two.",
                    )
                seen[name] = line
                waiting.append(value)


def _refuse_depth(text: str, where: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise UsageError(f"{where} must have at most {_DEEPEST} levels, found more.")


def _refuse_bombs(root: yaml.Node | None, where: str) -> None:
    """A few lines of aliases of aliases can stand for more values than any memory holds.

    And Python reads whole numbers, in base 16 or 60, that it refuses to write.
    """
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) not in sizes:
            if node.tag.endswith(":int") and len(node.value) > _MOST_DIGITS:
                raise UsageError(
                    f"{where}, line {node.start_mark.line + 1}: a whole number must have at most"
                    f" {_MOST_DIGITS} digits, found {len(node.value):,}.",
                    hint="Write it as text, between quotes, if it is one.",
                )
            sizes[id(node)] = _MOST_VALUES  # met again before it is known: it holds itself
            children = _children(node)
            sizes[id(node)] = min(_MOST_VALUES, 1 + sum(map(size, children)))
        return sizes[id(node)]

    if root is not None and size(root) >= _MOST_VALUES:
        raise UsageError(
            f"{where} must stand for fewer than {_MOST_VALUES:,} values; with its aliases it"
            " stands for more.",
            hint="Write the values out, or use several files.",
        )


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _fields_beside(model: type[BaseModel], location: _Location) -> list[str]:
    """The fields that could stand where an unknown one does."""
    definitions = model.model_json_schema().get("$defs", {})
    schema: dict[str, Any] = model.model_json_schema()
    for part in location[:-1]:
        schema = schema.get("items", {}) if isinstance(part, int) else schema["properties"][part]
        options = [schema, *schema.get("anyOf", ())]
        names = [option["$ref"].rpartition("/")[2] for option in options if "$ref" in option]
        schema = definitions[names[0]] if names else schema
    return list(schema.get("properties", ()))


def _short(value: object, width: int = 80) -> str:
    try:
        text = repr(value)
    except ValueError:  # an integer of some thousand digits cannot be written
        return "a number of too many digits"
    return text if len(text) <= width else text[: width - 1] + "…"
