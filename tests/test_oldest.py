"""The oldest versions that the tests are also run with."""

from __future__ import annotations

import tomllib

import pytest
from oldest import PYPROJECT, oldest


def test_every_dependency_has_an_oldest_version() -> None:
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    found = oldest(project)
    assert len(found) == len(project["dependencies"])
    assert {"torch==2.6", "huggingface-hub==2.2"} <= set(found)


def test_one_without_is_named() -> None:
    with pytest.raises(ValueError, match="lower bound: rich"):
        oldest({"dependencies": ["torch>=2.6", "rich"]})
