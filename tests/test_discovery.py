"""selector discover, with the real Hub client, against a Hub on this machine."""

from __future__ import annotations

import json
import os
import re
import time
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from fakehub import fixtures
from fakehub.server import FakeHub
from huggingface_hub import constants
from rich.console import Console
from typer.testing import CliRunner

from selector.candidates import Candidate, Checkpoint, read_registry, to_yaml
from selector.cli import app
from selector.discovery import Discovery, discover, entries, size_tags
from selector.discovery.query import Query
from selector.errors import HubError, HubUnavailable, UsageError
from selector.hub import client, listing
from selector.reports import found as reports

fake_hub, hub_cache, waits = fixtures.fake_hub, fixtures.hub_cache, fixtures.waits

TOKEN = "hf_secrettoken"
RESNET, VIT = "timm/resnet18.a1_in1k", "timm/test_vit.r160_in1k"
CONFIG = {"architecture": "test_resnet", "pretrained_cfg": {"input_size": [3, 160, 160]}}

pytestmark = pytest.mark.usefixtures("hub_cache")


def ids(discovery: Discovery) -> list[str]:
    return [found.listed.repo_id for found in discovery.found]


def why(discovery: Discovery) -> dict[str, str]:
    return {excluded.repo_id: excluded.code for excluded in discovery.excluded}


def publish(hub: FakeHub, repo_id: str, config: Any = CONFIG, **fields: Any) -> None:
    """A repository of someone else than timm, whose config.json has to be read."""
    content = config if isinstance(config, bytes) else json.dumps(config).encode()
    gated = bool(fields.get("gated"))
    commit = hub.add(repo_id, {"config.json": content, "model.safetensors": b""}, gated=gated)
    hub.listing.add(repo_id, sha=commit, **fields)


def run(*arguments: str) -> Any:
    """The command in this process: its exit code, stdout and stderr."""
    return CliRunner().invoke(app, ["discover", *arguments])


# What is asked and found


def test_all_pages_of_both_pipeline_tags_are_merged_and_ordered(fake_hub: FakeHub) -> None:
    names = [f"timm/resnet18.tag{i}" for i in range(7)]
    for i, name in enumerate(names):
        kind = "image-feature-extraction" if i % 3 == 0 else "image-classification"
        fake_hub.listing.add(name, downloads=i, pipeline_tag=kind)
    fake_hub.listing.page = 1
    result = discover(Query())
    assert ids(result) == names[::-1]
    assert result.excluded == ()
    assert result.complete
    assert len(fake_hub.asked("list")) == 7


def test_a_repository_that_answers_both_questions_is_one_row(fake_hub: FakeHub) -> None:
    fake_hub.listing.filters = False
    fake_hub.listing.add(RESNET)
    assert ids(discover(Query())) == [RESNET]
    assert len(fake_hub.asked("list")) == 2


def test_what_the_hub_says_of_a_repository_is_kept(fake_hub: FakeHub) -> None:
    row = fake_hub.listing.add(RESNET, downloads=7, likes=3, gated="manual", tags=["arxiv:1"])
    (found,) = discover(Query()).found
    assert found.architecture == "resnet18"
    assert found.listed == listing.Listed(
        repo_id=RESNET,
        commit=row["sha"],
        downloads=7,
        likes=3,
        modified=datetime(2025, 1, 21, 18, 21, 17, tzinfo=UTC),
        created=datetime(2023, 4, 5, 18, 3, 14, tzinfo=UTC),
        gated=True,
        disabled=False,
        tags=frozenset(row["tags"]),
        parameters=11_689_512,
        license="apache-2.0",
        files=frozenset(["config.json", "model.safetensors", "README.md"]),
    )


