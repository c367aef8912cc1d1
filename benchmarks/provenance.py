"""With which code, versions and machine a result was measured; and how it is written."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from selector.devices import describe_device

VERSIONS = ("selector", "torch", "timm")


def commit() -> str:
    """The commit of the checkout this file is in, or "unknown"."""
    folder = Path(__file__).parent
    done = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def circumstances(device: torch.device, packages: Sequence[str] = VERSIONS) -> dict[str, Any]:
    """What every report begins with."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "device": describe_device(device).model_dump(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }


def write(report: Mapping[str, Any], path: Path) -> None:
    """As JSON, in a folder that is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
