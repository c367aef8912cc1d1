"""Which images a transferred classifier keeps under AutoAttack.

AutoAttack is its authors' own code (Croce and Hein 2020, package pyautoattack), standard version at
full budget: APGD on cross-entropy and on 9 targets (100 steps each), FAB on 9 targets (100 steps),
Square (5000 queries). It shares nothing with selector's attacks but the network.

Its four parts run one after the other, each seeded anew, on what the earlier ones have left. So the
first two alone give an answer a fifth as dear, named for what it is, and going on from there with
the others gives what the whole gives.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from selector.backbones import Backbone
from selector.bounds import cross_entropy
from selector.heads import LinearHead
from selector.threat import ThreatModel

PARTS = ("apgd-ce", "apgd-t", "fab-t", "square")
ATTACKS = {"standard": PARTS, "apgd": PARTS[:2]}
# Pinned: another version may find other images.
_PACKAGE = "pyautoattack 0.2.0"
_NORMS = {"linf": "Linf", "l2": "L2"}
_TARGETS = 9
# Targeted DLR loss divides by a difference that four logits make.
_FEWEST_CLASSES = 4
_TOLERANCE = 1e-6


def named(parts: Sequence[str]) -> str:
    """What an attack of these parts is called."""
    what = "standard" if tuple(parts) == PARTS else " + ".join(parts)
    return f"AutoAttack {what}, {_PACKAGE}"


class Composed(nn.Module):
    """Logits (n,K) in fp32 of images (n,3,S,S) in [0,1]; counts images forward and backward."""

    weight: Tensor
    bias: Tensor

    def __init__(self, backbone: Backbone, head: LinearHead) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.register_buffer("weight", head.weight.float())
        self.register_buffer("bias", head.bias.float())
        self.sent_forward = self.sent_backward = 0
        # A module begins in training mode, and would put all of the network into it.
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n,K)."""
        self.sent_forward += len(x)
        # As selector passes images: convolutions are up to 1.4 times as fast.
        x = x.contiguous(memory_format=torch.channels_last)
        logits = functional.linear(self.backbone(x), self.weight, self.bias)
        if logits.requires_grad:
            logits.register_hook(self._went_back)
        return logits

    def logits(self, x: Tensor) -> Tensor:
        """Logits (n,K) as selector scores them: features in fp32, the head in fp64; not counted."""
        with torch.no_grad():
            return self.head(self.backbone(x))

    def _went_back(self, gradient: Tensor) -> None:
        self.sent_backward += len(gradient)


@dataclass(frozen=True)
class Target:
    """What is attacked.

    Attributes:
        x: images (n,3,S,S) in [0,1].
        labels: (n,) int64.
        threat: norm and eps.
        seed: of every part of the attack.
    """

    x: Tensor
    labels: Tensor
    threat: ThreatModel
    seed: int

    def only(self, rows: Tensor) -> Target:
        """Some of the images, ``rows`` (n,) bool."""
        return replace(self, x=self.x[rows], labels=self.labels[rows])


@dataclass(frozen=True)
class Attacked:
    """What came of some images.

    Attributes:
        clean: (n,) bool, right before.
        robust: (n,) bool, attacked and right after.
        clean_loss: mean cross-entropy over all n, in nats.
        rise: of that mean, where there are adversarial images at those instead.
        forward, backward: images that went through the network.
        seconds: it took.
    """

    clean: Tensor
    robust: Tensor
    clean_loss: float
    rise: float
    forward: int
    backward: int
    seconds: float


def attack(model: Composed, target: Target, parts: Sequence[str], among: Tensor) -> Attacked:
    """Attack those images that the model gets right.

    Args:
        model: backbone and head.
        target: images and what may be done to them.
        parts: of AutoAttack.
        among: (n,) bool, images that earlier parts have left.

    Raises:
        RuntimeError: AutoAttack left the threat set, or changed the network.
    """
    if len(model.head.bias) < _FEWEST_CLASSES:
        raise ValueError(
            f"AutoAttack needs {_FEWEST_CLASSES} classes, found {len(model.head.bias)}."
        )
    x, labels = target.x, target.labels
    before = model.logits(x)
    right = before.argmax(dim=1) == labels
    held = right & among
    adversarial = x.clone()
    model.sent_forward = model.sent_backward = 0
    began = time.perf_counter()
    # A head that has collapsed to a constant sees no image; Square fails on margins of exactly 0.
    if held.any() and bool((model.weight != model.weight[0]).any()):
        # It seeds the global generators.
        with torch.random.fork_rng():
            adversarial[held] = _autoattack(model, target.only(held), parts)
    seconds = time.perf_counter() - began
    require_same(model)
    require_within(target.threat, adversarial, x)
    after = model.logits(adversarial)
    clean_loss = cross_entropy(before, labels).mean().item()
    return Attacked(
        clean=right,
        robust=held & (after.argmax(dim=1) == labels),
        clean_loss=clean_loss,
        rise=cross_entropy(after, labels).mean().item() - clean_loss,
        forward=model.sent_forward,
        backward=model.sent_backward,
        seconds=seconds,
    )


def _autoattack(model: Composed, target: Target, parts: Sequence[str]) -> Tensor:
    """Adversarial images (n,3,S,S) where some were found, else the clean ones, as one batch."""
    from pyautoattack import AutoAttack

    # It warns of zero gradients, which a constant head has everywhere; Square needs none.
    logging.getLogger("auto-attack").setLevel(logging.ERROR)
    x, threat = target.x, target.threat
    attack = AutoAttack(
        model,
        norm=_NORMS[threat.norm],
        eps=threat.eps,
        version="standard",
        seed=target.seed,
        device=x.device,
    )
    attack.attacks_to_run = list(parts)
    targets = min(_TARGETS, len(model.head.bias) - 1)
    attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = targets
    found, _ = attack.run_standard_evaluation(x, target.labels, batch_size=len(x))
    return found.detach()


def require_same(model: Composed) -> None:
    """Raise RuntimeError unless the network is as before: in eval mode, and frozen."""
    if any(part.training for part in model.modules()) or any(
        parameter.requires_grad for parameter in model.parameters()
    ):
        raise RuntimeError("AutoAttack left the network in another state.")


def require_within(threat: ThreatModel, adversarial: Tensor, x: Tensor) -> None:
    """Raise RuntimeError unless each image (n,3,S,S) is in the ball around ``x`` and in [0,1]."""
    delta = (adversarial.double() - x.double()).flatten(1)
    order = math.inf if threat.norm == "linf" else 2
    farthest = torch.linalg.vector_norm(delta, order, dim=1).max().item()
    low, high = adversarial.min().item(), adversarial.max().item()
    if farthest > threat.eps + _TOLERANCE or low < -_TOLERANCE or high > 1 + _TOLERANCE:
        raise RuntimeError(
            f"an adversarial image lies {farthest:.8g} away at {threat}, in [{low:g}, {high:g}]."
        )


def margins(model: Composed, target: Target) -> Tensor:
    """Right logit minus the largest wrong one (n,) of the clean images."""
    logits = model.logits(target.x)
    own = functional.one_hot(target.labels, logits.shape[1]).bool()
    return logits[own] - logits.masked_fill(own, -torch.inf).amax(dim=1)
