"""The other forms of a ranking: csv, Markdown, lines of JSON, and which of them rank prints."""

from __future__ import annotations

import csv
import io
import json
import re
from importlib.resources import files
from pathlib import Path

import pytest
from builders import certified, evaluation, ranking, right, skipped
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from report_documents import full
from rich.console import Console
from test_regression_ranking import document as regression
from test_regression_ranking import evaluation as regression_evaluation
from typer.testing import CliRunner

from selector.cli import app
from selector.cli.output import choose_format
from selector.errors import UsageError, printable
from selector.events import Entered, Finished, Passed, Started
from selector.records import Eliminated, Evaluation, RaceRecord, Ranking, Skipped, Unsettled
from selector.reports import columns
from selector.reports.delimited import to_csv
from selector.reports.document import to_json
from selector.reports.escaping import code, prose
from selector.reports.frame import to_frame
from selector.reports.markdown import to_markdown
from selector.reports.progress import Display
from selector.reports.stream import candidate_line, ranking_line

ZOO = Path(str(files("selector.demo") / "zoo"))
ROBUST, ORDINARY = "tiny_vit.cifar10_linf_8", "tiny_vit.cifar10"
QUICK = ("--task", "builtin:digits", "--image-size", "32", "--train-images", "40", "--preset",
         "quick", "--steps", "2", "--restarts", "1", "--test-images", "20")  # fmt: skip
HOSTILE = [
    "<script>alert(1)</script>", "a|b", "a`b", "``", "[x](http://y)", "![x](http://y)", "a\\|b",
    "*a*", "_a_", "__a__", "a_b", "~~a~~", "&lt;", "&#60;", "@team", "#12", "$a$", "`a|b`",
    "\\", "|",
]  # fmt: skip


def read(of: columns.AnyRanking) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(of))))


def race() -> RaceRecord:
    return RaceRecord(
        top=1,
        confidence=0.95,
        budget_seconds=None,
        seconds=1.0,
        passes=10,
        exhaustive_passes=30,
        settled=False,
        eliminated=(
            Eliminated(
                name="out", model="m:out", images=8, passes=9, upper=0.1, bar=0.5, reason="e"
            ),
        ),
        unsettled=(
            Unsettled(name="open", model="m:open", images=0, passes=0, upper=None, reason="u"),
        ),
        sentence="One was found.",
    )


# --- rows ----------------------------------------------------------------------------------------


def test_a_row_holds_the_numbers_of_the_record() -> None:
    of = ranking([evaluation("a", right(80), clean=right(95)), evaluation("b", right(60))])
    first, second = columns.rows(of)
    e = of.ranking[0]
    assert (first["rank"], second["rank"]) == (1, 2)
    assert (first["rank_low"], first["rank_high"]) == e.rank_interval
    assert first["attacked_accuracy"] == e.head.attacked_accuracy.value == 0.8
    assert first["attacked_accuracy_low"] == e.head.attacked_accuracy.low
    assert first["attacked_accuracy_high"] == e.head.attacked_accuracy.high
    assert first["estimated_robust_accuracy"] == 0.8
    assert first["estimated_worst_case_loss"] == 1.25
    assert first["clean_accuracy"] == first["probe_clean_accuracy"] == 0.95
    assert (first["n"], first["vacuous"], first["warnings"]) == (100, False, None)
    assert (first["license"], first["parameters"]) == ("apache-2.0", 1000)
    assert (first["threat_norm"], first["threat_eps"]) == ("linf", 4 / 255)
    assert first["skipped"] is None


def test_columns_are_the_same_whatever_is_ranked() -> None:
    full = ranking([evaluation("a", right(80))], [skipped()])
    empty = ranking([])
    assert columns.names(full) == columns.names(empty)
    for of in (full, full.model_copy(update={"race": race(), "certified": (certified("a"),)})):
        assert {tuple(row) for row in columns.rows(of)} == {columns.names(of)}


def test_no_number_of_a_head_lacks_its_kind() -> None:
    kinds = ("attacked", "estimated", "clean", "certified")
    for of in (ranking([evaluation()]), regression(regression_evaluation("a", [0.5] * 9))):
        names = [name for name in columns.names(of) if "accuracy" in name or "error" in name]
        assert names
        assert all(any(kind in name for kind in kinds) for name in names)


def test_who_has_no_place_has_a_reason_and_no_number() -> None:
    of = ranking([evaluation("a", right(80))], [skipped("acme/x", code="gated")])
    rows = columns.rows(of.model_copy(update={"race": race()}))
    assert [(row["name"], row["skipped"]) for row in rows] == [
        ("a", None), ("acme/x", "gated"), ("out", "eliminated"), ("open", "unsettled"),
    ]  # fmt: skip
    for row in rows[1:]:
        assert row["rank"] is row["attacked_accuracy"] is row["n"] is None
        assert row["task"] == "plates"


