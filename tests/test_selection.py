"""Which of the listed candidates a run compares."""

from __future__ import annotations

import pytest

from selector.candidates import Candidate, default_registry, read_registry
from selector.errors import UsageError
from selector.selection import Selection, listed_by, parse_count, select

SMALL = Candidate(
    model="hf-hub:timm/vit_small", parameters=22_000_000, license="apache-2.0", tags=("small", "x")
)
BASE = Candidate(
    model="hf-hub:timm/vit_base@abc", parameters=86_000_000, license="MIT", tags=("base", "x")
)
UNKNOWN = Candidate(model="hf-hub:acme/net")
ALL = (SMALL, BASE, UNKNOWN)


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), ALL),
        (Selection(only=("timm/*",)), (SMALL, BASE)),
        (Selection(only=("*_small", "acme/?et")), (SMALL, UNKNOWN)),
        (Selection(tags=("x",)), (SMALL, BASE)),
        (Selection(tags=("x", "base")), (BASE,)),
        (Selection(licenses=("mit",)), (BASE,)),
        (Selection(licenses=("Apache-2.0", "MIT")), (SMALL, BASE)),
        (Selection(max_params=86_000_000), (SMALL, BASE)),
        (Selection(max_params=85_999_999), (SMALL,)),
        (Selection(only=("timm/*",), tags=("x",), max_params=10**9, licenses=("mit",)), (BASE,)),
    ],
    ids=str,
)
def test_what_is_admitted(selection: Selection, expected: tuple[Candidate, ...]) -> None:
    assert select(ALL, selection, "zoo.yaml") == expected


def test_none_admitted_says_which_words_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        select(ALL, Selection(tags=("tiny",)), listed_by((), None))
    assert "found none of 3 of the registry that comes with selector." in caught.value.message
    assert "such as timm/vit_small, timm/vit_base@abc, acme/net" in caught.value.hint
    assert "base, small, x" in caught.value.hint
    assert "MIT, apache-2.0, unknown" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "count"), [("7", 7), ("1.5k", 1500), ("100M", 10**8), (" 2B ", 2 * 10**9)]
)
def test_counts(text: str, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize("text", ["", "M", "-1", "1e6", "ten", "1 M"])
def test_counts_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--max-params"):
        parse_count(text)


def test_every_registry_entry_can_be_selected_by_size_tag_and_licence() -> None:
    for candidate in read_registry(default_registry()):
        assert candidate.parameters and candidate.license and candidate.tags, candidate.model
