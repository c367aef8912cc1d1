"""A task of drawn shapes, light on dark: the class is the shape.

Colours, place, size and some turn are chance.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

SIDE, FINER = 32, 3
IMAGES = {"train": 120, "test": 40}
# Standard deviation of every value. With any colours before any others, or turned at will, heads on
# small networks read little more than chance.
_NOISE = 0.04

Mask = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _radius(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.hypot(u, v)


def _box(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(abs(u), abs(v))


# Where a shape of size 1 at the origin is, by coordinates u and v.
SHAPES: dict[str, Mask] = {
    "bars": lambda u, v: (_box(u, v) < 0.9) & (abs(v) > 0.35),
    "crescent": lambda u, v: (_radius(u, v) < 1) & (_radius(u - 0.5, v) > 0.85),
    "cross": lambda u, v: (_box(u, v) < 0.95) & (np.minimum(abs(u), abs(v)) < 0.28),
    "disc": lambda u, v: _radius(u, v) < 0.9,
    "frame": lambda u, v: (_box(u, v) < 0.9) & (_box(u, v) > 0.5),
    "half": lambda u, v: (_radius(u, v) < 1) & (u > 0),
    "ring": lambda u, v: (_radius(u, v) < 1) & (_radius(u, v) > 0.6),
    "square": lambda u, v: _box(u, v) < 0.8,
    "star": lambda u, v: _radius(u, v) < 0.6 + 0.4 * np.cos(5 * np.arctan2(v, u)),
    "triangle": lambda u, v: np.maximum(-v, 0.5 * v + 0.866 * abs(u)) < 0.5,
}


def write(folder: Path) -> Path:
    """The images as ``folder``/PART/CLASS/*.png, the same every time; returns the folder."""
    for number, (name, shape) in enumerate(SHAPES.items()):
        draws = np.random.default_rng(number)
        for part, count in IMAGES.items():
            target = folder / part / name
            target.mkdir(parents=True)
            for place in range(count):
                Image.fromarray(draw(shape, draws)).save(target / f"{place:03}.png")
    return folder


def draw(shape: Mask, draws: np.random.Generator) -> np.ndarray:
    """One image (S,S,3) uint8 of a shape before something that fades, both under noise."""
    size, turn = draws.uniform(9, 14), draws.uniform(-0.4, 0.4)
    middle = draws.uniform(size, SIDE - size, 2)
    y, x = (np.indices((SIDE * FINER, SIDE * FINER)) + 0.5) / FINER - middle[:, None, None]
    u = (np.cos(turn) * x + np.sin(turn) * y) / size
    v = (np.cos(turn) * y - np.sin(turn) * x) / size
    cover = shape(u, v).reshape(SIDE, FINER, SIDE, FINER).mean(axis=(1, 3))[..., None]
    front = draws.uniform(0.6, 1) + draws.uniform(-0.15, 0.15, 3)
    back = draws.uniform(0, 0.3) + draws.uniform(0, 0.15, 3)
    fade = np.linspace(-1, 1, SIDE)[:, None, None] * draws.uniform(-0.2, 0.2, 3)
    values = cover * front + (1 - cover) * (back + fade) + draws.normal(0, _NOISE, (SIDE, SIDE, 3))
    return (255 * values).round().clip(0, 255).astype(np.uint8)
