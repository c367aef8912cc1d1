"""selector doctor: a machine as it should be, and everything that can be wrong with one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from fakehub import fixtures
from fakehub.server import FakeHub
from huggingface_hub import constants
from typer.testing import CliRunner

import selector
from selector import doctor
from selector.cli import app
from selector.doctor import machine, places, software, surroundings
from selector.doctor.check import Check, size_in_words
from selector.store import Store, default_path

fake_hub, hub_cache, waits = fixtures.fake_hub, fixtures.hub_cache, fixtures.waits

TOKEN = "hf_secrettoken"
BASH = shutil.which("bash") or "/bin/bash"

pytestmark = pytest.mark.usefixtures("hub_cache")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, a shell that reserves nothing, and a short look at the speed."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SHELL", "/usr/bin/fish")
    monkeypatch.setattr(machine, "_SECONDS", 0.05)
    monkeypatch.setattr(places, "_LITTLE_ROOM", 2 * 10**9)  # of the machine that runs the tests
    return home


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["doctor", *arguments])


# The command


def test_a_machine_as_it_should_be(fake_hub: FakeHub, tmp_path: Path) -> None:
    result = run()
    assert result.exit_code == 0, result.stdout
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 24
    assert "This machine can work." in result.stdout
    assert result.stdout.count("\nok ") == len(doctor.CHECKS)
    assert selector.__version__ in lines[0]
    assert fake_hub.url in result.stdout
    assert not default_path().exists()  # looking leaves nothing behind


def test_json_for_scripts(fake_hub: FakeHub) -> None:
    result = run("--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["works"] is True
    assert [check["name"] for check in document["checks"]] == [name for name, *_ in doctor.CHECKS]
    checks = {check["name"]: check for check in document["checks"]}
    assert checks["libraries"]["facts"]["torch"] == version("torch")
    assert checks["speed"]["facts"]["images_per_second"] > 0
    assert checks["Hub"]["facts"] == {"state": "reachable", "site": fake_hub.url, "identity": None}
    assert {check["state"] for check in document["checks"]} == {"ok"}


def test_warnings_are_not_the_end_and_problems_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    result = run()
    assert result.exit_code == 0
    assert "This machine can work; 1 of the findings limits it." in result.stdout
    (tmp_path / "file").touch()
    monkeypatch.setenv("SELECTOR_CACHE", str(tmp_path / "file" / "within"))
    result = run()
    assert result.exit_code == 1
    assert "cannot work" in result.stdout
    assert json.loads(run("--json").stdout)["works"] is False


def test_markup_and_control_characters_stay_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/bin/[bold]x\x1b[31m")
    result = run()
    assert "[bold]x?[31m" in result.stdout
    assert "\x1b" not in result.stdout


def test_a_check_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> Check:
        raise RuntimeError("no \x1b\ntracebacks")

    checks = (("a", fails, "problem"), ("b", fails, "warning"), doctor.CHECKS[0])
    monkeypatch.setattr(doctor, "CHECKS", checks)
    a, b, python = doctor.examine()
    assert (a.state, b.state, python.state) == ("problem", "warning", "ok")
    assert a.finding == "could not be looked at: RuntimeError: no ? tracebacks"
    assert not doctor.works((a, b))
    assert doctor.works((b, python))


@pytest.mark.parametrize("module", ["torch", "timm"])
def test_a_broken_library_is_a_line_and_not_a_traceback(
    fake_hub: FakeHub, tmp_path: Path, module: str
) -> None:
    (tmp_path / "broken" / module).mkdir(parents=True)
    text = 'raise OSError("libcudart.so:\\n cannot open")'
    (tmp_path / "broken" / module / "__init__.py").write_text(text)
    path = os.pathsep.join([str(tmp_path / "broken"), str(Path(selector.__file__).parents[1])])
    environment = os.environ | fake_hub.environment(tmp_path / "hf") | {"PYTHONPATH": path}
    result = subprocess.run(
        [sys.executable, "-c", "from selector.cli import main; main()", "doctor"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    flat = " ".join(result.stdout.split())
    assert f"{module} cannot be imported: OSError: libcudart.so: cannot open" in flat
    assert f"pip install --force-reinstall {module}" in flat
    assert "ok Hub " in flat


# Software and machine


def test_versions_of_what_is_missing_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "_OPTIONAL", {"none": "no-such-distribution"})
    check = software.libraries()
    assert check.state == "ok"
    assert check.facts["no-such-distribution"] is None
    assert "no-such-distribution" not in check.finding


def test_the_device_without_cuda(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert machine.device().state == "ok"
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(torch.version, "cuda", None)
    check = machine.device()
    assert check.state == "warning"
    assert "built without CUDA" in check.finding


def test_the_device_with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "H200")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (130 * 10**9, 150 * 10**9))
    check = machine.device()
    assert check.state == "ok"
    assert check.finding == "cuda: H200, 130.0 GB of 150.0 GB free"
    assert check.facts == {"type": "cuda", "free": 130 * 10**9}


def test_a_container_has_the_memory_that_it_is_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "_LIMITS", (str(limit), str(tmp_path / "none")))
    whole = machine.memory()
    limit.write_text("max\n")
    assert machine.memory().facts == whole.facts
    limit.write_text(f"{10**9}\n")
    check = machine.memory()
    assert (check.state, check.facts["memory"]) == ("warning", 10**9)
    assert "1.0 GB of memory" in check.finding
    assert "--max-params" in check.way_out


def test_speed_leaves_the_random_numbers_alone() -> None:
    before = torch.get_rng_state()
    check = machine.speed()
    assert torch.equal(torch.get_rng_state(), before)
    assert check.state == "ok"
    assert f"{check.facts['images_per_second']:g} images/s" in check.finding


def test_gradients_that_are_not_finite_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *given: tuple(g / 0 for g in grad(*given)))
    check = machine.speed()
    assert check.state == "problem"
    assert "not finite" in check.finding


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (25 * 10**8, "2.5 GB")],
)
def test_sizes(size: int, words: str) -> None:
    assert size_in_words(size) == words


# Places


def test_the_store_with_results(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTOR_CACHE", str(home / "kept"))
    Store(default_path()).close()
    check = places.results()
    assert check.state == "ok"
    assert check.finding.startswith("~/kept/measurements.sqlite (SELECTOR_CACHE): ")
    assert check.facts["size"] == default_path().stat().st_size > 0
    default_path().write_bytes(b"something else" * 100)
    check = places.results()
    assert check.state == "problem"
    assert "SELECTOR_CACHE" in check.way_out


def test_full_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(Path.cwd())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**9))
    assert (places.results().state, places.hub_cache().state) == ("ok", "warning")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**6))
    assert (places.results().state, places.hub_cache().state) == ("problem", "warning")
    assert "HF_HUB_CACHE" in places.hub_cache().way_out


def test_the_hub_cache_and_what_a_killed_download_left(fake_hub: FakeHub, hub_cache: Path) -> None:
    from selector import hub

    assert "0 bytes in 0 repositories" in places.hub_cache().finding
    commit = fake_hub.add("acme/tiny", {"config.json": b"{}", "model.safetensors": b"w" * 5000})
    hub.fetch("acme/tiny", commit)
    check = places.hub_cache()
    assert check.state == "ok"
    assert "5.0 kB in 1 repository, " in check.finding
    blob = next((hub_cache / "models--acme--tiny" / "blobs").iterdir())
    blob.with_name(f"{'a' * 64}.1a2b3c4d.incomplete").write_bytes(b"x" * 3000)
    check = places.hub_cache()
    assert check.state == "warning"
    assert check.facts["incomplete"] == 3000
    assert "3.0 kB of unfinished downloads" in check.finding
    assert "hf cache prune" in check.way_out


def test_a_damaged_hub_cache(hub_cache: Path) -> None:
    (hub_cache / "models--acme--broken").mkdir(parents=True)
    check = places.hub_cache()
    assert (check.state, check.facts["damaged"]) == ("warning", 1)
    assert "1 damaged" in check.finding


def test_a_hub_cache_that_is_no_folder(hub_cache: Path) -> None:
    hub_cache.parent.mkdir(parents=True, exist_ok=True)
    hub_cache.write_bytes(b"")
    check = places.hub_cache()
    assert check.state == "warning"
    assert "must be a folder" in check.finding
    assert "HF_HUB_CACHE" in check.way_out


# The Hub


def test_the_hub_knows_whose_token_it_is(
    fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_hub.strangers.add(TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    check = surroundings.hub()
    assert (check.state, check.finding) == ("ok", f"{fake_hub.url} answers, as stranger")
    fake_hub.strangers.clear()
    check = surroundings.hub()
    assert (check.state, check.facts["state"]) == ("warning", "bad_token")
    assert "refuses the token" in check.finding
    assert "HF_TOKEN" in check.way_out
    assert TOKEN not in str(check)
    assert len(fake_hub.asked("whoami")) == 2


def test_a_token_that_no_header_can_hold_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_sécret")
    check = surroundings.hub()
    assert (check.state, check.facts["state"]) == ("warning", "bad_token")
    assert "cret" not in str(check)


def test_a_hub_that_is_down(fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub.fault("list", status=503)
    check = surroundings.hub()
    assert check.state == "warning"
    assert "answers 503" in check.finding
    assert len(fake_hub.asked("list")) == 1
    with FakeHub() as gone:
        pass
    monkeypatch.setattr(constants, "ENDPOINT", gone.url)
    check = surroundings.hub()
    assert check.state == "warning"
    assert gone.url in check.finding
    assert "built-in" in check.way_out


def test_something_else_than_a_hub(fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    for page in (b"<html>log in</html>", b'{"error": "no"}'):
        monkeypatch.setattr(
            "fakehub.server._HubHandler._send_json",
            lambda self, document, headers=None, page=page: self.send(200, page),
        )
        check = surroundings.hub()
        assert check.state == "warning"
        assert "must answer as a Hub does" in check.finding


def test_a_hub_that_never_answers_is_not_waited_for(
    fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings, "_HUB_SECONDS", 0.3)
    fake_hub.fault("list", status=0)
    began = time.monotonic()
    check = surroundings.hub()
    assert time.monotonic() - began < 3
    assert check.state == "warning"
    assert "does not answer within 0.3 seconds" in check.finding


def test_offline_is_said_and_nothing_asked(
    fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    check = surroundings.hub()
    assert check.state == "warning"
    assert "HF_HUB_OFFLINE" in check.finding
    assert fake_hub.requests == []


# The shell, with a real bash and real start-up files


@pytest.fixture
def zsh(tmp_path: Path) -> str:
    """What is called zsh here is bash: which shell it is, only its name says."""
    (tmp_path / "zsh").symlink_to(BASH)
    return str(tmp_path / "zsh")


def started(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Check]:
    def look(shell: str, rc: str) -> Check:
        (home / ".bashrc").write_text(rc)
        monkeypatch.setenv("SHELL", shell)
        return surroundings.shell()

    return look


def test_the_alias(home: Path, monkeypatch: pytest.MonkeyPatch, zsh: str) -> None:
    look = started(home, monkeypatch)
    alias = "alias select='command select'\n"
    assert look(BASH, alias).state == "ok"
    assert look(zsh, f"echo welcome; {alias}").finding == "zsh has the alias for `select`"
    check = look(BASH, "alias selected=ls\n")
    assert check.state == "warning"
    assert "~/.bashrc" in check.way_out
    assert "shell-init bash" in check.way_out
    assert "shell-init zsh" in look(zsh, "").way_out


@pytest.mark.parametrize("name", ["fish", "dash", "sh"])
def test_shells_that_do_not_reserve_the_word(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("SHELL", f"/nowhere/{name}")
    assert surroundings.shell().state == "ok"


@pytest.mark.parametrize("shell", ["/bin/ksh", "", "/nowhere/bash"])
def test_unknown_is_said_as_unknown(monkeypatch: pytest.MonkeyPatch, shell: str) -> None:
    monkeypatch.setenv("SHELL", shell)
    check = surroundings.shell()
    assert check.state == "warning"
    assert check.finding.startswith("unknown whether")
    assert "`selector`" in check.way_out


@pytest.mark.parametrize("rc", ["exit 0\n", "echo welcome; exit 0\n", "exec true\n"])
def test_a_start_up_that_ends_the_shell(
    home: Path, monkeypatch: pytest.MonkeyPatch, rc: str
) -> None:
    assert started(home, monkeypatch)(BASH, rc).finding.startswith("unknown whether")


def test_a_start_up_that_hangs_or_leaves_something_behind(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = started(home, monkeypatch)
    began = time.monotonic()
    rc = "sleep 4 & disown\nalias select='command select'\n"
    assert look(BASH, rc).state == "ok"
    assert time.monotonic() - began < 3
    monkeypatch.setattr(surroundings, "_SHELL_SECONDS", 0.3)
    began = time.monotonic()
    assert look(BASH, "read line < /dev/zero\nsleep 9\n").finding.startswith("unknown whether")
    assert time.monotonic() - began < 3