RIGHT, WRONG = "timm/test_resnet.right", "timm/test_resnet.wrong"
FILTERS = [
    (Query(author="timm"), {}, {"id": "acme/test_resnet.right"}, "author"),
    (Query(author="TIMM"), {}, {"id": "acme/test_resnet.right"}, "author"),
    (Query(search="Right test_"), {}, {}, "search"),
    (Query(licenses=("MIT",)), {"license": "mit"}, {"license": "apache-2.0"}, "license"),
    (Query(licenses=("mit", "other")), {"license": "other"}, {"license": None}, "license"),
    (Query(max_params=10), {"parameters": 10}, {"parameters": 11}, "parameters"),
    (Query(min_params=10), {"parameters": 10}, {"parameters": 9}, "parameters"),
    (Query(min_params=1), {"parameters": 10}, {"parameters": None}, "parameters"),
    (Query(min_downloads=5), {"downloads": 5}, {"downloads": 4}, "downloads"),
    (
        Query(since=datetime(2025, 1, 21, tzinfo=UTC)),
        {"lastModified": "2025-01-21T00:00:00.000Z"},
        {"lastModified": "2025-01-20T23:59:59.000Z"},
        "since",
    ),
    (Query(since=datetime(2025, 1, 21, tzinfo=UTC)), {}, {"lastModified": None}, "since"),
    (Query(gated=False), {}, {"gated": "auto"}, "gated"),
    (Query(pipeline_tags=("a",)), {"pipeline_tag": "a"}, {"pipeline_tag": "b"}, "pipeline_tag"),
    (Query(), {}, {"library": "transformers"}, "library"),
    (Query(), {}, {"disabled": True}, "disabled"),
    (Query(), {}, {"files": ["config.json", "pytorch_model.bin"]}, "no_safetensors"),
    (Query(), {}, {"files": ["model.safetensors"]}, "no_config"),
    (Query(), {}, {"siblings": None}, "no_config"),
]


