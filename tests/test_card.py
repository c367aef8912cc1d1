"""Results as Hub metadata: the Hub's own parsers read back the record's numbers, and no more."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import certified, evaluation, loss, ranking, right, share, skipped
from huggingface_hub import EvalResult, ModelCard
from huggingface_hub._eval_results import (
    eval_result_entries_to_yaml,
    parse_eval_result_entries,
)
from huggingface_hub.repocard_data import eval_results_to_model_index
from hypothesis import given
from hypothesis import strategies as st
from test_regression_ranking import document as of_numbers
from test_regression_ranking import drawn
from test_regression_ranking import evaluation as measured_errors
from typer.testing import CliRunner

from selector.cli import app
from selector.errors import UsageError, printable
from selector.records import (
    AnyRanking,
    Curve,
    CurvePoint,
    RaceRecord,
    Ranking,
    RegressionRanking,
    TargetColumn,
    ThreatRecord,
    Unsettled,
)
from selector.reports.card import (
    eval_results,
    into_readme,
    into_results,
    markdown,
    metrics,
    model_index,
    to_yaml,
)
from selector.reports.document import to_json

REPO, COMMIT, DATASET = "acme/tiny", "a" * 40, "d" * 40
SECRET = "/home/someone/private"
HEAD = {"clean": right(99), "clean_head": right(95), "attacked": right(70)}


def published(**fields: Any) -> Ranking:
    """A ranking of one candidate of the Hub, on a dataset of the Hub."""
    given: dict[str, Any] = {"name": "acme/plates:small", "revision": DATASET}
    e = evaluation(REPO, right(60), model=f"hf-hub:{REPO}@{COMMIT}", **HEAD)
    source = e.provenance.model_copy(update={"source": "hub", "repo": REPO, "commit": COMMIT})
    one = e.model_copy(update={"provenance": source})
    return ranking([one], source=f"hf:acme/plates@{DATASET}:small", **(given | fields))


def local() -> Ranking:
    """A ranking of a folder on the images of a folder, whose places are nobody's business."""
    one = evaluation("tiny", right(60), model=f"local-dir:{SECRET}/tiny", **HEAD)
    document = ranking([one], source=f"{SECRET}/plates")
    command = ("selector", "rank", "--task", f"{SECRET}/plates", "--label-column", "kind")
    return document.model_copy(update={"command": command})


def read_back(text: str) -> tuple[str, list[EvalResult]]:
    """What the Hub client finds in metadata."""
    data = ModelCard(f"---\n{text}---\n").data
    return data.model_name, data.eval_results


def index_of(document: AnyRanking) -> list[dict[str, Any]]:
    return model_index(document, document.ranking[0])


def card(document: AnyRanking, tmp_path: Path, *options: str, model: str = REPO) -> Any:
    """The command, on this ranking."""
    path = tmp_path / "ranking.json"
    path.write_text(to_json(document), encoding="utf-8")
    return CliRunner().invoke(app, ["card", str(path), model, *options])


# What is told


def test_the_hub_client_reads_the_numbers_of_the_record(tmp_path: Path) -> None:
    document = published()
    e = document.ranking[0]
    done = card(document, tmp_path)
    assert (done.exit_code, done.stderr) == (0, "")
    name, results = read_back(done.stdout)
    assert name == REPO
    assert {one.metric_type: one.metric_value for one in results} == {
        "attacked_accuracy": e.head.attacked_accuracy.value,
        "estimated_robust_accuracy": e.head.on_task.estimated_robust_accuracy.value,
        "estimated_worst_case_loss": e.bound_optimal.on_task.estimated_worst_case_loss.value,
        "clean_accuracy": e.head.clean_accuracy.value,
    }
    assert [one.metric_value for one in results] == [0.7, 0.6, 1.25, 0.95]
    assert {(r.dataset_type, r.dataset_config, r.dataset_revision) for r in results} == {
        ("acme/plates", "small", DATASET)
    }
    assert eval_results_to_model_index(name, results) == index_of(document)


