"""The store: what was measured, under what it depends on, in one SQLite file."""

from __future__ import annotations

from selector.store.contents import OWNED, Content, digest, part_key
from selector.store.database import DamagedStore, StoreError
from selector.store.measurements import FILE, Measured, Store, default_path
from selector.store.parts import Label, Part, Shelf

__all__ = [
    "FILE",
    "OWNED",
    "Content",
    "DamagedStore",
    "Label",
    "Measured",
    "Part",
    "Shelf",
    "Store",
    "StoreError",
    "default_path",
    "digest",
    "part_key",
]
