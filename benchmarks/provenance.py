"""Which code a result was measured with."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit() -> str:
    """The commit of the checkout this file is in, or "unknown"."""
    folder = Path(__file__).parent
    done = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"