def test_eval_results_are_in_the_clients_own_form(tmp_path: Path) -> None:
    document = published()
    done = card(document, tmp_path, "--format", "eval-results")
    assert done.exit_code == 0
    rows = yaml.safe_load(done.stdout)
    entries = parse_eval_result_entries(rows)
    assert eval_result_entries_to_yaml(entries) == rows
    assert [(one.task_id, one.value) for one in entries] == [
        ("attacked_accuracy_linf_4_255", 0.7),
        ("estimated_robust_accuracy_linf_4_255", 0.6),
        ("estimated_worst_case_loss_linf_4_255", 1.25),
        ("clean_accuracy_linf_4_255", 0.95),
    ]
    for entry in entries:
        assert (entry.dataset_id, entry.dataset_revision) == ("acme/plates", DATASET)
        assert entry.date == document.created
        assert entry.verify_token is None
        assert f"model_revision: {COMMIT}" in str(entry.notes)
        assert f"task_fingerprint: {'f' * 64}" in str(entry.notes)
    assert str(entries[0].notes).startswith(
        "Attacked accuracy (upper estimate), linf 4/255, 100 images; kind: attacked;"
    )


def test_every_metric_says_what_it_is_and_what_it_rests_on() -> None:
    proven = certified(REPO).model_copy(update={"model": f"hf-hub:{REPO}@{COMMIT}"})
    document = published().model_copy(update={"certified": (proven,)})
    (model,) = index_of(document)
    (result,) = model["results"]
    kinds = {metric["type"]: metric["args"]["kind"] for metric in result["metrics"]}
    assert kinds == {
        "attacked_accuracy": "attacked",
        "estimated_robust_accuracy": "estimated",
        "estimated_worst_case_loss": "estimated",
        "clean_accuracy": "clean",
        "certified_accuracy": "certified",
    }
    for metric in result["metrics"]:
        args = metric["args"]
        assert set(args["threat"]) == {"norm", "eps"}
        assert args["images"] == (4 if args["kind"] == "certified" else 100)
        assert {"version", "seed"} <= set(args["protocol"])
        assert args["model_revision"] == COMMIT
        assert args["task_revision"] == DATASET
        assert args["task_fingerprint"] == "f" * 64
        assert args["selector_version"] == document.selector_version
        assert args["kind"].title() in metric["name"]
        assert not {"verified", "verifyToken"} & set(metric)
    attacked, robust, bound, clean, *proven_at = result["metrics"]
    assert "upper estimate" in attacked["name"]
    assert attacked["args"]["interval_95"] == pytest.approx([0.6, 0.8])
    assert (attacked["args"]["head"], bound["args"]["head"]) == ("recommended", "bound-optimal")
    assert bound["args"]["class_frequencies_alone"] == 1.0986
    assert robust["args"]["constant_answer"] == clean["args"]["constant_answer"] == 0.05
    assert [(m["args"]["radius"], m["args"]["threat"]) for m in proven_at] == [
        (0.25, {"norm": "l2", "eps": 0.25}),
        (0.5, {"norm": "l2", "eps": 0.5}),
    ]
    assert {m["args"]["confidence"] for m in proven_at} == {0.999}


def test_another_candidates_certificate_is_not_told() -> None:
    document = published().model_copy(update={"certified": (certified("other"),)})
    assert all(metric.kind != "certified" for metric in metrics(document, document.ranking[0]))


def test_several_threats_are_told_and_those_of_a_blind_attack_are_not() -> None:
    document = published()

    def point(eps: float, *, masked: bool) -> CurvePoint:
        return CurvePoint(
            threat=ThreatRecord(norm="linf", eps=eps),
            rank=1,
            rank_interval=(1, 1),
            masked=masked,
            radius_scale=0.5,
            clean_accuracy=share(right(90)),
            attacked_accuracy=share(right(30)),
            estimated_robust_accuracy=share(right(20)),
            estimated_worst_case_loss=loss(2.0),
            vacuous=False,
        )

    points = (point(4 / 255, masked=False), point(8 / 255, masked=False), point(0.1, masked=True))
    curve = Curve(name=REPO, model=document.ranking[0].model, points=points)
    swept = document.model_copy(update={"curves": (curve,)})
    told = metrics(swept, swept.ranking[0])
    assert [one.estimate.value for one in told if one.type == "attacked_accuracy"] == [0.7, 0.3]
    assert told[4].name == "Attacked accuracy (upper estimate), linf 8/255, 100 images"
    text = markdown(swept, swept.ranking[0])
    assert "Under linf 0.1 the attack was blind" in text
    assert "linf 8/255 | recommended" in text


