"""The ground truth: which images a transferred classifier keeps under AutoAttack.

AutoAttack is its authors' own code (Croce and Hein 2020, package pyautoattack), standard version at
full budget: APGD on cross-entropy and on 9 targets (100 steps each), FAB on 9 targets (100 steps),
Square (5000 queries). It shares nothing with selector's attacks but the network.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from selector.backbones import Backbone
from selector.bounds import cross_entropy
from selector.heads import LinearHead
from selector.threat import ThreatModel

# The version is pinned: another one may find other images.
ATTACK = "AutoAttack standard, pyautoattack 0.2.0"
_NORMS = {"linf": "Linf", "l2": "L2"}
_TARGETS = 9
# Targeted DLR loss divides by a difference that four logits make.
_FEWEST_CLASSES = 4
_TOLERANCE = 1e-6
# Heads of other machines differ in rounding, which an attack of many steps may magnify.
_SAME_HEAD = 0.02
# Margins of a constant head are rounding and nothing else.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Key:
    """What a ground truth depends on, beside the head.

    Attributes:
        backbone: sha256 over the names and hashes of its files.
        task: fingerprint, which depends on the images drawn.
        threat: as people write it.
        seed: of the attack.
        attack: what was run.
    """

    backbone: str
    task: str
    threat: str
    seed: int
    attack: str = ATTACK


@dataclass(frozen=True)
class Truth:
    """One cell, image by image; where there are strings, 1 is right and 0 is wrong.

    Attributes:
        key: what it belongs to.
        names: of the backbone and the task, for people.
        head: sha256 over its weights and biases in fp32.
        margins: of the clean images (n,): right logit minus the largest wrong one.
        clean: of n test images.
        robust: of them, under attack; an image that is wrong already was not attacked.
        attacked_loss: mean cross-entropy in nats, at adversarial images where there are some, else
            at clean ones: a lower estimate of the worst loss, since AutoAttack is after errors.
        forward, backward: images that the attack sent through the network.
        seconds: that it took, on one thread of a CPU or on a GPU.
        device: cpu or cuda.
    """

    key: Key
    names: tuple[str, str]
    head: str
    margins: tuple[float, ...]
    clean: str
    robust: str
    attacked_loss: float
    forward: int
    backward: int
    seconds: float
    device: str

    def is_of(self, key: Key, margins: Tensor) -> bool:
        """Whether it is of this key and of a head with these margins (n,), up to rounding."""
        if key != self.key or len(margins) != len(self.margins):
            return False
        known = np.array(self.margins)
        apart = np.linalg.norm(known - margins.cpu().numpy())
        return bool(apart <= _SAME_HEAD * np.linalg.norm(known) + _ROUNDING)


class Composed(nn.Module):
    """Logits (n,K) in fp32 of images (n,3,S,S) in [0,1]; counts images forward and backward."""

    weight: Tensor
    bias: Tensor

    def __init__(self, backbone: Backbone, head: LinearHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("weight", head.weight.float())
        self.register_buffer("bias", head.bias.float())
        self.sent_forward = self.sent_backward = 0
        # A module begins in training mode, and attacks put all of it back into the mode found.
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n,K)."""
        self.sent_forward += len(x)
        logits = functional.linear(self.backbone(x), self.weight, self.bias)
        if logits.requires_grad:
            logits.register_hook(self._went_back)
        return logits

    def _went_back(self, gradient: Tensor) -> None:
        self.sent_backward += len(gradient)


@dataclass(frozen=True)
class Attacked:
    """What AutoAttack made of some images.

    Attributes:
        clean: (n,) bool, right before it.
        robust: (n,) bool, right after it.
        loss: mean cross-entropy over all n, in nats.
        forward, backward: images that went through the network.
        seconds: it took.
    """

    clean: Tensor
    robust: Tensor
    loss: float
    forward: int
    backward: int
    seconds: float


