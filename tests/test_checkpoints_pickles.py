"""Pickles: weights come out of all that torch.save has ever written, and nothing in them is run."""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import subprocess
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dill
import numpy as np
import pytest
import torch
from conftest import normal
from torch import Tensor

from selector.candidates import Checkpoint
from selector.checkpoints import read_weights
from selector.checkpoints.files import read_pickle
from selector.checkpoints.unpickling import Inert, Unpickler
from selector.errors import CandidateError

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def checkpoint(**changes: Any) -> Checkpoint:
    fields: dict[str, Any] = {
        "file": "w.ckpt",
        "architecture": "resnet10t",
        "num_classes": 3,
        "input_size": 32,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.2, 0.2, 0.2),
    }
    return Checkpoint(**(fields | changes))


def weights() -> dict[str, Tensor]:
    half = normal(3, 4, seed=1, dtype=torch.float32).half()
    return {"conv.weight": normal(4, 3, seed=0, dtype=torch.float32), "fc.weight": half}


def as_zip(document: bytes, path: Path) -> None:
    """The new format around a pickle that torch.save would not write."""
    buffer = io.BytesIO()
    torch.save({}, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, document if name.endswith("data.pkl") else old.read(name))


def as_legacy(document: bytes, path: Path) -> None:
    """The format before torch 1.6 around a pickle that torch.save would not write."""
    head = [pickle.dumps(part, protocol=2) for part in (MAGIC, PROTOCOL, {"little_endian": True})]
    path.write_bytes(b"".join(head) + document + pickle.dumps([], protocol=2))


CONTAINERS = pytest.mark.parametrize("contain", [as_zip, as_legacy], ids=["zip", "legacy"])


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a hostile file would create; the working directory is watched for anything else."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here / "marker"


def refused(path: Path, marker: Path, **changes: Any) -> CandidateError:
    with pytest.raises(CandidateError) as caught:
        read_weights(path.parent, checkpoint(file=path.name, **changes))
    assert list(marker.parent.iterdir()) == []
    assert caught.value.message.endswith((".", "…"))
    assert caught.value.message.isprintable()
    return caught.value


# --- what is loaded ------------------------------------------------------------------------------


def function(source: str) -> Any:
    """A function that dill writes by value: of a training script, whose names are its own."""
    return eval(source, {"__name__": "__main__"})


def in_main(name: str) -> type:
    """A class that dill writes by value."""
    made = type(name, (), {"alpha": 1, "double": function("lambda self: 2 * self.alpha")})
    made.__module__ = "__main__"
    return made


def madry(marker: Path) -> dict[str, Any]:
    """What the robustness library writes: the weights three times, and its whole state."""
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimiser = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    model = OrderedDict(
        (f"module.{part}.{name}", tensor)
        for part in ("model", "attacker.model")
        for name, tensor in weights().items()
    )
    model["module.normalizer.new_mean"] = torch.zeros(3, 1, 1)
    model["module.attacker.normalize.new_std"] = torch.ones(3, 1, 1)
    parameters = in_main("Parameters")()
    parameters.out_dir = marker
    return {
        "model": model,
        "optimizer": optimiser.state_dict(),
        "schedule": {"lr_lambdas": [function("lambda epoch: 0.1 ** epoch")]},
        "epoch": np.int64(90),
        "prec1": np.float64(62.4),
        "args": parameters,
        "kind": in_main("Kind"),
        "dtype": torch.float32,
        "size": torch.Size([1, 2]),
        "saved": {torch.device("cpu"), 1},
    }


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("module", [dill, pickle], ids=["dill", "pickle"])
def test_the_weights_of_a_training_state_come_out(marker: Path, zipped: bool, module: Any) -> None:
    state = madry(marker)
    if module is pickle:
        for name in ("schedule", "args", "kind"):
            del state[name]
        state["where"] = marker
    path = marker.parents[1] / "w.ckpt"
    torch.save(state, path, pickle_module=module, _use_new_zipfile_serialization=zipped)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    found = read_weights(path.parent, checkpoint(state_key="model", key_prefix="module.model."))
    assert found.keys() == weights().keys()
    for name, tensor in weights().items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)
    assert list(marker.parent.iterdir()) == []


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth", ".ckpt"])
def test_plain_weights(tmp_path: Path, suffix: str, zipped: bool) -> None:
    path = tmp_path / f"w{suffix}"
    kept = {name: torch.nn.Parameter(tensor) for name, tensor in weights().items()}
    torch.save(kept, path, _use_new_zipfile_serialization=zipped)
    found = read_weights(tmp_path, checkpoint(file=path.name))
    for name, tensor in weights().items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)
        assert type(found[name]) is Tensor
        assert not found[name].requires_grad


