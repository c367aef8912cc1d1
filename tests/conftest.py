"""What all tests share: isolation from this machine, and representations that are known exactly."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from pathlib import Path

# Read when huggingface_hub is imported: a test that forgets its fake Hub fails, and fast.
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch
from hypothesis import settings
from torch import Tensor

settings.register_profile("selector", deadline=None, derandomize=True, database=None)
settings.load_profile("selector")

# The tensors of the tests are small: a second thread costs more than its help.
torch.set_num_threads(1)

SHAPE = (3, 2, 2)
SIZE = 12
"""Values of one image: few enough to visit all 2^12 corners of an linf ball."""

DEVICES = ("cpu", pytest.param("cuda", marks=pytest.mark.gpu))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads the caches or the options of the person who runs it."""
    monkeypatch.setenv("SELECTOR_CACHE", str(tmp_path / "selector-cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf-home"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    for name in [name for name in os.environ if name.startswith("SELECT_")]:
        monkeypatch.delenv(name)


def normal(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal values that depend on the seed and the shape alone."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def grey(images: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    """Images at 0.5, where the box [0,1] cuts nothing off a ball of eps < 0.5."""
    return torch.full((images, *SHAPE), 0.5, dtype=dtype)


@dataclass(frozen=True)
class LinearBackbone:
    """g(x) = A vec(x), whose largest displacement is known exactly where the box is inactive.

    Attributes:
        matrix: A (d, 12).
    """

    matrix: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Features (n,d) of images (n,3,2,2)."""
        return x.flatten(1) @ self.matrix.T.to(x)

    def largest_displacement(self, norm: str, eps: float) -> float:
        """max ||A delta||_2 over ||delta|| <= eps: a singular value, or the best of all corners."""
        matrix = self.matrix.double()
        if norm == "l2":
            return eps * float(torch.linalg.matrix_norm(matrix, ord=2))
        corners = torch.tensor(list(itertools.product((-1.0, 1.0), repeat=SIZE))).double()
        return eps * float((corners @ matrix.T).norm(dim=1).max())
