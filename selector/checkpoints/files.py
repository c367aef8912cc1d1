"""What a checkpoint file holds, read without running anything of it."""

from __future__ import annotations

import pickle
import tarfile
import warnings
import zipfile
from pathlib import Path, PurePosixPath

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from selector.batches import lacks_memory
from selector.checkpoints import unpickling
from selector.devices import no_room
from selector.errors import CandidateError, first_line


def read_safetensors(path: Path) -> object:
    """The tensors of a safetensors file, by name, in the memory of this machine.

    Raises:
        CandidateError: ``unreadable_weights``.
    """
    try:
        return load_file(path, device="cpu")
    except (SafetensorError, OSError) as error:
        raise CandidateError(
            "unreadable_weights",
            f"{path.name} is not a readable safetensors file: {first_line(error)}.",
            hint="Fetch or export it again.",
        ) from error


def read_pickle(path: Path) -> object:
    """The object that torch.save wrote, in the zip or the older format; tensors come to the CPU.

    Of what is not a plain container, a number, a text or a tensor, a stub is left. Whether pickles
    are wanted at all is for the caller to ask.

    Raises:
        CandidateError: ``unreadable_weights``, ``program_archive`` for a TorchScript or tar
            archive, ``malicious_pickle`` where the file would run a program if it were let.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            _refuse_archives(path)
            return _load(path)
        except CandidateError:
            raise
        except Exception as error:
            if lacks_memory(error):
                raise no_room() from error
            raise CandidateError(
                "unreadable_weights",
                f"{path.name} is not a readable file of torch.save: {first_line(error)}.",
                hint="Fetch or export it again.",
            ) from error


def _load(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        # Raised while a pickle is read, so after torch itself has found that this is neither a
        # TorchScript nor a tar archive, which it would hand to other readers than ours. No other
        # error may lead here.
        return torch.load(path, map_location="cpu", weights_only=False, pickle_module=unpickling)


def _refuse_archives(path: Path) -> None:
    """Say what the archives are that hold programs; torch's own refusal blames its version."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = {PurePosixPath(name).name for name in archive.namelist()}
            unpacked = sum(entry.file_size for entry in archive.infolist())
        kind = "a TorchScript archive" if "constants.pkl" in names else ""
    else:
        unpacked = 0
        kind = "a tar archive" if tarfile.is_tarfile(path) else ""
    if kind:
        raise CandidateError(
            "program_archive",
            f"{path.name} is {kind}, which holds a program and not only weights.",
            hint="Export its state_dict to safetensors.",
        )
    # torch.save compresses nothing.
    if unpacked > path.stat().st_size:
        raise CandidateError(
            "unreadable_weights",
            f"{path.name} must unpack to no more than its {path.stat().st_size:,} bytes,"
            f" found {unpacked:,}.",
            hint="torch.save writes no such file.",
        )