@pytest.mark.parametrize("trusted", [True, False], ids=["honest Hub", "careless Hub"])
@pytest.mark.parametrize(
    ("query", "right", "wrong", "code"), FILTERS, ids=[code for *_, code in FILTERS]
)
def test_every_filter_on_the_hub_and_again_here(
    fake_hub: FakeHub,
    query: Query,
    right: dict[str, Any],
    wrong: dict[str, Any],
    code: str,
    trusted: bool,
) -> None:
    fake_hub.listing.filters = trusted and code != "search"  # the fake one looks for the whole
    fake_hub.listing.add(RIGHT, **right)
    spoiled = fake_hub.listing.add(WRONG, **{"id": WRONG, **wrong})
    result = discover(query)
    assert ids(result) == [RIGHT]
    if not fake_hub.listing.filters or result.excluded:
        assert why(result) == {spoiled["id"]: code}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (Query(author="acme"), {"author": "acme"}),
        (Query(search="vit"), {"search": "vit"}),
        (Query(gated=False), {"gated": "false"}),
        (Query(min_params=1, max_params=20), {"num_parameters": "min:1,max:20"}),
        (Query(max_params=20), {"num_parameters": "max:20"}),
        (Query(sort="last_modified"), {"sort": "lastModified"}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_the_hub_is_asked_to_filter(
    fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch, query: Query, words: dict[str, str]
) -> None:
    asked: list[dict[str, list[str]]] = []
    answer = fake_hub.listing.answer
    monkeypatch.setattr(
        fake_hub.listing, "answer", lambda q, url: asked.append(q) or answer(q, url)
    )
    discover(query)
    assert [question["pipeline_tag"][0] for question in asked] == list(query.pipeline_tags)
    for question in asked:
        assert question["filter"] == ["timm"]
        for name, value in words.items():
            assert question[name] == [value]
        assert ("gated" in question) == ("gated" in words)
        assert ("num_parameters" in question) == ("num_parameters" in words)


def test_one_question_for_each_licence(fake_hub: FakeHub) -> None:
    for license in ("mit", "apache-2.0", "bsd-3-clause"):
        fake_hub.listing.add(f"timm/test_resnet.{license}", license=license)
    result = discover(Query(licenses=("mit", "Apache-2.0")))
    assert ids(result) == ["timm/test_resnet.apache-2.0", "timm/test_resnet.mit"]
    assert len(fake_hub.asked("list")) == 4
    assert result.excluded == ()


@pytest.mark.parametrize(
    ("sort", "field", "low", "high"),
    [
        ("downloads", "downloads", 1, 2),
        ("likes", "likes", 1, 2),
        ("last_modified", "lastModified", "2024-01-01T00:00:00.000Z", "2024-01-02T00:00:00.000Z"),
        ("created_at", "createdAt", "2024-01-01T00:00:00.000Z", "2024-01-02T00:00:00.000Z"),
    ],
)
def test_order(fake_hub: FakeHub, sort: Any, field: str, low: Any, high: Any) -> None:
    for name, value in (("a", low), ("b", high), ("c", low)):
        fake_hub.listing.add(f"timm/test_resnet.{name}", **{field: value})
    assert [name[-1] for name in ids(discover(Query(sort=sort)))] == ["b", "a", "c"]


def test_the_limit_counts_what_can_be_measured(fake_hub: FakeHub) -> None:
    for i in range(4):
        fake_hub.listing.add(f"timm/resnet18.tag{i}", downloads=i)
    fake_hub.listing.add("timm/nope.tag", downloads=9)
    result = discover(Query(limit=2))
    assert ids(result) == ["timm/resnet18.tag3", "timm/resnet18.tag2"]
    assert why(result) == {"timm/nope.tag": "unknown_architecture"}
    assert result.not_examined == 2
    assert any("2 more that match" in remark for remark in reports.remarks(result))


def test_a_list_without_end_is_cut(fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_MOST_ROWS", 3)
    for i in range(9):
        fake_hub.listing.add(f"timm/resnet18.tag{i}", downloads=i)
    fake_hub.listing.page = 2
    result = discover(Query(pipeline_tags=("image-classification",)))
    assert ids(result) == [f"timm/resnet18.tag{i}" for i in (8, 7, 6)]
    assert not result.complete
    assert len(fake_hub.asked("list")) == 2
    assert any("too long" in remark for remark in reports.remarks(result))


# What cannot be measured


def test_architectures_that_cannot_be_measured(fake_hub: FakeHub) -> None:
    fake_hub.listing.add(VIT)
    fake_hub.listing.add("timm/qwen3_vit_88m_enc.tag")
    fake_hub.listing.add("timm/architecture_of_2030.tag")
    result = discover(Query())
    assert ids(result) == [VIT]
    assert why(result) == {
        "timm/qwen3_vit_88m_enc.tag": "no_pooled_features",
        "timm/architecture_of_2030.tag": "unknown_architecture",
    }


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"architecture": "architecture_of_2030"}, "unknown_architecture"),
        ({"architecture": "qwen3_vit_88m_enc"}, "no_pooled_features"),
        ({"architecture": "test_resnet", "model_args": {"in_chans": 1}}, "bad_preprocessing"),
        ({"architecture": "test_resnet", "input_size": [1, 9, 9]}, "bad_preprocessing"),
        ({"architecture": "test_resnet", "model_args": [1]}, "bad_config"),
        ({"architecture": "test_resnet", "pretrained_cfg": 3}, "bad_config"),
        ({"architecture": "test_resnet", "input_size": {"a": 3}}, "bad_config"),
        ({"model_type": "vit"}, "bad_config"),
        ({"architecture": ["test_resnet"]}, "bad_config"),
        ([CONFIG], "bad_config"),
        (b"{", "bad_config"),
        (b"\xff\xfe\x00", "bad_config"),
        (b"[" * 100_000, "bad_config"),
    ],
    ids=str,
)
def test_configurations_of_others(fake_hub: FakeHub, config: Any, code: str) -> None:
    publish(fake_hub, "acme/right")
    publish(fake_hub, "acme/wrong", config)
    result = discover(Query(author=""))
    assert ids(result) == ["acme/right"]
    assert result.found[0].architecture == "test_resnet"
    assert why(result) == {"acme/wrong": code}
    assert [request.path.rpartition("/")[2] for request in fake_hub.asked("file")] == (
        ["config.json"] * 2
    )


