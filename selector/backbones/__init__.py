"""Backbones: a candidate's files become frozen features that can be measured."""

from __future__ import annotations

from selector.backbones.backbone import Backbone, Passes
from selector.backbones.folding import Folded, fold_batch_norms
from selector.backbones.hub_layout import read_config
from selector.backbones.loading import check_files, load_backbone
from selector.errors import first_line

__all__ = [
    "Backbone",
    "Folded",
    "Passes",
    "check_files",
    "first_line",
    "fold_batch_norms",
    "load_backbone",
    "read_config",
]
