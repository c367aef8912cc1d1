"""The command line as a person meets it: separate processes, their streams and exit codes."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import termios
import time
from importlib.resources import files
from pathlib import Path

import builders
import jsonschema
import numpy as np
import pytest
import warm
from fakehub import fixtures
from fakehub.server import FakeHub
from PIL import Image
from typer.testing import CliRunner, Result

from selector.cli import app
from selector.reports.document import to_json

fake_hub = fixtures.fake_hub

ZOO = Path(str(files("selector.demo") / "zoo"))
ROBUST, ORDINARY = "tiny_vit.cifar10_linf_8", "tiny_vit.cifar10"
SMALL = ("--preset", "quick", "--steps", "2", "--restarts", "1", "--test-images", "20")
DIGITS = ("--task", "builtin:digits", "--image-size", "32", "--train-images", "60", *SMALL)
BIN = Path(sys.executable).parent


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A machine without Hub, without caches, without colours."""
    return os.environ | {
        "SELECTOR_CACHE": str(tmp_path / "cache"),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "NO_COLOR": "1",
        "TERM": "dumb",
    }


def selector(*arguments: object, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return warm.run(arguments, env=env)


def installed(
    *arguments: object, env: dict[str, str], program: str = "selector"
) -> subprocess.CompletedProcess[str]:
    """The console script, from a cold start."""
    return subprocess.run(
        [str(BIN / program), *map(str, arguments)], capture_output=True, text=True, env=env
    )


def in_process(*arguments: object, env: dict[str, str]) -> Result:
    """The same without waiting for the libraries once more."""
    return CliRunner().invoke(app, list(map(str, arguments)), env=env)


def local(name: str) -> str:
    return f"local-dir:{ZOO / name}"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes that a network can tell apart: dark and bright noise."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 6)):
        for name, centre in (("dark", 60), ("bright", 190)):
            folder = tmp_path / "photos" / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = generator.normal(centre, 20, (40, 48, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path / "photos"


def test_a_ranking_in_all_its_forms(environment: dict[str, str], tmp_path: Path) -> None:
    models = ("--model", local(ROBUST), "--model", local(ORDINARY))
    output = tmp_path / "ranking.json"

    first = selector("rank", *DIGITS, *models, "--json", "-o", output, env=environment)
    assert first.returncode == 0, first.stderr
    document = json.loads(first.stdout)
    assert json.loads(output.read_text()) == document
    assert "measured in" in first.stderr

    schema = selector("schema", env=environment)
    jsonschema.validate(document, json.loads(schema.stdout))
    assert [entry["rank"] for entry in document["ranking"]] == [1, 2]
    assert document["ranking"][0]["provenance"]["files"][0]["sha256"]
    assert document["command"][0] == "selector"

    again = installed("rank", *DIGITS, *models, env=environment, program="select")
    assert again.returncode == 0
    assert again.stderr.count("kept from an earlier run") == 2
    assert ROBUST in again.stdout
    assert document["choice"]["sentence"].split(":")[0] in " ".join(again.stdout.split())
    assert max(map(len, again.stdout.splitlines())) <= 100

    fewer = in_process(
        "rank", *DIGITS, *models, "--objective", "parameters", "--json", env=environment
    )
    assert fewer.stderr.count("kept from an earlier run") == 2, (
        "what is ranked by is no measurement"
    )
    by_size = json.loads(fewer.stdout)
    jsonschema.validate(by_size, json.loads(schema.stdout))
    assert (document["objective"], document["objective_kind"]) == ("attacked", "attacked")
    assert (by_size["objective"], by_size["objective_kind"]) == ("parameters", "clean")
    assert by_size["choice"]["sentence"].startswith("By number of parameters: ")
    for entry in by_size["ranking"]:
        assert entry["score"] == entry["provenance"]["parameters"]
        # Two of one architecture.
        assert entry["rank_interval"] == [1, 2]

    probed = in_process("rank", *DIGITS, *models[:2], "--head", "probe", "--json", env=environment)
    assert "kept" not in probed.stderr, "another head is another measurement"
    by_probe = json.loads(probed.stdout)
    assert by_probe["protocol"]["head"] == "probe"
    (entry,) = by_probe["ranking"]
    assert entry["head"] == entry["probe"]
    assert entry["score"] == pytest.approx(entry["probe"]["attacked_accuracy"]["value"])

    fresh = in_process("rank", *DIGITS, *models, "--fresh", "--json", env=environment)
    assert "kept" not in fresh.stderr
    repeated = json.loads(fresh.stdout)["ranking"]
    for entry in (*repeated, *document["ranking"]):
        del entry["cost"]
    assert repeated == document["ranking"]


def test_the_demonstration_announces_itself(environment: dict[str, str]) -> None:
    only = ("--only", "tiny_vit.r*")
    result = selector("rank", *SMALL, "--train-images", "60", *only, env=environment)
    assert result.returncode == 0, result.stderr
    assert "Built-in demonstration" in result.stderr
    assert "--task DIR" in result.stderr
    for folder in ZOO.iterdir():
        assert (folder.name in result.stdout) == (folder.name == "tiny_vit.random")


def test_broken_candidates_are_rows_and_the_rest_is_ranked(
    environment: dict[str, str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(ZOO / ORDINARY, broken)
    weights = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    arguments = ("--model", local(ROBUST), "--model", f"local-dir:{broken}")
    result = selector(
        "rank", *DIGITS, *arguments, "--model", "local-dir:/nowhere", "--json", env=environment
    )
    assert result.returncode == 3, result.stderr
    document = json.loads(result.stdout)
    assert [entry["name"] for entry in document["ranking"]] == [ROBUST]
    assert [row["code"] for row in document["skipped"]] == ["unreadable_weights", "not_found"]
    assert "safetensors" in result.stderr


def test_nothing_ranked_is_exit_code_1(environment: dict[str, str]) -> None:
    result = selector("rank", *DIGITS, "--model", "local-dir:/nowhere", env=environment)
    assert result.returncode == 1
    assert "not_found" in result.stdout


def test_a_wrong_argument_does_not_wait_for_torch(environment: dict[str, str]) -> None:
    # A torch that cannot be imported shows that nobody tried.
    (blocked := Path(environment["HF_HOME"]) / "torch.py").parent.mkdir(parents=True)
    blocked.write_text("raise SystemExit('torch was imported')", encoding="utf-8")
    path = {"PYTHONPATH": str(blocked.parent)}
    for arguments in (("--registry", "/nowhere.yaml"), ("--eps", "four"), ("--max-params", "x")):
        result = installed("rank", *arguments, env=environment | path)
        assert result.returncode == 2, result.stderr
        assert arguments[0] in result.stderr
    assert "torch was imported" in installed("rank", env=environment | path).stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--eps", "0"), ("--eps", "above 0")),
        (("--eps", "8"), ("--eps 8/255",)),
        (("--eps", "four"), ("--eps", "four")),
        (("--task", "/nowhere"), ("--task", "/nowhere", "DIR/train/CLASS")),
        (("--task", "builtin:cats"), ("builtin:", "digits")),
        (("--device", "abacus"), ("--device", "abacus", "auto")),
        (("--attack", "fgsm"), ("--attack", "apgd")),
        (("--objective", "luck"), ("--objective", "attacked", "criterion", "clean", "'luck'")),
        (("--head", "best"), ("--head", "recommended", "probe", "bound-optimal", "'best'")),
        (("--head", "0.3"), ("--head", "0, 0.25, 0.5, 0.75, 1,", "'0.3'")),
        (("--top", "1", "--objective", "clean"), ("--top", "--objective attacked", "'clean'")),
        (("--budget", "9m", "--objective", "bound"), ("--budget", "--objective attacked")),
        (("--confidence", "0.9"), ("--confidence", "--top K or --budget")),
        (("--top", "2", "--confidence", "1"), ("--confidence", "below 1", "leave out --top")),
        (("--eps", "1/255,1/255"), ("--eps", "linf 1/255 twice")),
        (("--restarts", "0"), ("--restarts", "at least 1")),
        (("--registry", "/nowhere.yaml"), ("--registry", "/nowhere.yaml")),
        (("--model", "no such form"), ("--model", "owner/name")),
        (("-o", "/nowhere/r.json"), ("--output", "/nowhere")),
        (("--image-size", "4"), ("--image-size", "at least 8")),
        (("--locked",), ("--locked", "--registry")),
        (("--image-size", "0"), ("--image-size", "at least 8")),
        (("--max-params", "9" * 400), ("--max-params", "100M")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_wrong_arguments_are_named_with_the_way_out(
    arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    result = CliRunner().invoke(app, ["rank", *arguments])
    assert result.exit_code == 2
    assert result.stdout == ""
    for word in words:
        assert word in " ".join(result.stderr.split())


def test_a_cache_that_cannot_be_used_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "measurements.sqlite").write_bytes(b"something else" * 100)
    arguments = (*DIGITS, "--model", local(ORDINARY))
    result = selector("rank", *arguments, env=environment | {"SELECTOR_CACHE": str(tmp_path)})
    assert result.returncode == 2
    assert "SELECTOR_CACHE" in result.stderr
    assert "Traceback" not in result.stderr


def test_own_photos_with_an_unreadable_one_and_one_class(
    environment: dict[str, str], photos: Path
) -> None:
    (photos / "train" / "dark" / "0.png").write_bytes(b"not an image")
    arguments = ("--image-size", "32", "--norm", "l2", "--eps", "0.3", *SMALL)
    model = ("--model", local(ORDINARY))
    result = selector("rank", "--task", photos, *model, *arguments, env=environment)
    assert result.returncode == 0, result.stderr
    assert "1 images cannot be read" in result.stderr
    assert "l2 0.3" in result.stdout

    shutil.rmtree(photos / "train" / "bright")
    result = selector("rank", "--task", photos, *model, *arguments, env=environment)
    assert result.returncode == 2
    assert "at least two classes" in result.stderr


def test_hub_candidates_are_pinned_and_a_gated_one_is_a_row(
    environment: dict[str, str], fake_hub: FakeHub, tmp_path: Path
) -> None:
    content = {path.name: path.read_bytes() for path in (ZOO / ROBUST).iterdir()}
    commit = fake_hub.add("acme/robust", content)
    fake_hub.add("acme/gated", content, gated=True)
    online = environment | fake_hub.environment(tmp_path / "hf")
    models = ("--model", "acme/robust", "--model", "hf-hub:acme/gated", "--model", "acme/none")
    result = selector("rank", *DIGITS, *models, "--json", env=online)
    assert result.returncode == 3, result.stderr
    document = json.loads(result.stdout)
    entry = document["ranking"][0]
    assert entry["model"] == f"hf-hub:acme/robust@{commit}"
    assert entry["provenance"]["commit"] == commit
    assert [row["code"] for row in document["skipped"]] == ["gated", "not_found"]

    asked = len(fake_hub.requests)
    pinned = ("--model", f"acme/robust@{commit}", "--offline")
    offline = selector("rank", *DIGITS, *pinned, "--json", env=online)
    assert offline.returncode == 0, offline.stderr
    assert len(fake_hub.requests) == asked


def test_a_hub_that_is_down_is_exit_code_75(environment: dict[str, str], tmp_path: Path) -> None:
    with FakeHub() as gone:
        down = environment | gone.environment(tmp_path / "hf")
    pinned = f"acme/robust@{'0' * 40}"
    result = selector("rank", *DIGITS, "--model", pinned, env=down)
    assert result.returncode == 75, result.stderr
    assert "hub_unavailable" in result.stdout


def test_help_names_both_the_task_and_the_exit_codes(environment: dict[str, str]) -> None:
    top = installed("--help", env=environment)
    assert top.returncode == 0
    assert "75 the Hub is down" in " ".join(top.stdout.split())
    rank = selector("rank", "--help", env=environment)
    assert "--eps" in rank.stdout


def test_python_runs_the_package_as_the_same_program(environment: dict[str, str]) -> None:
    line = (sys.executable, "-m", "selector", "--version")
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == installed("--version", env=environment).stdout


def test_shell_init_makes_the_reserved_word_work_in_bash(environment: dict[str, str]) -> None:
    script = 'shopt -s expand_aliases\neval "$(selector shell-init bash)"\nselect --version\n'
    path = f"{BIN}:{environment['PATH']}"
    result = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env=environment | {"PATH": path}
    )
    assert result.stdout.startswith("selector "), result.stderr
    assert "complete" in selector("shell-init", "bash", env=environment).stdout


# --- output that nobody takes -------------------------------------------------------------------


@pytest.fixture
def ranked(tmp_path: Path) -> Path:
    path = tmp_path / "ranking.json"
    path.write_text(to_json(builders.ranking([builders.evaluation("a")])), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("to", "words"), [(">/dev/full", "No space left"), (">&-", "stdout must be open")]
)
def test_output_that_cannot_be_written_is_one_line_and_its_own_code(
    environment: dict[str, str], ranked: Path, to: str, words: str
) -> None:
    command = f"{BIN / 'selector'} gate {ranked} --max-skipped 0 {to}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=environment)
    assert done.returncode == 74
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_enough_is_no_fault(
    environment: dict[str, str], tmp_path: Path, ranked: Path
) -> None:
    output = tmp_path / "whole.json"
    rank = ("rank", *DIGITS, "--model", local("tiny_vit.random"), "-o", output)
    for command in (("schema",), ("explain", "a", ranked), (*rank, "--format", "jsonl")):
        words = " ".join(map(str, (BIN / "selector", *command)))
        # A pipe that nobody reads: `true` has ended before anything is written.
        piped = f"(sleep 0.2; {words}; echo $? >&2) | true"
        done = subprocess.run(["sh", "-c", piped], capture_output=True, text=True, env=environment)
        assert done.stderr.splitlines()[-1] == "0", done.stderr
        assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr
    assert json.loads(output.read_text(encoding="utf-8"))["ranking"]


def test_a_signal_while_a_result_is_printed_has_its_code(environment: dict[str, str]) -> None:
    reading, writing = os.pipe()
    room = fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    command = [str(BIN / "selector"), "schema"]
    with subprocess.Popen(
        command, env=environment, stdout=writing, stderr=subprocess.PIPE, text=True
    ) as process:
        until = time.monotonic() + 30
        waiting = bytearray(4)
        # It is printing once the pipe, which nobody reads, is full.
        while int.from_bytes(waiting, sys.byteorder) < room:
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.01)
            fcntl.ioctl(reading, termios.FIONREAD, waiting)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    os.close(reading)
    os.close(writing)
    assert process.returncode == 143
    assert said.startswith("terminated: ") and "Traceback" not in said


def test_a_folder_that_takes_no_file_is_named_before_anything_is_measured(ranked: Path) -> None:
    result = CliRunner().invoke(app, ["compare", str(ranked), str(ranked), "-o", "/proc/x"])
    assert result.exit_code == 2
    assert "--output must lie in a folder that can be written, found /proc" in result.stderr
