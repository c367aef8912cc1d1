"""What SECURITY.md promises: real attacks through the doors that people use.

Lines of its table that have a test elsewhere name that one.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import logging
import os
import re
import shutil
import stat
import struct
import sys
import threading
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import dill
import httpx2
import huggingface_hub
import pytest
import torch
from builders import evaluation, ranking, right, skipped
from fakehub import datasets, fixtures, server
from fakehub.server import FakeHub
from huggingface_hub import constants, get_session
from PIL import Image
from rich.console import Console
from test_card import REPO as PUBLISHED
from test_card import published
from typer.testing import CliRunner, Result

from selector import hub
from selector.backbones import load_backbone
from selector.candidates import Checkpoint, from_models, read_lock, read_registry
from selector.checkpoints import read_weights
from selector.cli import app
from selector.cli.plain import PlainConsole, write_plainly
from selector.errors import CandidateError, HubError, UsageError
from selector.hub import client
from selector.hub.listing import Asked, Malformed, list_repositories
from selector.policy import read_policy
from selector.protocol import Sizes
from selector.reports import markdown
from selector.reports.delimited import to_csv
from selector.reports.document import to_json
from selector.reports.stream import ranking_line
from selector.reports.table import print_table
from selector.rows import Rows
from selector.spool import FileRows, collect
from selector.tasks import Task, load_task
from selector.trust import check_private, exposure

fake_hub, hub_cache, waits = fixtures.fake_hub, fixtures.hub_cache, fixtures.waits
datasets_cache = datasets.datasets_cache

ROOT = Path(__file__).parents[1]
REPO = "acme/tiny"
FILES = {"config.json": b"{}", "model.safetensors": b"weights" * 100}
TOKEN, PASSWORD = "hf_secrettoken", "s3cretpassword"
ESCAPES = "\x1b[31m\x9b31m\x7f\u202e\x1b]0;title\x07"
CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A sound candidate: the smallest of the built-in zoo."""
    made = tmp_path / "candidate"
    shutil.copytree(str(files("selector.demo") / "zoo" / "tiny_resnet.random"), made)
    return made