def test_certificates_are_beside_their_candidate_alone() -> None:
    of = ranking([evaluation("a", right(80)), evaluation("b", right(60))])
    proven = of.model_copy(update={"certified": (certified("b", at=(0.5,)), skipped("a"))})
    first, second = columns.rows(proven)
    assert first["certified_accuracy"] is None
    assert (second["certified_accuracy"], second["certified_l2_radius"]) == (0.25, 0.5)


def test_other_perturbations_have_rows_of_their_own() -> None:
    of = full(tuple("abcd"))
    rows = columns.rows(of)
    own = [row for row in rows if (row["threat_norm"], row["threat_eps"]) == ("linf", 4 / 255)]
    further = rows[len(own) :]
    assert [row["rank"] for row in own if not row["skipped"]] == [1, 2, 3, 4]
    told = [(row["threat_norm"], row["threat_eps"], row["name"], row["rank"]) for row in further]
    assert told == [
        (norm, eps, name, rank)
        for norm, eps in (("l2", 0.5), ("linf", 1 / 255), ("linf", 2 / 255))
        for rank, name in enumerate("abcd", start=1)
    ]
    for row in further:
        curve = next(one for one in of.curves or () if one.name == row["name"])
        (point,) = [
            one
            for one in curve.points
            if (one.threat.norm, one.threat.eps) == (row["threat_norm"], row["threat_eps"])
        ]
        assert row["attacked_accuracy"] == point.attacked_accuracy.value
        assert row["clean_accuracy_high"] == point.clean_accuracy.high
        assert row["score"] is row["probe_clean_accuracy"] is row["seconds"] is None
        assert tuple(row) == columns.names(of)
    assert len(to_frame(of)) == len(rows) == len(read(of))


def test_a_regression_has_columns_of_errors() -> None:
    of = regression(regression_evaluation("a", [0.75] * 9))
    (row,) = columns.rows(of)
    head = of.ranking[0].head
    assert row["attacked_squared_error"] == head.attacked_squared_error.value
    assert row["estimated_squared_error"] == head.on_task.estimated_squared_error.value
    assert "attacked_accuracy" not in row
    assert len(read(of)) == 1


# --- csv -----------------------------------------------------------------------------------------


def test_csv_gives_back_the_rows() -> None:
    of = ranking([evaluation("a, b", right(80)), evaluation('q"t', right(60))], [skipped()])
    for written, row in zip(read(of), columns.rows(of), strict=True):
        assert written["name"] == row["name"]
        for name in ("attacked_accuracy", "estimated_worst_case_loss", "threat_eps"):
            assert (float(written[name]) if written[name] else None) == row[name]
        assert written["vacuous"] == ("" if row["vacuous"] is None else "false")
    assert to_csv(of).count("\r") == 0


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "＝", "＋", "－", "＠"])
def test_no_cell_is_a_formula(first: str) -> None:
    name = f"{first}cmd|'/c calc'!A1"
    (row, other) = read(ranking([evaluation(name)], [skipped(name, reason=name)]))
    assert row["name"] == f"'{name}"
    assert other["name"] == other["skipped_reason"] == f"'{name}"


@given(st.text())
def test_text_cells_are_one_line_and_harmless(name: str) -> None:
    (row,) = read(ranking([], [skipped("a", reason=name)]))
    cell = row["skipped_reason"]
    assert cell.replace("'", "") == printable(name).replace("'", "")
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


def test_negative_numbers_stay_numbers() -> None:
    of = ranking([evaluation("a", worst_case_loss=[1.25] * 100)], objective="bound")
    assert float(read(of)[0]["score"]) == -1.25


# --- Markdown ------------------------------------------------------------------------------------


def rendered(text: str) -> str:
    """What a reader sees of a document whose only block is a table with one cell."""
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    tokens = parser.parse(f"| a |\n| --- |\n| {text} |\n")
    assert [t.type for t in tokens if t.type == "td_open"] == ["td_open"], "one cell"
    (inline,) = [t for t in tokens if t.type == "inline"][1:]
    children = inline.children or []
    assert {child.type for child in children} <= {"text", "text_special", "code_inline"}
    return "".join(child.content for child in children).replace("\u200b", "")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_shown_as_they_are(name: str) -> None:
    assert rendered(code(name)) == name
    assert rendered(f"x {prose(name)} y") == f"x {name} y"


@given(st.text(st.sampled_from("ab_*`|\\[]()<>&#;!~@$ x-"), min_size=1))
def test_text_renders_as_itself(text: str) -> None:
    assert rendered(f"x{prose(text)}y") == f"x{text}y"
    assert rendered(f"x{code(text)}y") == f"x{text}y"