def test_what_has_no_entry_is_a_reason_and_not_the_end(fake_hub: FakeHub) -> None:
    publish(fake_hub, "acme/right")
    publish(fake_hub, "acme/locked", gated="auto")
    fake_hub.listing.add("acme/gone")
    assert why(discover(Query(author=""))) == {"acme/locked": "gated", "acme/gone": "not_found"}
    # timm's names say what is needed, so nothing has to be read.
    fake_hub.listing.add(RESNET, gated="auto")
    result = discover(Query())
    assert ids(result) == [RESNET]
    assert any("Gated: 1" in remark for remark in reports.remarks(result))


SPOILED = [
    {"id": "timm/resnet18.x\x1b[31m"},
    {"id": "no owner"},
    {"id": "../.."},
    {"id": "timm/resnet18.a\n"},
    {"id": 7},
    {"sha": "main"},
    {"sha": None},
    {"downloads": "many"},
    {"downloads": -1},
    {"downloads": 1e400},
    {"gated": "perhaps"},
    {"lastModified": "yesterday"},
    {"tags": "timm"},
    {"tags": None},
    {"safetensors": {"total": -5}},
    {"safetensors": [1]},
    {"cardData": {"license": {"mit": 1}}},
    {"siblings": ["model.safetensors"]},
]


def test_malformed_rows_are_reasons_and_the_others_stay(fake_hub: FakeHub) -> None:
    fake_hub.listing.filters = False
    for i, wrong in enumerate(SPOILED):
        fake_hub.listing.add(f"timm/resnet18.t{i}").update(wrong)
    rows: list[Any] = [None, 3, "text", [1, 2], {}, {"id": "timm/a.b"}]
    fake_hub.listing.rows += rows
    fake_hub.listing.add(RESNET)
    result = discover(Query(pipeline_tags=("image-classification",)))
    assert ids(result) == [RESNET]
    assert [excluded.code for excluded in result.excluded] == ["malformed"] * (
        len(SPOILED) + len(rows)
    )
    for excluded in result.excluded:
        assert excluded.repo_id.isprintable()
        assert excluded.reason.isprintable()
        assert excluded.reason.startswith("the Hub describes it wrongly: ")
    assert any(excluded.repo_id == "timm/resnet18.x?[31m" for excluded in result.excluded)


@pytest.mark.parametrize(
    ("card", "tags", "license"),
    [
        ({"license": "mit"}, [], "mit"),
        ({"license": "other", "license_name": "dinov3-license"}, [], "other (dinov3-license)"),
        ({"license": "other"}, [], "other"),
        ({"license": "mit", "license_name": "free"}, [], "mit"),
        ({"license": ["mit", "apache-2.0"]}, [], "mit, apache-2.0"),
        ({}, ["license:cc-by-nc-4.0"], "cc-by-nc-4.0"),
        (None, [], None),
    ],
)
def test_licences(fake_hub: FakeHub, card: Any, tags: list[str], license: str | None) -> None:
    fake_hub.listing.add(RESNET, license=None, cardData=card, tags=tags)
    (found,) = discover(Query()).found
    assert found.listed.license == license
    fake_hub.listing.filters = False
    if license is not None:
        wanted = (license, "mit") if "," in license else (license, license.partition(" (")[0])
        for name in wanted:
            assert ids(discover(Query(licenses=(name.upper(),)))) == [RESNET]
    assert ids(discover(Query(licenses=("gpl",)))) == []


# A Hub that fails


def test_the_limit_of_requests_is_waited_for(fake_hub: FakeHub, waits: fixtures.Waits) -> None:
    fake_hub.listing.add(RESNET)
    fake_hub.fault("list", status=429, headers={"Retry-After": "7"}, times=1)
    assert ids(discover(Query())) == [RESNET]
    assert sum(waits) == 8  # the client adds one


