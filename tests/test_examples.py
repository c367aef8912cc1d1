"""The examples do what they say: nightly.sh in earnest, the others by their parts."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import typer.main
import warm
import yaml
from builders import evaluation, ranking, right
from fakehub import fixtures
from fakehub.server import FakeHub
from huggingface_hub import ModelCard
from test_curation import RESNET, VIT, weights

from selector.cli import app
from selector.reports.document import to_json

fake_hub = fixtures.fake_hub

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]

BROKEN = "timm/resnet18.a1_in1k"
SMALL = "--image-size 32 --train-images 60 --test-images 20 --steps 2 --restarts 1 --preset quick"


# Options exist


def invocations(text: str) -> Iterator[list[str]]:
    """The words of every call of selector in a text of shell commands; comments say none."""
    text = re.sub(r"\\\n\s*", " ", text)
    for line in text.splitlines():
        for found in re.finditer(r"(?:^|run |if |! |\| |&& |- )\s*(selector [^|;&>`#]*)", line):
            if not line.lstrip().startswith("#"):
                yield shlex.split(found[1].replace("$(", "").replace(")", ""))


def scripts() -> dict[str, str]:
    """The parts of the examples that a shell runs."""
    workflow = yaml.safe_load((EXAMPLES / "nightly.yml").read_text(encoding="utf-8"))
    steps = workflow["jobs"]["rank"]["steps"]
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    return {
        "nightly.sh": (EXAMPLES / "nightly.sh").read_text(encoding="utf-8"),
        "nightly.yml": "\n".join(step.get("run", "") for step in steps),
        "README.md": "\n".join(re.findall(r"```sh\n(.*?)```", readme, re.DOTALL)),
    }


def options_of(command: str) -> set[str]:
    return {option for one in COMMANDS[command].params for option in one.opts + one.secondary_opts}


def test_every_call_of_selector_is_seen() -> None:
    called = [words[1] for words in invocations(scripts()["nightly.sh"])]
    assert called == ["discover", "lock", "rank", "report", "compare", "gate", "card"]
    assert [words[1] for words in invocations(scripts()["README.md"])] == ["card"]


@pytest.mark.parametrize("name", ["nightly.sh", "nightly.yml", "README.md"])
def test_every_command_and_option_exists(name: str) -> None:
    for words in invocations(scripts()[name]):
        _, command, *others = words
        given = {word for word in others if word.startswith("-") and word != "--"}
        assert given <= options_of(command), f"{name}: selector {command}"


def test_more_options_of_the_workflow_exist() -> None:
    workflow = yaml.safe_load((EXAMPLES / "nightly.yml").read_text(encoding="utf-8"))
    given = shlex.split(workflow["jobs"]["rank"]["env"]["RANK_OPTIONS"])
    assert set(given[::2]) <= options_of("rank")


def test_keys_of_the_policy_are_options_of_the_gate() -> None:
    policy = yaml.safe_load((EXAMPLES / "policy.yaml").read_text(encoding="utf-8"))
    assert set(policy) == {"min_attacked_accuracy", "license", "max_params", "max_skipped"}
    assert {f"--{key.replace('_', '-')}" for key in policy} <= options_of("gate")


# The workflow


def test_the_workflow_may_only_read_and_runs_what_is_there() -> None:
    workflow = yaml.safe_load((EXAMPLES / "nightly.yml").read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    assert set(workflow[True]) == {"schedule", "workflow_dispatch"}  # YAML reads `on` as true
    (cron,) = workflow[True]["schedule"]
    assert re.fullmatch(r"[\d*]+( [\d*]+){4}", cron["cron"])
    job = workflow["jobs"]["rank"]
    (night,) = (step["run"] for step in job["steps"] if "nightly.sh" in step.get("run", ""))
    assert "examples/nightly.sh nightly" in night
    assert os.access(EXAMPLES / "nightly.sh", os.X_OK)
    assert job["env"]["GATE_FORMAT"] == "github"
    uses = {
        step["uses"].partition("@")[0]: step.get("with", {})
        for step in job["steps"]
        if "uses" in step
    }
    assert uses["actions/cache/restore"]["path"] == uses["actions/cache/save"]["path"]
    assert uses["actions/cache/restore"]["key"] == uses["actions/cache/save"]["key"]
    for variable in ("HF_HOME", "SELECTOR_CACHE"):
        folder = job["env"][variable].removeprefix("${{ github.workspace }}/")
        assert folder in uses["actions/cache/save"]["path"].split()
    kept = {"nightly/ranking.json", "nightly/report.html"}
    assert kept <= set(uses["actions/upload-artifact"]["path"].split())


def test_the_workflow_takes_a_hub_that_is_down_for_no_failure(tmp_path: Path) -> None:
    workflow = yaml.safe_load((EXAMPLES / "nightly.yml").read_text(encoding="utf-8"))
    runs = [step.get("run", "") for step in workflow["jobs"]["rank"]["steps"]]
    (night,) = (run for run in runs if "nightly.sh" in run)
    (tmp_path / "examples").mkdir()
    script = tmp_path / "examples" / "nightly.sh"
    for code, expected in ((0, 0), (75, 0), (4, 4), (2, 2)):
        script.write_text(f"#!/bin/sh\nexit {code}\n", encoding="utf-8")
        script.chmod(0o755)
        done = subprocess.run(
            ["bash", "-e", "-c", night], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == expected
        assert done.stdout.startswith("::warning::") == (code == 75)


# The night


class Night:
    """nightly.sh with the environment of a machine that has the fake Hub and no other."""

    def __init__(self, hub: FakeHub, folder: Path) -> None:
        self.state = folder / "state"
        bin = folder / "bin"
        bin.mkdir()
        warm.program(bin)
        self.environment = os.environ | hub.environment(folder / "hf")
        self.environment |= {
            "PATH": f"{bin}:{os.environ['PATH']}",
            "SELECTOR_CACHE": str(folder / "cache"),
            "OMP_NUM_THREADS": "1",
            "NO_COLOR": "1",
            "TERM": "dumb",
            "TASK": "builtin:digits",
            "RANK_OPTIONS": SMALL,
        }

    def run(self, **more: str) -> subprocess.CompletedProcess[str]:
        """One night."""
        return subprocess.run(
            [EXAMPLES / "nightly.sh", self.state],
            capture_output=True,
            text=True,
            env=self.environment | more,
        )

    def ranking(self) -> str:
        """The ranking in use."""
        return (self.state / "ranking.json").read_text(encoding="utf-8")


def policy(folder: Path, **required: object) -> str:
    """The path of a policy."""
    path = folder / "required.yaml"
    path.write_text(yaml.safe_dump(required), encoding="utf-8")
    return str(path)


def test_nights(fake_hub: FakeHub, tmp_path: Path) -> None:
    for repo_id, architecture in ((VIT, "test_vit"), (RESNET, "test_resnet")):
        commit = fake_hub.add(repo_id, weights(architecture, tmp_path / architecture))
        fake_hub.listing.add(repo_id, sha=commit, parameters=400_000)
    night = Night(fake_hub, tmp_path)
    lenient = policy(tmp_path, license=["apache-2.0"], max_skipped=1)

    # Two candidates, nothing in the way.
    done = night.run(POLICY=lenient)
    assert done.returncode == 0, done.stderr
    first = json.loads(night.ranking())
    names = [row["name"] for row in first["ranking"]]
    assert sorted(names) == sorted((VIT, RESNET))
    pins = yaml.safe_load((night.state / "zoo.lock.yaml").read_text(encoding="utf-8"))
    assert {f"{p['model']}@{p['commit']}" for p in pins["candidates"]} == {
        row["model"] for row in first["ranking"]
    }
    assert not (night.state / "ranking.new.json").exists()
    choice = first["choice"]["name"]
    assert f"nightly: chosen: {choice}" in done.stderr
    metadata = (night.state / "card.yaml").read_text(encoding="utf-8")
    card = ModelCard(f"---\n{metadata}---\n").data
    assert card.model_name == choice
    assert card.eval_results[0].metric_value == first["choice"]["attacked_accuracy"]
    assert all(request.method in ("GET", "HEAD") for request in fake_hub.requests)

    # A new candidate cannot be measured, and the policy lets that pass; yesterday's means what it
    # meant, although it is broken today.
    fake_hub.add(BROKEN, {"config.json": b"{}"})
    fake_hub.listing.add(BROKEN)
    fake_hub.add(VIT, {"config.json": b"{}"})
    done = night.run(POLICY=lenient)
    assert done.returncode == 0, done.stderr
    assert "some candidates could not be looked up" in done.stderr
    assert "some candidates could not be measured" in done.stderr
    second = night.ranking()
    assert [row["model"] for row in json.loads(second)["ranking"]] == [
        row["model"] for row in first["ranking"]
    ]
    assert [row["name"] for row in json.loads(second)["skipped"]] == [BROKEN]
    previous = (night.state / "ranking.previous.json").read_text(encoding="utf-8")
    assert json.loads(previous) == first

    # A policy that nothing fulfils.
    strict = policy(tmp_path, min_attacked_accuracy=1.0)
    done = night.run(POLICY=strict)
    assert done.returncode == 4, done.stderr
    assert "the policy is violated" in done.stderr
    assert night.ranking() == second


def test_a_gate_that_closes_keeps_the_ranking_in_use(tmp_path: Path) -> None:
    """Only what the script makes of exit codes: every command is a stand-in."""
    (tmp_path / "selector").write_text(
        """#!/bin/sh
