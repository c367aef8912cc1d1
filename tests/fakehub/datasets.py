"""What datasets need of the fake Hub beyond models, and datasets to put there.

A dataset is a repository whose name begins with ``datasets/``, as in its address.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from huggingface_hub import HfFileSystem
from PIL import Image

from .server import FakeHub

PREFIX = "datasets/"


def png(colour: tuple[int, int, int]) -> bytes:
    """An image file of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (10, 10), colour).save(file, "png")
    return file.getvalue()


def parquet(
    labels: Sequence[int | str | None], names: Sequence[str] = (), *, first: int = 0
) -> bytes:
    """A table of images, of counted colours from ``first``, and labels, as the Hub holds them."""
    images = [
        {"bytes": png((i % 256, i // 256, 7)), "path": None}
        for i in range(first, first + len(labels))
    ]
    kind: dict[str, object] = {"_type": "ClassLabel", "names": list(names)}
    if not names:
        dtype = "int64" if isinstance(labels[0], int) else "string"
        kind = {"_type": "Value", "dtype": dtype}
    features = {"image": {"_type": "Image"}, "label": kind}
    table = pyarrow.table({"image": images, "label": list(labels)})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    file = io.BytesIO()
    pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), file)
    return file.getvalue()


def plates(names: Sequence[str] = ("dish", "bowl")) -> dict[str, bytes]:
    """A repository of 40 images to train on and 20 to test on, in two classes."""
    return {
        "README.md": b"# plates",
        "data/train-00000-of-00001.parquet": parquet([0, 1] * 20, names),
        "data/test-00000-of-00001.parquet": parquet([0, 1] * 10, names, first=40),
    }


def of_folders() -> dict[str, bytes]:
    """The same as plates, as image files in folders."""
    counts = {"train": (0, 40), "test": (40, 60)}
    return {
        f"{part}/{('bowl', 'dish')[i % 2]}/{i:03}.png": png((i % 256, i // 256, 7))
        for part, (first, last) in counts.items()
        for i in range(first, last)
    }


@pytest.fixture
def datasets_cache(fake_hub: FakeHub, hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the library ``datasets``, directed to the fake Hub.

    Like the client it reads its environment when it is imported.
    """
    from datasets import config

    cache = hub_cache.parent / "datasets"
    values = {
        "HF_ENDPOINT": fake_hub.url,
        "HF_HUB_OFFLINE": False,
        "HF_DATASETS_CACHE": cache,
        "DOWNLOADED_DATASETS_PATH": cache / "downloads",
        "EXTRACTED_DATASETS_PATH": cache / "downloads" / "extracted",
        "HF_MODULES_CACHE": hub_cache.parent / "modules",
    }
    for name, value in values.items():
        monkeypatch.setattr(config, name, value)
    HfFileSystem.clear_instance_cache()
    return cache