@pytest.mark.parametrize("page", [1, 3])
def test_a_page_that_fails_once_gives_no_row_twice(
    fake_hub: FakeHub, waits: fixtures.Waits, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    for i in range(4):
        fake_hub.listing.add(f"timm/resnet18.tag{i}")
    fake_hub.listing.page = 1
    answer, seen = fake_hub.listing.answer, []

    def failing(query: Any, url: str) -> Any:
        seen.append(query)
        if len(seen) == page:
            fake_hub.fault("list", status=503, times=1)
        return answer(query, url)

    monkeypatch.setattr(fake_hub.listing, "answer", failing)
    raw = listing.list_repositories(listing.Asked(("timm",), "image-classification")).rows
    assert [row.repo_id for row in raw] == [f"timm/resnet18.tag{i}" for i in range(4)]
    assert len(waits) == 1


def test_down_for_ever(fake_hub: FakeHub, waits: fixtures.Waits) -> None:
    fake_hub.fault("list", status=503)
    with pytest.raises(HubUnavailable, match="its list of models could not be had"):
        discover(Query())
    assert len(fake_hub.asked("list")) == 6
    assert sum(waits) < 30


@pytest.mark.parametrize("fault", [{"status": 0}, {"body": "stall"}], ids=["silence", "half"])
def test_a_list_that_stalls_ends(
    fake_hub: FakeHub, waits: fixtures.Waits, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
) -> None:
    monkeypatch.setattr(client, "_TIMEOUT", 0.1)
    for name in ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT"):
        monkeypatch.setattr(constants, name, 0.1)
    if "body" in fault:
        monkeypatch.setattr(
            "fakehub.server._HubHandler._send_json",
            lambda self, document, headers=None: self.send(200, b"[ ]", headers, "stall"),
        )
    else:
        fake_hub.fault("list", **fault)
    began = time.monotonic()
    with pytest.raises(HubUnavailable, match="ReadTimeout"):
        discover(Query())
    assert time.monotonic() - began < 10


def test_a_hub_that_forbids_or_answers_nonsense(
    fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(HubError, match="token must be valid") as caught:
        discover(Query())
    assert caught.value.code == "bad_token"
    assert TOKEN not in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", "")
    for status, code in ((401, "forbidden"), (403, "forbidden"), (404, "unexpected")):
        fake_hub.fault("list", status=status, times=1)
        with pytest.raises(HubError) as caught:
            discover(Query())
        assert caught.value.code == code
        assert "list of models" in str(caught.value)
    monkeypatch.setattr(
        "fakehub.server._HubHandler._send_json",
        lambda self, document, headers=None: self.send(200, b"<html>log in</html>"),
    )
    with pytest.raises(HubError) as caught:
        discover(Query())
    assert caught.value.code == "unexpected"


def test_offline_is_said(fake_hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE"):
        discover(Query())
    assert run().exit_code == 2
    assert fake_hub.requests == []


def test_a_hub_that_goes_down_while_configurations_are_read(
    fake_hub: FakeHub, waits: fixtures.Waits
) -> None:
    publish(fake_hub, "acme/right")
    for step in ("head", "file"):
        fake_hub.fault(step, status=503)
    with pytest.raises(HubUnavailable, match=r"config\.json of acme/right"):
        discover(Query(author=""))


# Entries, tables, the command


def test_entries_are_read_back(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.listing.add(RESNET, downloads=2)
    fake_hub.listing.add(VIT, parameters=None, license=None, downloads=1)
    fake_hub.listing.add("timm/test_resnet.x", cardData={"license": "a: [b] # c"}, downloads=0)
    fake_hub.listing.add("timm/nope.x")
    path = tmp_path / "zoo.yaml"
    result = run("-o", str(path), "--search", "timm")
    assert result.exit_code == 0, result.stderr
    expected = (
        Candidate(
            model=f"hf-hub:{RESNET}",
            parameters=11_689_512,
            license="apache-2.0",
            tags=("small", "discovered"),
        ),
        Candidate(model=f"hf-hub:{VIT}", tags=("discovered",)),
        Candidate(
            model="hf-hub:timm/test_resnet.x",
            parameters=11_689_512,
            license="a: [b] # c",
            tags=("small", "discovered"),
        ),
    )
    assert read_registry(path) == expected
    text = path.read_text()
    comment = " ".join(line[2:] for line in text.splitlines() if line.startswith("#"))
    assert "search timm; gated yes" in comment
    assert "1 an architecture that the timm installed here does not know" in comment
    assert re.search(r"found them on \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", comment)
    assert "  - model: hf-hub:timm/resnet18.a1_in1k\n    parameters: 11689512\n" in text
    assert "    tags: [small, discovered]\n" in text
    assert "pretraining" not in text
    assert f"--registry {path}" in result.stderr


def test_a_registry_of_everything_is_read_back(tmp_path: Path) -> None:
    given = (
        Candidate(
            model="hf-hub:a/b@main",
            name="robust",
            checkpoint=Checkpoint(
                file="sub/w.pt",
                architecture="resnet50",
                num_classes=1000,
                input_size=224,
                mean=(0.0, 0.5, 1e-9),
                std=(1.0, 0.5, 1.0),
                model_args={"a": [1, None], "b": "yes"},
            ),
        ),
        Candidate.model_validate(
            {"model": "hf-hub:a/b", "pretraining": {"objective": "adversarial", "data": "x", "norm":
             "l2", "eps": 0.5}, "license": "null", "tags": ["on", "1", "é"]}
        ),
        Candidate(model="local-dir:/some/where"),
    )  # fmt: skip
    path = tmp_path / "zoo.yaml"
    path.write_text(to_yaml(given, ["a\nmodel: b", "", "\x1b"]), encoding="utf-8")
    assert read_registry(path) == given
    assert path.read_text(encoding="utf-8").startswith("# a?model: b\n#\n# ?\ncandidates:\n")


@pytest.mark.parametrize(
    ("parameters", "tags"),
    [
        (None, ()),
        (1, ("tiny",)),
        (7_999_999, ("tiny",)),
        (8_000_000, ("small",)),
        (40_000_000, ("base",)),
        (119_999_999, ("base",)),
        (120_000_000, ("large",)),
    ],
)
def test_sizes(parameters: int | None, tags: tuple[str, ...]) -> None:
    assert size_tags(parameters) == tags


def test_counts_are_short_and_never_rounded_to_a_thousand() -> None:
    shown = {0: "0", 999: "999", 1000: "1.0k", 999_949: "999.9k", 999_950: "1.0M", 10**9: "1.0B"}
    assert {count: reports.short(count) for count in shown} == shown


def test_the_table_and_what_it_does_not_say(fake_hub: FakeHub) -> None:
    fake_hub.listing.add(RESNET, downloads=1_234_567, gated="manual")
    fake_hub.listing.add("timm/" + "test_vit." + "x" * 80, license=None, parameters=None)
    fake_hub.listing.add("timm/nope.x")
    result = run()
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 100
    flat = " ".join(result.stdout.split())
    for words in (RESNET, "(gated)", "11.7M", "apache-2.0", "1.2M", "2025-01-21", "not said"):
        assert words in flat
    assert "left out" not in result.stdout
    assert "1 left out: 1 an architecture that" in " ".join(result.stderr.split())
    assert "Gated: 1" in result.stderr


def test_markup_and_control_characters_stay_text(fake_hub: FakeHub) -> None:
    fake_hub.listing.add(RESNET, license="[bold red]mit[/]", cardData={"license": "[b]\x1b[31m"})
    fake_hub.listing.add("timm/nope[/bold].x\x1b]0;title\x07")
    result = run("--search", "resnet")
    assert result.exit_code == 0, result.exception
    assert "[b]?[31m" in result.stdout
    assert not set(result.stdout + result.stderr) & {"\x1b", "\x07"}
    text = StringIO()
    reports.print_found(discover(Query()), Console(file=text, width=60))
    assert "[b]?[31m" in text.getvalue()
    assert max(map(len, text.getvalue().splitlines())) <= 60


def test_json_for_scripts(fake_hub: FakeHub) -> None:
    fake_hub.listing.add(RESNET, lastModified=None)
    fake_hub.listing.add("timm/resnet18.bin", files=["config.json", "pytorch_model.bin"])
    result = run("--json", "--max-params", "20M", "--min-params", "1k", "--since", "1969-01-01")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["query"]["max_params"] == 20_000_000
    assert document["query"]["since"] == "1969-01-01T00:00:00+00:00"
    assert document["query"]["gated"] is True
    assert (document["complete"], document["not_examined"]) == (True, 0)
    (row,) = document["found"]
    assert row["repo_id"] == RESNET
    assert len(row["commit"]) == 40
    assert row["architecture"] == "resnet18"
    assert row["modified"] is None
    (left,) = document["excluded"]
    assert left == {
        "repo_id": "timm/resnet18.bin",
        "code": "no_safetensors",
        "reason": "no model.safetensors (pickle formats are not loaded).",
    }


def test_nothing_found_says_why_and_writes_nothing(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.listing.add("timm/nope.x")
    path = tmp_path / "zoo.yaml"
    result = run("-o", str(path))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "nothing found" in result.stderr
    assert "1 an architecture that" in " ".join(result.stderr.split())
    assert not path.exists()
    assert json.loads(run("--json").stdout)["found"] == []


def test_a_hub_that_is_down_is_exit_code_75(fake_hub: FakeHub, waits: fixtures.Waits) -> None:
    fake_hub.fault("list", status=503)
    result = run()
    assert result.exit_code == 75
    assert "answers 503" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--max-params", "big"), "--max-params"),
        (("--min-params", "big"), "--min-params must be a number such as 100M, found 'big'"),
        (("--min-params", "2M", "--max-params", "1M"), "--min-params must be at most --max-params"),
        (("--limit", "0"), "--limit"),
        (("--min-downloads", "-1"), "--min-downloads"),
        (("--since", "yesterday"), "--since"),
        (("--sort", "colour"), "--sort"),
        (("-o", "/nowhere/zoo.yaml"), "--output"),
    ],
)
def test_wrong_arguments(fake_hub: FakeHub, arguments: tuple[str, ...], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert fake_hub.requests == []


def test_options_reach_the_query(fake_hub: FakeHub) -> None:
    publish(fake_hub, "acme/right")
    fake_hub.listing.add(RESNET, gated="auto")
    assert json.loads(run("--any-author", "--json").stdout)["query"].get("author") is None
    assert json.loads(run("--author", "", "--json").stdout)["query"].get("author") is None
    assert "acme/right" in run("--author", "acme").stdout
    assert run("--no-gated").exit_code == 1
    wanted = ("--pipeline-tag", "a", "--pipeline-tag", "b", "--pipeline-tag", "a")
    assert json.loads(run(*wanted, "--json").stdout)["query"]["pipeline_tags"] == ["a", "b"]


def test_entries_say_nothing_that_the_hub_does_not(fake_hub: FakeHub) -> None:
    fake_hub.listing.add(RESNET, tags=["robust", "adversarial"])
    (entry,) = entries(discover(Query()).found)
    assert entry.pretraining is None
    assert entry.tags == ("small", "discovered")
    assert os.environ["HF_HUB_OFFLINE"] == "0"  # the fixture's: this asked a Hub


def test_a_registry_of_somebody_is_not_overwritten(fake_hub: FakeHub, tmp_path: Path) -> None:
    fake_hub.listing.add(RESNET)
    path = tmp_path / "registry.yaml"
    assert run("-o", str(path)).exit_code == 0
    assert run("-o", str(path)).exit_code == 0, "its own may be brought up to date"
    path.write_text("# mine\ncandidates:\n  - model: hf-hub:acme/one\n", encoding="utf-8")
    fake_hub.requests.clear()
    refused = run("-o", str(path))
    assert refused.exit_code == 2
    assert "has not written it" in refused.stderr
    assert not fake_hub.requests
    assert path.read_text(encoding="utf-8").startswith("# mine")
