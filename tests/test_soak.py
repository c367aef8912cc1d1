"""What rankings leave behind; ``make soak`` asks the same of a thousand."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from soak.figure import Panel, svg
from soak.verdict import slope
from soak.watch import objects, sample, settle
from soak.workload import FAILING, workload


def test_rankings_of_every_kind_leave_no_file_thread_tensor_or_connection_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    work = workload(tmp_path)
    python = frozenset(threading.enumerate())
    kinds = len(work.kinds)
    assert kinds < FAILING
    # Once for what lasts: threads of libraries, caches.
    for number in range(kinds):
        work.rank(number)
    settle(python, 2**31)
    before, alive = sample(), objects()
    for number in range(FAILING, FAILING + kinds):
        work.rank(number)
        settle(python, before.threads)
        after = sample()
        assert (after.files, after.temporary) == (before.files, before.temporary)
    assert (objects().tensors, objects().connections) == (alive.tensors, alive.connections)


def test_the_slope_is_that_of_a_line_and_its_interval_covers_noise() -> None:
    line = slope([5.0 * place for place in range(400)])
    assert (line.low, line.value, line.high) == pytest.approx((5, 5, 5))
    noisy = slope([(-1) ** (place // 50) * 100 for place in range(400)])
    assert noisy.low < 0 < noisy.high


def test_the_figure_has_a_line_for_each_panel() -> None:
    drawn = svg([Panel("memory, MB", [1.0, 2.0, 2.0]), Panel("a < b", [3, 3, 3])], 1)
    assert drawn.count("<polyline") == 2
    assert "a &lt; b" in drawn