def test_shared_and_strided_storage_is_rebuilt(tmp_path: Path) -> None:
    base = normal(6, 5, seed=2, dtype=torch.float32)
    state = {"a": base, "b": base[1:3, ::2], "c": base.T, "why": function("lambda: 0")}
    torch.save(
        {"model": state, "why": function("lambda: 0")}, tmp_path / "w.ckpt", pickle_module=dill
    )
    found = read_pickle(tmp_path / "w.ckpt")
    for name in "abc":
        torch.testing.assert_close(found["model"][name], state[name], rtol=0, atol=0)
    assert found["why"] is Inert


# --- what is refused by name ---------------------------------------------------------------------


class Calling:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, ...]:
        return self.call


def hostile(marker: Path) -> dict[str, object]:
    touch = f"touch {marker}"
    return {
        "os.system": Calling(os.system, touch),
        "subprocess.call": Calling(subprocess.call, ["touch", str(marker)]),
        "subprocess.Popen": Calling(subprocess.Popen, ["touch", str(marker)]),
        "eval": Calling(eval, f"__import__('os').system({touch!r})"),
        "exec": Calling(exec, f"__import__('os').system({touch!r})"),
        "open": Calling(open, str(marker), "w"),
        "import": Calling(__import__, "antigravity"),
        "nested": [Calling(OrderedDict, [("a", Calling(os.system, touch))])],
        "loads": Calling(pickle.loads, pickle.dumps(Calling(os.system, touch))),
        "argument": Calling(getattr, Calling(__import__, "os"), "system"),
    }


@CONTAINERS
@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("name", hostile(Path("marker")))
def test_a_program_is_refused_by_name(
    marker: Path, name: str, protocol: int, contain: Callable[[bytes, Path], None]
) -> None:
    path = marker.parents[1] / "w.ckpt"
    contain(pickle.dumps({"model": weights, "x": hostile(marker)[name]}, protocol), path)
    error = refused(path, marker)
    assert error.code == "malicious_pickle"
    assert "nothing of it was run" in error.message
    assert error.hint


@pytest.mark.parametrize("name", ["os.system", "subprocess.call", "eval", "exec", "nested"])
def test_the_hostile_files_work_where_they_are_let(marker: Path, name: str) -> None:
    pickle.loads(pickle.dumps(hostile(marker)[name]))
    assert marker.exists()


def text(value: str) -> bytes:
    encoded = value.encode()
    return b"\x8c" + bytes([len(encoded)]) + encoded


def stack_global(module: str, name: str) -> bytes:
    """Protocol 4, whose names may be dotted."""
    return text(module) + text(name) + b"\x93"