def test_nobody_is_notified() -> None:
    assert "@team" not in prose("ask @team")
    assert prose("ask @team") == "ask &#64;&#8203;team"
    assert code("@team") == "`@team`", "in code nobody is"


def test_usual_names_need_no_marks() -> None:
    assert code("timm/vit_base_patch16_224.dino") == "`timm/vit_base_patch16_224.dino`"
    assert prose("Choose tiny_resnet.cifar10_linf_8: 84") == "Choose tiny_resnet.cifar10_linf_8: 84"


def test_markdown_has_the_table_the_choice_and_the_reasons() -> None:
    one = evaluation("a", right(80), flags=["masked_gradients"], messages=["noise beat it"])
    of = ranking([one, evaluation("b", right(60), vacuous=True)], [skipped("acme/<x>")])
    text = to_markdown(of)
    assert of.choice is not None
    assert f"**{of.choice.sentence}**" in text
    assert "| 1 | `b` | 60.0 | 50–70 | 60.0 | 100.0 | vacuous |" in text
    assert "| 2 | `a` | 80.0 | 70–90 | masked | 100.0 | 1.25 |" in text
    assert "- `a`: noise beat it" in text
    assert "- `acme/<x>`: &#91;keys_mismatch&#93; the checkpoint does not fit" in text
    assert "an upper estimate" in text and "not certified" in text
    html = MarkdownIt("commonmark").enable("table").render(text)
    assert html.count("<tr>") == 3
    assert "<x>" not in html


def test_markdown_tells_what_was_certified_and_what_a_race_left_out() -> None:
    of = ranking([evaluation("a", right(80))])
    text = to_markdown(of.model_copy(update={"certified": (certified("a"),), "race": race()}))
    assert "- `a`: 50.0 % up to l2 0.25, 25.0 % up to l2 0.5, each image with 99.9 %" in text
    assert "One was found." in text
    assert "- `out`: e." in text and "- `open`: u." in text


def test_markdown_has_a_column_for_another_objective() -> None:
    text = to_markdown(ranking([evaluation("a", right(80))], objective="log_me"))
    assert "| ranks | log_me |" in text
    assert "| 1 | 0.25 |" in text


def test_markdown_of_a_regression_and_of_nothing() -> None:
    of = regression(regression_evaluation("a", [0.75] * 9))
    assert "| 1 | `a` | 0.75 |" in to_markdown(of)
    assert "|" not in to_markdown(ranking([], []))


# --- lines ---------------------------------------------------------------------------------------


def test_lines_are_the_records_with_a_kind() -> None:
    one, broken = evaluation("ä"), skipped("b\n")
    first, second = candidate_line(one), candidate_line(broken)
    assert first.endswith("\n") and first.count("\n") == second.count("\n") == 1
    line = json.loads(first)
    assert line.pop("kind") == "evaluation"
    assert Evaluation.model_validate_json(json.dumps(line)) == one
    line = json.loads(second)
    assert line.pop("kind") == "skipped"
    assert Skipped.model_validate_json(json.dumps(line)) == broken


def test_the_lines_together_give_back_the_document() -> None:
    of = ranking([evaluation("a", right(80)), evaluation("b", right(60))], [skipped("c")])
    told = [e.model_dump(include=set(Evaluation.model_fields)) for e in of.ranking]
    lines = [json.loads(candidate_line(Evaluation.model_validate(e))) for e in told]
    last = json.loads(ranking_line(of))
    assert last.pop("kind") == "ranking"
    places = last["ranking"]
    assert [set(place) for place in places] == [
        {"name", "model", "rank", "rank_interval", "group", "score"}
    ] * 2
    by_model = {line["model"]: {k: v for k, v in line.items() if k != "kind"} for line in lines}
    last["ranking"] = [by_model[place["model"]] | place for place in places]
    assert Ranking.model_validate_json(json.dumps(last)) == of


def test_lines_of_a_regression_have_kinds_of_their_own() -> None:
    one = regression_evaluation("a", [0.5] * 9)
    assert json.loads(candidate_line(one))["kind"] == "regression_evaluation"
    assert json.loads(ranking_line(regression(one)))["kind"] == "regression"


def test_an_outcome_is_told_before_anything_else_happens() -> None:
    from selector.scheduling import telling

    told: list[object] = []
    first, second = (Finished(skipped(name), reused=False) for name in ("a", "b"))
    events = telling(told.append, iter([Started("a"), first, Started("b"), second]))
    assert [next(events), next(events)] == [Started("a"), first]
    assert told == [first.outcome]
    assert list(events) == [Started("b"), second]
    assert told == [first.outcome, second.outcome]
    assert list(telling(None, iter([first]))) == [first]


