"""Speak to the Hugging Face Hub: which commit a name means, and its files, verified.

The Hub client downloads and caches; this module adds what the client leaves out: a retry where it
has none, a time limit where it has none, a check of the content against the hash that the Hub
promised (the client checks the size only), and one coded error for each thing that can go wrong.
"""

from selector.hub.download import Delivery, FileHash, Snapshot, fetch, hash_files
from selector.hub.lookup import RemoteFile, look_up, require_space, resolve, survey

__all__ = [
    "Delivery",
    "FileHash",
    "RemoteFile",
    "Snapshot",
    "fetch",
    "hash_files",
    "look_up",
    "require_space",
    "resolve",
    "survey",
]