@CONTAINERS
@pytest.mark.parametrize(
    ("document", "name"),
    [
        (b"cposix\nsystem\n(S'touch marker'\ntR.", "posix.system"),
        (b"cnt\nsystem\n(S'touch marker'\ntR.", "nt.system"),
        (b"c__builtin__\neval\n(S'1'\ntR.", "__builtin__.eval"),
        (b"c__builtin__\nexecfile\n(S'1'\ntR.", "__builtin__.execfile"),
        (b"ccommands\ngetoutput\n(S'1'\ntR.", "commands.getoutput"),
        (b"(S'touch marker'\nios\nsystem\n.", "os.system"),
        (b"(cos\nsystem\nS'touch marker'\no.", "os.system"),
        (b"\x80\x04" + stack_global("os.path", "os.system") + b".", "os.path.os.system"),
        (b"\x80\x04" + stack_global("pathlib", "os.system") + b".", "pathlib.os.system"),
        (b"\x80\x04" + stack_global("torch.serialization", "os.system") + b".", "torch"),
        (b"\x80\x04" + stack_global("builtins", "eval.__call__") + b".", "builtins.eval"),
        (b"\x80\x04" + stack_global("multiprocessing.util", "spawnv_passfds") + b".", "multi"),
        (b"\x80\x04" + stack_global("importlib", "import_module") + b".", "importlib"),
        (b"\x80\x04" + stack_global("_io", "open") + b".", "_io.open"),
        (b"cos\n\x1b[31msystem\n.", "os.?[31msystem"),
    ],
)
def test_other_ways_to_name_a_program(
    marker: Path, document: bytes, name: str, contain: Callable[[bytes, Path], None]
) -> None:
    path = marker.parents[1] / "w.ckpt"
    contain(document, path)
    error = refused(path, marker)
    assert error.code == "malicious_pickle"
    assert name in error.message


@CONTAINERS
def test_a_registered_number_names_a_program(
    marker: Path, contain: Callable[[bytes, Path], None]
) -> None:
    path = marker.parents[1] / "w.ckpt"
    contain(b"\x80\x02\x82\xf0(X\x0c\x00\x00\x00touch markertR.", path)
    copyreg.add_extension("os", "system", 0xF0)
    try:
        assert refused(path, marker).code == "malicious_pickle"
    finally:
        copyreg.remove_extension("os", "system", 0xF0)


# --- what is passed over -------------------------------------------------------------------------


@CONTAINERS
@pytest.mark.parametrize(
    "document",
    [
        b"cacme\nThing\n(S'touch marker'\ntR.",
        b"cacme\nThing\n(S'a'\ntR(S'b'\ntR(S'c'\ntR.",
        b"\x80\x02cacme\nThing\n)\x81}(X\x0c\x00\x00\x00__setstate__cacme\nf\nub.",
        b"\x80\x02cacme\nThing\n)\x81(N}(X\x07\x00\x00\x00__new__cacme\nf\nutb.",
        b"\x80\x04cacme\nThing\n)}\x92.",
        b"(S'a'\niacme\nThing\n.",
        b"(cacme\nThing\nS'a'\no.",
        b"cacme\nThing\n(I1\nI2\ne.",
        b"cacme\nThing\nI1\na.",
        b"cacme\nThing\n(I1\nI2\nu.",
        b"\x80\x04cacme\nThing\n(K\x01K\x02\x90.",
        b"cpathlib\nPath.touch\n(cpathlib\nPosixPath\n(S'marker'\ntRtR.",
        b"c__builtin__\ngetattr\n(cpathlib\nPath\nS'touch'\ntR(S'marker'\ntR.",
        b"cdill._dill\n_eval_repr\n(S'open(chr(109), chr(119))'\ntR.",
        b"cdill._dill\n_import_module\n(S'os.system'\ntR(S'touch marker'\ntR.",
        b"ctorch.hub\nload\n(S'a/b'\nS'c'\ntR.",
        b"\x80\x04" + stack_global("torch._utils", "_rebuild_tensor_v2.__globals__") + b".",
        b"\x80\x04" + stack_global("collections", "OrderedDict.__init__.__globals__") + b".",
    ],
)
def test_what_is_unknown_is_inert(
    marker: Path, document: bytes, contain: Callable[[bytes, Path], None]
) -> None:
    path = marker.parents[1] / "w.ckpt"
    contain(document, path)
    assert read_pickle(path) is Inert
    assert refused(path, marker).code == "no_such_weights"


