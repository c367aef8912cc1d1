"""Put results into files that a repository may have already; all else stays byte for byte."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from selector.candidates.yamlfile import LOADER
from selector.errors import UsageError, printable
from selector.reports.card.forms import INTERVAL, WARNINGS, to_yaml

README, RESULTS = "README.md", ".eval_results/selector.yaml"

_KEY = "model-index"
# Of metadata; cards have some thousand characters. PyYAML takes very long where nesting is deep.
_LONGEST, _DEEPEST = 200_000, 50
# As the Hub itself finds the metadata of a card.
_BLOCK = re.compile(r"^(\s*---(?:\r\n|\r|\n))([\S\s]*?)((?:\r\n|\r|\n)---[ \t]*(?:\r\n|\n|$))")
_BY_HAND = "Paste what `selector card` prints into the file yourself."

Mapping = dict[str, Any]


def into_readme(text: str | None, index: list[Mapping]) -> str:
    """A model card with results in its ``model-index``; the same card if it has them all.

    Args:
        text: of README.md; None: there is none.
        index: one model with one result, as :func:`selector.reports.card.model_index` makes it.

    Raises:
        UsageError: the card has another value of one of these metrics, or is not understood.
    """
    found = _BLOCK.match(text or "")
    if found is None:
        return f"---\n{to_yaml({_KEY: index})}---\n{text or ''}"
    before, block, after = found.groups()
    card = _load(block, README)
    if not isinstance(card, dict | None):
        raise UsageError(f"The metadata of {README} must be a mapping.", hint=_BY_HAND)
    merged = _merged(card.get(_KEY) if card else None, index)
    if card and card.get(_KEY) == merged:
        return text or ""
    newline = "\r\n" if "\r\n" in before else "\n"
    changed = _replaced(block, to_yaml({_KEY: merged}).replace("\n", newline), newline)
    if not _reads_as(changed, {**(card or {}), _KEY: merged}):
        raise UsageError(
            f"The metadata of {README} is in a form that is not edited.", hint=_BY_HAND
        )
    return before + changed + after + (text or "")[found.end() :]


def into_results(text: str | None, entries: list[Mapping]) -> str:
    """An ``.eval_results`` file with these entries; the same file if it has them all.

    Args:
        text: of the file; None: there is none.
        entries: as :func:`selector.reports.card.eval_results` makes them.

    Raises:
        UsageError: the file has another value for one of them, or is not understood.
    """
    there = _load(text or "", RESULTS) or []
    try:
        known = {_about(entry): entry["value"] for entry in there}
    except (TypeError, KeyError):
        raise UsageError(f"{RESULTS} must be a list of results.", hint=_BY_HAND) from None
    new = [e for e in entries if _is_new(known, _about(e), e["value"], e["dataset"]["task_id"])]
    return to_yaml([*there, *new]) if new or text is None else text


def _merged(there: list[Mapping] | None, index: list[Mapping]) -> list[Mapping]:
    """A model-index with the metrics that it lacks, in the result of the same dataset."""
    if not there:
        return index
    (result,) = index[0]["results"]
    try:
        known = {
            _identity(other, metric): metric["value"]
            for model in there
            for other in model["results"]
            for metric in other["metrics"]
        }
        first, *others = there
        results = list(first["results"])
        place = next(
            (i for i, one in enumerate(results) if _where(one) == _where(result)), len(results)
        )
    except (TypeError, KeyError):
        raise UsageError(f"{_KEY} of {README} must have the Hub's form.", hint=_BY_HAND) from None
    new = [
        metric
        for metric in result["metrics"]
        if _is_new(known, _identity(result, metric), metric["value"], metric["name"])
    ]
    if not new:
        return there
    if place == len(results):
        results.append(result | {"metrics": new})
    else:
        results[place] = results[place] | {"metrics": [*results[place]["metrics"], *new]}
    return [first | {"results": results}, *others]


def _is_new(known: dict[str, Any], identity: str, value: float, name: str) -> bool:
    """Whether there is no such result yet.

    Raises:
        UsageError: there is one, and it differs.
    """
    if identity in known and known[identity] != value:
        raise UsageError(
            f"The repository must not have another value of {printable(name)}: it has"
            f" {printable(str(known[identity]))}, and here it is {value}.",
            hint="Ask who published it, or change that value there; nothing was sent.",
        )
    return identity not in known


def _identity(result: Mapping, metric: Mapping) -> str:
    """What a metric is about, whatever its value and its names are."""
    about = {
        key: value
        for key, value in (metric.get("args") or {}).items()
        if key not in (INTERVAL, WARNINGS)
    }
    return json.dumps([*_where(result), metric["type"], about], sort_keys=True, default=str)


def _where(result: Mapping) -> list[Any]:
    keys = ("type", "config", "revision")
    return [result["task"]["type"], *(result["dataset"].get(key) for key in keys)]


def _about(entry: Mapping) -> str:
    dataset = entry["dataset"]
    return json.dumps([dataset["id"], dataset["task_id"], dataset.get("revision")], default=str)


def _replaced(block: str, new: str, newline: str) -> str:
    """The metadata with its model-index replaced, or at its end where it has none."""
    node = yaml.compose(block, Loader=yaml.SafeLoader)
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if key.value == _KEY:
            start, end = key.start_mark.index, value.end_mark.index
            kept = _comments_after(block[start:end]) + block[end:]
            return (block[:start] + new + kept).rstrip("\r\n")
    before = block.rstrip("\r\n") + newline if block.strip() else ""
    return before + new.rstrip("\r\n")


def _comments_after(text: str) -> str:
    """The comments and empty lines that end a text; YAML counts them as part of a value."""
    lines = text.splitlines(keepends=True)
    last = max(i for i, line in enumerate(lines) if line.strip() and line.lstrip()[0] != "#")
    return "".join(lines[last + 1 :])


def _load(text: str, name: str) -> Any:
    try:
        _refuse_bombs(text, name)
        return yaml.safe_load(text)
    except UsageError:
        raise
    except Exception:  # noqa: BLE001 - of a date or a number that is none, nearly anything
        raise UsageError(f"{name} must be YAML that can be read.", hint=_BY_HAND) from None


def _refuse_bombs(text: str, name: str) -> None:
    """A little text can stand for more than there is memory or time for."""
    if len(text) > _LONGEST:
        raise UsageError(
            f"The YAML of {name} must have at most {_LONGEST:,} characters, found {len(text):,}.",
            hint=_BY_HAND,
        )
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise UsageError(f"{name} must be YAML without aliases.", hint=_BY_HAND)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise UsageError(
                f"{name} must be YAML of at most {_DEEPEST} levels, found more.", hint=_BY_HAND
            )


def _reads_as(text: str, expected: object) -> bool:
    try:
        return bool(yaml.safe_load(text) == expected)
    except (yaml.YAMLError, ValueError):
        return False
