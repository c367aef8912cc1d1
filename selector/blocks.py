"""What a ranking is made of, for use alone: how far features can be pushed, what a head withstands.

Both numbers rest on an attack: a displacement that was attained is a lower estimate of the largest
one, and what a head withstood an upper estimate of what it can withstand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from selector.arguments import Threat, one_threat, said, whole
from selector.attacks import ATTACKS
from selector.batches import BatchSize, Images, extract
from selector.budget import Budget
from selector.errors import CandidateError, UsageError
from selector.heads import LinearHead
from selector.modules import Module, frozen, load_module, pooled
from selector.precision import full_precision
from selector.search import search
from selector.sensitivity import Aim, Pool, displacement_aim, loss_aim
from selector.threat import ThreatModel

Features = Callable[[Tensor], Tensor]
"""Images (b,3,h,w) in [0,1] -> features (b,d), differentiable."""


@dataclass(frozen=True)
class Effort:
    """How hard to attack: ``restarts`` x ``steps`` gradients of each image.

    Attributes:
        attack: annealed, apgd or pgd.
        restarts: random starts per image.
        steps: gradient steps per start.
        seed: of the random starts.
        batch_size: images at a time; halved where memory does not suffice.
    """

    attack: str = "annealed"
    restarts: int = 5
    steps: int = 20
    seed: int = 0
    batch_size: int = 64

    def __post_init__(self) -> None:
        if self.attack not in ATTACKS:
            raise UsageError(f"attack must be one of {', '.join(ATTACKS)}, found {self.attack!r}.")
        for name in ("restarts", "steps", "batch_size"):
            whole(name, getattr(self, name), least=1)
        whole("seed", self.seed, least=0)

    @property
    def budget(self) -> Budget:
        """The same for a search."""
        return Budget(ATTACKS[self.attack], self.restarts, self.steps, self.seed)


USUAL = Effort()


def measure_sensitivity(
    backbone: Module | Features,
    images: Tensor,
    threat: Threat,
    effort: Effort = USUAL,
    *,
    projection: Tensor | None = None,
) -> Tensor:
    """How far an attack pushed the features of each image: ||A(g(x') - g(x))||_2.

    Args:
        backbone: g, of images in [0,1]; a ``torch.nn.Module`` is used through a frozen copy in
            evaluation mode, a :class:`Module` with its preprocessing.
        images: (n,3,h,w), float in [0,1], on the device that computes.
        threat: where x' may lie; a :class:`ThreatModel`, or norm and eps.
        effort: how hard to attack.
        projection: A (r,d) with orthonormal rows; None: the identity.

    Returns:
        (n,) float64, a lower estimate of the supremum.

    A linear map, where the answer is known: its largest singular value times eps.

    >>> flat = nn.Linear(12, 2, bias=False)
    >>> flat.weight.data = torch.eye(2, 12) * torch.tensor([[2.0], [1.0]])
    >>> grey = torch.full((2, 3, 2, 2), 0.5)
    >>> attained = measure_sensitivity(
    ...     nn.Sequential(nn.Flatten(), flat), grey, ThreatModel("l2", 0.1)
    ... )
    >>> attained.round(decimals=4)
    tensor([0.2000, 0.2000], dtype=torch.float64)

    Raises:
        UsageError: an argument is not what it must be.
        CandidateError: the module cannot be copied, has a weight that is not finite, or returns no
            features (n,d) of floating point that have a gradient.
        FloatingPointError: features are not finite somewhere.
    """
    threat = one_threat(threat)
    with _differentiating():
        given = _images(backbone, images, effort)
        clean = extract(given)
        if projection is not None:
            _check_matrix("projection", projection, clean.shape[1])
        pool = _attacked(given, clean, displacement_aim(clean, projection), threat, effort)
    return pool.displacement(projection)


def attack_head(
    backbone: Module | Features,
    head: LinearHead,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    effort: Effort = USUAL,
) -> Tensor:
    """Which images a linear head still gets right after attacks on its loss.

    Args:
        backbone: as of :func:`measure_sensitivity`.
        head: on its features.
        images: (n,3,h,w), float in [0,1], on the device that computes.
        labels: (n,) of whole numbers, which class each image is.
        threat: where perturbed images may lie; a :class:`ThreatModel`, or norm and eps.
        effort: how hard to attack.

    Returns:
        (n,) bool; its mean is an attacked accuracy, an upper estimate of robust accuracy.

    >>> brightness = LinearHead(torch.tensor([[0.0], [1.0]]).double(), torch.tensor([0.5, 0.0]))
    >>> grey = torch.tensor([0.58, 0.9]).view(2, 1, 1, 1).expand(2, 3, 2, 2)
    >>> mean = lambda x: x.mean(dim=(1, 2, 3))[:, None]
    >>> attack_head(mean, brightness, grey, torch.tensor([1, 1]), ThreatModel("linf", 0.1)).tolist()
    [False, True]

    Raises:
        UsageError: an argument is not what it must be.
        CandidateError: the module cannot be copied, has a weight that is not finite, or returns no
            features (n,d) of floating point that have a gradient.
        FloatingPointError: features are not finite somewhere.
    """
    threat = one_threat(threat)
    with _differentiating():
        given = _images(backbone, images, effort)
        _check_head(head)
        labels = _labels(labels, len(images), len(head.bias)).to(images.device)
        clean = extract(given)
        _check_matrix("weight of head", head.weight, clean.shape[1])
        pool = _attacked(given, clean, loss_aim(head, labels), threat, effort)
        return pool.scores(head).always_correct(labels)


@contextmanager
def _differentiating() -> Iterator[None]:
    """In full precision and with gradients, whatever the caller's mode is."""
    with torch.inference_mode(False), torch.enable_grad(), full_precision():
        yield


@dataclass(frozen=True)
class _Floats(Images):
    """Images that are float in [0,1] already."""

    def part(self, rows: slice | Tensor) -> tuple[Tensor, Tensor]:
        """Indices (b,) and images (b,3,S,S) of some rows."""
        index = torch.arange(len(self.pixels))[rows].to(self.device)
        return index, self.pixels[rows].to(self.device, torch.float32).contiguous()


def _images(backbone: Module | Features, images: Tensor, effort: Effort) -> Images:
    if not isinstance(images, Tensor):
        raise UsageError(
            f"images must be a torch.Tensor, found {type(images).__name__}.",
            hint="torch.from_numpy makes one of an array.",
        )
    if not callable(backbone) and not isinstance(backbone, Module):
        raise UsageError(
            "backbone must be a torch.nn.Module, a Module or a function of images, found"
            f" {type(backbone).__name__}."
        )
    if not isinstance(effort, Effort):
        raise UsageError(f"effort must be an Effort, found {said(effort)}.")
    if images.ndim != 4 or images.shape[1] != 3 or not images.numel():
        raise UsageError(f"images must have the shape (n,3,h,w), found {tuple(images.shape)}.")
    if not images.is_floating_point() or not (images.min() >= 0 and images.max() <= 1):
        found = f"{images.dtype} from {images.min():.4g} to {images.max():.4g}"
        raise UsageError(f"images must be float in [0,1], found {found}.")
    features: Features
    if isinstance(backbone, Module):
        height, width = images.shape[2:]
        features = load_module(backbone, (height, width), images.device)
    elif isinstance(backbone, nn.Module):
        features = frozen(backbone).to(images.device)
    else:
        features = backbone
    return _Floats(
        images.detach(), _following(features), images.device, BatchSize(effort.batch_size)
    )


def _following(features: Features) -> Features:
    """The same, of copies that it may change, refused where an attack could not follow it."""

    def run(x: Tensor) -> Tensor:
        found = pooled(features(x.clone()))
        if len(found) != len(x):
            raise CandidateError(
                "no_pooled_features",
                f"features must have a row for each image, found {len(found)} rows of"
                f" {len(x)} images.",
            )
        if torch.is_grad_enabled() and x.requires_grad and not found.requires_grad:
            raise CandidateError(
                "masked_gradients",
                "features do not depend on the images by operations with a gradient.",
                hint="Look for a detached tensor, torch.no_grad() or inference mode in it.",
            )
        return found

    return run


def _check_matrix(name: str, matrix: Tensor, width: int) -> None:
    """Refuse what cannot be multiplied with features (n,width)."""
    if not isinstance(matrix, Tensor):
        raise UsageError(f"{name} must be a tensor, found {type(matrix).__name__}.")
    if matrix.ndim != 2 or matrix.shape[1] != width:
        raise UsageError(
            f"{name} must be (r,{width}) for features (n,{width}), found {tuple(matrix.shape)}."
        )


def _check_head(head: LinearHead) -> None:
    if not isinstance(head, LinearHead):
        raise UsageError(f"head must be a LinearHead, found {type(head).__name__}.")
    weight, bias = tuple(head.weight.shape), tuple(head.bias.shape)
    if len(weight) != 2 or bias != weight[:1]:
        raise UsageError(
            f"head must have a weight (K,d) and a bias (K,), found {weight} and {bias}."
        )


def _labels(labels: Tensor, images: int, classes: int) -> Tensor:
    """Labels (n,) int64, each a class of the head."""
    if not isinstance(labels, Tensor):
        raise UsageError(f"labels must be a tensor, found {type(labels).__name__}.")
    if tuple(labels.shape) != (images,):
        raise UsageError(f"labels must be (n,) for {images} images, found {tuple(labels.shape)}.")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise UsageError(f"labels must be whole numbers, found {labels.dtype}.")
    if labels.min() < 0 or labels.max() >= classes:
        raise UsageError(
            f"labels must lie in 0..{classes - 1} for a head of {classes} classes, found"
            f" {labels.min()} to {labels.max()}."
        )
    return labels.long()


def _attacked(images: Images, clean: Tensor, aim: Aim, threat: ThreatModel, effort: Effort) -> Pool:
    return Pool(clean, (search(images, aim, threat, effort.budget).features,))
