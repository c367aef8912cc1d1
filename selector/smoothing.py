"""Certificates of linear heads against l2 perturbations, by randomized smoothing.

The smoothed classifier answers with the class that the head gives most often to g(x + sigma z), z
standard normal and not clipped to the box. Theorem 1 of Cohen, Rosenfeld and Kolter 2019,
"Certified adversarial robustness via randomized smoothing": if that class has a probability of at
least p > 1/2, the smoothed classifier gives it to every point within sigma Phi^-1(p) of x in l2.
p is a lower confidence bound, so an image's certificate holds with probability 1 - alpha.

Features of noisy images are what takes long. They are computed once and serve every head, and one
can be fitted on such features too. Centre smoothing would certify the representation itself, but
on small networks it certified 0 to 2 % of the images where smoothed heads certified 98 to 100 %.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from scipy import stats
from torch import Tensor

from selector.batches import AT_ONCE, Images, in_batches
from selector.errors import CandidateError
from selector.heads import LinearHead
from selector.rows import ranges

Part = Literal["train", "validation", "test"]

# 2^32 divided by the golden ratio, odd: its multiples modulo 2^32 are all different and far apart.
_APART = 2_654_435_769


@dataclass(frozen=True)
class Noise:
    """Some draws for each image of a part of the task.

    Attributes:
        sigma: standard deviation, in pixel units of [0,1].
        seed: of the run.
        part: which images.
        draws: their numbers; draws of other numbers are independent of them.
    """

    sigma: float
    seed: int
    part: Part
    draws: range

    def generator_seed(self, image: int, draw: int) -> int:
        """Of one draw for one image, 32 bits; no two draws for an image have the same."""
        first = zlib.crc32(f"smoothing/{self.seed}/{self.part}/{image}".encode())
        return (first + draw * _APART) % 2**32

    def added_to(self, x: Tensor, images: Sequence[int], draws: Sequence[int]) -> Tensor:
        """x + sigma z for images x (b,3,S,S), given number of image and draw of each.

        Every draw has a generator of its own, so that it does not depend on how they are batched.
        """
        z = torch.empty(x.shape, device=x.device)
        for row, image, draw in zip(z, images, draws, strict=True):
            generator = torch.Generator(device=x.device)
            row.normal_(generator=generator.manual_seed(self.generator_seed(image, draw)))
        return torch.add(x, z, alpha=self.sigma)


def noisy_features(images: Images, noise: Noise) -> Iterator[Tensor]:
    """g(x + sigma z): rows (b,d) of every draw for the first image, then for the second, ...

    They come some at a time, and none is kept.

    Raises:
        CandidateError: they are not finite.
        MemoryError: a single image does not fit.
    """
    for part in ranges(len(images.pixels) * len(noise.draws), AT_ONCE):

        def run(rows: slice, first: int = part.start) -> tuple[Tensor]:
            return (_of_rows(images, noise, first + rows.start, first + rows.stop),)

        (features,) = in_batches(part.stop - part.start, images.batch_size, run)
        if not torch.isfinite(features).all():
            raise CandidateError(
                "non_finite_features",
                f"features of images with noise of sigma {noise.sigma:g} are not finite.",
            )
        yield features


def _of_rows(images: Images, noise: Noise, start: int, stop: int) -> Tensor:
    """Features (stop - start,d) of consecutive pairs of image and draw."""
    pairs = [divmod(row, len(noise.draws)) for row in range(start, stop)]
    first, last = pairs[0][0], pairs[-1][0]
    _, x = images.part(slice(first, last + 1))
    repeated = x[torch.tensor([image - first for image, _ in pairs], device=x.device)]
    numbers = [images.first + image for image, _ in pairs]
    noisy = noise.added_to(repeated, numbers, [noise.draws[draw] for _, draw in pairs])
    with torch.no_grad():
        return images.backbone(noisy.contiguous(memory_format=torch.channels_last))


def count_votes(images: Images, noise: Noise, heads: Sequence[LinearHead]) -> Tensor:
    """How many draws of each image every head gives to each class (heads,n,K), int64.

    Args:
        images: (n,3,S,S).
        noise: which draws.
        heads: of equally many classes.
    """
    size = len(heads), len(images.pixels), len(heads[0].bias)
    counts = torch.zeros(size, dtype=torch.int64, device=images.device)
    done = 0
    for features in noisy_features(images, noise):
        image = torch.arange(done, done + len(features), device=images.device) // len(noise.draws)
        for votes, head in zip(counts, heads, strict=True):
            decided = head(features).argmax(dim=1)
            votes.index_put_((image, decided), torch.ones_like(decided), accumulate=True)
        done += len(features)
    return counts


@dataclass(frozen=True)
class Certificates:
    """What a smoothed head is proven to answer, per image.

    Attributes:
        classes: (n,) int64.
        radii: (n,) float64, in l2: within it the answer is this class; 0 where it abstains.
    """

    classes: Tensor
    radii: Tensor

    @property
    def abstained(self) -> Tensor:
        """Whether the votes do not tell which class is the most frequent (n,)."""
        return self.radii == 0

    def right(self, labels: Tensor, radius: float = 0.0) -> Tensor:
        """Whether the answer is right, and certified up to ``radius``, for labels (n,)."""
        return (self.classes == labels) & ~self.abstained & (self.radii >= radius)


def certify(selection: Tensor, count: Tensor, sigma: float, alpha: float) -> Certificates:
    """CERTIFY of Cohen et al. 2019: Proposition 2 and Theorem 1.

    Args:
        selection: votes (n,K) that choose the class.
        count: votes (n,K) of draws that are independent of those, which confirm it.
        sigma: of the noise.
        alpha: each certificate is wrong with at most this probability.
    """
    classes = selection.argmax(dim=1)
    votes = count.gather(1, classes[:, None]).squeeze(1)
    lower = lower_bounds(votes, count.sum(dim=1), alpha)
    radii = sigma * torch.from_numpy(stats.norm.ppf(lower.numpy()))
    return Certificates(classes.cpu(), torch.where(lower > 0.5, radii, 0.0))


def lower_bounds(successes: Tensor, trials: Tensor, alpha: float) -> Tensor:
    """One-sided lower confidence bounds (n,) float64 of level 1 - alpha (Clopper, Pearson 1934).

    The probability of a success, for ``successes`` (n,) out of ``trials`` (n,), lies below them
    with a probability of at most alpha.
    """
    k, n = successes.cpu().numpy(), trials.cpu().numpy()
    # The distribution needs positive parameters; without a success the bound is 0.
    found = torch.from_numpy(stats.beta.ppf(alpha, k.clip(min=1), n - k + 1))
    return torch.where(successes.cpu() > 0, found, 0.0)
