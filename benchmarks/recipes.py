"""Recipes of pretraining: ordinary, adversarial, TRADES, noise and self-supervised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from selector.demo.pretrain import TRAIN_FILE, TRAIN_STEPS, PixelInput, load_cifar10, pgd
from selector.threat import ThreatModel

TRADES_BETA, NOISE_SIGMA, TEMPERATURE, PROJECTION = 6.0, 0.12, 0.5, 64


def cross_entropy(
    model: nn.Module, x: Tensor, y: Tensor, threat: ThreatModel | None, seed: int
) -> Tensor:
    """Of labels (n,) at images (n,3,h,w) in [0,1], or at the adversarial ones under a threat."""
    if threat is not None:
        x = pgd(model.eval(), x, y, threat, TRAIN_STEPS, seed)
    return functional.cross_entropy(model.train()(x), y)


def trades(model: nn.Module, x: Tensor, y: Tensor, threat: ThreatModel, seed: int) -> Tensor:
    """TRADES (Zhang et al. 2019): clean cross-entropy, and divergence under attack."""
    with torch.no_grad():
        clean = model.eval()(x).softmax(dim=1)
    x_adv = pgd(model, x, clean, threat, TRAIN_STEPS, seed)
    return trades_loss(*model.train()(torch.cat([x, x_adv])).chunk(2), y)


def trades_loss(clean: Tensor, attacked: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of clean logits (n,K) + beta x KL(clean || attacked logits (n,K))."""
    p, q = clean.log_softmax(dim=1), attacked.log_softmax(dim=1)
    divergence = functional.kl_div(q, p, reduction="batchmean", log_target=True)
    return functional.cross_entropy(clean, y) + TRADES_BETA * divergence


def noisy(model: nn.Module, x: Tensor, y: Tensor, threat: None, seed: int) -> Tensor:
    """Cross-entropy at images (n,3,h,w) with Gaussian noise, which may leave [0,1]."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    return functional.cross_entropy(model.train()(x + NOISE_SIGMA * noise), y)


def simclr(model: nn.Module, x: Tensor, y: Tensor, threat: None, seed: int) -> Tensor:
    """SimCLR (Chen et al. 2020) of a model that projects; the labels are not looked at."""
    generator = torch.Generator().manual_seed(seed)
    return contrastive_loss(model.train()(torch.cat([view(x, generator), view(x, generator)])))


def contrastive_loss(z: Tensor) -> Tensor:
    """NT-Xent of projections (2n,d), rows i and i + n being views of one image."""
    z = functional.normalize(z, dim=1)
    similarity = (z @ z.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    return functional.cross_entropy(similarity, torch.arange(len(z)).roll(len(z) // 2))


def view(x: Tensor, generator: torch.Generator) -> Tensor:
    """Images (n,3,h,w) in [0,1], each cropped, flipped, recoloured and some greyed on their own."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(len(x), *shape, generator=generator)

    side = uniform(0.2, 1).sqrt()
    crop = torch.zeros(len(x), 2, 3)
    crop[:, 0, 0], crop[:, 1, 1] = side * uniform(-1, 1).sign(), side
    crop[:, :, 2] = (1 - side)[:, None] * uniform(-1, 1, 2)
    grid = functional.affine_grid(crop, list(x.shape), align_corners=False)
    x = functional.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = mean + (x - mean) * uniform(0.6, 1.4, 1, 1, 1)
    x = x * uniform(0.6, 1.4, 1, 1, 1) * uniform(0.8, 1.2, 3, 1, 1)
    grey = x.mean(dim=1, keepdim=True).expand_as(x)
    return torch.where(uniform(0, 1, 1, 1, 1) < 0.2, grey, x).clamp(0, 1)


class Projected(nn.Module):
    """SimCLR's model: images (n,3,h,w) in [0,1] to projections (n,64) of a backbone's features."""

    def __init__(self, model: PixelInput) -> None:
        super().__init__()
        self.model = model
        width = model.model.get_classifier().in_features
        self.projector = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, PROJECTION)
        )

    def features(self, x: Tensor) -> Tensor:
        """What the classifier would see (n,d)."""
        backbone, normalised = self.model.model, (x - self.model.mean) / self.model.std
        return backbone.forward_head(backbone.forward_features(normalised), pre_logits=True)

    def forward(self, x: Tensor) -> Tensor:
        """Projections (n,64)."""
        return self.projector(self.features(x))


def probe(model: Projected, cifar10: Path) -> None:
    """Fit the backbone's classifier, so far random, to its frozen features of training images."""
    images, y = load_cifar10(cifar10 / TRAIN_FILE)
    with torch.no_grad():
        features = torch.cat([model.eval().features(part / 255) for part in images.split(500)])
    classifier = model.model.model.get_classifier()
    optimizer = torch.optim.LBFGS(
        classifier.parameters(), max_iter=100, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.cross_entropy(classifier(features), y)
        loss.backward()
        return loss

    optimizer.step(closure)


@dataclass(frozen=True)
class Recipe:
    """How a backbone is trained.

    Attributes:
        objective: as the registry says it.
        loss: of a model, images (n,3,h,w) in [0,1], labels (n,), a threat and a seed; None: the
            weights stay random.
        threat: the attack's, if any.
        epochs: by default; the dearer a step, the fewer.
    """

    objective: str
    loss: Callable[..., Tensor] | None
    threat: ThreatModel | None = None
    epochs: int = 4


RECIPES = {
    "random": Recipe("none", None, epochs=0),
    "cifar10": Recipe("supervised", cross_entropy),
    **{
        f"cifar10_linf_{k}": Recipe("adversarial", cross_entropy, ThreatModel("linf", k / 255), 3)
        for k in (2, 4, 8)
    },
    "cifar10_l2_0.5": Recipe("adversarial", cross_entropy, ThreatModel("l2", 0.5), 3),
    "cifar10_trades_4": Recipe("TRADES", trades, ThreatModel("linf", 4 / 255), 3),
    "cifar10_noise": Recipe("Gaussian noise", noisy),
    "cifar10_simclr": Recipe("SimCLR", simclr),
}
