"""The benchmark of races: what it counts, from records that are made up."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from builders import evaluation, right

from selector.ranking import rank
from selector.records import Eliminated, RaceRecord

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def racing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, imported as it is run: from its own folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield import_module("racing")
    for name in ("racing", "looks"):
        del sys.modules[name]


def out(name: str, upper: float) -> Eliminated:
    return Eliminated(
        name=name,
        model=f"local-dir:{name}",
        images=32,
        passes=100,
        upper=upper,
        bar=0.6,
        reason="",
    )


ALL = [evaluation(name, right(hits)) for name, hits in (("a", 70), ("b", 60), ("c", 40), ("d", 30))]
EXHAUSTIVE = rank([*ALL, evaluation("m", right(99), flags=["masked_gradients"])], seed=0)


def race(*eliminated: Eliminated) -> RaceRecord:
    return RaceRecord(
        top=2,
        confidence=0.95,
        budget_seconds=None,
        seconds=1.0,
        passes=3600,
        exhaustive_passes=9000,
        settled=True,
        eliminated=eliminated,
        unsettled=(),
        sentence="",
    )


def test_bounds_that_failed_are_those_below_what_a_candidate_has(racing: ModuleType) -> None:
    judged = [
        (out("c", 0.41), False),
        (out("c", 0.40), False),
        (out("c", 0.39), True),
        # Whose attack was blind is below every sound bound.
        (out("m", 0.1), False),
    ]
    assert [racing.failed(one, EXHAUSTIVE) for one, _ in judged] == [wrong for _, wrong in judged]


def test_a_row_compares_the_tops_and_the_passes(racing: ModuleType) -> None:
    same = (EXHAUSTIVE, rank(ALL[:3], seed=0))
    row = racing.row_of(0, "4/255", same, (race(out("d", 0.2)), ()), 2)
    assert (row.strict, row.up_to_groups, row.race_top) == (True, True, ("a", "b"))
    # Each of the five takes 1800.
    assert row.passes_share == pytest.approx(0.4)
    assert (row.measured_in_full, row.eliminated, row.bounds_failed) == (3, 1, 1)
    assert row.next_best == "c"

    lost = (EXHAUSTIVE, rank([ALL[0], ALL[2]], seed=0))
    row = racing.row_of(0, "4/255", lost, (race(out("b", 0.5)), ()), 2)
    assert (row.strict, row.up_to_groups, row.race_top) == (False, False, ("a", "c"))


def test_looks_are_summed_up_by_what_they_are_of(racing: ModuleType) -> None:
    looks = [
        racing.Compared("a", 128, 0.50, 0.47),
        racing.Compared("b", 128, 0.50, 0.51),
        racing.Compared("c", 128, 0.50, 0.53),
        racing.Compared("d", 32, 0.25, 0.25),
        racing.Compared("e", 32, 0.25, 0.15),
    ]
    found = racing.summary(looks)
    whole = found["all images"]
    assert (whole["candidates"], whole["below"], whole["below_allowance"]) == (3, 2, 1)
    assert (whole["lowest"], whole["highest"]) == pytest.approx((-0.03, 0.03))
    assert found["some images"]["below"] == 0
    assert found["some images"]["mean"] == pytest.approx(0.05)


def test_the_page_on_races_quotes_what_was_measured() -> None:
    quoted = " ".join((BENCHMARKS.parent / "docs" / "races.md").read_text(encoding="utf-8").split())
    found = json.loads((BENCHMARKS / "results" / "racing.cpu.json").read_text(encoding="utf-8"))
    seeds, whole = len(found["rows"]), found["looks"]["all images"]
    assert len(found["candidates"]) >= 24
    assert f"of the exhaustive run in {found['strict']} of {seeds} draws" in quoted
    average, highest = found["passes_share"], found["passes_share_highest"]
    assert f"with {average:.0%} of its passes on average and {highest:.0%} at most" in quoted
    assert f"{found['bounds_failed']} of {found['eliminated']} bounds failed" in quoted
    assert (
        f"{whole['below']} of {whole['candidates']} looks at all images showed less than the full"
        f" measurement, {whole['below_allowance']} by more than these points, the lowest by"
        f" {-100 * whole['lowest']:.1f}."
    ) in quoted
