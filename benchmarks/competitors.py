"""One network under one threat: attacked by selector, by peers and by chance, passes counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from networks import Network
from peers import Peer
from torch import Tensor, nn

from selector.attacks import ATTACKS
from selector.batches import BatchSize, Images
from selector.budget import Budget
from selector.controls import gradient_free
from selector.search import search
from selector.sensitivity import displacement, displacement_aim
from selector.threat import ThreatModel


class Counted(nn.Module):
    """A network that counts the images that go through it and back."""

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.forward_passes = self.backward_passes = 0

    def forward(self, x: Tensor) -> Tensor:
        """Features (n,d) of images (n,3,S,S)."""
        self.forward_passes += len(x)
        found: Tensor = self.features(x)
        if found.requires_grad:
            found.register_hook(self._count_back)
        return found

    def _count_back(self, gradient: Tensor) -> None:
        self.backward_passes += len(gradient)


@dataclass(frozen=True)
class Bench:
    """One network under one threat, ready to be attacked."""

    network: Network
    threat: ThreatModel
    counted: Counted
    images: Images
    x: Tensor
    clean: Tensor
    typical: float
    """Mean squared displacement of random points, by which peers' objective is scaled."""

    @classmethod
    def of(cls, network: Network, threat: ThreatModel, device: torch.device) -> Bench:
        """Count from here on."""
        counted = Counted(network.features)
        size = BatchSize(len(network.pixels))
        images = Images(network.pixels, counted, device, size)
        x = network.pixels.to(device, torch.float32) / 255
        with torch.no_grad():
            clean = network.features(x)
            random = network.features(threat.random_start(x, range(len(x))))
            typical = (random - clean).square().sum(dim=1).mean().item()
        return cls(network, threat, counted, images, x, clean, typical)

    def ours(self, restarts: int, steps: int, seed: int = 0) -> Tensor:
        """Displacement (n,) of selector's own search."""
        budget = Budget(ATTACKS["annealed"], restarts, steps, seed)
        found = search(self.images, displacement_aim(self.clean), self.threat, budget)
        return displacement(found.features, self.clean)

    def theirs(self, peer: Peer) -> Tensor:
        """Displacement (n,) of another library's attack; its points are held to the threat."""

        def objective(x: Tensor) -> Tensor:
            return 10 / self.typical * (self.counted(x) - self.clean).square().sum(dim=1)

        torch.manual_seed(0)
        np.random.seed(0)
        found = peer(objective, self.x, self.threat).detach()
        allowed = self.threat.project(found, self.x)
        if (found - allowed).abs().amax() > 1e-5:
            raise ValueError("an attack left the threat set")
        with torch.no_grad():
            return displacement(self.network.features(allowed), self.clean)

    def without_gradient(self, steps: int) -> Tensor:
        """Displacement (n,) of a random search, or of noise alone if ``steps`` is 0."""
        found = gradient_free(self.images, self.clean, self.threat, seed=0, steps=steps)
        return displacement(found.searched, self.clean)
