"""Where a backbone comes from, as documents say it."""

from __future__ import annotations

from selector.backbones import Backbone
from selector.candidates import Candidate
from selector.records import FileRecord, Provenance


def provenance(
    candidate: Candidate,
    commit: str | None,
    files: tuple[FileRecord, ...],
    backbone: Backbone,
    feature_dim: int,
) -> Provenance:
    """Of a candidate that was loaded.

    Args:
        candidate: which.
        commit: on the Hub; None for what is local.
        files: that were loaded.
        backbone: made of them.
        feature_dim: d.
    """
    return Provenance(
        source=candidate.source,
        repo=candidate.repo_id if candidate.source == "hub" else None,
        commit=commit,
        files=files,
        license=candidate.license or backbone.pretrained_license,
        pretraining=candidate.pretraining,
        tags=candidate.tags,
        architecture=backbone.architecture,
        parameters=backbone.parameter_count,
        input_size=backbone.input_size,
        feature_dim=feature_dim,
        mean=tuple(backbone.mean.flatten().tolist()),
        std=tuple(backbone.std.flatten().tolist()),
        interpolation=backbone.interpolation,
    )
