"""The same seed, device and versions give the same document, times aside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_api import FEW, THREAT, local, numbers

import selector
from selector import run
from selector.devices import describe_device
from selector.records import Evaluation, Ranking

MISSING = "local-dir:missing"
CANDIDATES = (local("tiny_vit.cifar10_linf_8"), MISSING, local("tiny_vit.cifar10"))
MEASURED = {"forward_passes", "backward_passes", "batch_size", "search_precision"}


def pictures() -> tuple[np.ndarray, list[str]]:
    """Noise of two greys that few pixels tell apart (80,16,16,3), and which it is."""
    draws = np.random.default_rng(0)
    both = [draws.normal(centre, 60, (40, 16, 16, 3)) for centre in (120, 136)]
    return np.concatenate(both).clip(0, 255).astype(np.uint8), ["dark"] * 40 + ["bright"] * 40


def ranked(*candidates: str, **options: Any) -> Ranking:
    given = {"task": pictures(), "threat": THREAT, "store": ":memory:", "device": "cpu"}
    return selector.rank(**FEW | given | options, candidates=candidates or CANDIDATES)


def timeless(document: Ranking) -> dict[str, Any]:
    """All but when, the call, seconds and memory."""
    found = document.model_dump(mode="json", exclude={"created", "command"})
    for entry in found["ranking"]:
        entry["cost"] = {name: entry["cost"][name] for name in MEASURED}
    return found


@pytest.fixture(scope="module")
def once() -> Ranking:
    return ranked()


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_run_again_or_in_another_order_or_from_the_store_it_is_the_same_document(
    once: Ranking, tmp_path: Path
) -> None:
    assert len(once.ranking) == 2
    store = tmp_path / "store"
    for candidates in (CANDIDATES, CANDIDATES[::-1]):
        assert timeless(ranked(*candidates, store=store)) == timeless(once)
    assert timeless(ranked(*CANDIDATES[::-1])) == timeless(once)


def test_a_candidate_has_the_same_numbers_alone_and_in_company(once: Ranking) -> None:
    for one in once.ranking:
        (alone,) = ranked(one.model).ranking
        assert numbers(alone) == numbers(one)


def test_another_seed_is_another_document(once: Ranking) -> None:
    assert timeless(ranked(seed=1))["ranking"] != timeless(once)["ranking"]


def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_LARGEST_BATCH", {"cpu": 3})


def _other_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)


@pytest.mark.parametrize("change", [_small_batches, _other_kernels])
def test_what_rounding_changes_is_small_and_recorded(
    once: Ranking, monkeypatch: pytest.MonkeyPatch, change: Callable[[pytest.MonkeyPatch], None]
) -> None:
    change(monkeypatch)
    other = ranked()
    sizes = [{one.cost.batch_size for one in document.ranking} for document in (once, other)]
    assert (sizes[0] != sizes[1]) == (change is _small_batches)
    found = {one.name: one for one in other.ranking}
    for one in once.ranking:
        _assert_close(one, found[one.name])


def _assert_close(one: Evaluation, other: Evaluation) -> None:
    """Displacements within 1 %, accuracies within an image."""
    for part in ("sensitivity", "task_sensitivity"):
        mean = getattr(one, part).mean.value
        assert getattr(other, part).mean.value == pytest.approx(mean, rel=0.01)
    for part in ("head", "probe", "bound_optimal"):
        for name in ("clean_accuracy", "attacked_accuracy"):
            share = getattr(getattr(one, part), name)
            again = getattr(getattr(other, part), name).value
            assert again == pytest.approx(share.value, abs=1.01 / share.n)


@pytest.mark.usefixtures("threads")
def test_the_record_of_a_cpu_has_what_sums_depend_on() -> None:
    torch.set_num_threads(1)
    one = describe_device(torch.device("cpu")).name
    torch.set_num_threads(2)
    assert torch.backends.cpu.get_cpu_capability() in one
    assert (one[-8:], describe_device(torch.device("cpu")).name[-9:]) == ("1 thread", "2 threads")