@CONTAINERS
@pytest.mark.parametrize(
    "document",
    [
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(N}(X\x09\x00\x00\x00_functioncacme\nf\nutb.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}(X\x05\x00\x00\x00__x__K\x01ub.",
        b"\x80\x02ccollections\nOrderedDict\n(N}(X\x08\x00\x00\x00__init__cacme\nf\nutb.",
        b"\x80\x02ccollections\nOrderedDict\n}(X\x08\x00\x00\x00__init__cacme\nf\nub.",
        b"\x80\x02ctorch\nSize\n(N}(X\x07\x00\x00\x00__new__cacme\nf\nutb.",
        b"\x80\x02ctorch\nfloat32\n(N}(X\x01\x00\x00\x00xcacme\nf\nutb.",
    ],
)
def test_what_rebuilds_tensors_cannot_be_altered(
    marker: Path, document: bytes, contain: Callable[[bytes, Path], None]
) -> None:
    path = marker.parents[1] / "w.ckpt"
    contain(document, path)
    assert refused(path, marker).code == "unreadable_weights"
    torch.save({"w": torch.ones(2), "x": marker}, path)
    assert torch.equal(read_pickle(path)["w"], torch.ones(2))


# --- references to what lies outside the pickle --------------------------------------------------


@CONTAINERS
@pytest.mark.parametrize(
    "document",
    [
        # torch would compare the source of the class and write Thing.patch
        b"\x80\x02(X\x06\x00\x00\x00modulecacme\nThing\nX\x04\x00\x00\x00a.pyX\x01\x00\x00\x00xtQ.",
        b"(S'module'\nctorch.nn.modules.linear\nLinear\nS'a.py'\nS'x'\ntQ.",
    ],
)
def test_saved_modules_are_passed_over(
    marker: Path, document: bytes, contain: Callable[[bytes, Path], None]
) -> None:
    path = marker.parents[1] / "w.ckpt"
    contain(document, path)
    assert read_pickle(path) is Inert
    assert list(marker.parent.iterdir()) == []


@CONTAINERS
@pytest.mark.parametrize(
    "document",
    [
        b"Pstorage\n.",
        b"I1\nQ.",
        b")Q.",
        b"(S'other'\nI1\ntQ.",
        b"(cacme\nThing\nI1\ntQ.",
        b"(S'storage'\ntQ.",
        b"(S'storage'\ncacme\nThing\nS'0'\nS'cpu'\nI1\nNtQ.",
        b"(S'storage'\nctorch\nFloatStorage\nS'../../x'\nS'cpu'\nI1\ntQ.",
        b"ctorch._utils\n_rebuild_tensor_v2\n(cacme\nThing\nI0\n(I1\nt(I1\ntI00\nNtR.",
        b"ctorch._utils\n_rebuild_parameter\n(cacme\nThing\nI00\nNtR.",
    ],
)
def test_references_to_nothing(
    marker: Path, document: bytes, contain: Callable[[bytes, Path], None]
) -> None:
    path = marker.parents[1] / "w.ckpt"
    contain(document, path)
    assert refused(path, marker).code == "unreadable_weights"


def test_storages_need_torch() -> None:
    with pytest.raises(pickle.UnpicklingError, match="no storage"):
        Unpickler(io.BytesIO(b"(S'storage'\ntQ.")).load()


# --- what is no pickle of weights ----------------------------------------------------------------


def test_the_old_tar_format(marker: Path) -> None:
    path = marker.parents[1] / "w.ckpt"
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle", "../here/marker"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    error = refused(path, marker)
    assert error.code == "program_archive"
    assert "tar archive" in error.message


def test_torchscript(marker: Path) -> None:
    path = marker.parents[1] / "w.ckpt"
    as_zip(b"}.", path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{archive.namelist()[0].split('/')[0]}/constants.pkl", b").")
    error = refused(path, marker)
    assert error.code == "program_archive"
    assert "TorchScript" in error.message


def test_torch_itself_never_reads_an_archive_of_programs(
    marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where our own look is fooled, the weights-only pass still stops before the second one.
    path = marker.parents[1] / "w.ckpt"
    for write in (test_the_old_tar_format, test_torchscript):
        write(marker)
        with monkeypatch.context() as patch:
            patch.setattr("selector.checkpoints.files._refuse_archives", lambda path: None)
            assert refused(path, marker).code == "unreadable_weights"


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("part", [0, 1, 30, 0.3, 0.6, 0.9, -1])
def test_a_truncated_file(marker: Path, part: float, zipped: bool) -> None:
    path = marker.parents[1] / "w.ckpt"
    torch.save(madry(marker), path, pickle_module=dill, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data)) if isinstance(part, float) else int(part)])
    error = refused(path, marker, state_key="model", key_prefix="module.model.")
    assert error.code == "unreadable_weights"
    assert error.hint