# --- the command ---------------------------------------------------------------------------------


def rank(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["rank", *QUICK, *map(str, arguments)])
    assert result.exit_code == 3, result.stderr
    return result.stdout


def test_every_format_is_printed_and_the_file_is_json(tmp_path: Path) -> None:
    models = ("--model", f"local-dir:{ZOO / ROBUST}", "--model", f"local-dir:{ZOO / ORDINARY}")
    models += ("--model", "local-dir:/nowhere")
    output = tmp_path / "ranking.json"
    lines = rank(*models, "--format", "jsonl", "-o", output).splitlines()
    document = Ranking.model_validate_json(output.read_text(encoding="utf-8"))
    assert [json.loads(line)["kind"] for line in lines] == [
        "evaluation", "evaluation", "skipped", "ranking",
    ]  # fmt: skip
    assert [json.loads(line)["name"] for line in lines[:3]] == [ROBUST, ORDINARY, "nowhere"]

    rows = list(csv.DictReader(io.StringIO(rank(*models, "--format", "csv"))))
    assert [row["name"] for row in rows] == [*(e.name for e in document.ranking), "nowhere"]
    assert float(rows[0]["attacked_accuracy"]) == document.ranking[0].head.attacked_accuracy.value
    assert rows[2]["skipped"] == "not_found"

    assert rank(*models, "--format", "markdown").startswith("Backbones for `digits` under linf 4/")
    short, long = (json.loads(rank(*models, *form)) for form in (["--json"], ["--format", "json"]))
    assert short["ranking"] == long["ranking"] == json.loads(to_json(document))["ranking"]


def test_formats_that_contradict_each_other_are_refused() -> None:
    assert choose_format(None, as_json=False, dry_run=False) == "table"
    assert choose_format(None, as_json=True, dry_run=True) == "json"
    assert choose_format("json", as_json=True, dry_run=False) == "json"
    assert choose_format("csv", as_json=False, dry_run=False) == "csv"
    for given_format, as_json, dry in (("csv", True, False), ("table", True, False),
                                       ("jsonl", False, True)):  # fmt: skip
        with pytest.raises(UsageError, match=f"--format {given_format}"):
            choose_format(given_format, as_json=as_json, dry_run=dry)  # type: ignore[arg-type]
    result = CliRunner().invoke(app, ["rank", *QUICK, "--json", "--format", "csv"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--format csv" in result.stderr


# --- progress ------------------------------------------------------------------------------------


def followed(*events: object, candidates: int = 2, terminal: bool = True, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    with Display(console, candidates, passes_each=100) as display:
        display.follow(events)  # type: ignore[arg-type]
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_on_a_terminal_stage_images_and_time_are_shown_of_one_and_of_all() -> None:
    text = followed(Started("acme/a"), Entered("attack"), Passed(60))
    assert re.search("1/2 acme/a +attack", text)
    assert "60 of 100 images" in text
    assert "60 of 200 images" in text
    assert text.count("left") >= 2


def test_in_a_narrow_terminal_a_long_name_gives_way_and_not_the_time() -> None:
    text = followed(Started("acme/" + "long_" * 20), Entered("attack"), Passed(60), width=80)
    lines = [line for line in re.split("\x1b[^a-zA-Z]*[a-zA-Z]|\n", text) if "60 of" in line]
    assert lines
    for line in lines:
        assert len(line.rstrip()) <= 80
        assert re.search(r"60 of [12]00 images \d:\d\d:\d\d left [\d-]+:[\d-]+:[\d-]+", line)
    assert any(re.search("1/2 acme/long.*… +attack", line) for line in lines)


def test_the_next_candidate_starts_from_nothing() -> None:
    first = Finished(skipped("acme/a"), reused=False)
    text = followed(Started("acme/a"), Passed(60), first, Started("acme/b"), Passed(7))
    assert "7 of 100 images" in text
    assert "107 of 200 images" in text
    assert "2/2 acme/b" in text


def test_of_a_single_candidate_there_is_one_bar() -> None:
    assert "all" not in followed(Started("b"), Passed(6), candidates=1)


def test_without_a_terminal_there_is_nothing_of_it() -> None:
    assert followed(Started("a"), Entered("attack"), Passed(60), terminal=False) == ""


def test_what_is_printed_meanwhile_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(file=io.StringIO(), width=160, force_terminal=True)
    with Display(console, 1, passes_each=100):
        print("a line")
    assert capsys.readouterr().out == "a line\n"
    assert "a line" not in console.file.getvalue()  # type: ignore[attr-defined]
