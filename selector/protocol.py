"""How much to measure: presets, and the sizes that a GPU or a CPU can afford."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from selector.errors import UsageError

# Raised whenever the same command may give other numbers; part of every stored result's key.
PROTOCOL_VERSION = 11

Preset = Literal["screen", "quick", "standard", "thorough"]
PRESETS: tuple[Preset, ...] = get_args(Preset)
SCREEN: Preset = "screen"

# Theorem 1 needs a range of the loss that is known in advance: the loss is clipped at this many
# times log K, the loss of a head that knows nothing.
CLIP_IN_LOG_K = 2.0
RHO = 0.05


@dataclass(frozen=True)
class Sizes:
    """At most this many images of each part, drawn stratified by class.

    Attributes:
        train: images the heads are fitted on.
        validation: images their regularisation is chosen on; these are attacked.
        test: images everything is reported on; these are attacked.
    """

    train: int
    validation: int
    test: int


@dataclass(frozen=True)
class Protocol:
    """Everything that decides a measurement, beside the task, the threat and the candidate.

    Attributes:
        preset: the name this started from.
        attack: a key of :data:`selector.attacks.ATTACKS`.
        restarts: random starts per image.
        steps: gradient evaluations per start.
        sizes: images of each part.
        seed: of draws, splits and random starts.
        head: that candidates are ranked by; a name of :data:`selector.choosing.HEADS`.
    """

    preset: Preset
    attack: str
    restarts: int
    steps: int
    sizes: Sizes
    seed: int
    head: str = "recommended"

    @property
    def screens(self) -> bool:
        """Whether displacement on g is all that attacks aim at, which serves every labelling."""
        return self.preset == SCREEN


# Five restarts of 20 steps attain more than one ascent as long: benchmarks/attack_quality.py.
# A screening searches as standard does, so that what it attains on test images counts there too.
_SEARCH: dict[Preset, tuple[int, int]] = {
    "screen": (5, 20),
    "quick": (2, 10),
    "standard": (5, 20),
    "thorough": (10, 50),
}
_GPU_SIZES: dict[Preset, Sizes] = {
    "screen": Sizes(train=5_000, validation=256, test=512),
    "quick": Sizes(train=2_000, validation=128, test=256),
    "standard": Sizes(train=5_000, validation=256, test=512),
    "thorough": Sizes(train=20_000, validation=512, test=2_000),
}
_CPU_SEARCH: dict[Preset, tuple[int, int]] = {
    "screen": (2, 10),
    "quick": (1, 8),
    "standard": (2, 10),
    "thorough": (5, 20),
}
_CPU_SIZES: dict[Preset, Sizes] = {
    "screen": Sizes(train=1_000, validation=64, test=128),
    "quick": Sizes(train=500, validation=32, test=64),
    "standard": Sizes(train=1_000, validation=64, test=128),
    "thorough": Sizes(train=5_000, validation=256, test=512),
}


@dataclass(frozen=True)
class Overrides:
    """What the user asks for instead of a preset's value; None keeps the preset's."""

    attack: str = "annealed"
    restarts: int | None = None
    steps: int | None = None
    train_images: int | None = None
    test_images: int | None = None
    head: str = "recommended"

    def __post_init__(self) -> None:
        for name in ("restarts", "steps", "train_images", "test_images"):
            value = getattr(self, name)
            if value is not None and value < 1:
                option = "--" + name.replace("_", "-")
                raise UsageError(f"{option} must be at least 1, found {value}.")


def choose_protocol(preset: Preset, device_type: str, overrides: Overrides, seed: int) -> Protocol:
    """A preset for the kind of device, with what the user overrides.

    Validation images are attacked like test images, so they follow ``--test-images`` at half.

    Raises:
        UsageError: there is no such preset.
    """
    if preset not in PRESETS:
        raise UsageError(f"--preset must be one of {', '.join(PRESETS)}, found {preset!r}.")
    on_cpu = device_type == "cpu"
    restarts, steps = (_CPU_SEARCH if on_cpu else _SEARCH)[preset]
    sizes = (_CPU_SIZES if on_cpu else _GPU_SIZES)[preset]
    if overrides.train_images is not None:
        sizes = replace(sizes, train=overrides.train_images)
    if overrides.test_images is not None:
        half = max(1, overrides.test_images // 2)
        sizes = replace(sizes, test=overrides.test_images, validation=half)
    return Protocol(
        preset,
        overrides.attack,
        overrides.restarts or restarts,
        overrides.steps or steps,
        sizes,
        seed,
        overrides.head,
    )
