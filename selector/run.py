"""One candidate, loaded and checked: what it is run with, and what that has taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor

from selector.backbones import Backbone, fold_batch_norms
from selector.batches import AT_ONCE, BatchSize, Images, extract, lacks_memory
from selector.budget import Budget
from selector.devices import Stopwatch, describe_device
from selector.errors import CandidateError, UsageError
from selector.heads import Labelled
from selector.memo import Memo, recall
from selector.peaks import device_peak, process_peak, reset_device_peak
from selector.precision import Precision
from selector.preflight import check_backbone
from selector.records import Cost, Provenance
from selector.search import Search, search
from selector.sensitivity import Aim
from selector.spool import collect
from selector.tasks.decoding import Split
from selector.workload import Setting, full_budget, half_budget, pair_budget

_T = TypeVar("_T")

# Images of the pre-flight batch.
PREFLIGHT_IMAGES = 4

# Images per pass start from this many input pixels, and shrink when memory runs out.
_PIXELS_PER_BATCH = {"cpu": 32 * 224 * 224, "cuda": 256 * 224 * 224}
# A pass of few small images leaves most of a GPU idle.
_LARGEST_BATCH = {"cpu": 256, "cuda": 1024}


@dataclass(frozen=True)
class Prepared:
    """A candidate that is here, with what is known about it.

    Attributes:
        name: what tables call it.
        model: what it is, exactly.
        load: onto a device, frozen; raises CandidateError where that is not possible.
        hashes: sha256 of each of its files; None: no hash tells all that it computes, so nothing
            that is measured of it is kept.
        describe: what there is to say of it, with the number of its features.
        on_stage: told of each stage of its measurement, as this begins.
        memo: where what passes through it gave is kept; None: nowhere.
    """

    name: str
    model: str
    load: Callable[[torch.device], Backbone]
    hashes: dict[str, str] | None
    describe: Callable[[Backbone, int], Provenance]
    on_stage: Callable[[str], None] = lambda stage: None
    memo: Memo | None = None


@dataclass(frozen=True)
class Run:
    """One candidate, loaded and checked, ready to be measured."""

    backbone: Backbone
    setting: Setting
    batch: BatchSize
    watch: Stopwatch
    precision: Precision = field(default_factory=Precision)
    memo: Memo | None = None

    def recalled(
        self,
        compute: Callable[..., _T],
        form: Callable[..., _T],
        images: Images,
        *arguments: object,
    ) -> _T:
        """What ``compute(images, *arguments)`` gives, or gave before: :func:`memo.recall`."""
        passes = self.backbone.passes
        value, seconds = recall(self.memo, passes, compute, form, images, arguments)
        self.watch.credit(seconds)
        return value

    def search(self, images: Images, aim: Aim, budget: Budget) -> Search:
        """:func:`selector.search.search` within the threat."""
        return self.recalled(search, Search, images, aim, self.setting.threat, budget)

    def under(self, setting: Setting) -> Run:
        """The same candidate under another threat, whose searches choose their own precision."""
        return replace(self, setting=setting, precision=Precision())

    @property
    def budget(self) -> Budget:
        """How hard the protocol searches."""
        return full_budget(self.setting.protocol)

    @property
    def half_budget(self) -> Budget:
        """How hard it attacks the loss of a head."""
        return half_budget(self.setting.protocol)

    @property
    def pair_budget(self) -> Budget:
        """How hard it attacks a class pair of a head."""
        return pair_budget(self.setting.protocol)

    def images(self, split: Split) -> Images:
        """A part of the task, ready for this backbone."""
        device = self.setting.device
        digests = None if self.memo is None else split.digests
        return Images(
            split.pixels, self.backbone, device, self.batch, self.precision, digests=digests
        )

    def clean(self, split: Split) -> Labelled:
        """Features and labels of a part of the task; the labels are on the device."""
        images = self.images(split).chunks(AT_ONCE)
        parts = (self.recalled(extract, Tensor, part) for part in images)
        return Labelled.clean(collect(parts, len(split)), split.labels.to(self.setting.device))


def first_batch_size(input_size: tuple[int, int], device: torch.device) -> int:
    """Images per pass to begin with, for a network that takes images of this height and width."""
    height, width = input_size
    kind = "cpu" if device.type == "cpu" else "cuda"
    return min(_LARGEST_BATCH[kind], max(1, _PIXELS_PER_BATCH[kind] // (height * width)))


def load(prepared: Prepared, setting: Setting) -> Run:
    """A candidate, checked and ready, with batch normalisations folded into convolutions.

    Raises:
        CandidateError: it cannot be loaded, or fails a check.
    """
    watch = Stopwatch(setting.device, prepared.on_stage)
    reset_device_peak(setting.device)
    with watch.stage("load"):
        backbone = prepared.load(setting.device)
        few = _preflight(backbone, setting)
        fold_batch_norms(backbone.network, backbone, few)
    batch = BatchSize(first_batch_size(backbone.input_size, setting.device))
    return Run(backbone, setting, batch, watch, memo=prepared.memo)


def _preflight(backbone: Backbone, setting: Setting) -> Tensor:
    """Check it on some images, or on two where there is no memory for more; which they were.

    Raises:
        CandidateError: it fails a check, or there is no memory for two.
    """
    for images in (PREFLIGHT_IMAGES, 2):
        few = setting.task.test.pixels[:images].to(setting.device, torch.float32) / 255
        try:
            check_backbone(backbone, few, setting.threat)
        except (RuntimeError, MemoryError) as error:
            if not lacks_memory(error):
                raise
            continue
        return few
    raise CandidateError(
        "out_of_memory",
        "a pass of two images, and back, does not fit into this device's memory.",
        hint="Use another --device or a smaller --image-size.",
    )


def cost(run: Run) -> Cost:
    """What measuring a candidate has taken."""
    passes, seconds = run.backbone.passes, run.watch.seconds
    return Cost(
        forward_passes=passes.forward,
        backward_passes=passes.backward,
        batch_size=run.batch.value,
        search_precision=run.precision.search,
        seconds_load=seconds.get("load", 0.0),
        seconds_features=seconds.get("features", 0.0),
        seconds_attack=seconds.get("attack", 0.0),
        seconds_heads=seconds.get("heads", 0.0),
        peak_process_bytes=process_peak(),
        peak_device_bytes=device_peak(run.setting.device),
        device=describe_device(run.setting.device),
    )


@contextmanager
def as_candidate_errors() -> Iterator[None]:
    """What can go wrong inside a network is that candidate's row, not the end of the run."""
    try:
        yield
    except FloatingPointError as error:
        raise CandidateError(
            "non_finite_features", f"what was computed of features is not finite: {error}."
        ) from error
    except UsageError as error:
        # The user's disk has no room for this one's features; others may have fewer.
        raise CandidateError("no_disk_space", error.message, hint=error.hint) from error
    except (RuntimeError, MemoryError) as error:
        if not lacks_memory(error):
            raise
        raise CandidateError(
            "out_of_memory",
            "what measuring it takes does not fit into this device's memory, one image at a time.",
            hint="Use another --device or a smaller --image-size.",
        ) from error