def test_no_place_on_this_machine_is_told(tmp_path: Path) -> None:
    document = local()
    for form in ("model-index", "markdown"):
        done = card(document, tmp_path, "--format", form, model="tiny")
        assert done.exit_code == 0
        assert SECRET not in done.stdout
        assert "someone" not in done.stdout
    (model,) = index_of(document)
    dataset = model["results"][0]["dataset"]
    assert dataset == {"name": "plates", "type": "local:plates"}
    assert model["results"][0]["metrics"][0]["args"]["model_sha256"] == "0" * 64


def test_a_local_task_has_no_entry_that_would_claim_to_be_a_dataset(tmp_path: Path) -> None:
    done = card(local(), tmp_path, "--format", "eval-results", model="tiny")
    assert done.exit_code == 2
    assert "needs a task that is a dataset of the Hub" in done.stderr
    assert SECRET not in done.stderr


def test_markdown_says_the_same_and_how_to_measure_it_again(tmp_path: Path) -> None:
    document = published()
    document = document.model_copy(
        update={"command": ("selector", "rank", "--label-column=the kind", "--test-images", "100")}
    )
    done = card(document, tmp_path, "--format", "markdown")
    assert "| Attacked accuracy (upper estimate) | attacked | 70.0 % (60.0 to 80.0) " in done.stdout
    assert "| 1.250 (1.150 to 1.350) | linf 4/255 | bound-optimal | 100 |" in done.stdout
    assert (
        f"selector rank --task hf:acme/plates@{DATASET}:small --model {REPO}@{COMMIT} --norm linf"
        " --eps 4/255 --image-size 224 --preset standard --attack apgd --restarts 5 --steps 20"
        " --head recommended --seed 0 --label-column 'the kind' --test-images 100\n"
    ) in done.stdout


def test_doubts_are_told() -> None:
    one = evaluation("a", right(60), vacuous=True, flags=["at_chance"], messages=["a <coin>"])
    document = ranking([one])
    e = document.ranking[0]
    text = markdown(document, e)
    assert "The loss bound is vacuous" in text
    assert "- With care: a &#60;coin&#62;." in text
    args = index_of(document)[0]["results"][0]["metrics"][2]["args"]
    assert (args["warnings"], args["vacuous"]) == (["at_chance"], True)


@given(name=st.text(min_size=1), task=st.text(min_size=1))
def test_names_bring_in_neither_yaml_nor_markup(name: str, task: str) -> None:
    document = ranking([evaluation(name, right(60))], name=task)
    e = document.ranking[0]
    index = yaml.safe_load(to_yaml(model_index(document, e)))
    assert index == model_index(document, e)
    assert index[0]["name"] == printable(name)
    text = markdown(document, e)
    assert "<" not in text
    assert sum(line.startswith("|") for line in text.splitlines()) == 2 + 4
    assert sum(line.startswith("#") for line in text.splitlines()) == 1


# Numbers


def of_hub(columns: tuple[str, ...] = ("x [red]", "y"), **changed: Any) -> RegressionRanking:
    """A regression of one candidate of the Hub, on a dataset of the Hub."""
    document = of_numbers(measured_errors(REPO, drawn(0.4), **changed))
    (e,) = document.ranking
    source = {"source": "hub", "repo": REPO, "commit": COMMIT}
    roots = {"clean_by_column": (0.25,) * len(columns)}
    heads = {
        name: getattr(e, name).model_copy(update=roots)
        for name in ("head", "probe", "bound_optimal")
    }
    provenance = e.provenance.model_copy(update=source)
    one = e.model_copy(update={"provenance": provenance, **heads})
    task = document.task.model_copy(
        update={
            "name": "acme/discs",
            "source": f"hf:acme/discs@{DATASET}",
            "revision": DATASET,
            "columns": tuple(TargetColumn(name=name, mean=16.5, sd=3.25) for name in columns),
        }
    )
    return document.model_copy(update={"task": task, "ranking": (one,)})


