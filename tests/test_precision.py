"""Searches compute in as few bits as resolve what they look for; scores do not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from conftest import SIZE, LinearBackbone, grey, normal
from torch import Tensor

from selector.attacks import ATTACKS
from selector.batches import BatchSize, Images
from selector.budget import Budget
from selector.precision import (
    BF16_SHARE,
    TF32_SHARE,
    Precision,
    PrecisionName,
    full_precision,
    has_tensor_cores,
)
from selector.search import search
from selector.sensitivity import displacement_aim
from selector.threat import ThreatModel

LINEAR = LinearBackbone(normal(6, SIZE, seed=1))
Flags = tuple[bool, str, bool]


@pytest.fixture(autouse=True)
def in_full_precision() -> Iterator[None]:
    with full_precision():
        yield


def flags() -> Flags:
    """TF32 of convolutions and of products, and autocast, as they stand."""
    tf32 = torch.backends.cudnn.allow_tf32
    return tf32, torch.get_float32_matmul_precision(), torch.is_autocast_enabled("cpu")


PLAIN: Flags = (False, "highest", False)


def searched(precision: PrecisionName, *, fails: bool = False) -> list[tuple[bool, Flags]]:
    """Whether each pass was for a gradient, and the flags that it ran under, backward included."""
    seen = []

    def backbone(x: Tensor) -> Tensor:
        seen.append((x.requires_grad, flags()))
        if fails and x.requires_grad:
            raise ArithmeticError
        features = LINEAR(x)
        if x.requires_grad:
            features.register_hook(lambda _: seen.append((True, flags())))
        return features

    pixels = (grey(3, torch.float32) * 255).to(torch.uint8)
    images = Images(pixels, backbone, torch.device("cpu"), BatchSize(2), Precision(precision))
    aim = displacement_aim(LINEAR(pixels / 255))
    search(images, aim, ThreatModel("linf", 0.1), Budget(ATTACKS["annealed"], 2, 4, seed=0))
    return seen


def test_all_passes_are_in_full_precision_where_that_is_what_is_needed() -> None:
    assert {each for _, each in searched("fp32")} == {PLAIN}


def test_tf32_is_for_climbs_forward_and_back_and_not_for_scores() -> None:
    seen = searched("tf32")
    assert {each for climbing, each in seen if climbing} == {(True, "high", False)}
    # Of a climb only its last value is asked for without a gradient; then points are scored.
    assert seen[-1] == (False, PLAIN)
    assert flags() == PLAIN


def test_bf16_is_for_climbs_forward_and_not_for_scores() -> None:
    seen = searched("bf16")
    assert (True, (False, "highest", True)) in seen
    assert seen[-1] == (False, PLAIN)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_failure_leaves_no_precision_behind(precision: PrecisionName) -> None:
    with pytest.raises(ArithmeticError):
        searched(precision, fails=True)
    assert flags() == PLAIN


def test_full_precision_gives_back_what_was_there() -> None:
    torch.set_float32_matmul_precision("medium")
    with full_precision():
        assert flags() == PLAIN
    assert torch.get_float32_matmul_precision() == "medium"


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (1.01 * BF16_SHARE, "bf16"),
        (0.99 * BF16_SHARE, "tf32"),
        (1.01 * TF32_SHARE, "tf32"),
        (0.99 * TF32_SHARE, "fp32"),
        (0.0, "fp32"),
    ],
)
def test_the_coarsest_precision_that_resolves_the_displacement(
    share: float, expected: PrecisionName
) -> None:
    precision, norms = Precision(), torch.tensor([1.0, 3.0])
    precision.choose(torch.tensor([2 * share, 2 * share]), norms)
    assert precision.search == expected


def test_a_cpu_has_no_tensor_cores() -> None:
    assert not has_tensor_cores(torch.device("cpu"))
