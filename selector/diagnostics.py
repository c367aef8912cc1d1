"""How far the numbers of one candidate can be trusted: measures, and the flags they raise."""

from __future__ import annotations

import torch
from torch import Tensor

from selector.controls import Controls
from selector.records import Diagnostics, Flag, HeadReport
from selector.search import Search
from selector.sensitivity import displacement

# Shares of the test images beyond which a row carries a flag.
MASKING_SHARE = 0.05
RISING_SHARE = 0.25
COLLAPSED_RANK = 2.0
# Noise or a random search has beaten the attack where it went this much farther.
NOISE_MARGIN = 1.01
MASKED = "masked_gradients"


def diagnose(on_g: Search, clean: Tensor, controls: Controls) -> Diagnostics:
    """Compare an attack on g with what needs no gradient, its restarts with each other.

    Args:
        on_g: the attack that maximised displacement on g, over the test images.
        clean: their features (n,d).
        controls: what random noise and a random search reached on the same images.
    """
    attained = displacement(on_g.features, clean)
    by_noise = displacement(controls.noise, clean)
    by_search = displacement(controls.searched, clean)
    restarts = on_g.restart_values.double().sqrt()
    best = restarts.nan_to_num(0).amax(dim=0).clamp_min(torch.finfo(torch.float64).tiny)
    return Diagnostics(
        restart_spread=((best - restarts.nanmean(dim=0)) / best).mean().item(),
        long_ascents=on_g.far.double().mean().item(),
        still_rising=on_g.rising.double().mean().item(),
        zero_gradient=on_g.stuck.double().mean().item(),
        noise_ratio=(by_noise.mean() / attained.mean().clamp_min(1e-300)).item(),
        noise_wins=(by_noise > attained * NOISE_MARGIN).double().mean().item(),
        search_ratio=(by_search.mean() / attained.mean().clamp_min(1e-300)).item(),
        search_wins=(by_search > attained * NOISE_MARGIN).double().mean().item(),
        effective_rank=_effective_rank(clean),
    )


def flags(diagnostics: Diagnostics, probe: HeadReport, labels: Tensor) -> tuple[Flag, ...]:
    """Reasons to read a row with care, from what was measured."""
    chance = torch.bincount(labels).max().item() / len(labels)
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
                " images; more --steps would lower the estimates",
            )
        )
    if diagnostics.effective_rank < COLLAPSED_RANK:
        found.append(
            Flag(
                code="collapsed_features",
                message=f"features vary in {diagnostics.effective_rank:.1f} directions only",
            )
        )
    if probe.clean_accuracy.low <= chance:
        found.append(
            Flag(
                code="at_chance",
                message=f"the probe's accuracy, {probe.clean_accuracy.value:.3f}, cannot be told"
                f" from always naming the most frequent class, {chance:.3f}",
            )
        )
    return tuple(found)


def _effective_rank(features: Tensor) -> float:
    """exp of the entropy of the normalised covariance spectrum (Roy and Vetterli 2007)."""
    centred = features.double() - features.double().mean(dim=0)
    energy = torch.linalg.svdvals(centred).square()
    return float(torch.special.entr(energy / energy.sum()).sum().exp())
