"""Pull requests with the real Hub client against a Hub on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from fakehub import fixtures
from fakehub.server import FakeHub
from huggingface_hub import ModelCard, constants
from test_card import REPO, index_of, published
from typer.testing import CliRunner, Result

from selector.cli import app
from selector.reports.card import RESULTS, eval_results, into_readme, to_yaml
from selector.reports.document import to_json

fake_hub, hub_cache, waits = fixtures.fake_hub, fixtures.hub_cache, fixtures.waits

TOKEN, READ_ONLY = "hf_secrettoken", "hf_readonlytoken"
CARD = b"---\nlicense: mit\n---\n\n# Tiny\n"
WRITES = ("validate", "preupload", "commit")

pytestmark = pytest.mark.usefixtures("hub_cache", "waits")


@pytest.fixture
def commit(fake_hub: FakeHub, hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A repository with a card, and the token of someone who may propose changes to it."""
    fake_hub.members.add(TOKEN)
    fake_hub.strangers.add(READ_ONLY)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return fake_hub.add(REPO, {"README.md": CARD, "config.json": b"{}"})


def push(tmp_path: Path, *options: str) -> Result:
    """The command with --push, whose output can be shown to anyone."""
    path = tmp_path / "ranking.json"
    path.write_text(to_json(published()), encoding="utf-8")
    done = CliRunner().invoke(app, ["card", str(path), REPO, "--push", "--create-pr", *options])
    assert TOKEN not in done.output
    assert READ_ONLY not in done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done


def refused(done: Result, hub: FakeHub, code: int, words: str) -> None:
    """It failed with this exit code and these words, and changed nothing."""
    assert (done.exit_code, done.stdout) == (code, "")
    assert words in " ".join(done.stderr.split())
    assert hub.proposals == []


def test_a_pull_request_with_the_model_index(
    fake_hub: FakeHub, commit: str, tmp_path: Path
) -> None:
    done = push(tmp_path)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == f"{fake_hub.url}/{REPO}/discussions/1\n"
    (sent,) = fake_hub.proposals
    assert (sent.repo_id, sent.parent, sent.pull_request) == (REPO, commit, True)
    assert "upper estimates" in sent.description
    assert set(sent.files) == {"README.md"}
    text = sent.files["README.md"].decode()
    assert text == into_readme(CARD.decode(), index_of(published()))
    assert [one.metric_value for one in ModelCard(text).data.eval_results] == [0.7, 0.6, 1.25, 0.95]
    repo = fake_hub.repos[REPO]
    assert repo.branches["main"] == commit
    assert repo.commits[repo.branches["refs/pr/1"]]["README.md"].decode() == text


def test_a_pull_request_with_an_eval_results_file(
    fake_hub: FakeHub, commit: str, tmp_path: Path
) -> None:
    done = push(tmp_path, "--format", "eval-results", "-o", str(tmp_path / "results.yaml"))
    assert done.exit_code == 0
    (sent,) = fake_hub.proposals
    document = published()
    entries = eval_results(document, document.ranking[0])
    assert {name: yaml.safe_load(text) for name, text in sent.files.items()} == {RESULTS: entries}
    assert (tmp_path / "results.yaml").read_bytes() == sent.files[RESULTS]
    assert sent.pull_request
    assert fake_hub.repos[REPO].branches["main"] == commit


def test_the_token_of_a_login_serves_and_a_repository_without_a_card_gets_one(
    fake_hub: FakeHub, tmp_path: Path
) -> None:
    fake_hub.members.add(TOKEN)
    fake_hub.add(REPO, {"config.json": b"{}"})
    Path(constants.HF_TOKEN_PATH).parent.mkdir(parents=True, exist_ok=True)
    Path(constants.HF_TOKEN_PATH).write_text(TOKEN, encoding="utf-8")
    assert push(tmp_path).exit_code == 0
    (sent,) = fake_hub.proposals
    assert sent.files["README.md"].decode() == (
        f"---\n{to_yaml({'model-index': index_of(published())})}---\n"
    )


@pytest.mark.usefixtures("commit")
def test_without_push_nothing_is_sent(fake_hub: FakeHub, tmp_path: Path) -> None:
    path = tmp_path / "ranking.json"
    path.write_text(to_json(published()), encoding="utf-8")
    for options in ([], ["--push"], ["--create-pr"], ["-o", str(tmp_path / "card.yaml")]):
        CliRunner().invoke(app, ["card", str(path), REPO, *options])
    assert fake_hub.requests == []


def test_what_is_there_already_is_not_sent_again(
    fake_hub: FakeHub, commit: str, tmp_path: Path
) -> None:
    text = into_readme(CARD.decode(), index_of(published()))
    fake_hub.add(REPO, {"README.md": text.encode()})
    done = push(tmp_path)
    assert (done.exit_code, done.stdout) == (0, "")
    assert "has these results already" in done.stderr
    assert not fake_hub.asked(*WRITES)