def test_the_hub_client_reads_the_errors_of_a_regression(tmp_path: Path) -> None:
    document = of_hub()
    head = document.ranking[0].head
    done = card(document, tmp_path)
    assert (done.exit_code, done.stderr) == (0, "")
    name, results = read_back(done.stdout)
    assert {one.metric_type: one.metric_value for one in results} == {
        "attacked_squared_error": head.attacked_squared_error.value,
        "estimated_squared_error": head.on_task.estimated_squared_error.value,
        "clean_squared_error": head.clean_squared_error.value,
    }
    assert {one.task_type for one in results} == {"image-regression"}
    assert eval_results_to_model_index(name, results) == index_of(document)
    for one in results:
        assert one.metric_args["target_columns"] == "x [red], y"
        assert one.metric_args["knowing_only_the_mean"] == document.task.mean_error
    done = card(document, tmp_path, "--format", "eval-results")
    entries = parse_eval_result_entries(yaml.safe_load(done.stdout))
    assert entries[0].task_id == "attacked_squared_error_linf_4_255"
    assert "(lower estimate), linf 4/255, 100 images" in str(entries[0].notes)


def test_the_card_of_a_regression_says_what_its_errors_are(tmp_path: Path) -> None:
    document = of_hub(vacuous=True)
    done = card(document, tmp_path, "--format", "markdown")
    attacked = document.ranking[0].head.attacked_squared_error
    assert "target columns x &#91;red&#93;, y: a linear head on the frozen backbone" in done.stdout
    assert (
        "| Attacked squared error (lower estimate) | attacked"
        f" | {attacked.value:.3f} ({attacked.low:.3f} to {attacked.high:.3f}) | linf 4/255 |"
    ) in done.stdout
    assert "- **attacked**: measured: the largest error found; a lower estimate" in done.stdout
    assert "16.5 ± 3.25 (x &#91;red&#93;), 16.5 ± 3.25 (y); knowing only the mean has 1.050." in (
        done.stdout
    )
    assert "- The error bound is vacuous" in done.stdout
    assert (
        "--head recommended --seed 0 --target-column 'x [red]' --target-column y\n" in done.stdout
    )
    assert "upper estimate" not in done.stdout
    here = of_numbers(measured_errors("a", drawn(0.4)))
    local = card(here, tmp_path, "--format", "markdown", model="a")
    assert "selector rank --task FILE --model local-dir:DIR" in local.stdout
    one = card(of_hub(("x",)), tmp_path, "--format", "markdown")
    assert "target column x: a linear head" in one.stdout


@given(column=st.text(min_size=1))
def test_names_of_columns_bring_in_neither_yaml_nor_markup(column: str) -> None:
    document = of_hub((column,))
    index = index_of(document)
    assert yaml.safe_load(to_yaml(index)) == index
    text = markdown(document, document.ranking[0])
    prose, _, command = text.partition("```sh\n")
    assert "<" not in prose
    assert sum(line.startswith("|") for line in prose.splitlines()) == 2 + 3
    assert sum(line.startswith("#") for line in prose.splitlines()) == 1
    words = shlex.split(command.partition("\n```")[0])
    assert words[words.index("--target-column") + 1] == printable(column)


def test_a_masked_candidate_of_a_regression_is_refused(tmp_path: Path) -> None:
    done = card(of_hub(masked=True), tmp_path)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "its gradients are masked" in done.stderr


# What is refused


def test_masked_candidates_are_refused(tmp_path: Path) -> None:
    one = evaluation(REPO, right(80), flags=["masked_gradients"])
    for form in ("model-index", "eval-results", "markdown"):
        done = card(ranking([one]), tmp_path, "--format", form)
        assert (done.exit_code, done.stdout) == (2, "")
        assert "its gradients are masked" in done.stderr


