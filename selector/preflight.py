"""Checks on one batch before a backbone is measured, so that no number rests on a broken one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from selector.backbones import Backbone, first_line
from selector.batches import lacks_memory
from selector.errors import CandidateError
from selector.sensitivity import displacement, displacement_aim
from selector.threat import ThreatModel

# Batches of another size are computed in another order: of the norm of its features, rounding in
# fp32 moves an image by 1e-6 or so, in half precision by up to 1e-3.
_ROUNDING = 3e-3


def check_backbone(backbone: Backbone, x: Tensor, threat: ThreatModel) -> None:
    """Pre-flight on one batch (n,3,S,S), n >= 2, of different images.

    Raises:
        CandidateError: no pooled (n,d) output, output that is not finite, not the same twice,
            not the same in another batch, or the same for every image, or no gradient to follow at
            a random start.
        RuntimeError, MemoryError: of whatever type, there is no memory for a pass.
    """
    with _running(), torch.no_grad():
        clean, again = backbone(x), backbone(x)
    _check_features(clean, again, len(x))
    if len(x) > 1:
        with _running(), torch.no_grad():
            # The first one alone, the others in a batch that begins with another.
            apart = torch.cat([backbone(x[:1]), backbone(x[1:])])
        _check_alone(clean, displacement(apart, clean))
    start = threat.random_start(x, range(len(x))).requires_grad_(True)
    with _running():
        features = backbone(start)
        if not features.requires_grad:
            raise _masked()
        moved = displacement_aim(clean)(features, torch.arange(len(x), device=x.device))
        (gradient,) = torch.autograd.grad(moved.sum(), start)
    if not torch.isfinite(gradient).all():
        raise CandidateError(
            "non_finite_gradient", "the gradient with respect to the image is not finite."
        )
    if (moved == 0).all():
        raise _still(features - clean, threat)
    if ((gradient.abs().amax(dim=(1, 2, 3)) == 0) & (moved > 0)).any():
        raise _masked()


def _check_features(clean: Tensor, again: Tensor, images: int) -> None:
    if isinstance(clean, Tensor) and clean.ndim == 2 and len(clean) != images:
        raise CandidateError(
            "no_pooled_features",
            f"features must have a row for each image, found {len(clean)} rows of {images} images.",
        )
    if not isinstance(clean, Tensor) or clean.ndim != 2:
        found = f"shape {tuple(clean.shape)}" if isinstance(clean, Tensor) else type(clean).__name__
        raise CandidateError(
            "no_pooled_features",
            f"features must be pooled to (n, d), found {found}.",
            hint="Such a network has no head that a linear classifier could replace.",
        )
    if not torch.isfinite(clean).all():
        raise CandidateError("non_finite_features", "features of ordinary images are not finite.")
    if not torch.equal(clean, again):
        raise CandidateError(
            "not_deterministic", "the same images give different features in evaluation mode."
        )
    if displacement(clean, clean[:1]).amax() == 0:
        raise CandidateError(
            "collapsed_features", "every image has the same features, so nothing can be told apart."
        )


def _check_alone(clean: Tensor, moved: Tensor) -> None:
    norms = torch.linalg.vector_norm(clean.double(), dim=1)
    # Not the other way round: NaN is a dependence, too.
    if not (moved <= _ROUNDING * norms).all():
        raise CandidateError(
            "depends_on_batch",
            "the features of an image depend on which others are in its batch, so an attack on one"
            " changes those of all.",
            hint="Look for a mean, a norm or a batch normalisation over the first dimension.",
        )


@contextmanager
def _running() -> Iterator[None]:
    """Whatever a network raises when it runs is one row; memory and our own errors pass."""
    try:
        yield
    except CandidateError:
        raise
    except Exception as error:
        if lacks_memory(error):
            raise
        raise CandidateError(
            "forward_failed", f"the network fails on its own input size: {first_line(error)}."
        ) from error


def _still(moved: Tensor, threat: ThreatModel) -> CandidateError:
    """Why the features of no image moved at a random start."""
    if moved.any():
        return CandidateError(
            "masked_gradients",
            "squares of how far features move are below what float32 holds, so an attack cannot"
            f" tell what moves them: they move by {moved.abs().amax().item():.0e} at most.",
            hint="Multiply the features by a constant; nothing that is reported depends on it.",
        )
    return CandidateError(
        "masked_gradients",
        f"the features of random points within {threat} are those of the images themselves, so an"
        " attack cannot move and its result would flatter this backbone.",
        hint="Look for rounding or quantisation in its preprocessing, and for features whose size"
        " leaves float32 no digits for small changes; or eps is too small for float32.",
    )


def _masked() -> CandidateError:
    return CandidateError(
        "masked_gradients",
        "the gradient with respect to the image is zero at a random start, so an attack cannot"
        " move and its result would flatter this backbone.",
        hint="Look for rounding, quantisation or a detached tensor in its preprocessing.",
    )