@pytest.mark.parametrize(
    "data", [b"junk" * 99, b"\x80\x04.", b"PK\x03\x04" + b"x" * 99, pickle.dumps({"w": 1})]
)
def test_other_files(marker: Path, data: bytes) -> None:
    path = marker.parents[1] / "w.ckpt"
    path.write_bytes(data)
    assert refused(path, marker).code == "unreadable_weights"


def test_a_file_that_asks_for_more_memory_than_there_is(marker: Path) -> None:
    path = marker.parents[1] / "w.ckpt"
    as_legacy(b"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI99999999999999999\nNtQ.", path)
    assert refused(path, marker).code == "out_of_memory"


# --- what the entry chooses ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"state_key": "net"}, "state_key 'net', found model, epoch."),
        ({"state_key": "epoch"}, "weights by name, found a int."),
        ({"state_key": "model", "key_prefix": "module.net."}, "found module.model, module.norm."),
        ({"state_key": "model", "key_prefix": "net."}, "key_prefix 'net.', found module."),
        ({}, "found others: model, epoch."),
    ],
)
def test_what_there_is_is_said(marker: Path, changes: dict[str, str], found: str) -> None:
    path = marker.parents[1] / "w.ckpt"
    model = {"module.model.a": torch.ones(1), "module.norm.b": torch.ones(1)}
    torch.save({"model": model, "epoch": 3}, path)
    error = refused(path, marker, **changes)
    assert error.code == "no_such_weights"
    assert found in error.message
    assert "state_key" in error.hint


@pytest.mark.parametrize(
    "value",
    [
        torch.eye(3).to_sparse(),
        torch.ones(2, dtype=torch.complex64),
        torch.empty(2, device="meta"),
        [1.0],
        None,
    ],
    ids=["sparse", "complex", "meta", "list", "none"],
)
def test_what_is_no_plain_tensor(marker: Path, value: object) -> None:
    path = marker.parents[1] / "w.ckpt"
    torch.save({"good": torch.ones(1), "odd": value}, path)
    error = refused(path, marker)
    assert error.code == "no_such_weights"
    assert "odd" in error.message


def test_a_torchless_top_is_no_mapping(marker: Path) -> None:
    path = marker.parents[1] / "w.ckpt"
    torch.save([torch.ones(1)], path)
    assert "a list" in refused(path, marker).message


# --- found by fuzzing ----------------------------------------------------------------------------


def test_a_number_in_a_pickle_takes_no_memory(tmp_path: Path) -> None:
    # LONG_BINPUT: in C, a table of so many places is made, here 32 GB.
    place = b"\x80\x02}r" + (2**31 - 1).to_bytes(4, "little") + b"."
    assert pickle_of(place) == {}


def pickle_of(data: bytes) -> object:
    return Unpickler(io.BytesIO(data)).load()


def test_a_bytearray_of_any_size_is_not_made() -> None:
    with pytest.raises(KeyError):
        pickle_of(b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b".")


def test_a_file_that_unpacks_to_more_than_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "w.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(10**7))
    with pytest.raises(CandidateError, match="it is a compressed archive") as caught:
        read_pickle(path)
    assert caught.value.code == "unreadable_weights"


def test_a_tensor_of_more_values_than_its_storage_has(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "w.ckpt")
    with pytest.raises(CandidateError) as caught:
        read_weights(tmp_path, checkpoint())
    assert caught.value.code == "no_such_weights"
