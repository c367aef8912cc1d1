"""Bounds on a linear head's loss and the criterion for its decisions, as pure functions.

Source: Nern, Raj, Georgi and Sharma, "On Transfer of Adversarial Robustness from Pretraining to
Downstream Tasks", NeurIPS 2023 (arXiv 2208.03835). Shapes throughout: logits (n,K), weight W (K,d),
labels (n,) int64, displacement s (n,) >= 0 in the units of the features that W reads.

Fed with the exact supremum s(x), the loss bounds are bounds and the criterion is a guarantee. Fed
with what an attack attained, which is never more than that, they are estimates.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Alpha = Literal["1", "2", "inf"]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy per image (n,), in nats."""
    return torch.nn.functional.cross_entropy(logits, labels, reduction="none")


def pairwise_distances(weight: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """c_{ij} = ||W_i - W_j||_2 as (K,K), with an exactly zero diagonal.

    With ``smoothing`` h it is sqrt(c^2 + h^2) off the diagonal: at most h too large, and
    differentiable where two rows are equal.
    """
    gram = weight @ weight.T
    norms = gram.diagonal()
    squares = (norms[:, None] + norms[None, :] - 2 * gram).clamp_min(0)
    smooth = squares + smoothing**2
    # The root of 0 has no slope, and what torch makes of that differs between its versions.
    zero = smooth == 0
    distances = smooth.masked_fill(zero, 1).sqrt().masked_fill(zero, 0)
    return distances * (1 - torch.eye(len(weight), dtype=weight.dtype, device=weight.device))


def lipschitz_constant(weight: Tensor, alpha: Alpha) -> float:
    """C1 · L_alpha(W): how much cross-entropy can grow per unit of displacement (Theorem 1).

    C1 is the Lipschitz constant of cross-entropy with respect to the alpha-norm of the logits, and
    L_alpha(W) the norm of W from the Euclidean to the alpha-norm, as bounded in the paper. What
    all rows of W share cancels in the softmax and is removed first.
    """
    centred = weight - weight.mean(dim=0, keepdim=True)
    if alpha == "2":
        return math.sqrt(2) * float(torch.linalg.matrix_norm(centred, ord=2))
    rows = torch.linalg.vector_norm(centred, dim=1)
    return 2 * float(rows.max()) if alpha == "inf" else float(rows.sum())


def steepness(weight: Tensor) -> float:
    """The least C1 · L_alpha(W): nats per unit of displacement in Theorem 1."""
    alphas: tuple[Alpha, ...] = ("1", "2", "inf")
    return min(lipschitz_constant(weight, alpha) for alpha in alphas)


def hoeffding_term(loss_range: float, images: int, rho: float) -> float:
    """C2 · sqrt(log(2/rho) / (2n)): the finite-sample term of Theorem 1.

    Args:
        loss_range: C2, a range of the loss known in advance (here: the value it is clipped at).
        images: n, none of which W was fitted on.
        rho: the bound may fail with this probability, 0 < rho < 1.
    """
    return loss_range * math.sqrt(math.log(2 / rho) / (2 * images))


def theorem1_loss(
    losses: Tensor, weight: Tensor, displacement: Tensor, *, clip: float, rho: float
) -> float:
    """Theorem 1: the expected adversarial loss, clipped at ``clip``, is at most this.

    Takes the smallest of the three choices of alpha, each of which holds for every sample, so no
    correction for choosing is due. ``losses`` (n,) are the clean ones.
    """
    clipped = losses.clamp_max(clip).mean().item()
    sampling = hoeffding_term(clip, len(losses), rho)
    return clipped + steepness(weight) * displacement.mean().item() + sampling


def pair_reach(weight: Tensor, labels: Tensor, displacement: Tensor) -> Tensor:
    """c_j s(x) as (n,K): more than that no class j gains on the label y (Cauchy and Schwarz).

    s_j(x) = sup (W_j - W_y)·(g(x') - g(x)) <= ||W_j - W_y||_2 · s(x).
    """
    return pairwise_distances(weight)[labels] * displacement[:, None]


def margin_losses(logits: Tensor, weight: Tensor, labels: Tensor, displacement: Tensor) -> Tensor:
    """Per image (n,): CE(x) + max_{j != y} c_j · s(x) is at least CE(x').

    The gradient of cross-entropy in the features is sum_j p_j (W_j - W_y), so no step of length s
    raises it by more than the longest of those differences times s.
    """
    return pair_margin_losses(logits, labels, pair_reach(weight, labels, displacement))


def worst_case_losses(
    logits: Tensor, weight: Tensor, labels: Tensor, displacement: Tensor
) -> Tensor:
    """Per image (n,): log(1 + sum_{j != y} exp(m_j + c_j s(x))) is at least CE(x').

    Every margin m_j = f_j - f_y is pushed as far as its own worst direction allows, all at once.
    Never above :func:`margin_losses`. Convex in (W,b).
    """
    return pair_worst_case_losses(logits, labels, pair_reach(weight, labels, displacement))


def worst_case_slopes(
    logits: Tensor, weight: Tensor, labels: Tensor, displacement: Tensor, *, smoothing: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The sum of :func:`worst_case_losses` (), and its slopes in the logits (n,K) and in W (K,d).

    That in W is of the distances alone, with logits that stay. In closed form, since fitting a
    head asks for it thousands of times: with p the softmax of the pushed margins and C_{yj} the sum
    of p_j(x) s(x) over the images of class y, each pair pulls W_j from W_y by C_{yj} / c_{yj}.
    ``smoothing`` of these c as in :func:`pairwise_distances`.
    """
    distances = pairwise_distances(weight, smoothing=smoothing)
    pushed = logits + distances[labels] * displacement[:, None]
    own = labels[:, None]
    level = pushed.logsumexp(dim=1, keepdim=True)
    total = (level - logits.gather(1, own)).sum()
    # On a CPU in float64 this takes a tenth of softmax's time.
    shares = (pushed - level).exp_()
    moved = torch.zeros_like(distances).index_add_(0, labels, shares * displacement[:, None])
    pulls = (moved / distances).masked_fill(distances == 0, 0)
    pulls = pulls + pulls.T
    in_weight = pulls.sum(dim=1, keepdim=True) * weight - pulls @ weight
    in_logits = shares.scatter_add(1, own, shares.new_full(own.shape, -1))
    return total, in_logits, in_weight


def decision_radii(logits: Tensor, weight: Tensor) -> Tensor:
    """r(x) = min_{j != ŷ} (f_ŷ - f_j) / ||W_ŷ - W_j||_2 per image (n,): Theorem 2.

    The exact distance, in feature space, from g(x) to the nearest point where the prediction ŷ
    changes; infinite where no other class can be reached.
    """
    predicted = logits.argmax(dim=1)
    gaps = logits.gather(1, predicted[:, None]) - logits
    # A tie lies on the boundary, also where both rows of W are equal and the quotient is 0 / 0.
    radii = torch.where(gaps > 0, gaps / pairwise_distances(weight)[predicted], 0.0)
    own = torch.nn.functional.one_hot(predicted, logits.shape[1]).bool()
    return radii.masked_fill(own, math.inf).amin(dim=1)


def criterion_holds(logits: Tensor, weight: Tensor, labels: Tensor, displacement: Tensor) -> Tensor:
    """Per image (n,) bool: classified correctly, and s(x) < r(x), so it stays so (Theorem 2)."""
    return pair_criterion_holds(logits, labels, pair_reach(weight, labels, displacement))


def tolerances(logits: Tensor, weight: Tensor, labels: Tensor, displacement: Tensor) -> Tensor:
    """Per image (n,): min(1, r(x) / s(x)) where classified correctly, 0 where not.

    The share of the displacement that the decision survives: 1 where the criterion holds, and
    still informative where it holds for no image. Unchanged when features are rescaled. Equal
    radius and displacement is not yet safe (Theorem 2 is strict) but counts as whole.
    """
    return pair_tolerances(logits, labels, pair_reach(weight, labels, displacement))


def smooth_robustness(
    logits: Tensor, weight: Tensor, labels: Tensor, displacement: Tensor
) -> Tensor:
    """Per image (n,): r(x) / (r(x) + s(x)) where classified correctly, 0 where not.

    The criterion counts s < r; this is a sigmoid of log(r/s) in its place, above 1/2 exactly where
    the criterion holds. Less is lost by it on few images. Unchanged when features are rescaled.
    """
    return pair_smooth_robustness(logits, labels, pair_reach(weight, labels, displacement))


def pair_criterion_holds(logits: Tensor, labels: Tensor, reach: Tensor) -> Tensor:
    """Per image (n,) bool: every margin f_y - f_j is above s_j, the ``reach`` (n,K) of its pair.

    With s_j(x) = sup (W_j - W_y)·(g(x') - g(x)) this is necessary and sufficient for the decision
    to stay right. As s_j <= c_j s(x), it holds wherever :func:`criterion_holds` does.
    """
    margins, own = _margins(logits, labels)
    return ((margins > reach.clamp_min(0)) | own).all(dim=1)


def pair_tolerances(logits: Tensor, labels: Tensor, reach: Tensor) -> Tensor:
    """Per image (n,): min over pairs of min(1, (f_y - f_j) / s_j), 0 where classified wrongly.

    The share of the ``reach`` s (n,K) that the decision survives: 1 where it holds, and still
    informative where it holds for no image. Unchanged when features are rescaled.
    """
    margins, own = _margins(logits, labels)
    share = (margins / reach.clamp_min(0)).nan_to_num(1.0).clamp(0, 1)
    return share.masked_fill(own, 1.0).amin(dim=1) * (logits.argmax(dim=1) == labels)


def pair_smooth_robustness(logits: Tensor, labels: Tensor, reach: Tensor) -> Tensor:
    """Per image (n,): min over pairs of m / (m + s_j) for a margin m, 0 where classified wrongly.

    As :func:`smooth_robustness`, of the ``reach`` s (n,K) of each pair: above 1/2 exactly where
    every margin is above that.
    """
    margins, own = _margins(logits, labels)
    share = (margins / (margins + reach.clamp_min(0))).nan_to_num(0.0)
    least = share.masked_fill(own, 1.0).amin(dim=1)
    return torch.where(logits.argmax(dim=1) == labels, least, 0.0)


def pair_margin_losses(logits: Tensor, labels: Tensor, reach: Tensor) -> Tensor:
    """Per image (n,): CE(x) + max_j s_j(x) is at least CE(x'), for the ``reach`` s (n,K).

    Along the way from x to x' the loss rises by a mean of what the pairs gain, weighted by p_j.
    """
    return cross_entropy(logits, labels) + reach.clamp_min(0).amax(dim=1)


def pair_worst_case_losses(logits: Tensor, labels: Tensor, reach: Tensor) -> Tensor:
    """Per image (n,): log(1 + sum_{j != y} exp(m_j + s_j)) is at least CE(x'), for reach s (n,K).

    Every rival has gained all that it can. The reach of the label itself is 0.
    """
    margins, _ = _margins(logits, labels)
    return torch.logsumexp(reach - margins, dim=1)


def _margins(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """f_y - f_j (n,K), and where j is y."""
    own = torch.nn.functional.one_hot(labels, logits.shape[1]).bool()
    return logits.gather(1, labels[:, None]) - logits, own


def prior_entropy(labels: Tensor, classes: int) -> float:
    """Loss in nats of the head that knows only how frequent each class is among ``labels``.

    A loss bound that is not below this says nothing about the representation.
    """
    priors = torch.bincount(labels, minlength=classes).double() / len(labels)
    return float(torch.special.entr(priors).sum())


def prior_loss(seen: Tensor, labels: Tensor, classes: int) -> float:
    """Mean loss in nats, on ``labels`` (n,), of the head that knows only class frequencies.

    The frequencies are those among ``seen``, every class of ``labels`` among them. With the same
    labels twice this is :func:`prior_entropy`.
    """
    priors = torch.bincount(seen, minlength=classes).double() / len(seen)
    return float(-priors.log()[labels].mean())