def test_candidates_that_were_not_ranked_are_refused(tmp_path: Path) -> None:
    document = ranking([evaluation("a", right(80))], [skipped("broken")])
    left = Unsettled(name="late", model="m", images=0, passes=0, upper=None, reason="no time left.")
    race = RaceRecord(
        top=1,
        confidence=0.95,
        budget_seconds=1.0,
        seconds=1.0,
        passes=1,
        exhaustive_passes=2,
        settled=False,
        eliminated=(),
        unsettled=(left,),
        sentence="",
    )
    document = document.model_copy(update={"race": race})
    for model, words in (
        ("nope", "must be one of the ranking, found 'nope'"),
        ("broken", "does not fit its architecture"),
        ("late", "was not measured in full: no time left"),
    ):
        done = card(document, tmp_path, model=model)
        assert (done.exit_code, done.stdout) == (2, "")
        assert words in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--push"], "--push needs --create-pr"),
        (["--create-pr"], "--create-pr needs --push"),
        (["--push", "--create-pr", "--format", "markdown"], "found markdown"),
        (["--format", "xml"], "Invalid value"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    tmp_path: Path, options: list[str], words: str
) -> None:
    done = card(published(), tmp_path, *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in " ".join(done.stderr.split())


def test_nothing_is_sent_because_of_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECT_CARD_PUSH", "1")
    monkeypatch.setenv("SELECT_CARD_CREATE_PR", "1")
    done = card(local(), tmp_path, model="tiny")
    assert done.exit_code == 0
    assert done.stdout.startswith("model-index:")
    assert "SELECT_CARD_PUSH is ignored" in done.stderr


def test_a_local_folder_cannot_be_pushed(tmp_path: Path) -> None:
    done = card(local(), tmp_path, "--push", "--create-pr", model="tiny")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "needs a candidate of the Hub" in done.stderr


# How it is run


def test_it_is_written_to_a_file_and_then_not_printed(tmp_path: Path) -> None:
    printed = card(published(), tmp_path).stdout
    done = card(published(), tmp_path, "-o", str(tmp_path / "card.yaml"))
    assert (done.exit_code, done.stdout) == (0, "")
    assert (tmp_path / "card.yaml").read_text(encoding="utf-8") == printed


@pytest.mark.parametrize("command", [["card", "R", "tiny"], ["report", "R"]])
def test_the_ranking_is_not_overwritten(tmp_path: Path, command: list[str]) -> None:
    path = tmp_path / "ranking.json"
    path.write_text(to_json(local()), encoding="utf-8")
    arguments = [str(path) if one == "R" else one for one in command]
    done = CliRunner().invoke(app, [*arguments, "-o", str(path)])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--output must not be the file that is read" in done.stderr
    assert path.read_text(encoding="utf-8") == to_json(local())


def test_it_waits_for_no_library_and_without_push_for_no_client(tmp_path: Path) -> None:
    path = tmp_path / "ranking.json"
    path.write_text(to_json(published()), encoding="utf-8")
    program = (
        "import json, sys; from selector.cli import app\n"
        f"app(['card', {str(path)!r}, {REPO!r}], standalone_mode=False)\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    modules = set(json.loads(done.stderr.splitlines()[-1]))
    assert "yaml" in modules
    unwanted = {"torch", "timm", "huggingface_hub", "httpx2", "datasets", "numpy", "scipy"}
    assert not modules & unwanted


# Into files that are there already

FRONT = "---\nlicense: mit  # theirs\ntags:\n- a\n---\n\n# Tiny\n"


def test_a_card_without_results_gets_them_and_stays_as_it_is_otherwise() -> None:
    index = index_of(published())
    after = into_readme(FRONT, index)
    assert after == FRONT.replace("- a\n---\n", f"- a\n{to_yaml({'model-index': index})}---\n", 1)
    assert into_readme(after, index) == after
    data = ModelCard(after).data
    assert (data.license, len(data.eval_results)) == ("mit", 4)


@pytest.mark.parametrize("text", [None, "", "# Tiny\n\nNo metadata.\n"])
def test_a_repository_without_metadata_gets_some(text: str | None) -> None:
    index = index_of(published())
    after = into_readme(text, index)
    assert after == f"---\n{to_yaml({'model-index': index})}---\n{text or ''}"
    assert len(ModelCard(after).data.eval_results) == 4


def test_line_ends_stay_as_they_are() -> None:
    windows = FRONT.replace("\n", "\r\n")
    after = into_readme(windows, index_of(published()))
    assert after.count("\n") == after.count("\r\n") > windows.count("\n")
    assert after.replace("\r\n", "\n") == into_readme(FRONT, index_of(published()))


THEIRS = """\
---
model-index:
- name: Tiny  # a pretty name
  results:
  - task: {type: image-classification}
    dataset: {type: beans, name: Beans}
    metrics: [{type: accuracy, value: 0.9}]

# about the licence
license: mit
---
text
"""


def test_results_of_others_are_kept() -> None:
    after = into_readme(THEIRS, index_of(published()))
    assert after.endswith("\n# about the licence\nlicense: mit\n---\ntext\n")
    data = ModelCard(after).data
    assert data.model_name == "Tiny"
    assert [(one.dataset_type, one.metric_type) for one in data.eval_results] == [
        ("beans", "accuracy"),
        *(("acme/plates", metric.type) for metric in metrics_of(published())),
    ]


def metrics_of(document: Ranking) -> Any:
    return metrics(document, document.ranking[0])


def test_what_is_new_of_a_dataset_joins_what_is_there() -> None:
    document = published()
    (model,) = index_of(document)
    (result,) = model["results"]
    part = [model | {"results": [result | {"metrics": result["metrics"][:1]}]}]
    there = into_readme(FRONT, part)
    after = into_readme(there, index_of(document))
    assert yaml.safe_load(after.split("---\n")[1])["model-index"] == index_of(document)


def test_an_interval_alone_makes_no_other_metric() -> None:
    (model,) = index_of(published())
    text = into_readme(FRONT, [model])
    moved = json.loads(json.dumps([model]))
    for metric in moved[0]["results"][0]["metrics"]:
        metric["args"]["interval_95"] = [0.0, 1.0]
    assert into_readme(text, moved) == text


def test_another_value_of_the_same_metric_is_a_conflict() -> None:
    text = into_readme(FRONT, index_of(published()))
    assert text.count("value: 0.7") == 1
    other = text.replace("value: 0.7", "value: 0.75")
    with pytest.raises(UsageError, match=r"has 0\.75, and here it is 0\.7") as caught:
        into_readme(other, index_of(published()))
    assert "Attacked accuracy" in caught.value.message


def test_of_another_seed_it_is_another_metric() -> None:
    text = into_readme(FRONT, index_of(published())).replace("seed: 0", "seed: 7")
    assert len(ModelCard(into_readme(text, index_of(published()))).data.eval_results) == 8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("---\n- a\n- b\n---\n", "must be a mapping"),
        ("---\na: [\n---\n", "must be YAML"),
        ("---\nmodel-index: hello\n---\n", "must have the Hub's form"),
        ("---\nmodel-index:\n- name: x\n---\n", "must have the Hub's form"),
        ("---\n{license: mit}\n---\n", "in a form that is not edited"),
        ("---\nmodel-index: &m []\nother: *m\n---\n", "without aliases"),
        ("---\na: &a [*a]\n---\n", "without aliases"),
        (f"---\na: {'[' * 5000}\n---\n", "must be YAML"),
        ("---\na: 2024-99-99\n---\n", "must be YAML"),
    ],
)
def test_a_card_that_is_not_understood_is_left_alone(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        into_readme(text, index_of(published()))
    assert "yourself" in caught.value.hint


def test_an_eval_results_file_grows_and_never_changes_a_value() -> None:
    document = published()
    entries = eval_results(document, document.ranking[0])
    first = into_results(None, entries[:1])
    assert yaml.safe_load(first) == entries[:1]
    whole = into_results(first, entries)
    assert yaml.safe_load(whole) == entries
    assert into_results(whole, entries) == whole
    with pytest.raises(UsageError, match=r"has 0\.75, and here it is 0\.7"):
        into_results(whole.replace("value: 0.7", "value: 0.75"), entries)
    for broken in ("- 3\n", "a: [\n", "- dataset: {id: x}\n  value: 1\n"):
        with pytest.raises(UsageError):
            into_results(broken, entries)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("[" * 400 + "]" * 400, "at most 50 levels"),
        ("a" * 200_001, "at most 200,000 characters"),
        ("!!timestamp 1", "YAML that can be read"),
        ("!!int ''", "YAML that can be read"),
    ],
)
def test_a_card_that_takes_long_or_stumbles_is_not_edited(value: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        into_readme(f"---\nlicense: {value}\n---\n", [])
