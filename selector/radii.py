"""What certificates are asked for, in words that need no tensors: noise, draws, radii."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from selector.errors import UsageError
from selector.norms import Norm, format_threat, parse_eps

# Draws of each image that choose its class (Cohen et al. 2019 take as many), and that heads see.
SELECTION_DRAWS = 100
TRAINING_DRAWS = 4

# Who needs more draws than this is told to take more noise instead.
_MANY_DRAWS = 1_000_000


@dataclass(frozen=True)
class Smoothing:
    """How certificates are made.

    Attributes:
        sigma: standard deviation of the noise, in pixel units of [0,1].
        radii: in l2, at which the certified accuracy is told; the first one orders candidates.
        draws: of each test image, whose votes are counted.
        alpha: an image's certificate is wrong with at most this probability.
        selection_draws: of each test image, others, that choose its class.
        training_draws: of each training and validation image.
    """

    sigma: float
    radii: tuple[float, ...]
    draws: int = 1000
    alpha: float = 0.001
    selection_draws: int = SELECTION_DRAWS
    training_draws: int = TRAINING_DRAWS

    def __post_init__(self) -> None:
        if not 0 < self.sigma < math.inf:
            raise UsageError(f"--sigma must be a finite number above 0, found {self.sigma:g}.")
        if self.draws < 1:
            raise UsageError(f"--draws must be at least 1, found {self.draws}.")
        if not 0 < self.alpha < 0.5:
            raise UsageError(f"--alpha must lie between 0 and 0.5, found {self.alpha:g}.")

    @property
    def largest_radius(self) -> float:
        """The radius of an image whose draws are all of one class; no other has a larger one.

        The lower confidence bound of n successes in n trials is alpha^(1/n). 0 or less: so few
        draws certify nothing.
        """
        return self.sigma * NormalDist().inv_cdf(self.alpha ** (1 / self.draws))

    def draws_for(self, radius: float) -> int | None:
        """The fewest draws, all of one class, that certify a radius; None: more than a million."""
        # Of 1 - Phi(radius / sigma), as Phi itself rounds to 1.
        beyond = math.erfc(radius / self.sigma / math.sqrt(2)) / 2
        if not beyond:
            return None
        draws = math.log(self.alpha) / math.log1p(-beyond)
        return math.ceil(draws) if draws <= _MANY_DRAWS else None

    def require_reach(self, option: str) -> None:
        """Refuse radii that no image could be certified at.

        Args:
            option: that the radii come from.

        Raises:
            UsageError: there is one.
        """
        radius, largest = max(self.radii), self.largest_radius
        if radius <= largest:
            return
        # Rounded down, so that what is told is itself within reach.
        most = f"at most {math.floor(1e4 * largest) / 1e4:g}" if largest > 1e-4 else "none"
        draws = self.draws_for(radius)
        more = f", a larger --sigma or at least {draws} draws (`selector certify --draws`)"
        raise UsageError(
            f"{option} can be {most} with {self.draws} draws, alpha {self.alpha:g} and sigma"
            f" {self.sigma:g}, however robust a backbone is; found {radius:g}.",
            hint=f"Use a smaller radius{more if draws else ' or a larger --sigma'}.",
        )


@dataclass(frozen=True)
class Leaders:
    """Whom to certify after ranking.

    Attributes:
        count: the first so many.
        smoothing: how.
    """

    count: int
    smoothing: Smoothing

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError(f"--certify must be at least 1, found {self.count}.")


def choose_leaders(
    count: int, sigma: float | None, norm: Norm, eps: float, image_size: int
) -> Leaders:
    """The first so many, certified up to the size of an l2 threat.

    Args:
        count: how many.
        sigma: of the noise; None: as much as ``eps``.
        norm: of the threat.
        eps: its size.
        image_size: of the canonical images.

    Raises:
        UsageError: the threat is none of l2, or its size out of reach.
    """
    require_l2("--certify", norm, eps, image_size)
    if not 0 < eps < math.inf:
        raise UsageError(f"--eps must be a finite number above 0, found {eps:g}.")
    smoothing = Smoothing(eps if sigma is None else sigma, (eps,))
    smoothing.require_reach("--eps")
    return Leaders(count, smoothing)


def parse_radii(text: str) -> tuple[float, ...]:
    """Read radii, separated by commas.

    >>> parse_radii("0.25, 0.5,1")
    (0.25, 0.5, 1.0)

    Raises:
        UsageError: they are not numbers above 0, or one is there twice.
    """
    radii = tuple(parse_eps(part, "--radii") for part in text.split(","))
    if not all(0 < radius < math.inf for radius in radii) or len(set(radii)) < len(radii):
        raise UsageError(
            f"--radii must be different finite numbers above 0, such as 0.25,0.5,1; found {text!r}."
        )
    return radii


def default_radii(sigma: float) -> tuple[float, ...]:
    """Half of the noise, as much, and twice as much.

    >>> default_radii(0.25)
    (0.125, 0.25, 0.5)
    """
    return (sigma / 2, sigma, 2 * sigma)


def require_l2(option: str, norm: Norm, eps: float, image_size: int) -> None:
    """Refuse to certify a threat in another norm.

    Raises:
        UsageError: it is linf.
    """
    if norm == "l2":
        return
    around = eps * math.sqrt(3) * image_size
    raise UsageError(
        f"{option} needs --norm l2, found {norm}: smoothing certifies l2 balls, and one that holds"
        f" {format_threat(norm, eps)} at {image_size} px has radius {eps:.4g} x sqrt(3) x"
        f" {image_size} = {around:.3g}.",
        hint="Use --norm l2 with an --eps, or `selector certify`.",
    )
