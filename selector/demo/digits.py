"""The built-in task: handwritten digits, offline.

Optical Recognition of Handwritten Digits, Alpaydin and Kaynak (1998), UCI Machine Learning
Repository, https://doi.org/10.24432/C50P49, CC BY 4.0; see ``data/ATTRIBUTION.md``.
"""

from __future__ import annotations

import gzip
import importlib.resources

import numpy as np
from numpy.typing import NDArray

_RESOURCE = "data/digits.csv.gz"
_SIDE = 8
_LARGEST = 16


def load_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (1797,8,8) uint8, bright strokes on black over 0..255, and digits (1797,) int64.

    >>> images, digits = load_digits()
    >>> images.shape, images.dtype, int(images.max()), digits[:4].tolist()
    ((1797, 8, 8), dtype('uint8'), 255, [0, 1, 2, 3])
    """
    packed = importlib.resources.files("selector.demo").joinpath(_RESOURCE).read_bytes()
    rows = np.loadtxt(
        gzip.decompress(packed).decode("ascii").splitlines(), delimiter=",", dtype=np.int64
    )
    images = np.rint(rows[:, :-1] * (255 / _LARGEST)).astype(np.uint8)
    return images.reshape(-1, _SIDE, _SIDE), rows[:, -1]
