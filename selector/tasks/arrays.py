"""Images as arrays and tensors, of any layout and type that says what it is."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from selector.errors import UsageError
from selector.tasks.listing import Picture

_CHANNELS = (1, 3)
_LARGEST_SIDE = 224

Images = np.ndarray | Tensor


def to_pictures(given: Any, part: str, said: str) -> tuple[list[Picture], Any]:
    """The images of a part of a task, and what is said of them, which is not looked at.

    Args:
        given: a pair of images, as :func:`to_values` takes them, and that.
        part: its name, for messages.
        said: what that is, for messages.

    Raises:
        UsageError: it is no pair, or its images are none.
    """
    if not (isinstance(given, tuple | list) and len(given) == 2):
        raise UsageError(f"{part} must be a pair (images, {said}), found {type(given).__name__}.")
    where = f"images of {part}"
    values = to_values(given[0], where)
    pictures = [Picture(f"{where}[{i}]", partial(to_picture, one)) for i, one in enumerate(values)]
    return pictures, given[1]


def check_equally_many(pictures: int, others: int, part: str, said: str) -> None:
    """Raise a UsageError unless there is one of what is said of each image of a part."""
    if pictures != others:
        raise UsageError(
            f"images of {part} and {said} must be equally many, found {pictures} and {others}."
        )


def side_of(images: Any) -> int:
    """The side of canonical images that holds such images, at most 224."""
    shape: tuple[int, ...] = to_values(images, "images").shape
    return min(*shape[1:3], _LARGEST_SIDE)


def to_values(images: Any, where: str) -> np.ndarray:
    """Values (n,h,w,c) of images, c 1 or 3: uint8, or float in [0,1].

    Args:
        images: array or tensor (n,c,h,w), (n,h,w,c) or (n,h,w); channels are first where both the
            second and the last may be.
        where: what they are, for messages.

    Raises:
        UsageError: their shape, type or range is another.
    """
    if isinstance(images, Tensor):
        images = images.detach().cpu()
        images = images.float() if images.dtype == torch.bfloat16 else images
    values = np.asarray(images)
    if values.ndim == 3:
        values = values[..., None]
    elif values.ndim == 4 and values.shape[1] in _CHANNELS:
        values = np.moveaxis(values, 1, -1)
    if values.ndim != 4 or values.shape[3] not in _CHANNELS or not values.size:
        raise UsageError(
            f"{where} must have the shape (n,3,h,w) or (n,h,w,3), or one channel, found"
            f" {tuple(np.shape(images))}."
        )
    if values.dtype == np.uint8:
        return values
    if not np.issubdtype(values.dtype, np.floating):
        raise UsageError(
            f"{where} must be uint8, or float in [0,1], found {values.dtype}.",
            hint="Convert them: uint8 for values of 0 to 255.",
        )
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):
        raise UsageError(
            f"{where} must be float in [0,1], found values of {low:.4g} to {high:.4g}.",
            hint="Leave normalisation out: each backbone has its own.",
        )
    return values


def to_picture(values: np.ndarray) -> Image.Image:
    """One image of values (h,w,c) as :func:`to_values` gives them."""
    if values.dtype != np.uint8:
        values = np.rint(values.astype(np.float64) * 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(values if values.shape[2] == 3 else values[..., 0]))
