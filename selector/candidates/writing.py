"""Candidates as the text of a registry file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from selector.candidates.entry import Candidate
from selector.errors import printable


class _Dumper(yaml.SafeDumper):
    """Lists of entries in block form and indented, as registries are written by hand."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)


class _Flow(list[Any]):
    """A list that is written on one line."""


_Dumper.add_representer(
    _Flow, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, True)
)


def to_yaml(candidates: Sequence[Candidate], header: Sequence[str] = ()) -> str:
    """The text of a registry that :func:`read_registry` reads back as the same candidates.

    Args:
        candidates: at least one.
        header: lines of a comment at the top, without the ``#``; control characters in them
            become question marks.
    """
    comment = "".join(f"# {printable(line)}".rstrip() + "\n" for line in header)
    document = {"candidates": [_entry(candidate) for candidate in candidates]}
    body = yaml.dump(
        document,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=100,
        default_flow_style=False,
    )
    return comment + body


def _entry(candidate: Candidate) -> dict[str, Any]:
    """What an entry says beyond what it means anyway."""
    fields = candidate.model_dump(mode="json", exclude_defaults=True)
    if candidate.name == Candidate(model=candidate.model).name:
        del fields["name"]
    return {name: _Flow(value) if name == "tags" else value for name, value in fields.items()}
