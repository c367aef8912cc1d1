"""Checks on one batch before a backbone is measured, so that no number rests on a broken one."""

from __future__ import annotations

import torch
from torch import Tensor

from selector.backbones import Backbone, first_line
from selector.errors import CandidateError
from selector.sensitivity import displacement, displacement_aim
from selector.threat import ThreatModel


def check_backbone(backbone: Backbone, x: Tensor, threat: ThreatModel) -> None:
    """Pre-flight on one batch (n,3,S,S), n >= 2, of different images.

    Raises:
        CandidateError: no pooled (n,d) output, output that is not finite, not the same twice or
            the same for every image, or no gradient to follow at a random start.
    """
    with torch.no_grad():
        try:
            clean = backbone(x)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:
            raise CandidateError(
                "forward_failed", f"the network fails on its own input size: {first_line(error)}."
            ) from error
        again = backbone(x)
    if clean.ndim != 2 or len(clean) != len(x):
        raise CandidateError(
            "no_pooled_features",
            f"features must be pooled to (n, d), found shape {tuple(clean.shape)}.",
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
    start = threat.random_start(x, range(len(x))).requires_grad_(True)
    features = backbone(start)
    moved = displacement_aim(clean)(features, torch.arange(len(x), device=x.device))
    if not features.requires_grad:
        raise _masked()
    (gradient,) = torch.autograd.grad(moved.sum(), start)
    if not torch.isfinite(gradient).all():
        raise CandidateError(
            "non_finite_gradient", "the gradient with respect to the image is not finite."
        )
    blind = (gradient.abs().amax(dim=(1, 2, 3)) == 0) & (moved > 0)
    if blind.any() or (moved == 0).all():
        raise _masked()


def _masked() -> CandidateError:
    return CandidateError(
        "masked_gradients",
        "the gradient with respect to the image is zero at a random start, so an attack cannot"
        " move and its result would flatter this backbone.",
        hint="Look for rounding, quantisation or a detached tensor in its preprocessing.",
    )
