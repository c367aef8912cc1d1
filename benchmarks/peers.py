"""Attacks of other libraries, made to maximise the same displacement.

All of them raise the cross-entropy of logits. The logits (0, c s) with the label 0, where s is the
squared displacement and c > 0, have the cross-entropy log(1 + exp(c s)), which rises with s: per
image its gradient is a positive multiple of that of s. All peers here take the sign of the
gradient or normalise it per image, so their steps are those they would take on s itself, and
nothing of theirs has to be replaced.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from selector.attacks import Objective
from selector.threat import ThreatModel

Peer = Callable[[Objective, Tensor, ThreatModel], Tensor]
"""(c s (n,), images (n,3,S,S), threat) -> disturbed images (n,3,S,S)."""


class Logits(nn.Module):
    """Images -> logits (n,2), the second of which is the objective, one value per image."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective
        # torchattacks and ART ask a model for its device by way of its parameters.
        self.nothing = nn.Parameter(torch.zeros(()), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n,2) of images (n,3,S,S)."""
        # There and back, so that the gradient is contiguous: torchattacks' PGDL2 views it as rows.
        value = self.objective(x.flatten(1).reshape(x.shape))
        return torch.stack([torch.zeros_like(value), value], dim=1)


def as_classifier(objective: Objective, x: Tensor) -> tuple[nn.Module, Tensor]:
    """The classifier that peers attack, and the labels (n,) 0 of the images ``x``."""
    labels = torch.zeros(len(x), dtype=torch.long, device=x.device)
    return Logits(objective).eval().to(x.device), labels


def foolbox_pgd(steps: int) -> Peer:
    """Foolbox's LinfPGD or L2PGD with its own step size, eps/30 or eps/40: the last iterate."""

    def attack(objective: Objective, x: Tensor, threat: ThreatModel) -> Tensor:
        import foolbox

        classifier, labels = as_classifier(objective, x)
        kind = foolbox.attacks.LinfPGD if threat.norm == "linf" else foolbox.attacks.L2PGD
        model = foolbox.PyTorchModel(classifier, bounds=(0, 1), device=x.device)
        found: Tensor = kind(steps=steps).run(
            model, x, foolbox.criteria.Misclassification(labels), epsilon=threat.eps
        )
        return found

    return attack


def foolbox_default(objective: Objective, x: Tensor, threat: ThreatModel) -> Tensor:
    """Foolbox's default number of steps: 40 for linf, 50 for l2."""
    return foolbox_pgd(40 if threat.norm == "linf" else 50)(objective, x, threat)


def torchattacks_pgd(steps: int) -> Peer:
    """torchattacks' PGD or PGDL2 with its default ratio of step and eps, a quarter or a fifth."""

    def attack(objective: Objective, x: Tensor, threat: ThreatModel) -> Tensor:
        import torchattacks

        classifier, labels = as_classifier(objective, x)
        kind, share = (
            (torchattacks.PGD, 1 / 4) if threat.norm == "linf" else (torchattacks.PGDL2, 1 / 5)
        )
        attack = kind(classifier, eps=threat.eps, alpha=share * threat.eps, steps=steps)
        found: Tensor = attack(x, labels)
        return found

    return attack


def torchattacks_apgd(restarts: int, steps: int) -> Peer:
    """torchattacks' port of AutoAttack's APGD, which keeps the best of all restarts."""

    def attack(objective: Objective, x: Tensor, threat: ThreatModel) -> Tensor:
        import torchattacks

        classifier, labels = as_classifier(objective, x)
        norm = "Linf" if threat.norm == "linf" else "L2"
        apgd = torchattacks.APGD(
            classifier, norm=norm, eps=threat.eps, steps=steps, n_restarts=restarts
        )
        _, found = apgd.perturb(x, labels, best_loss=True, cheap=False)
        return found

    return attack


def art_pgd(steps: int) -> Peer:
    """ART's PGD with its default ratio of step and eps, a third, and one random start."""

    def attack(objective: Objective, x: Tensor, threat: ThreatModel) -> Tensor:
        from art.attacks.evasion import ProjectedGradientDescent
        from art.estimators.classification import PyTorchClassifier

        classifier, labels = as_classifier(objective, x)
        estimator = PyTorchClassifier(
            classifier,
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(x.shape[1:]),
            nb_classes=2,
            clip_values=(0.0, 1.0),
            device_type="gpu" if x.device.type == "cuda" else "cpu",
        )
        pgd = ProjectedGradientDescent(
            estimator,
            norm=np.inf if threat.norm == "linf" else 2,
            eps=threat.eps,
            eps_step=threat.eps / 3,
            max_iter=steps,
            num_random_init=1,
            batch_size=len(x),
            verbose=False,
        )
        found = pgd.generate(x.cpu().numpy(), labels.cpu().numpy())
        return torch.from_numpy(found).to(x)

    return attack


PEERS: dict[str, Peer] = {
    "paper: Foolbox PGD 20": foolbox_pgd(20),
    "Foolbox PGD default": foolbox_default,
    "torchattacks PGD 10": torchattacks_pgd(10),
    # As many passes as 5 x 20 of ours.
    "Foolbox PGD 108": foolbox_pgd(108),
    "torchattacks PGD 108": torchattacks_pgd(108),
    "ART PGD 108": art_pgd(108),
    "APGD 1x108": torchattacks_apgd(1, 108),
    "APGD 5x22": torchattacks_apgd(5, 22),
}
