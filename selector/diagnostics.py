"""How far the numbers of one candidate can be trusted: measures, and the flags they raise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from selector.batches import AT_ONCE
from selector.controls import Controls
from selector.protocol import Protocol
from selector.records import MASKED, SCREENED, Diagnostics, Flag, HeadReport
from selector.rows import Moments, Rows, moments, ranges
from selector.search import Search
from selector.sensitivity import displacement

# Shares of the test images beyond which a row carries a flag.
MASKING_SHARE = 0.05
RISING_SHARE = 0.25
COLLAPSED_RANK = 2.0
# Noise or a random search has beaten the attack where it went this much farther.
NOISE_MARGIN = 1.01


@dataclass(frozen=True)
class Signs:
    """How an attack on g went, per image (n,), float64 where not bool.

    Attributes:
        attained: displacement of the attack.
        by_noise: of random noise.
        by_search: of a random search.
        restart_spread: (best - mean) / best of the displacements that random starts and their
            mirror images led to; NaN for one start.
        far: bool, short ascents ended far from a maximum.
        rising: bool, the ascent that found the best point was still rising.
        stuck: bool, some gradient was zero.
    """

    attained: Tensor
    by_noise: Tensor
    by_search: Tensor
    restart_spread: Tensor
    far: Tensor
    rising: Tensor
    stuck: Tensor


def signs(on_g: Search, clean: Tensor, controls: Controls) -> Signs:
    """Compare an attack on g with what needs no gradient, its restarts with each other.

    Args:
        on_g: the attack that maximised displacement on g, over test images.
        clean: their features (n,d).
        controls: what random noise and a random search reached on the same images.
    """
    restarts = on_g.restart_values.double().sqrt()
    best = restarts.nan_to_num(0).amax(dim=0)
    gap = best - restarts.nanmean(dim=0)
    return Signs(
        attained=displacement(on_g.features, clean),
        by_noise=displacement(controls.noise, clean),
        by_search=displacement(controls.searched, clean),
        # Of an image that no start moves, both are 0.
        restart_spread=gap / best.clamp_min(torch.finfo(best.dtype).tiny)
        if len(restarts) > 1
        else torch.full_like(best, torch.nan),
        far=on_g.far,
        rising=on_g.rising,
        stuck=on_g.stuck,
    )


def diagnose(found: Signs, clean: Rows) -> Diagnostics:
    """What the signs of all test images say together, and their features (n,d)."""
    attained, by_noise, by_search = found.attained, found.by_noise, found.by_search
    return Diagnostics(
        restart_spread=_mean_of_known(found.restart_spread),
        long_ascents=found.far.double().mean().item(),
        still_rising=found.rising.double().mean().item(),
        zero_gradient=found.stuck.double().mean().item(),
        noise_ratio=(by_noise.mean() / attained.mean().clamp_min(1e-300)).item(),
        noise_wins=(by_noise > attained * NOISE_MARGIN).double().mean().item(),
        search_ratio=(by_search.mean() / attained.mean().clamp_min(1e-300)).item(),
        search_wins=(by_search > attained * NOISE_MARGIN).double().mean().item(),
        effective_rank=_effective_rank(clean),
    )


def _mean_of_known(values: Tensor) -> float | None:
    """The mean; None where there is none, as NaN says."""
    return None if values.isnan().any() else values.mean().item()


def flags(diagnostics: Diagnostics, probe: HeadReport, labels: Tensor) -> tuple[Flag, ...]:
    """Reasons to read a row with care, from what was measured."""
    chance = torch.bincount(labels).max().item() / len(labels)
    found = attack_flags(diagnostics)
    if probe.clean_accuracy.low <= chance:
        message = (
            f"the probe's accuracy, {probe.clean_accuracy.value:.3f}, cannot be told from always"
            f" naming the most frequent class, {chance:.3f}"
        )
        found = (*found, Flag(code="at_chance", message=message))
    return found


def protocol_flags(protocol: Protocol) -> tuple[Flag, ...]:
    """Reasons that lie in what was asked for."""
    if not protocol.screens:
        return ()
    message = (
        "attacks aimed at the representation alone: what heads withstood, and displacement on A∘g,"
        " are over the points that these found, and flatter"
    )
    return (Flag(code=SCREENED, message=message),)


def attack_flags(
    diagnostics: Diagnostics, more_steps: str = "lower the estimates"
) -> tuple[Flag, ...]:
    """Reasons that do not depend on what is predicted; ``more_steps`` would do that to numbers."""
    found = []
    signs = (diagnostics.noise_wins, diagnostics.search_wins, diagnostics.zero_gradient)
    if max(signs) > MASKING_SHARE:
        found.append(
            Flag(
                code=MASKED,
                message=f"random noise moved {diagnostics.noise_wins:.0%} of the images farther"
                f" than the attack, a random search {diagnostics.search_wins:.0%}, the gradient"
                f" vanished for {diagnostics.zero_gradient:.0%}: the estimates flatter this"
                " backbone, so it ranks below all others",
            )
        )
    if diagnostics.still_rising > RISING_SHARE:
        found.append(
            Flag(
                code="still_rising",
                message=f"the attack was still gaining on {diagnostics.still_rising:.0%} of the"
                f" images; more --steps would {more_steps}",
            )
        )
    if diagnostics.effective_rank < COLLAPSED_RANK:
        found.append(
            Flag(
                code="collapsed_features",
                message=f"features vary in {diagnostics.effective_rank:.1f} directions only",
            )
        )
    return tuple(found)


def _effective_rank(features: Rows) -> float:
    """exp of the entropy of the normalised covariance spectrum (Roy and Vetterli 2007)."""
    if len(features) <= AT_ONCE:
        values = features[:].double()
        energy = torch.linalg.svdvals(values - values.mean(dim=0)).square()
    else:
        parts = (moments(features[part]) for part in ranges(len(features), AT_ONCE))
        energy = torch.linalg.eigvalsh(reduce(Moments.plus, parts).scatter).clamp_min(0)
    return float(torch.special.entr(energy / energy.sum()).sum().exp())