def checkpoint(**changes: Any) -> Checkpoint:
    fields: dict[str, Any] = {"architecture": "resnet10t", "num_classes": 3, "input_size": 32}
    fields |= {"file": "w.ckpt", "mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
    return Checkpoint(**(fields | changes))


def refused_weights(path: Path) -> CandidateError:
    with pytest.raises(CandidateError) as caught:
        read_weights(path.parent, checkpoint(file=path.name))
    return caught.value


def refused_folder(folder: Path) -> CandidateError:
    with pytest.raises(CandidateError) as caught:
        load_backbone(folder, CPU)
    assert caught.value.message.isprintable()
    return caught.value


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def outside(tmp_path: Path, *expected: Path) -> list[Path]:
    """Files in a test's folder that are in none of these folders."""
    found = (path for path in tmp_path.rglob("*") if path.is_file() or path.is_symlink())
    return [path for path in found if not any(path.is_relative_to(one) for one in expected)]


# --- pickles and archives ------------------------------------------------------------------------


def test_a_class_that_dill_writes_by_value_is_not_made(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    source = f"lambda self, state: open({str(marker)!r}, 'w').close()"
    body = {"__setstate__": eval(source, {"__name__": "__main__"})}
    planted = type("Planted", (), body)
    planted.__module__ = "__main__"
    made = planted()
    made.x = 1
    torch.save({"w": torch.zeros(2), "x": made}, tmp_path / "w.ckpt", pickle_module=dill)
    refused_weights(tmp_path / "w.ckpt")
    assert not marker.exists()
    torch.load(tmp_path / "w.ckpt", weights_only=False, pickle_module=dill)
    assert marker.exists(), "the file works where it is let"


def archive(
    path: Path, more: dict[str, bytes], *, method: int = zipfile.ZIP_STORED, before: bytes = b""
) -> None:
    """What torch.save writes, with more members, packed otherwise, or with something in front."""
    buffer, new = io.BytesIO(), io.BytesIO()
    torch.save({"w": torch.zeros(2)}, buffer)
    with warnings.catch_warnings(), zipfile.ZipFile(buffer) as old:
        warnings.simplefilter("ignore")  # of members that are there twice
        with zipfile.ZipFile(new, "w", method) as packed:
            for name in old.namelist():
                packed.writestr(name, more.get(name, old.read(name)))
            for name, content in more.items():
                packed.writestr(name, content)
    path.write_bytes(before + new.getvalue())


def test_an_archive_as_torch_writes_it_is_read(tmp_path: Path) -> None:
    archive(tmp_path / "w.ckpt", {})
    assert list(read_weights(tmp_path, checkpoint())) == ["w"]


@pytest.mark.parametrize(
    ("more", "packing", "said"),
    [
        ({"archive/data.pkl": b"\x80\x02" + b"N0" * 10**6 + b"}."}, {"method": 8}, "compressed"),
        ({"archive/data/0": bytes(10**7)}, {"method": 8}, "compressed"),
        ({f"archive/{n:0999}": b"" for n in range(9000)}, {}, "directory is too long"),
        ({}, {"before": b"PK\x03\x04"}, "in front of its first member"),
        ({"../../evil": b"x"}, {}, "not in a subdirectory"),
        ({"/evil": b"x"}, {}, "not in a subdirectory"),
    ],
    ids=["bomb", "bomb of zeros", "long directory", "two archives", "upwards", "absolute"],
)
def test_archives_that_torch_does_not_write_are_refused(
    tmp_path: Path, more: dict[str, bytes], packing: dict[str, Any], said: str
) -> None:
    archive(tmp_path / "w.ckpt", more, **packing)
    error = refused_weights(tmp_path / "w.ckpt")
    assert error.code == "unreadable_weights"
    assert said in error.message
    assert [path.name for path in tmp_path.iterdir()] == ["w.ckpt"]


def test_a_few_bytes_are_not_expanded_to_more_than_memory_holds(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(1).expand(10**7, 10**7)}, tmp_path / "w.ckpt")
    assert (tmp_path / "w.ckpt").stat().st_size < 5000
    assert refused_weights(tmp_path / "w.ckpt").code == "no_such_weights"


# --- headers and descriptions --------------------------------------------------------------------


def described(header: object) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 2**40) + b"{",
        struct.pack("<Q", 100_000_001) + b"{" * 1000,
        described(b'{"a":' + b"[" * 100_000),
        described({"a": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 0]}}),
        described({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}),
        described({ESCAPES: {"dtype": ESCAPES, "shape": [1], "data_offsets": [0, 4]}}) + bytes(4),
    ],
    ids=["2^63", "beyond its end", "100 MB", "nested", "overflow", "4 TB", "escapes"],
)
def test_headers_of_safetensors_that_lie(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    assert refused_folder(folder).code == "unreadable_weights"


def configured(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda c: c["pretrained_cfg"].update(input_size=[3, 10**6, 10**6]),
            "of 1 to 2048",
        ),
        (lambda c: c["pretrained_cfg"].update(license={"a": ESCAPES}), "must be text"),
        (lambda c: c.update(model_args={"device": "meta"}), "must not hold device"),
        (lambda c: c.update(model_args={"pretrained_cfg": {"url": "x"}}), "cannot build it"),
        (lambda c: c.update(model_args={"checkpoint_path": "/x"}), "cannot build it"),
        (lambda c: c.update(architecture="hf-hub:evil/x"), "not known"),
        (lambda c: c.update(architecture="local-dir:/evil"), "not known"),
    ],
)
def test_config_json_asks_for_nothing_but_an_architecture(
    folder: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    configured(folder, change)
    assert said in refused_folder(folder).message


def test_config_json_does_not_say_where_weights_come_from(folder: Path) -> None:
    # Offline and with these names, any other source than the file beside it would be an error.
    before = load_backbone(folder, CPU)
    elsewhere = {"url": "http://127.0.0.1:9/x", "file": "/evil", "source": "url"}
    elsewhere |= {"hf_hub_id": "evil/x", "hf_hub_filename": "x", "custom_load": "hf"}
    configured(folder, lambda c: c["pretrained_cfg"].update(elsewhere))
    after = load_backbone(folder, CPU)
    for one, other in zip(before.parameters(), after.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"architecture": ' + "9" * 5000 + "}"])
def test_a_config_json_that_no_parser_can_take(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    assert refused_folder(folder).code == "bad_config"


def test_a_config_json_that_is_too_long_is_not_read(folder: Path) -> None:
    os.truncate(folder / "config.json", 10_000_001)
    assert "more than 10,000,000 bytes" in refused_folder(folder).message


# --- paths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file",
    [
        *("../w.bin", "/w.bin", "a/../../w.bin", "C:w.bin", "C:/w.bin", "a\\w.bin", "w.bin:s.bin"),
        *("a\0.bin", "a\n.bin", "\x1b[31m.bin", "./w.bin"),
    ],
)
def test_a_checkpoint_lies_in_its_folder(tmp_path: Path, file: str) -> None:
    entry = checkpoint().model_dump(mode="json") | {"file": file}
    document = {"candidates": [{"model": "hf-hub:acme/tiny", "checkpoint": entry}]}
    (tmp_path / "zoo.yaml").write_text(json.dumps(document))
    with pytest.raises(UsageError, match="must be a path inside the repository") as caught:
        read_registry(tmp_path / "zoo.yaml")
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "model",
    [
        *("hf-hub:../x", "hf-hub:a/..", "hf-hub:a/b/../c", "hf-hub:/etc/x", "hf-hub:C:/x"),
        *("hf-hub:a/b\n", "hf-hub:a/b@../../x", "hf-hub:a/b@refs/../../x", "hf-hub:a/b@/x"),
        *("hf-hub:a/b@x\\y", "hf-hub:a/b@C:x", "hf-hub:a/b@x\ny", "hf-hub:a/b@x\0"),
        *("hf-hub:a/b@x ", "local-dir:a\0b"),
    ],
)
def test_names_of_repositories_and_revisions_are_no_paths(model: str) -> None:
    with pytest.raises(UsageError, match=r"--model must be hf-hub:owner/name"):
        from_models([model])


def test_revisions_of_all_usual_kinds_are_names() -> None:
    for revision in ("main", "v1.0", "refs/pr/12", "feature/x+y", "0" * 40, "模型"):
        assert from_models([f"a/b@{revision}"])[0].revision == revision


def test_a_listing_with_paths_for_names_is_left_out(
    fake_hub: FakeHub, hub_cache: Path, tmp_path: Path
) -> None:
    bad = [
        "../../x",
        "a/..",
        "/etc/x",
        "C:/x",
        "a/b\0",
        "a/b\n",
        "a\\b/c",
        "a/b/../../c",
        "a/\x1b[31m",
    ]
    for name in [*bad, "timm/resnet18.a1_in1k"]:
        fake_hub.listing.add(name, files=["config.json", "model.safetensors", "../../evil"])
    config = json.dumps({"architecture": "resnet18"}).encode()
    commit = fake_hub.add("timm/resnet18.a1_in1k", {"config.json": config})
    fake_hub.listing.rows[-1]["sha"] = commit
    rows = list_repositories(Asked(("timm",), "image-classification")).rows
    assert sum(isinstance(row, Malformed) for row in rows) == len(bad)
    written = tmp_path / "zoo.yaml"
    done = run("discover", "-o", str(written), "--any-author")
    assert done.exit_code == 0, done.output
    assert [one.model for one in read_registry(written)] == ["hf-hub:timm/resnet18.a1_in1k"]
    assert not set(done.output) & set("\x1b\0")
    assert outside(tmp_path, hub_cache, written) == []


@pytest.mark.parametrize("name", ["../../../../evil", "{}/evil", "..", "a\\..\\..\\evil", "C:evil"])
def test_a_hub_does_not_choose_where_files_are_written(
    fake_hub: FakeHub, hub_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The client names files of its cache after the ETag; a mirror of the Hub may say any."""
    commit = fake_hub.add(REPO, FILES)
    for hashed in ("git_sha1", "sha256"):
        monkeypatch.setattr(server, hashed, lambda content: name.format(tmp_path))
    for file in FILES:
        with pytest.raises(HubError, match=r"its (ETag|X-Linked-Etag) is no name of a file"):
            hub.fetch(REPO, commit, [file])
    assert outside(tmp_path, hub_cache) == []


@pytest.mark.parametrize("prefix", ["", "datasets/"])
def test_a_hub_does_not_choose_the_folder_of_a_commit(
    fake_hub: FakeHub,
    hub_cache: Path,
    datasets_cache: Path,
    tmp_path: Path,
    prefix: str,
) -> None:
    fake_hub.add(prefix + REPO, FILES)
    repo = fake_hub.repos[prefix + REPO]
    repo.branches["main"], repo.commits["../../../../evil"] = "../../../../evil", FILES
    with pytest.raises((HubError, UsageError), match="it names no commit"):
        if prefix:
            load(f"hf:{REPO}")
        else:
            hub.resolve(REPO, None)
    assert outside(tmp_path, hub_cache, datasets_cache) == []


# --- links ---------------------------------------------------------------------------------------


def test_links_of_a_local_candidate_are_followed_and_nothing_of_a_private_file_is_told(
    folder: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).rename(elsewhere / name)
        (folder / name).symlink_to(elsewhere / name)
    load_backbone(folder, CPU)
    (elsewhere / "private").write_text("root:PRIVATE:19000:0:99999:7:::\n" * 9)
    for name in ("model.safetensors", "config.json"):
        (folder / name).unlink()
        (folder / name).symlink_to(elsewhere / "private")
        assert "PRIVATE" not in str(refused_folder(folder))


def test_a_link_in_a_snapshot_that_leads_elsewhere_is_not_what_was_promised(
    fake_hub: FakeHub, hub_cache: Path, tmp_path: Path
) -> None:
    commit = fake_hub.add(REPO, FILES)
    config = hub.fetch(REPO, commit).directory / "config.json"
    (tmp_path / "private").write_text("{}{}")
    config.unlink()
    config.symlink_to(tmp_path / "private")
    with pytest.raises(HubError) as caught:
        hub.fetch(REPO, commit)
    assert caught.value.code == "altered"
    assert (tmp_path / "private").read_text() == "{}{}"


def load(spec: str) -> Task:
    return load_task(spec, image_size=8, sizes=Sizes(1000, 1000, 1000), seed=0)


def pictures(folder: Path, count: int = 100) -> Path:
    for i in range(count):
        path = folder / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(datasets.png((i, 0, 7)))
    return folder


def test_links_of_a_task_are_followed_to_images_and_to_nothing_else(tmp_path: Path) -> None:
    task = pictures(tmp_path / "task")
    (tmp_path / "image.png").write_bytes(datasets.png((99, 0, 7)))
    (tmp_path / "private.png").write_text("PRIVATE")
    for name in ("image", "private"):
        (task / "a" / f"{name}.png").symlink_to(tmp_path / f"{name}.png")
    (task / "b" / "zero.png").symlink_to("/dev/zero")
    found = load(str(task))
    seen = torch.cat(
        [part.pixels[:, 0, 4, 4] for part in (found.train, found.validation, found.test)]
    )
    assert 99 in seen.tolist()
    assert sorted(Path(name).name for name in found.unreadable) == ["private.png", "zero.png"]


def test_a_pipe_that_a_manifest_names_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    pictures(tmp_path)
    names = [f"{'ab'[i % 2]}/{i}.png,{'ab'[i % 2]}" for i in range(100)]
    (tmp_path / "task.csv").write_text("\n".join(["image,label", *names, "pipe.png,a"]))
    found: list[Task] = []
    reading = threading.Thread(target=lambda: found.append(load(str(tmp_path / "task.csv"))))
    reading.start()
    reading.join(20)
    waited = reading.is_alive()
    if waited:
        os.close(os.open(pipe, os.O_WRONLY))
        reading.join()
    assert not waited
    assert [name.endswith("pipe.png") for name in found[0].unreadable] == [True]


# --- YAML ----------------------------------------------------------------------------------------

READERS: dict[str, Callable[[Path], object]] = {
    "registry": read_registry,
    "lock": read_lock,
    "policy": read_policy,
}
LINES = ["a: &a0 [x, x, x, x, x, x, x, x, x, x]"]
LINES += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: !!python/object/apply:os.system ['touch marker']", "is not YAML"),
        ("a: !!python/name:os.system", "is not YAML"),
        ("a: !!python/module:antigravity", "is not YAML"),
        ("a: !evil {}", "is not YAML"),
        ("\n".join(LINES), "must stand for fewer than"),
        ("a: &a [*a]", "must stand for fewer than"),
        ("a: " + "[" * 500, "at most 50 levels"),
        ("a: 0x" + "f" * 20_000, "at most 100 digits"),
        ("a: 1" + ":59" * 3000, "at most 100 digits"),
    ],
    ids=["apply", "name", "module", "own", "bomb", "itself", "nested", "base 16", "base 60"],
)
def test_yaml_is_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, text: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.yaml").write_text(text)
    with pytest.raises(UsageError, match=said):
        READERS[kind](tmp_path / "file.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["file.yaml"]
    assert "antigravity" not in sys.modules


# --- images --------------------------------------------------------------------------------------


def large_png(side: int) -> bytes:
    """An image of one colour and one bit, of few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1 + side // 8) * side, 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def test_a_small_file_that_is_a_huge_image_is_not_decoded(tmp_path: Path) -> None:
    task = pictures(tmp_path / "task")
    bomb = large_png(20_000)
    assert len(bomb) < 60_000
    (task / "a" / "bomb.png").write_bytes(bomb)
    assert [Path(name).name for name in load(str(task)).unreadable] == [
        "bomb.png (more than 89,478,485 pixels)"
    ]


def test_an_image_is_no_program_for_ghostscript(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    task = pictures(tmp_path / "task")
    (task / "a" / "program.png").write_bytes(program)
    started: list[object] = []
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", "gs")
    monkeypatch.setattr("subprocess.check_call", lambda *words, **_: started.append(words))
    assert [Path(name).name for name in load(str(task)).unreadable] == ["program.png"]
    assert started == []
    with pytest.raises(OSError), Image.open(task / "a" / "program.png") as image:
        image.load()
    assert started, "Pillow itself would have started it"


# --- what is shown -------------------------------------------------------------------------------


def printable_lines(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


def test_json_holds_every_name_and_no_escape() -> None:
    document = ranking([evaluation(f"a{ESCAPES}\U000e0001", right(60))], name=ESCAPES)
    for text in (to_json(document), ranking_line(document)):
        assert printable_lines(text)
        assert json.loads(text)["task"]["name"] == ESCAPES
        assert json.loads(text)["ranking"][0]["name"] == f"a{ESCAPES}\U000e0001"


def test_errors_hold_no_escape(tmp_path: Path) -> None:
    (tmp_path / "zoo.yaml").write_text(
        f"candidates:\n- model: hf-hub:a/b\n- model: hf-hub:a/c\n  name: {json.dumps(ESCAPES)}\n"
        f"- model: hf-hub:a/d\n  name: {json.dumps(ESCAPES)}\n"
    )
    done = run("rank", "--registry", str(tmp_path / "zoo.yaml"), "--dry-run")
    assert done.exit_code == 2
    assert "?[31m" in done.stderr
    assert printable_lines(done.stderr)


def test_warnings_and_tracebacks_hold_no_escape_and_no_command() -> None:
    write_plainly()
    assert logging.lastResort is not None
    try:
        raise ValueError(f"{ESCAPES}\n::error::x")
    except ValueError:
        record = logging.LogRecord("x", 40, "x", 1, "of %s", (ESCAPES,), sys.exc_info())
    text = logging.lastResort.format(record)
    assert "Traceback" in text
    assert printable_lines(text)
    assert not re.search("^ *::", text, re.MULTILINE)


def test_a_licence_of_config_json_is_short_and_printable(folder: Path) -> None:
    configured(folder, lambda c: c["pretrained_cfg"].update(license=ESCAPES * 99))
    license = load_backbone(folder, CPU).pretrained_license
    assert license is not None
    assert license.isprintable()
    assert len(license) == 100


@pytest.mark.parametrize("address", ["https://evil.example", "www.evil.example", "HTTP://evil"])
def test_an_address_makes_no_link(address: str) -> None:
    text = markdown.prose(f"see {address}")
    assert "://" not in text
    assert "www." not in text


@pytest.mark.parametrize("name", ["=1+1", "a;=1+1", "a; @SUM(1)", "a;b;-1", "\t=1", "a;＝1"])
def test_no_cell_is_a_formula_whatever_parts_cells(name: str) -> None:
    document = ranking([evaluation("a", right(60))], [skipped(name, reason=name)])
    for delimiter in ",;":
        for row in csv.reader(io.StringIO(to_csv(document)), delimiter=delimiter):
            for cell in row:
                assert cell.lstrip()[:1] not in set("=@＝"), cell
                assert re.fullmatch(r"-?[\d.e-]+|(?!\s*[-+]).*", cell), cell


def test_no_line_of_a_table_is_a_command_of_a_workflow() -> None:
    """Lines are broken at the table's width, so that any word can be the first of one."""

    def lines(console: Callable[..., Console]) -> Iterator[str]:
        for shift in range(40, 100, 7):
            reason = "x" * shift + " ::error::pwned ::stop-commands::x ##[error]x " * 6
            text = io.StringIO()
            document = ranking([evaluation("a", right(60))], [skipped(reason=reason)])
            print_table(document, console(file=text, width=100))
            yield from text.getvalue().splitlines()

    def commands(console: Callable[..., Console]) -> list[str]:
        return [line for line in lines(console) if re.match(" *::", line) or "##[" in line]

    assert commands(Console), "the attack works"
    assert commands(PlainConsole) == []


def test_all_that_commands_print_in_lines_is_plain() -> None:
    consoles = [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "selector" / "cli").glob("*.py"))
        if path.name != "plain.py" and re.search(r"(?<!Plain)\bConsole\(", path.read_text())
    ]
    assert consoles == []


# --- secrets -------------------------------------------------------------------------------------


@pytest.fixture
def with_secrets(fake_hub: FakeHub, hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token in the environment, and a password in the address of the Hub."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    url = fake_hub.url.replace("//", f"//user:{PASSWORD}@")
    monkeypatch.setenv("HF_ENDPOINT", url)
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.mark.usefixtures("with_secrets", "waits")
def test_neither_token_nor_password_is_in_anything_that_is_written(
    fake_hub: FakeHub,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    output = tmp_path / "ranking.json"
    command = ["rank", "--task", "builtin:digits", "--model", f"local-dir:{folder}", "--model"]
    command += [REPO, "--preset", "quick", "--steps", "1", "--restarts", "1"]
    command += ["--train-images", "40", "--test-images", "20", "--json", "-o", str(output)]
    monkeypatch.setattr(sys, "argv", ["selector", *command])
    basic = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
    fake_hub.members.add(f"Basic {basic}")
    fake_hub.add(REPO, FILES)
    fake_hub.fault("head", status=503)
    done = run(*command)
    assert done.exit_code == 3, done.output
    assert len(json.loads(done.stdout)["ranking"]) == 1
    assert "thrown while requesting" in caplog.text
    for text in (done.output, output.read_text(), caplog.text):
        assert TOKEN not in text
        assert PASSWORD not in text
        assert basic not in text


def test_the_token_does_not_follow_a_redirect_to_another_host(
    fake_hub: FakeHub, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    fake_hub.add(REPO, FILES)
    fake_hub.fault("info", status=307, headers={"Location": f"{fake_hub.storage_url}/elsewhere"})
    with pytest.raises(HubError):
        hub.resolve(REPO, None)
    assert [request.authorized for request in fake_hub.asked("info")] == [True]
    assert [request.authorized for request in fake_hub.asked("cdn")] == [False]


def test_the_token_does_not_follow_the_next_page_to_another_host(
    fake_hub: FakeHub, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    fake_hub.members.add(TOKEN)
    following = {"Link": f'<{fake_hub.storage_url}/api/models?x>; rel="next"'}
    monkeypatch.setattr(fake_hub.listing, "answer", lambda query, url: ([], following))
    with pytest.raises(HubError):
        list_repositories(Asked(("timm",), ""))
    assert [request.authorized for request in fake_hub.asked("list")] == [True]
    assert [request.authorized for request in fake_hub.asked("cdn")] == [False]


def test_the_token_is_not_sent_in_the_clear_where_the_hub_is_not(
    hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client._prepare()
    huggingface_hub.close_session()
    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.example")
    ways = {
        "https://hub.example/a": "http://hub.example/a",
        "http://hub.example/a": "https://hub.example:444/a",
        "https://hub.example:444/a": "https://hub.example.evil/a",
    }
    seen: dict[str, str | None] = {}

    def answer(request: httpx2.Request) -> httpx2.Response:
        url = str(request.url)
        seen[url] = request.headers.get("Authorization")
        return httpx2.Response(302 if url in ways else 200, headers={"Location": ways.get(url, "")})

    session = get_session()
    monkeypatch.setattr(session, "_transport", httpx2.MockTransport(answer))
    monkeypatch.setattr(session, "_mounts", {})
    session.get("https://hub.example/a", headers={"Authorization": f"Bearer {TOKEN}"})
    assert seen == {"https://hub.example/a": f"Bearer {TOKEN}"} | dict.fromkeys(ways.values())


# --- this machine --------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store, and a folder that are nobody's else."""
    path = tmp_path / "cache" / "measurements.sqlite"
    path.parent.mkdir(mode=0o700)
    path.touch(mode=0o600)
    return path


def test_a_store_of_ones_own_is_trusted(store: Path) -> None:
    assert exposure(store) is None
    assert exposure(store.parent / "not" / "yet") is None
    assert check_private(store, "SELECTOR_CACHE") == ""
    store.chmod(0o644)
    store.parent.chmod(0o755)
    assert exposure(store) is None


@pytest.mark.parametrize("place", ["file", "folder", "sticky folder", "above"])
def test_a_store_that_anyone_can_change_is_refused(store: Path, tmp_path: Path, place: str) -> None:
    above = tmp_path / "cache"
    path = store
    if place == "file":
        store.chmod(0o666)
    elif place == "above":
        path = above / "mine" / "measurements.sqlite"
        path.parent.mkdir(mode=0o700)
        above.chmod(0o777)
    else:
        above.chmod(0o1777 if "sticky" in place else 0o777)
    with pytest.raises(UsageError, match="anyone can write to") as caught:
        check_private(path, "SELECTOR_CACHE")
    assert "SELECTOR_CACHE" in caught.value.hint
    above.chmod(0o1777)
    if place == "above":
        assert exposure(path) is None, "as below /tmp"


def test_a_store_that_is_shared_is_told(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.parent.chmod(0o770)
    assert exposure(store) is None, "the group of this process"
    with monkeypatch.context() as patch:
        patch.setattr("os.getegid", lambda: store.stat().st_gid + 1)
        assert "the group with id" in check_private(store, "SELECTOR_CACHE")
    patched = store.stat().st_uid + 1
    monkeypatch.setattr("os.geteuid", lambda: patched)
    monkeypatch.setattr("selector.trust._ROOT", patched)
    assert "belongs to another user" in check_private(store, "SELECTOR_CACHE")


def test_doctor_tells_who_can_change_the_store_and_the_cache_of_the_hub(
    store: Path, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from selector.doctor import places

    monkeypatch.setattr(places, "_LITTLE_ROOM", 0)
    monkeypatch.setenv("SELECTOR_CACHE", str(store.parent))
    hub_cache.mkdir(parents=True)
    store.unlink()
    assert (places.results().state, places.hub_cache().state) == ("ok", "ok")
    store.parent.chmod(0o777)
    hub_cache.chmod(0o777)
    found = places.results(), places.hub_cache()
    assert [one.state for one in found] == ["problem", "warning"]
    assert all("anyone can write to" in one.finding for one in found)
    assert all("of your own" in one.way_out for one in found)


def test_images_on_disk_have_no_name_and_are_for_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selector.spool.IN_MEMORY", 10)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    rows: Rows = collect(iter([torch.zeros(4, 100)]), 4)
    assert isinstance(rows, FileRows)
    state = os.fstat(rows._file.fileno())
    assert (stat.S_IMODE(state.st_mode), state.st_nlink) == (0o600, 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", ["{}/victim", "../victim", "link/victim"])
def test_a_configuration_that_was_found_does_not_choose_what_is_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    victim, work = tmp_path / "victim", tmp_path / "work"
    victim.write_text("mine")
    work.mkdir()
    (work / "link").symlink_to(tmp_path)
    (work / "ranking.json").write_text(to_json(published()))
    output = value.format(tmp_path)
    (work / "selector.toml").write_text(f'[compare]\noutput = "{output}"\n')
    monkeypatch.chdir(work)
    done = run("compare", "ranking.json", "ranking.json")
    assert done.exit_code == 2
    assert "must lie in the folder of that file" in " ".join(done.stderr.split())
    assert victim.read_text() == "mine"
    named = run("--config", "selector.toml", "compare", "ranking.json", "ranking.json")
    assert named.exit_code == 0, named.output
    assert victim.read_text() != "mine", "a file that is named is meant"


def test_a_configuration_that_was_found_writes_into_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ranking.json").write_text(to_json(published()))
    (tmp_path / "selector.toml").write_text('[compare]\noutput = "out.json"\n')
    monkeypatch.chdir(tmp_path)
    assert run("compare", "ranking.json", "ranking.json").exit_code == 0
    assert (tmp_path / "out.json").exists()


@pytest.mark.usefixtures("waits")
def test_a_pull_request_says_nothing_in_the_name_of_others(
    fake_hub: FakeHub, hub_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_hub.members.add(TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    fake_hub.add(PUBLISHED, {"config.json": b"{}"})
    document = published()
    spoilt = document.model_copy(
        update={
            "task": document.task.model_copy(update={"name": "`@all` [x](http://evil)\n# Heading"}),
            "selector_version": "@all https://evil",
        }
    )
    (tmp_path / "ranking.json").write_text(to_json(spoilt))
    done = run("card", str(tmp_path / "ranking.json"), PUBLISHED, "--push", "--create-pr")
    assert done.exit_code == 0, done.output
    (sent,) = fake_hub.proposals
    assert "\n" not in sent.description
    outside_code = re.sub("`[^`]*`", "", sent.description)
    assert not re.search(r"@all|http|\[x\]|#(?!\d)", outside_code)


# --- the page itself -----------------------------------------------------------------------------


def test_every_test_that_the_threat_model_names_is_there() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`tests/(test_\w+)\.py::(test_\w+)`", text)
    assert len(named) >= 50
    for module, test in named:
        source = (ROOT / "tests" / f"{module}.py").read_text(encoding="utf-8")
        assert f"\ndef {test}(" in source, f"{module}.py has no {test}"


def test_every_test_here_is_in_the_threat_model() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    here = re.findall(
        r"^def (test_\w+)\(", Path(__file__).read_text(encoding="utf-8"), re.MULTILINE
    )
    assert [one for one in here if f"test_security.py::{one}`" not in text] == []