def test_another_value_there_is_a_conflict(fake_hub: FakeHub, commit: str, tmp_path: Path) -> None:
    text = into_readme(CARD.decode(), index_of(published())).replace("value: 0.7", "value: 0.75")
    fake_hub.add(REPO, {"README.md": text.encode()})
    refused(push(tmp_path), fake_hub, 2, "it has 0.75, and here it is 0.7")
    assert not fake_hub.asked(*WRITES)


def test_a_card_is_read_at_the_newest_commit_and_not_from_an_old_cache(
    fake_hub: FakeHub, commit: str, tmp_path: Path
) -> None:
    assert push(tmp_path).exit_code == 0
    newer = fake_hub.add(REPO, {"README.md": CARD + b"\nA new line.\n"})
    assert push(tmp_path).exit_code == 0
    assert fake_hub.proposals[1].parent == newer != commit
    assert fake_hub.proposals[1].files["README.md"].endswith(b"\nA new line.\n")


# Who may


@pytest.mark.usefixtures("commit")
def test_without_a_token_nothing_is_asked(
    fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    refused(push(tmp_path), fake_hub, 2, "needs a token, found none")
    assert fake_hub.requests == []


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("hf_wrongtoken", "The token must be valid"),
        (READ_ONLY, "must let the token open pull requests to acme/tiny, and forbids it (403)"),
    ],
)
@pytest.mark.usefixtures("commit")
def test_a_token_that_may_not(
    fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str, words: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    done = push(tmp_path)
    assert token not in done.output
    refused(done, fake_hub, 2, words)
    assert not fake_hub.asked("commit")


def test_an_unknown_repository(
    fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_hub.members.add(TOKEN)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    refused(push(tmp_path), fake_hub, 2, "has no repository acme/tiny, or it is private")


@pytest.mark.usefixtures("commit")
def test_the_token_goes_to_the_hub_alone(fake_hub: FakeHub, tmp_path: Path) -> None:
    elsewhere = {"Location": f"{fake_hub.storage_url}/elsewhere"}
    fake_hub.fault("commit", status=307, headers=elsewhere)
    done = push(tmp_path)
    assert done.exit_code == 2
    assert fake_hub.proposals == []
    (followed,) = fake_hub.asked("cdn")
    assert (followed.method, followed.authorized) == ("POST", False)
    assert all(request.authorized for request in fake_hub.asked("preupload", "commit"))


# What goes wrong


@pytest.mark.parametrize("step", ["info", "validate", "preupload", "commit"])
@pytest.mark.usefixtures("commit")
def test_a_hub_that_is_down_is_tried_another_time(
    fake_hub: FakeHub, tmp_path: Path, step: Any
) -> None:
    fake_hub.fault(step, status=503)
    done = push(tmp_path)
    refused(done, fake_hub, 75, "could not be had from")
    if step != "info":
        assert f"{REPO}/discussions has the pull request" in " ".join(done.stderr.split())


@pytest.mark.usefixtures("commit")
def test_a_commit_is_never_sent_twice(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.fault("commit", status=503, times=1)
    assert push(tmp_path).exit_code == 75
    assert len(fake_hub.asked("commit")) == 1


@pytest.mark.usefixtures("commit")
def test_a_short_failure_before_it_is_overcome(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.fault("info", status=503, times=1)
    fake_hub.fault("preupload", status=503, times=1)
    assert push(tmp_path).exit_code == 0
    assert len(fake_hub.proposals) == 1


def test_a_card_that_the_hub_finds_invalid(fake_hub: FakeHub, commit: str, tmp_path: Path) -> None:
    fake_hub.add(REPO, {"README.md": CARD.replace(b"mit", b"{a: b}")})
    done = push(tmp_path)
    refused(done, fake_hub, 2, '"license" must be a string')
    assert not fake_hub.asked("commit")


def test_a_card_that_is_no_text(fake_hub: FakeHub, commit: str, tmp_path: Path) -> None:
    fake_hub.add(REPO, {"README.md": b"\xff\xfe"})
    refused(push(tmp_path), fake_hub, 2, "must be text in UTF-8")


@pytest.mark.usefixtures("commit")
def test_offline_is_offline(
    fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused(push(tmp_path), fake_hub, 2, "HF_HUB_OFFLINE is set")
    assert fake_hub.requests == []


@pytest.mark.usefixtures("commit")
def test_an_answer_that_is_none_is_not_taken_for_success(
    fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(self: Any, *arguments: Any, **named: Any) -> None:
        self.send(200, json.dumps({"commitUrl": "x"}).encode())

    monkeypatch.setattr("fakehub.server._HubHandler._write", odd)
    refused(push(tmp_path), fake_hub, 2, "must answer as a Hub does")
