"""What results depend on: anything here that changes means measuring again."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from selector.candidates import Candidate
from selector.precision import has_tensor_cores
from selector.protocol import PROTOCOL_VERSION
from selector.radii import Smoothing
from selector.run import Prepared
from selector.screening import Look
from selector.store import Content
from selector.workload import Setting

# Raised whenever the same command may give other certificates.
_CERTIFICATES_VERSION = 2


def measurement(
    candidate: Candidate, prepared: Prepared, setting: Setting, look: Look | None = None
) -> Content | None:
    """Of a candidate on a task; None where no hash tells it apart from another.

    Args:
        candidate: which.
        prepared: its files.
        setting: task, threat, protocol, device.
        look: the part of a race that this is; None for a full measurement.
    """
    if prepared.hashes is None:
        return None
    parts = {
        "candidate": candidate.model_dump(mode="json"),
        "files": prepared.hashes,
        "task": setting.task.fingerprint,
        "threat": asdict(setting.threat),
        "protocol": asdict(setting.protocol) | {"version": PROTOCOL_VERSION},
        **_where(setting),
    }
    if setting.others:
        parts["others"] = [asdict(threat) for threat in setting.others]
    if look is not None:
        parts["look"] = asdict(look)
    return Content(parts)


def certification(
    candidate: Candidate, prepared: Prepared, setting: Setting, smoothing: Smoothing
) -> Content | None:
    """Of a candidate's certificates on a task."""
    if prepared.hashes is None:
        return None
    return Content(
        {
            "certified": _CERTIFICATES_VERSION,
            "candidate": candidate.model_dump(mode="json"),
            "files": prepared.hashes,
            "task": setting.task.fingerprint,
            "smoothing": asdict(smoothing),
            "seed": setting.protocol.seed,
            **_where(setting),
        }
    )


def backbone(candidate: Candidate, prepared: Prepared, setting: Setting) -> Content | None:
    """Of its features, beside the images: not what it is called, nor any task."""
    if prepared.hashes is None:
        return None
    checkpoint = candidate.checkpoint
    return Content(
        {
            "backbone": PROTOCOL_VERSION,
            "files": prepared.hashes,
            "checkpoint": None if checkpoint is None else checkpoint.model_dump(mode="json"),
            **_where(setting),
        }
    )


def _where(setting: Setting) -> dict[str, Any]:
    return {
        "device": setting.device.type,
        "tensor_cores": has_tensor_cores(setting.device),
        "versions": {name: version(name) for name in ("selector", "torch", "timm")},
    }
