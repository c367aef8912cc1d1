"""The names that other libraries give to weights become timm's."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from selector.candidates.entry import Format
from selector.errors import CandidateError, shorten

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class _Names:
    """Parts of names, theirs to ours, replaced in this order.

    Attributes:
        parts: theirs to ours.
        dropped: what names of weights begin with that have no place in a timm network.
    """

    parts: Mapping[str, str]
    dropped: tuple[str, ...]


# CLIPModel and CLIPVisionModel; the misspelt pre_layrnorm is theirs.
_CLIP = _Names(
    parts={
        "vision_model.embeddings.class_embedding": "cls_token",
        "vision_model.embeddings.position_embedding.weight": "pos_embed",
        "vision_model.embeddings.patch_embedding.": "patch_embed.proj.",
        "vision_model.pre_layrnorm.": "norm_pre.",
        "vision_model.encoder.layers.": "blocks.",
        "vision_model.post_layernorm.": "norm.",
        "visual_projection.": "head.",
        ".self_attn.out_proj.": ".attn.proj.",
        ".self_attn.": ".attn.",
        ".layer_norm1.": ".norm1.",
        ".layer_norm2.": ".norm2.",
    },
    dropped=("text_model.", "text_projection.", "logit_", "vision_model.embeddings.position_ids"),
)

# ViTModel as it is written to files. Its pooler is a layer after the features.
_VIT = _Names(
    parts={
        "embeddings.cls_token": "cls_token",
        "embeddings.position_embeddings": "pos_embed",
        "embeddings.patch_embeddings.projection.": "patch_embed.proj.",
        "encoder.layer.": "blocks.",
        ".attention.attention.query.": ".attn.q_proj.",
        ".attention.attention.key.": ".attn.k_proj.",
        ".attention.attention.value.": ".attn.v_proj.",
        ".attention.output.dense.": ".attn.proj.",
        ".intermediate.dense.": ".mlp.fc1.",
        ".output.dense.": ".mlp.fc2.",
        ".layernorm_before.": ".norm1.",
        ".layernorm_after.": ".norm2.",
        "layernorm.": "norm.",
    },
    dropped=("pooler.",),
)


def _from_timm(weights: Weights) -> Weights:
    return weights


def _from_open_clip(weights: Weights) -> Weights:
    # timm knows the names of these towers; without the others the text tower is not copied.
    return _only_with(weights, "visual.")


def _from_transformers_clip(weights: Weights) -> Weights:
    renamed = _renamed(weights, _CLIP)
    if "cls_token" in renamed:
        renamed["cls_token"] = renamed["cls_token"].reshape(1, 1, -1)
    if "pos_embed" in renamed:
        renamed["pos_embed"] = renamed["pos_embed"].unsqueeze(0)
    if "head.weight" in renamed:
        # Their projection has no bias, timm's classifier has one.
        renamed["head.bias"] = torch.zeros_like(renamed["head.weight"][:, 0])
    return _joined(renamed)


def _from_transformers_vit(weights: Weights) -> Weights:
    return _joined(_renamed(weights, _VIT))


TO_TIMM: dict[Format, Callable[[Weights], Weights]] = {
    "timm": _from_timm,
    "open_clip": _from_open_clip,
    "transformers_clip": _from_transformers_clip,
    "transformers_vit": _from_transformers_vit,
}


def _only_with(weights: Weights, prefix: str) -> Weights:
    kept = {name: tensor for name, tensor in weights.items() if name.startswith(prefix)}
    if not kept:
        raise _other_names(list(weights))
    return kept


def _renamed(weights: Weights, names: _Names) -> Weights:
    renamed, unknown = {}, []
    for theirs, tensor in weights.items():
        if theirs.startswith(names.dropped):
            continue
        ours = theirs
        for part, replacement in names.parts.items():
            ours = ours.replace(part, replacement)
        if ours == theirs:
            unknown.append(theirs)
        renamed[ours] = tensor
    if unknown:
        raise _other_names(unknown)
    return renamed


def _other_names(names: list[str]) -> CandidateError:
    return CandidateError(
        "keys_mismatch",
        f"weights must have the names of their format, found {shorten(', '.join(names[:5]))}.",
        hint="The entry's format or key_prefix does not fit this file.",
    )


def _joined(weights: Weights) -> Weights:
    """Queries, keys and values, apart in their layers, in one matrix as in timm's."""
    joined = {}
    for name, tensor in weights.items():
        part = re.search(r"\.attn\.([qkv])_proj\.", name)
        if part is None:
            joined[name] = tensor
        elif part[1] == "q":
            three = [name.replace(part[0], f".attn.{which}_proj.") for which in "qkv"]
            absent = [other for other in three if other not in weights]
            if absent:
                raise CandidateError(
                    "keys_mismatch", f"the file lacks a part of an attention layer: {absent[0]}."
                )
            joined[name.replace(part[0], ".attn.qkv.")] = torch.cat([weights[k] for k in three])
    return joined
