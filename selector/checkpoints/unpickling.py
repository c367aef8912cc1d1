"""A ``pickle_module`` for torch.load that rebuilds tensors and can do nothing else.

A pickle is a program: it names functions, calls them, and sets attributes of what they return. Here
a name gives one of three things. A short list gives what tensors are rebuilt with. A name that can
only mean running a program is refused, so that a hostile file is called one. Every other name gives
:class:`Inert`, on which all that a pickle can do has no effect: optimisers, arguments and numpy
scalars that lie beside the weights are passed over without their libraries.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any

import torch

from selector.errors import CandidateError, printable


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Modules (the first part of their name) that no checkpoint needs and that run or fetch programs;
# names of Python 2 and of the platforms' own modules included.
_RUNNERS = _words(
    "os posix nt os2 subprocess _posixsubprocess commands popen2 sys pty runpy imp importlib"
    " pkgutil zipimport socket _socket shutil ctypes _ctypes cffi webbrowser code codeop"
    " multiprocessing _winapi winreg asyncio urllib urllib2 http httplib ftplib smtplib telnetlib"
    " requests pickle _pickle cPickle marshal shelve timeit trace pdb bdb cProfile profile doctest"
    " idlelib lib2to3 distutils setuptools pip venv ensurepip antigravity"
)
_BUILTINS = _words(
    "eval exec execfile compile __import__ open file breakpoint input raw_input apply"
)
_OPENING = _words("open open_code FileIO")
_RUNNING_NAMES = {
    "builtins": _BUILTINS,
    "__builtin__": _BUILTINS,
    "io": _OPENING,
    "_io": _OPENING,
}


class _InertType(type):
    def __call__(cls, *args: object, **kwargs: object) -> Any:
        return cls

    def __setstate__(cls, state: object) -> None:
        pass

    def __setitem__(cls, key: object, value: object) -> None:
        pass

    def __setattr__(cls, name: str, value: object) -> None:
        pass

    def append(cls, item: object) -> None:
        pass

    def extend(cls, items: object) -> None:
        pass

    def add(cls, item: object) -> None:
        pass


class Inert(metaclass=_InertType):
    """Stands for every class, function and object that is not rebuilt.

    It is a class because some instructions of a pickle accept nothing else.
    """

    def __new__(cls, *args: object, **kwargs: object) -> Any:
        return cls


class _Sealed:
    """A function that a pickle may call and not alter: instructions can set attributes, too."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a pickle cannot set {name} here")


_DTYPES = _words(
    "bool uint8 int8 int16 short int32 int int64 long float16 half bfloat16 float32 float float64"
    " double"
)

_REBUILDING: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _Sealed(torch._utils._rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Sealed(torch._utils._rebuild_tensor_v2),
    ("torch._utils", "_rebuild_parameter"): _Sealed(torch._utils._rebuild_parameter),
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    **{("torch", name): getattr(torch, name) for name in _DTYPES},
}


class Unpickler(pickle._Unpickler):
    """Reads a pickle without running anything that it names, but for what rebuilds tensors.

    It is the one in Python: in that in C, one number in a pickle asks for any amount of memory.
    """

    # The same would a bytearray do, which no checkpoint needs.
    dispatch = {  # noqa: RUF012 - as in the class above
        code: read
        for code, read in pickle._Unpickler.dispatch.items()
        if code != pickle.BYTEARRAY8[0]
    }
    _storage_of: Callable[[object], object] | None = None

    def find_class(self, module: str, name: str, /) -> Any:
        """What a name of the pickle stands for.

        Raises:
            CandidateError: ``malicious_pickle``, where it can only mean running a program.
        """
        if _runs_programs(module, name):
            raise CandidateError(
                "malicious_pickle",
                f"the file names {printable(f'{module}.{name}')[:80]}, which has no place in a"
                f" checkpoint and can only mean running a program; nothing of it was run.",
                hint="Do not load this file elsewhere either, and tell whoever offers it.",
            )
        return _REBUILDING.get((module, name), Inert)

    def persistent_load(self, saved_id: Any, /) -> Any:
        """The storage of a tensor, by torch's own reader; what else was saved so is passed over.

        torch compares the source text of saved modules with that of their classes, and would write
        a patch file where a class asks for it.
        """
        kind = saved_id[0] if isinstance(saved_id, tuple) and saved_id else None
        if kind in ("module", b"module"):
            return Inert
        if kind not in ("storage", b"storage") or self._storage_of is None:
            raise pickle.UnpicklingError("it refers to something that is no storage of a tensor")
        return self._storage_of(saved_id)

    def __setattr__(self, name: str, value: Any) -> None:
        # torch hands over its reader of storages by setting this attribute.
        super().__setattr__("_storage_of" if name == "persistent_load" else name, value)


def load(file: IO[bytes], **options: Any) -> Any:
    """One object of an open file, as ``pickle.load``."""
    return Unpickler(file, **options).load()


def _runs_programs(module: str, name: str) -> bool:
    parts = name.split(".")
    if module.partition(".")[0] in _RUNNERS or _RUNNERS.intersection(parts[:-1]):
        return True
    return bool(_RUNNING_NAMES.get(module, frozenset()).intersection(parts))
