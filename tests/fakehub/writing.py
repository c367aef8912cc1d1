"""The fake Hub's side of a commit: is a card valid, how is a file to be sent, what was sent."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml


@dataclass(frozen=True)
class Proposal:
    """A commit that arrived.

    Attributes:
        repo_id: where to.
        parent: the commit that it was made on; None if it does not say.
        title: its first line.
        description: the others.
        files: what it adds or replaces.
        pull_request: it is one.
    """

    repo_id: str
    parent: str | None
    title: str
    description: str
    files: Mapping[str, bytes]
    pull_request: bool


def complaints(body: bytes) -> list[dict[str, str]]:
    """What the Hub has against the metadata of a card: the answer to ``/api/validate-yaml``."""
    card = json.loads(body)["content"].replace("\r\n", "\n")
    try:
        metadata = yaml.safe_load(card.removeprefix("---\n").partition("\n---\n")[0])
        for model in metadata.get("model-index", []):
            for result in model["results"]:
                assert {"type", "name"} <= set(result["dataset"])
                assert result["task"]["type"]
                assert all({"type", "value"} <= set(metric) for metric in result["metrics"])
        # Cards of the past need not be valid, so a card may be refused for what it had before.
        license = metadata.get("license", "mit")
        return (
            [] if isinstance(license, str | list) else [{"message": '"license" must be a string'}]
        )
    except (yaml.YAMLError, AssertionError, KeyError, TypeError, AttributeError):
        return [{"message": '"model-index" is not valid'}]


def upload_modes(
    body: bytes, files: Mapping[str, bytes], oid: Callable[[bytes], str]
) -> dict[str, Any]:
    """How files are to be sent: the answer to ``preupload``."""
    return {
        "files": [
            {
                "path": file["path"],
                "uploadMode": "regular",
                "shouldIgnore": False,
                "oid": oid(files[file["path"]]) if file["path"] in files else None,
            }
            for file in json.loads(body)["files"]
        ]
    }


def proposed(body: bytes, repo_id: str, *, pull_request: bool) -> Proposal:
    """A commit, sent as one JSON document a line."""
    header, *files = (json.loads(line) for line in body.splitlines())
    assert header["key"] == "header"
    assert all(file["key"] == "file" for file in files)
    return Proposal(
        repo_id=repo_id,
        parent=header["value"].get("parentCommit"),
        title=header["value"]["summary"],
        description=header["value"]["description"],
        files={file["value"]["path"]: base64.b64decode(file["value"]["content"]) for file in files},
        pull_request=pull_request,
    )
