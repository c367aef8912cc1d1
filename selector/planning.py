"""What a run would take, without running it: bytes to fetch, passes, and about how long."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from selector import hub
from selector.architectures import Shape
from selector.backbones import Backbone, fold_batch_norms, read_config
from selector.batches import lacks_memory
from selector.candidates import CONFIG_FILE, Candidate, Pinned
from selector.errors import CandidateError, HubUnavailable, first_line
from selector.fetching import FetchRules, look_up, prepare
from selector.modules import ModuleCandidate, prepare_module
from selector.precision import full_precision
from selector.records import Cost, Evaluation, Plan, PlannedCandidate, Sweep
from selector.run import as_candidate_errors, first_batch_size, load
from selector.scheduling import Kept, measuring_classes
from selector.store import Store
from selector.workload import Setting, planned_passes

# Images are timed in a batch of about so many operations, so that timing takes seconds.
_OPERATIONS = {"cpu": 40e9, "cuda": 4e12}
# Of a module the operations are not known: images are timed in a batch of about so many seconds.
_SECONDS = 1.0


@dataclass(frozen=True)
class Work:
    """What there is to do, and where its results would be kept.

    Attributes:
        setting: task, threat, protocol, device.
        rules: what may be fetched.
        kept: where earlier results are.
    """

    setting: Setting
    rules: FetchRules
    kept: Kept


def plan(
    candidates: Sequence[Pinned], work: Work, tell: Callable[[PlannedCandidate], None]
) -> Plan:
    """What every candidate would take; ``tell`` hears of each.

    Weights are not fetched. Of candidates in timm's layout config.json is, to know the network,
    whose passes are then timed with weights of no meaning. A module of a caller in Python is here,
    so it is checked as before a measurement, and timed itself.
    """
    store = None if work.kept.fresh else Store(work.kept.path)
    timer = Timer(work.setting.task.image_size, work.setting.device)
    rows = []
    for pinned in candidates:
        row = _one(pinned, work, store, timer)
        tell(row)
        rows.append(row)
    if store is not None:
        store.close()
    return Plan(candidates=tuple(rows))


def _one(pinned: Pinned, work: Work, store: Store | None, timer: Timer) -> PlannedCandidate:
    candidate, setting = pinned.candidate, work.setting
    try:
        wanted = look_up(pinned, work.rules)
        if wanted.bytes == 0 and store is not None:
            prepared = prepare(pinned, wanted.commit, lambda count: None)
            known = measuring_classes(setting).find(candidate, prepared, store)
            if isinstance(known, Evaluation | Sweep):
                return _kept(candidate, known.cost)
        if isinstance(candidate, ModuleCandidate):
            each = _timed_module(candidate, setting, timer)
        else:
            each = timer.seconds_per_pass(_shape(candidate, wanted.commit))
    except CandidateError as error:
        return PlannedCandidate(
            name=candidate.name,
            model=candidate.model,
            code=error.code,
            reason=f"{error.message} {error.hint}".rstrip(),
            retryable=isinstance(error, HubUnavailable),
        )
    passes = planned_passes(setting)
    return PlannedCandidate(
        name=candidate.name,
        model=candidate.model,
        bytes_to_fetch=wanted.bytes,
        passes=passes.total,
        # Timed forward and back: what goes forward only is overestimated, heads are left out.
        estimated_seconds=passes.forward * each,
        seconds_per_image=each,
    )


def _kept(candidate: Candidate, cost: Cost) -> PlannedCandidate:
    """There is nothing left to do but what a race adds, at the pace that it had."""
    seconds = cost.seconds_features + cost.seconds_attack
    return PlannedCandidate(
        name=candidate.name,
        model=candidate.model,
        kept=True,
        seconds_per_image=seconds / cost.forward_passes,
    )


def _timed_module(candidate: ModuleCandidate, setting: Setting, timer: Timer) -> float:
    with full_precision(), as_candidate_errors():
        return timer.seconds_per_pass_of(load(prepare_module(candidate), setting).backbone)


def _shape(candidate: Candidate, commit: str | None) -> Shape:
    """The network of a candidate, from its entry or its config.json."""
    if candidate.checkpoint is not None:
        side = candidate.checkpoint.input_size
        arguments = candidate.checkpoint.model_args
        return Shape(candidate.checkpoint.architecture, (side, side), arguments)
    if commit is None:
        directory = candidate.directory
    else:
        directory = hub.fetch(candidate.repo_id, commit, (CONFIG_FILE,)).directory
    config = read_config(directory / CONFIG_FILE)
    size = config.get("pretrained_cfg", config).get("input_size")
    if not (isinstance(size, list) and len(size) == 3 and all(type(n) is int for n in size)):
        raise CandidateError(
            "bad_preprocessing",
            f"pretrained_cfg of {CONFIG_FILE} must say its input_size, found {size!r}.",
        )
    return Shape(config["architecture"], (size[1], size[2]), config.get("model_args") or {})


class Timer:
    """Times images through networks; each of them once."""

    def __init__(self, image_size: int, device: torch.device) -> None:
        self._image_size, self._device = image_size, device
        self._known: dict[str, float] = {}

    def seconds_per_pass(self, shape: Shape) -> float:
        """Seconds that one image takes forward and backward, measured.

        Raises:
            CandidateError: the network cannot be built or run.
        """
        key = repr(shape)
        if key not in self._known:
            self._known[key] = self._time(shape)
        return self._known[key]

    def seconds_per_pass_of(self, backbone: Backbone) -> float:
        """The same of a network that is here, on the device, and runs on single images.

        Raises:
            CandidateError: it does not run on several.
        """
        alone = self._timed(backbone, 1)
        most = first_batch_size(backbone.input_size, self._device)
        count = min(most, max(1, int(_SECONDS / alone)))
        try:
            return self._timed(backbone, count)
        except Exception as error:
            # A measurement goes on with smaller batches.
            if lacks_memory(error):
                return alone
            raise CandidateError(
                "forward_failed",
                f"the network fails on a batch of {count} images: {first_line(error)}.",
            ) from error

    def _time(self, shape: Shape) -> float:
        device = self._device
        at_once = int(_OPERATIONS["cpu" if device.type == "cpu" else "cuda"] / shape.flops())
        count = min(first_batch_size(shape.input_size, device), max(1, at_once))
        backbone = _blank(shape, device)
        generator = torch.Generator(device).manual_seed(0)
        few = torch.rand(2, 3, *shape.input_size, device=device, generator=generator)
        with full_precision():
            fold_batch_norms(backbone.network, backbone, few)
        return self._timed(backbone, count)

    def _timed(self, backbone: Backbone, count: int) -> float:
        """Seconds for each of so many images in a batch."""
        size = (count, 3, self._image_size, self._image_size)
        x = torch.full(size, 0.5, device=self._device, requires_grad=True)
        seconds = []
        for _ in range(2):  # the first pass sets things up
            began = time.perf_counter()
            torch.autograd.grad(backbone(x).square().sum(), x)
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
            seconds.append(time.perf_counter() - began)
        return min(seconds) / count


def _blank(shape: Shape, device: torch.device) -> Backbone:
    """The backbone with weights of no meaning: time does not depend on their values."""
    network = shape.build().to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point() and tensor.ndim > 1:
            tensor.normal_(std=0.02, generator=generator)
        else:
            # A variance that does not vanish; integers are indices, of which 0 is always one.
            tensor.fill_(0.01 if tensor.is_floating_point() else 0)
    backbone = Backbone(
        network,
        architecture=shape.architecture,
        license=None,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        input_size=shape.input_size,
        interpolation="bicubic",
    )
    return backbone.to(device).to(memory_format=torch.channels_last)
