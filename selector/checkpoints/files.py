"""What a checkpoint file holds, read without running anything of it."""

from __future__ import annotations

import io
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

# Bytes: torch.save writes about a hundred for each tensor.
_LONGEST_DIRECTORY = 8 * 2**20


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


class _Archive(io.FileIO):
    """A zip file of which no long directory is read: zipfile makes twenty times its size of it."""

    def read(self, size: int | None = -1, /) -> bytes:
        """As usual; zipfile asks for the whole directory at once."""
        if size is not None and size > _LONGEST_DIRECTORY:
            raise ValueError("its directory is too long")
        return super().read(size)


def _refuse_archives(path: Path) -> None:
    """Say what the archives are that hold programs; torch's own refusal blames its version.

    And refuse archives that torch.save does not write: a compressed member can be a thousand times
    as large as its file.
    """
    if zipfile.is_zipfile(path):
        with _Archive(path) as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("it is a compressed archive")
        # zipfile passes over what is in front of an archive, and torch may find another one there.
        if min((member.header_offset for member in members), default=0):
            raise ValueError("something is in front of its first member")
        names = {PurePosixPath(member.filename).name for member in members}
        unpacked = sum(member.file_size for member in members)
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