def attack(
    backbone: Backbone, head: LinearHead, x: Tensor, labels: Tensor, threat: ThreatModel, seed: int
) -> Attacked:
    """Attack images (n,3,S,S) in [0,1] that the head on the backbone gets right.

    Raises:
        RuntimeError: AutoAttack left the threat set, or changed the network.
    """
    classes = len(head.bias)
    if classes < _FEWEST_CLASSES:
        raise ValueError(f"AutoAttack needs {_FEWEST_CLASSES} classes, found {classes}.")
    model = Composed(backbone, head)
    right = _logits(model, head, x).argmax(dim=1) == labels
    adversarial = x.clone()
    model.sent_forward = 0
    began = time.perf_counter()
    if right.any():
        # It seeds the global generators.
        with torch.random.fork_rng():
            adversarial[right] = _autoattack(
                model, x[right], labels[right], threat, seed, min(_TARGETS, classes - 1)
            )
    seconds = time.perf_counter() - began
    forward, backward = model.sent_forward, model.sent_backward
    if any(part.training for part in model.modules()) or any(
        parameter.requires_grad for parameter in model.parameters()
    ):
        raise RuntimeError("AutoAttack left the network in another state.")
    require_within(threat, adversarial, x)
    # Scored anew, from features in fp32 and the head in fp64, as selector scores.
    logits = _logits(model, head, adversarial)
    return Attacked(
        clean=right,
        robust=right & (logits.argmax(dim=1) == labels),
        loss=cross_entropy(logits, labels).mean().item(),
        forward=forward,
        backward=backward,
        seconds=seconds,
    )


def _autoattack(
    model: Composed, x: Tensor, labels: Tensor, threat: ThreatModel, seed: int, targets: int
) -> Tensor:
    """Adversarial images (n,3,S,S) where some were found, else the clean ones, as one batch."""
    from pyautoattack import AutoAttack

    attack = AutoAttack(
        model,
        norm=_NORMS[threat.norm],
        eps=threat.eps,
        version="standard",
        seed=seed,
        device=x.device,
    )
    attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = targets
    found, _ = attack.run_standard_evaluation(x, labels, batch_size=len(x))
    return found.detach()


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


def margins(backbone: Backbone, head: LinearHead, x: Tensor, labels: Tensor) -> Tensor:
    """Right logit minus the largest wrong one (n,) of images (n,3,S,S) in [0,1]."""
    logits = _logits(Composed(backbone, head), head, x)
    own = functional.one_hot(labels, logits.shape[1]).bool()
    return logits[own] - logits.masked_fill(own, -torch.inf).amax(dim=1)


def _logits(model: Composed, head: LinearHead, x: Tensor) -> Tensor:
    with torch.no_grad():
        return head(model.backbone(x))


def digest(head: LinearHead) -> str:
    """sha256 over weights and biases in fp32."""
    values = torch.cat([head.weight.flatten(), head.bias]).float().cpu().numpy()
    return hashlib.sha256(values.tobytes()).hexdigest()


def as_bits(flags: Tensor) -> str:
    """One character for each of (n,) bool."""
    return "".join("01"[flag] for flag in flags.int().tolist())


def as_flags(bits: str) -> np.ndarray:
    """The bool (n,) that such characters stand for."""
    return np.array([bit == "1" for bit in bits])


def read(path: Path) -> tuple[Truth, ...]:
    """The rows of a file; none where there is no file. A line that was cut off is left out."""
    if not path.exists():
        return ()
    rows = (_parse(line) for line in path.read_text(encoding="utf-8").splitlines())
    return tuple(row for row in rows if row is not None)


def _parse(line: str) -> Truth | None:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return None
    key, names, known = Key(**row.pop("key")), tuple(row.pop("names")), tuple(row.pop("margins"))
    return Truth(key=key, names=names, margins=known, **row)


def append(path: Path, truth: Truth) -> None:
    """Add a row in one write; after a line that was cut off, on a new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    row = asdict(truth) | {
        "margins": [float(f"{margin:.4g}") for margin in truth.margins],
        "attacked_loss": round(truth.attacked_loss, 5),
        "seconds": round(truth.seconds, 1),
    }
    line = json.dumps(row, separators=(",", ":")) + "\n"
    with path.open("a+b") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        cut_off = file.read(1) not in (b"", b"\n")
        file.write((("\n" if cut_off else "") + line).encode())
        file.flush()
        os.fsync(file.fileno())


def find(known: Iterable[Truth], key: Key, of: Tensor) -> Truth | None:
    """The row of this key and of a head with margins ``of`` (n,)."""
    return next((truth for truth in known if truth.is_of(key, of)), None)
