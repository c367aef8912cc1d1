"""Attack a head class pair by class pair, where its decision is still in doubt.

The finest resolution of displacement: for the label y and a rival j,

    s_j(x) = sup over x' of (W_j - W_y)·(g(x') - g(x)),

and the decision at x stays right under the whole threat exactly when every margin f_y - f_j exceeds
its s_j. It belongs to one head, and what an attack attains of it gives an *attacked* accuracy, an
upper estimate. A rival whose margin exceeds what a bound says of s_j needs no attack, such as
||W_j - W_y||_2 · s(x), and an image that has been lost to one rival needs no other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from selector.batches import Images, in_groups
from selector.budget import Budget
from selector.heads import LinearHead
from selector.search import Group
from selector.sensitivity import Aim
from selector.threat import ThreatModel

# AutoAttack tries as many, the most likely classes first.
RIVALS = 9
# Bounds are fed with what an attack attained: a rival somewhat beyond them is attacked too.
_SLACK = 1.1
# The draws of a search's restarts are counted from 0, those of the controls from 1000.
_FIRST_DRAW = 2000


@dataclass(frozen=True)
class Doubts:
    """Who may take images from their label.

    Attributes:
        clean: features (n,d).
        head: of K classes.
        labels: (n,) int64.
        rivals: (n,R) int64, the most dangerous class first; -1 where no more are in doubt.
        held: (n,) bool, no attack has taken the image so far.
    """

    clean: Tensor
    head: LinearHead
    labels: Tensor
    rivals: Tensor
    held: Tensor


def in_doubt(
    clean: Tensor, head: LinearHead, labels: Tensor, reach: Tensor, lost: Tensor
) -> Doubts:
    """The class pairs that a bound does not settle, at most RIVALS of each image.

    Args:
        clean: features (n,d).
        head: of K classes.
        labels: (n,) int64.
        reach: (n,K), what each class can gain on the label, at most: estimated.
        lost: (n,) bool, images that are wrong, or that some attack has taken.
    """
    logits = head(clean)
    margins = logits.gather(1, labels[:, None]) - logits
    reach = reach * _SLACK
    danger = torch.where(margins < reach, reach / margins.clamp_min(1e-12), 0.0)
    ordered = danger.sort(dim=1, descending=True)
    rivals = torch.where(ordered.values > 0, ordered.indices, -1)[:, :RIVALS]
    return Doubts(clean, head, labels, rivals, ~lost)


def pair_aim(head: LinearHead, labels: Tensor, rivals: Tensor) -> Aim:
    """Logit of the rival (n,) minus that of the label (n,): positive where it has won."""
    head = head.to(torch.float32)

    def aim(features: Tensor, index: Tensor) -> Tensor:
        rival, own = rivals[index], labels[index]
        offset = head.bias[rival] - head.bias[own]
        return (features * (head.weight[rival] - head.weight[own])).sum(dim=1) + offset

    return aim


def search_pairs(images: Images, doubts: Doubts, threat: ThreatModel, budget: Budget) -> Tensor:
    """Features (n,d) of the point of each image where a rival came closest, or got ahead.

    One ascent for each pair in doubt, the most dangerous first, until the image is lost. An image
    without such pairs keeps its clean features.
    """
    features = doubts.clean.clone()
    doubtful = torch.nonzero(doubts.held & (doubts.rivals[:, 0] >= 0)).flatten().cpu()
    every = pair_aim(doubts.head, doubts.labels, doubts.labels)

    def run(rows: slice) -> tuple[Tensor]:
        group = Group(images, every, threat, budget, *images.part(doubtful[rows]))
        return (_search_group(group, doubts),)

    if len(doubtful):
        found = in_groups(len(doubtful), images.batch_size, run)[0]
        features[doubtful.to(features.device)] = found
    return features


def _search_group(group: Group, doubts: Doubts) -> Tensor:
    features = doubts.clean[group.index].clone()
    held = doubts.held[group.index].clone()
    nearest = features.new_full((len(held),), -torch.inf, dtype=torch.float64)
    for place, rivals in enumerate(doubts.rivals.T):
        rows = held & (rivals[group.index] >= 0)
        if not rows.any():
            break
        some = replace(group.only(rows), aim=pair_aim(doubts.head, doubts.labels, rivals))
        reached = some.features(some.start(_FIRST_DRAW + place).x)
        lead = _lead(doubts.head(reached), doubts.labels[some.index])
        closer = lead > nearest[rows]
        features[rows] = torch.where(closer[:, None], reached, features[rows])
        nearest[rows] = torch.maximum(lead, nearest[rows])
        held[rows] = lead < 0
    return features


def _lead(logits: Tensor, labels: Tensor) -> Tensor:
    """Largest wrong logit minus the right one (n,)."""
    own = torch.nn.functional.one_hot(labels, logits.shape[1]).bool()
    right = logits.gather(1, labels[:, None])
    return (logits - right).masked_fill(own, -torch.inf).amax(dim=1)