echo "$1" >> called
case $1 in
    rank) echo tonight > ranking.new.json; exit 3 ;;
    lock) exit 3 ;;
    gate) exit "$GATE" ;;
    compare) exit 2 ;;
esac
""",
        encoding="utf-8",
    )
    (tmp_path / "selector").chmod(0o755)
    state = tmp_path / "state"
    state.mkdir()
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TASK": "builtin:digits"}
    for code in (4, 2):
        (state / "ranking.json").write_text("yesterday's", encoding="utf-8")
        done = subprocess.run(
            [EXAMPLES / "nightly.sh", state],
            capture_output=True,
            text=True,
            env=environment | {"GATE": str(code)},
        )
        assert done.returncode == code, done.stderr
        assert "cannot be compared" in done.stderr
        assert (state / "ranking.json").read_text(encoding="utf-8") == "yesterday's"
        assert (state / "ranking.new.json").read_text(encoding="utf-8") == "tonight\n"
        assert not (state / "compare.md").exists()
    called = (state / "called").read_text(encoding="utf-8").split()
    assert called == ["discover", "lock", "rank", "report", "compare", "gate"] * 2


def test_a_hub_that_is_down_leaves_everything_as_it_was(fake_hub: FakeHub, tmp_path: Path) -> None:
    night = Night(fake_hub, tmp_path)
    night.state.mkdir()
    (night.state / "ranking.json").write_text("yesterday's", encoding="utf-8")
    fake_hub.fault("list", status=503)
    # The Hub client waits half a minute in all before it gives up.
    (tmp_path / "sitecustomize.py").write_text(
        "import time\nsleep = time.sleep\ntime.sleep = lambda seconds: sleep(min(seconds, 0.01))\n",
        encoding="utf-8",
    )
    done = night.run(PYTHONPATH=str(tmp_path))
    assert done.returncode == 75, done.stderr
    assert "the Hub is down; ranking.json stays as it was" in done.stderr
    assert night.ranking() == "yesterday's"


def test_a_night_needs_a_task_and_a_folder(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"]}
    for arguments, more, words in (
        ([str(tmp_path)], {}, "must name labelled images"),
        ([], {"TASK": "builtin:digits"}, "must be a folder"),
    ):
        done = subprocess.run(
            [EXAMPLES / "nightly.sh", *arguments],
            capture_output=True,
            text=True,
            env=environment | more,
        )
        assert done.returncode != 0
        assert words in done.stderr


# The consumer


def curate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("curate", EXAMPLES / "curate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_best_group_of_each_licence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = []
    for name, robust, license, flags in (
        ("best", 90, "apache-2.0", ()),
        ("equal", 89, "Apache-2.0", ()),
        ("worse", 40, "apache-2.0", ()),
        ("free\tof charge", 38, "mit", ()),
        ("secret", 10, None, ()),
        ("blind", 99, "bsd", ("masked_gradients",)),
    ):
        e = evaluation(name, right(robust), flags=flags)
        described = e.provenance.model_copy(update={"license": license})
        rows.append(e.model_copy(update={"provenance": described}))
    path = tmp_path / "ranking.json"
    path.write_text(to_json(ranking(rows)), encoding="utf-8")
    assert curate().main([str(path)]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split("\t")[:2] == ["licence", "backbone"]
    assert [line.split("\t")[:4] for line in lines] == [
        ["apache-2.0", "best", "1", "0.900"],
        ["apache-2.0", "equal", "1", "0.890"],
        ["mit", "free?of charge", "2", "0.380"],
        ["not stated", "secret", "3", "0.100"],
    ]
    assert curate().main([]) == 2
