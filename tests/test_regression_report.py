"""A ranking by error as one HTML file; what all such files have to be is in test_report.py."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import builders
import pytest
from report_documents import HOSTILE, errors
from test_regression_ranking import document, drawn, evaluation
from test_report import Page, page, printed
from test_reports import flat
from typer.testing import CliRunner

from selector.cli import app
from selector.gating import gate
from selector.policy import Policy
from selector.records import RankedRegression, RegressionRanking
from selector.reports.document import to_json
from selector.reports.html.charts import plane
from selector.reports.html.page import render
from selector.reports.html.regression.charts import axes, bounds, distributions, frontier, tradeoff
from selector.reports.html.regression.columns import columns
from selector.reports.html.regression.content import content
from selector.reports.html.regression.heads import heads
from selector.reports.html.regression.verdict import verdict
from selector.reports.html.table import Cell


def said(ranking: RegressionRanking) -> dict[str, str]:
    return {part.question: f"{part.answer}: {flat(part.text)}" for part in verdict(ranking)}


def cells(ranking: RegressionRanking) -> dict[str, dict[str, Cell]]:
    """By candidate and column."""
    titles = [column.title for column in columns(ranking)]
    rows = content(ranking).rows
    return {row.name: dict(zip(titles, row.cells, strict=True)) for row in rows}


def two() -> RegressionRanking:
    return document(
        evaluation("robust", [0.4] * 60, clean=[0.25] * 60, bound=0.75),
        evaluation("clean", [0.8] * 60, clean=[0.125] * 60, bound=1.5, vacuous=True),
    )


# --- choice, rival, reason, doubt ----------------------------------------------------------------


def test_choice_rival_reason_and_doubt_are_the_records() -> None:
    found = said(two())
    assert found["Choice"] == (
        "robust: With the recommended linear head: attacked squared error 0.40 (0.30–0.50) at linf"
        " 4/255, a lower estimate; clean 0.25 (0.15–0.35); error bound, estimated, 0.75"
        " (0.65–0.85). Knowing only the mean has 1.05."
    )
    assert found["Rival"] == (
        "clean: Next, and told apart from robust at the 5 % level. Its attacked error is 0.80"
        " (0.70–0.90). Of 60 test images, robust has the lower one on 60, clean on 0."
    )
    assert found["Reason"].startswith("attacked: 0.40 (0.30–0.50): First of 2 by squared error of")
    assert "by 20.0 % of the distance" in found["Reason"]
    assert "Of the error bound, 0.25 is clean error and an estimated 0.50" in found["Reason"]
    assert "would have taken clean: -0.12 clean, +0.40 attacked." in found["Reason"]
    assert found["Doubt"].startswith("rank 1, on 60 images: Resampling the test images leaves it")
    assert "100 leave 0.10 of attacked error in doubt either way." in found["Doubt"]
    assert "a lower estimate: a stronger attack may find more" in found["Doubt"]
    assert "Nothing here is certified." in found["Doubt"]


def test_those_that_cannot_be_told_apart_are_named() -> None:
    found = said(document(*(evaluation(name, drawn(0.4)) for name in "ab")))
    assert found["Rival"].startswith("b: Cannot be told apart from a at the 5 % level: b.")
    assert "a has the lower one on 0, b on 0" in found["Rival"]
    assert "may be anything from 1 to 2" in said(same())["Doubt"]


def same() -> RegressionRanking:
    """Two whose order rests on the images."""
    return document(evaluation("a", drawn(0.4, 1)), evaluation("b", drawn(0.4, 2)))


def test_knowing_only_the_mean_and_masked_gradients_are_no_choice() -> None:
    weak = said(document(evaluation("a", drawn(1.0))))
    assert weak["Choice"].startswith("none to rely on: Nothing is clearly better under attack")
    assert weak["Rival"] == "none: No other candidate was ranked."
    blind = evaluation("b", drawn(0.1), masked=True)
    alone = said(document(blind))
    assert alone["Choice"].startswith("none: Every attack was blind. First is b.")
    assert "1 warning" in alone["Doubt"]
    both = said(document(evaluation("a", drawn(0.4)), blind))
    assert both["Choice"].startswith("a: With")
    assert both["Rival"].startswith("b: Next, but its gradients are masked")


def test_a_masked_choice_by_clean_error_is_said_to_be() -> None:
    ranking = document(evaluation("a", drawn(0.1), masked=True))
    by_clean = ranking.model_copy(update={"objective": "clean", "objective_kind": "clean"})
    assert said(by_clean)["Choice"].startswith("a: Attacks on it were blind, so it is flattered.")


@pytest.mark.parametrize(
    ("objective", "reason"), [("bound", "estimated: 0.40"), ("clean", "clean: 0.40")]
)
def test_by_another_objective_the_kind_of_its_number_is_named(objective: str, reason: str) -> None:
    ranking = two().model_copy(update={"objective": objective})
    assert said(ranking)["Reason"].startswith(reason)
    assert Page(render(ranking)).figures


# --- table ---------------------------------------------------------------------------------------


def test_a_row_holds_the_record_to_show_and_to_sort_by() -> None:
    robust, clean = cells(two()).values()
    attacked = robust["attacked error"]
    assert (attacked.text, attacked.note) == ("0.40", "0.30–0.50")
    assert attacked.sort == pytest.approx(0.4)
    # The end of the bar is knowing only the mean.
    assert attacked.bar == pytest.approx((100 * 0.3 / 1.05, 100 * 0.4 / 1.05, 100 * 0.5 / 1.05))
    assert (robust["error bound"].text, robust["error bound"].note) == ("0.75", "0.65–0.85")
    assert robust["clean error"].text == robust["ridge clean"].text == "0.25"
    assert robust["ridge attacked"].text == "0.40"
    assert (robust["ranks"].text, robust["group"].text) == ("1", "1")
    assert (robust["moved %"].text, robust["licence"].text) == ("20.0", "apache-2.0")
    assert (clean["error bound"].text, clean["error bound"].sort) == ("vacuous", 1.5)


def test_a_bar_stays_within_its_scale() -> None:
    far = cells(document(evaluation("a", [9.0] * 60), evaluation("b", [0.02] * 60)))
    assert far["a"]["attacked error"].bar == (100.0, 100.0, 100.0)
    low, _, high = far["b"]["attacked error"].bar or (1, 1, 1)
    assert (low, high) == pytest.approx((0, 100 * 0.12 / 1.05))
    assert far["b"]["attacked error"].note == "0–0.12"


def test_masked_numbers_are_words_and_rows_say_why_they_say_nothing() -> None:
    ranking = document(
        evaluation("good", drawn(0.4)),
        evaluation("idle", drawn(1.1)),
        evaluation("blind", drawn(0.1), masked=True),
    )
    rows = {row.name: row.says_nothing for row in content(ranking).rows}
    assert rows["good"] == ""
    assert rows["idle"] == "may do no better under attack than knowing only the mean"
    assert rows["blind"].startswith("masked gradients")
    assert cells(ranking)["blind"]["error bound"] == Cell("masked", None)


@pytest.mark.parametrize(
    ("objective", "title"),
    [("attacked", "attacked error"), ("bound", "error bound"), ("clean", "ridge clean")],
)
def test_what_ranks_is_the_first_column_and_is_there_once(objective: str, title: str) -> None:
    titles = [one.title for one in columns(two().model_copy(update={"objective": objective}))]
    assert titles[0] == title
    assert titles[1:3] == ["ranks", "group"]
    assert sorted(titles) == sorted({*titles})
    assert len(titles) == 10


def test_kinds_are_named_and_nothing_is_said_of_certificates() -> None:
    kinds = {column.title: column.kind for column in columns(errors())}
    assert kinds["attacked error"] == kinds["ridge attacked"] == "attacked"
    assert kinds["error bound"] == kinds["moved %"] == "estimated"
    assert kinds["clean error"] == kinds["ridge clean"] == "clean"
    words = flat(page("errors").words)
    assert "a lower estimate of the error, as a stronger attack may find more" in words
    assert "upper estimate" not in words
    ids = {attributes.get("id") for _, attributes in page("errors").elements}
    assert not ids & {"certified", "race", "charts-accuracy"}
    assert {"charts-error", "charts-bounds", "warnings", "skipped", "provenance"} <= ids


# --- charts --------------------------------------------------------------------------------------


def test_the_pareto_front_is_of_those_nobody_beats() -> None:
    ranking = document(
        evaluation("robust", drawn(0.2), clean=drawn(0.19)),
        evaluation("beaten", drawn(0.3), clean=drawn(0.19)),
        evaluation("between", drawn(0.4), clean=drawn(0.15)),
        evaluation("clean", drawn(0.9), clean=drawn(0.02)),
        evaluation("blind", drawn(0.01), clean=drawn(0.01), masked=True),
    )
    front = plane.front(tradeoff.marks(ranking), better=-1)
    assert [one.name for one in front] == ["robust", "between", "clean"]
    stairs = tradeoff.chart(ranking).figure.data[0]
    # From far right at the lowest attacked error, to far up at the lowest clean one.
    assert stairs.x[0] == stairs.y[-1] > 1e6
    assert stairs.y[0] == stairs.y[1] == min(stairs.y)
    assert stairs.x[-1] == stairs.x[-2] == min(stairs.x)


def test_points_are_drawn_in_errors_with_their_intervals() -> None:
    figure = page("errors").figures["tradeoff"]
    (first,) = (trace for trace in figure["data"] if trace["name"] == "first group")
    assert first["y"] == pytest.approx([0.2], abs=0.01)
    assert first["error_y"]["array"] == pytest.approx([0.1])
    (line,) = figure["layout"]["shapes"]
    assert line["y0"] == line["y1"] == 1.05


@pytest.mark.parametrize(("highest", "kind"), [(1.0, None), (30.0, "log")])
def test_attacked_errors_far_apart_are_on_a_logarithmic_axis(
    highest: float, kind: str | None
) -> None:
    ranking = document(evaluation("a", drawn(0.4)), evaluation("b", drawn(highest)))
    for chart in (tradeoff.chart(ranking), frontier.chart(ranking)):
        axis = chart.figure.layout.yaxis
        assert axis.type == kind
        low, high = axis.range
        if kind:
            low, high = 10**low, 10**high
        assert low < 0.4 * 0.8 and highest < high


def test_an_annotation_stands_where_its_point_does() -> None:
    logarithmic = axes.fitting("x", [0.1, 100.0])
    assert logarithmic.place(100.0) == 2.0
    assert axes.fitting("x", [0.1, 0.9]).place(0.9) == 0.9
    assert axes.linear("x", [0.0]).settings["range"] == [0, 1.0]


def test_a_bound_is_clean_error_and_what_attacks_and_displacement_add() -> None:
    clean, attacks, more = bounds.chart(two()).figure.data
    assert list(clean.x) == pytest.approx([0.25, 0.125])
    assert list(attacks.x) == pytest.approx([0.15, 0.675])
    assert list(more.x) == pytest.approx([0.35, 0.7])
    assert list(more.error_x.array) == pytest.approx([0.1, 0.1])
    assert list(clean.marker.pattern.shape) == ["", "/"]


def test_a_bound_that_says_nothing_does_not_make_the_others_small() -> None:
    chart = bounds.chart(
        document(evaluation("a", drawn(0.4)), evaluation("b", [9.0] * 60, bound=90))
    )
    assert chart.figure.layout.xaxis.range == pytest.approx((0, 3 * 1.05))
    assert chart.caption.endswith("Bars are cut off at 3.15.")
    assert "cut off" not in bounds.chart(two()).caption


def test_distributions_are_over_test_images() -> None:
    one = evaluation("a", (0.1, 0.2, 0.4, 4.0), clean=(0.0, 0.1, 0.1, 1.0), bound=0.7)
    added, attacked, bound = distributions.charts(document(one))
    line = attacked.figure.data[0]
    at = dict(zip(line.x, line.y, strict=True))
    assert at[0.0] == 0.0
    assert at[max(at)] == 75.0  # one is beyond three times knowing only the mean
    assert max(at) == pytest.approx(3 * 1.05)
    assert list(bound.figure.data[0].y)[-1] == 100.0
    # 0.7 less 0.0, 0.1, 0.1 and 1.0: the last is below 0.
    assert added.figure.data[0].y[0] == 25.0


def test_figures_belong_to_candidates_by_their_place() -> None:
    for name in ("added", "attacked-errors", "error-bounds", "frontier"):
        traces = page("errors").figures[name]["data"]
        assert {trace["meta"] for trace in traces} == set(range(len(HOSTILE)))


def test_the_frontier_goes_from_ridge_to_the_star() -> None:
    line, star = frontier.chart(document(evaluation("a", [0.4] * 60))).figure.data
    assert list(line.y) == pytest.approx([1.4, 0.9, 0.4])
    assert (list(star.x), list(star.y)) == ([pytest.approx(0.2)], [pytest.approx(0.4)])
    assert star.marker.symbol == "star"


def test_without_a_frontier_there_is_the_ranked_head_alone() -> None:
    (one,) = document(evaluation("a", drawn(0.4))).ranking
    ranking = document(evaluation("a", drawn(0.4)))
    bare = ranking.model_copy(update={"ranking": (one.model_copy(update={"frontier": ()}),)})
    line, star = frontier.chart(bare).figure.data
    assert (len(line.x), len(star.x)) == (0, 1)


def test_targets_that_never_vary_make_a_page() -> None:
    still = document(evaluation("a", [0.0] * 60, clean=[0.0] * 60, bound=0.0))
    task = still.task.model_copy(update={"mean_error": 0.0})
    assert Page(render(still.model_copy(update={"task": task}))).figures


# --- what else it tells --------------------------------------------------------------------------


def test_heads_tell_errors_in_the_units_of_the_table() -> None:
    ranking = two()
    best: RankedRegression = ranking.ranking[0]
    found = heads(ranking, best)
    assert [title for title, _ in found.numbers] == [
        "recommended (ranked by)",
        "ordinary ridge",
        "bound-optimal",
    ]
    numbers = dict(zip(found.labels, found.numbers[0][1], strict=True))
    assert numbers["attacked squared error"] == "0.40 (0.30–0.50)"
    assert numbers["estimated squared error, A∘g"] == "0.75 (0.65–0.85)"
    assert numbers["estimated Theorem 1 error, A∘g"] == "2.50"
    # sd 3.25 times the root of 0.25.
    assert numbers["clean, root of the mean square, x [red]"] == "1.62 (sd 3.25)"


def test_of_many_columns_the_first_have_a_line() -> None:
    ranking = two()
    columns = ranking.task.columns * 40
    task = ranking.task.model_copy(update={"columns": columns})
    (best, *_) = ranking.ranking
    head = best.head.model_copy(update={"clean_by_column": (0.25,) * 40})
    wide = best.model_copy(update={"head": head, "probe": head, "bound_optimal": head})
    found = heads(ranking.model_copy(update={"task": task}), wide)
    assert sum(label.startswith("clean, root") for label in found.labels) == 12


@pytest.mark.parametrize(
    "words",
    [
        "60 test images of 32 px, 1 target column",
        "lowest first. Errors are squared, mean over target columns in standard deviations",
        "knowing only the mean has 1.05",
        "keys_mismatch",
        "Trying again may help.",
        "Read with care",
        "target columns1",
        "mean 16.5, sd 3.25 of train",
        "knowing only the meansquared error 1.0500 on test images",
        "error clip (C2)2.2 standard deviations",
        "objectiveattacked: squared error of the head under attack",
        "a.lock.yaml",
        "sha256:" + "0" * 64,
        "selector rank --target-column '<b>bold</b> &lt;i&gt; 100% %{y} $\\alpha$' --task",
        "not full or adversarial fine-tuning",
    ],
)
def test_the_record_is_told(words: str) -> None:
    assert words in page("errors").words


def test_the_sentence_stands_on_top_and_candidates_are_explained() -> None:
    ranking = errors()
    assert ranking.choice is not None
    words = flat(page("errors").words)
    assert words.index(flat(printed(ranking.choice.sentence))) < words.index("Rival")
    assert f"{flat(printed(HOSTILE[0]))} is number 1 of 8 by squared error" in words
    assert words.count("How far attacks push the features, and what this head makes of it.") == 8


def test_where_nothing_could_be_ranked_the_reasons_are_there() -> None:
    nothing = document().model_copy(update={"skipped": (builders.skipped("broken"),)})
    found = Page(render(nothing))
    assert "Nothing could be ranked" in found.words
    assert "broken" in found.words
    assert not found.of("figure")


# --- the command ---------------------------------------------------------------------------------


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    source, target = tmp_path / "ranking.json", tmp_path / "report.html"
    source.write_text(to_json(errors()), encoding="utf-8")
    done = CliRunner().invoke(app, ["report", str(source), "-o", str(target)])
    assert (done.exit_code, done.stdout) == (0, "")
    assert target.read_text(encoding="utf-8") == render(errors())


def test_what_is_no_ranking_at_all_is_refused_for_what_it_is(tmp_path: Path) -> None:
    source = tmp_path / "gate.json"
    found = gate(two(), Policy(max_attacked_error=0.5), datetime.now(UTC))
    source.write_text(to_json(found), encoding="utf-8")
    done = CliRunner().invoke(app, ["report", str(source), "-o", str(tmp_path / "report.html")])
    assert done.exit_code == 2
    words = flat(done.stderr)
    assert "must be a ranking, found a document of another kind: gate." in words
    assert "without --target-column" not in words


@pytest.mark.parametrize("command", [("report", "-o", "report.html"), ("explain", "a")])
def test_a_ranking_by_what_nobody_knows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ranking.json").write_text(to_json(two().model_copy(update={"objective": "knn"})))
    done = CliRunner().invoke(app, [*command, "ranking.json"])
    assert done.exit_code == 2
    assert "must be ranked by one of attacked, bound, clean, found 'knn'" in flat(done.stderr)
    assert not Path("report.html").exists()
