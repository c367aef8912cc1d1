"""What a candidate needs of a machine, from what is known before it is measured."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from selector import hub
from selector.candidates import Candidate, Pinned
from selector.errors import CandidateError
from selector.fetching import FetchRules, find_commit, refuse_pickle
from selector.modules import ModuleCandidate
from selector.run import first_batch_size

# Candidates that are looked up at once.
_CONNECTIONS = 4
# Of a process with its libraries and a tiny network: benchmarks/results/memory.cpu.json.
_PROCESS = 1_200_000_000
# The file as it is read, the weights in it, the network.
_COPIES = 3
# Bytes that a network keeps of each input pixel of a batch for the way back: 1,100 to 1,700 of
# ResNet-50, ViT-B, ConvNeXt-T and MobileNetV2 at 224 px; more where there are more weights.
_PER_PIXEL = 2_000
_WEIGHTS_THAT_KEEP_TWICE_AS_MUCH = 10**9
_USUAL_SIDE = 224
_GIB = 2**30


def sizes(candidates: Sequence[Pinned], rules: FetchRules) -> list[int]:
    """Bytes of each candidate's files; 0 where they cannot be found, which measuring will say.

    A lock has them. Else the Hub is asked, a few candidates at a time.
    """

    def one(pinned: Pinned) -> int:
        try:
            return _size(pinned, rules)
        except (CandidateError, OSError):
            return 0

    with ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="look-up") as pool:
        return list(pool.map(one, candidates))


def memory(candidate: Candidate, size: int, device: torch.device) -> int:
    """Bytes of the machine's memory that measuring a candidate may take, in whole GiB.

    A process, three times its files, and on a CPU what a batch keeps for the way back. It is told
    to Ray so that no node gets more candidates than it has room for; who needs more is stopped by
    Ray and begun again with twice as much. On a GPU a batch that does not fit is halved.
    """
    total = _PROCESS + _COPIES * size
    if device.type == "cpu":
        side = candidate.checkpoint.input_size if candidate.checkpoint else _USUAL_SIDE
        pixels = first_batch_size((side, side), device) * side**2
        total += round(pixels * _PER_PIXEL * (1 + size / _WEIGHTS_THAT_KEEP_TWICE_AS_MUCH))
    return -(-total // _GIB) * _GIB


def _size(pinned: Pinned, rules: FetchRules) -> int:
    candidate, pin = pinned.candidate, pinned.pin
    if isinstance(candidate, ModuleCandidate):
        state = candidate.given.module.state_dict().values()
        return sum(one.nbytes for one in state if isinstance(one, torch.Tensor))
    if pin is not None and pin.files:
        return sum(file.size for file in pin.files)
    refuse_pickle(candidate, rules)
    if candidate.source == "local":
        return sum((candidate.directory / name).stat().st_size for name in candidate.files)
    commit = find_commit(candidate, pin)
    return sum(file.size for file in hub.look_up(candidate.repo_id, commit, candidate.files))
