"""A ranking as one HTML file, without a browser; ``make check-browser`` looks at it in one."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from builders import certified, evaluation, ranking, right, skipped
from report_documents import HOSTILE, errors, full, large
from test_regression_ranking import document as regression
from test_reports import flat
from typer.testing import CliRunner

from selector.cli import app
from selector.records import AnyRanking, Ranking
from selector.reports.document import to_json
from selector.reports.html import standings
from selector.reports.html.charts import base, displacement, plane
from selector.reports.html.classification import content as classification
from selector.reports.html.classification.charts import (
    certificates,
    curves,
    distributions,
    tradeoff,
)
from selector.reports.html.classification.columns import columns
from selector.reports.html.classification.verdict import verdict
from selector.reports.html.page import render
from selector.reports.html.standings import Row

VOID = {"meta", "link", "input", "br", "wbr", "img", "hr"}


class Page(HTMLParser):
    """Elements, their attributes and text; an end tag that ends nothing is an error."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[tuple[dict[str, str], str]] = []
        self.styles = ""
        self.words = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        self.elements.append((tag, found))
        if tag == "script":
            self.scripts.append((found, ""))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["script"]:
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif self._open[-1:] == ["style"]:
            self.styles += data
        else:
            self.words += data

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def figures(self) -> dict[str, Any]:
        (data,) = (
            text for attributes, text in self.scripts if attributes.get("type", "").endswith("json")
        )
        return json.loads(data)  # type: ignore[no-any-return]


DOCUMENTS: dict[str, Callable[[], AnyRanking]] = {
    "full": full,
    "empty": ranking,
    "errors": errors,
    "no errors": regression,
}
KINDS = pytest.mark.parametrize("kind", ["full", "errors"])


@cache
def page(kind: str = "full") -> Page:
    return Page(render(DOCUMENTS[kind]()))


def rows(document: Ranking) -> tuple[Row, ...]:
    return classification.content(document).rows


def printed(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)


def said(document: Ranking) -> dict[str, str]:
    return {part.question: f"{part.answer}: {flat(part.text)}" for part in verdict(document)}


# --- one file that is safe to open ---------------------------------------------------------------


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_ids_are_unique_and_every_figure_has_its_place(kind: str) -> None:
    ids = Counter(attributes["id"] for _, attributes in page(kind).elements if "id" in attributes)
    assert not [name for name, times in ids.items() if times > 1]
    assert set(page(kind).figures) <= set(ids)
    assert bool(page(kind).figures) == (kind in ("full", "errors"))


@KINDS
def test_it_names_nothing_outside_itself(kind: str) -> None:
    loaded = [
        attributes[name]
        for _, attributes in page(kind).elements
        for name in ("src", "href", "srcset", "data", "action", "poster", "ping")
        if name in attributes
    ]
    assert loaded == ["data:,"]
    assert "url(" not in page(kind).styles
    assert "@import" not in page(kind).styles


def test_no_button_sends_a_chart_anywhere() -> None:
    """What plotly would have by default; the browser's check sees the buttons themselves."""
    own = next(text for _, text in page().scripts if "Plotly.newPlot(id" in text)
    assert "showSendToCloud: false" in own
    assert 'modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]]' in own


@KINDS
def test_the_policy_lets_only_the_scripts_run_that_are_in_it(kind: str) -> None:
    (policy,) = (
        attributes["content"]
        for attributes in page(kind).of("meta")
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    own = [text for attributes, text in page(kind).scripts if "type" not in attributes]
    hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in own]
    assert rules["script-src"] == " ".join(f"'sha256-{one}'" for one in hashes)
    assert len(own) == 2
    assert [a for a in page(kind).of("meta") if "charset" in a] == [page(kind).elements[2][1]]


@KINDS
def test_names_are_shown_as_they_are_and_make_no_element(kind: str) -> None:
    harmless = tuple(f"name {place}" for place in range(len(HOSTILE)))
    made = {"full": full, "errors": errors}[kind](harmless)
    assert tags(page(kind)) == tags(Page(render(made)))
    for name in HOSTILE:
        assert printed(name) in page(kind).words
    assert f"skipped {HOSTILE[0]}" in page(kind).words
    found = [a for _, attributes in page(kind).elements for a in attributes if a.startswith("on")]
    assert not found
    assert "7 * 7" in page(kind).words


def test_names_of_races_certificates_and_columns_are_shown_as_they_are() -> None:
    assert f"eliminated {HOSTILE[0]}" in page().words
    for told in ("unsettled ", "uncertified "):
        assert told + HOSTILE[2] in page().words
    for told in ("column ", "licence ", "tag "):
        assert told + HOSTILE[3] in page("errors").words


def tags(of: Page) -> Counter[str]:
    """How often each element is there, but for the places where a name may be broken."""
    return Counter(tag for tag, _ in of.elements if tag != "wbr")


@KINDS
def test_names_with_control_characters_are_shown_without_them(kind: str) -> None:
    assert not [c for c in page(kind).words if not c.isprintable() and c not in "\n\xa0"]


@KINDS
def test_data_in_the_page_cannot_end_its_element(kind: str) -> None:
    text = render(DOCUMENTS[kind]())
    data = re.search(r'<script type="application/json" id="charts">(.*?)</script>', text, re.S)
    assert data is not None
    assert not set(data[1]) & set("<>&\u2028\u2029")
    assert set(json.loads(data[1])) == set(page(kind).figures)


@KINDS
def test_no_name_reaches_plotly_as_markup_or_formula(kind: str) -> None:
    own = re.compile(r"</?b>|<br>|<extra></extra>")
    texts = [
        text
        for figure in page(kind).figures.values()
        for text in strings([figure["data"], figure["layout"].get("annotations", [])])
    ]
    assert len(texts) > 100
    for text in texts:
        assert not set(own.sub("", text)) & set("<>$"), text
    assert any("&lt;img src=x onerror=alert(1)&gt;" in text for text in texts)


def strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    children = value.values() if isinstance(value, dict) else value
    return [s for one in children for s in strings(one)] if isinstance(value, dict | list) else []


def test_what_plotly_shows_of_a_name_is_the_name() -> None:
    for name in HOSTILE:
        shown = re.sub(r"&(lt|gt|amp|#36);", lambda m: SIGNS[m[1]], base.literal(name))
        assert shown == printed(name)


SIGNS = {"lt": "<", "gt": ">", "amp": "&", "#36": "$"}


def test_any_ranking_fits_in_six_megabytes() -> None:
    left_out = [
        skipped(f"acme/{place}", reason="x" * 3000, hint="y" * 3000) for place in range(300)
    ]
    document = large(600).model_copy(update={"skipped": tuple(left_out)})
    page = render(document)
    assert len(page.encode()) < 6_000_000
    assert "The first 150 of the ranking. Both of" in page


def test_more_candidates_than_fit_are_counted_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standings, "LISTED", 2)
    monkeypatch.setattr("selector.reports.html.page.LISTED", 2)
    monkeypatch.setattr(classification, "DETAILED", 1)
    monkeypatch.setattr("selector.reports.html.page.DETAILED", 1)
    found = Page(render(large(4)))
    assert len([a for a in found.of("tr") if "data-candidate" in a]) == 2
    assert "The first 2 of 4; the ranking's JSON has all." in found.words
    assert "The first 1 of 4; the ranking's JSON has all." in found.words
    assert len([a for a in found.of("details") if "id" in a]) == 1


# --- choice, rival, reason, doubt ----------------------------------------------------------------


def test_choice_rival_reason_and_doubt_of_two_that_cannot_be_told_apart() -> None:
    first, second = right(61), (False,) * 6 + right(58, 94)
    found = said(ranking([evaluation("a", first), evaluation("b", second)]))
    assert found["Choice"].startswith("a: With the recommended linear head: attacked accuracy 61.0")
    assert "61.0 % (51–71) at linf 4/255, an upper estimate" in found["Choice"]
    assert found["Rival"].startswith("b: Cannot be told apart from a at the 5 % level: b.")
    assert "only a withstands the attacks on 6, only b on 3" in found["Rival"]
    assert found["Reason"].startswith("attacked: 61.0 % (51–71): First of 2 by attacked accuracy")
    assert "Attacks move the features that this task uses by 20.0 %" in found["Reason"]
    assert "Estimated loss bound: 1.25 nats (1.15–1.35), where 1.10" in found["Reason"]
    assert "may be anything from 1 to 2" in found["Doubt"]
    assert "100 leave 10 points of doubt" in found["Doubt"]
    assert "Nothing here is certified." in found["Doubt"]


def test_a_rival_that_is_told_apart_is_said_to_be() -> None:
    found = said(ranking([evaluation("a", right(90)), evaluation("b", right(40))]))
    assert found["Rival"].startswith("b: Next, and told apart from a at the 5 % level.")
    assert found["Doubt"].startswith(
        "rank 1, on 100 images: Resampling the test images leaves it at rank 1"
    )


def test_what_choosing_by_clean_accuracy_would_have_cost() -> None:
    some = [evaluation("a", right(90), clean=right(95)), evaluation("b", right(40))]
    assert (
        "would have taken b: +5.0 points clean, -50.0 points attacked."
        in said(ranking(some))["Reason"]
    )


def test_a_constant_answer_and_masked_gradients_are_no_choice() -> None:
    assert said(ranking([evaluation("a", right(12))]))["Choice"].startswith("none to rely on: ")
    blind = evaluation("a", right(90), flags=["masked_gradients"])
    found = said(ranking([blind]))
    assert found["Choice"].startswith("none: Every attack was blind. First is a.")
    assert found["Rival"] == "none: No other candidate was ranked."
    assert "1 warning" in found["Doubt"]
    sound = said(ranking([evaluation("b", right(50)), blind]))
    assert sound["Rival"].startswith("a: Next, but its gradients are masked")


def test_who_is_not_settled_may_be_better() -> None:
    found = said(full())
    assert f"Not settled, and perhaps better: unsettled {HOSTILE[2]}." in found["Rival"]
    assert "Time ended before the race was settled." in found["Doubt"]
    assert "proven of a smoothed head, each image with confidence 0.999" in found["Doubt"]


def test_by_another_objective_the_kind_of_its_number_is_named() -> None:
    document = ranking([evaluation("a", right(80)), evaluation("b", right(60))], objective="bound")
    reason = said(document)["Reason"]
    assert reason.startswith("estimated: -1.25: First of 2 by minus the estimated worst")
    shown = columns(document)
    assert (shown[0].title, shown[0].kind) == ("bound", "estimated")


def test_ranks_are_told_for_what_they_are() -> None:
    def tip(objective: str) -> str:
        shown = columns(ranking([evaluation("a")], objective=objective))
        return next(column.tip for column in shown if column.title == "ranks")

    assert "resampled" in tip("lda")
    assert "no interval is known" in tip("log_me")


# --- table ---------------------------------------------------------------------------------------


def test_a_row_holds_the_record_to_show_and_to_sort_by() -> None:
    document = ranking([evaluation("a", right(80), clean_head=right(95)), evaluation("b")])
    shown = columns(document)
    row = rows(document)[0]
    cells = {column.title: cell for column, cell in zip(shown, row.cells, strict=True)}
    assert (cells["attacked %"].text, cells["attacked %"].sort) == ("80.0", 0.8)
    assert cells["attacked %"].note == "70–90"
    assert cells["attacked %"].bar == pytest.approx((70, 80, 90))
    assert cells["clean %"].text == "95.0"
    assert cells["ranks"].text == "1"
    assert cells["loss bound"].text == "1.25"
    assert "local-dir:a resnet10t apache-2.0" in row.text


def test_kinds_are_named_beside_every_number_that_has_one() -> None:
    kinds = {column.title: column.kind for column in columns(full())}
    assert kinds["attacked %"] == kinds["probe attacked %"] == "attacked"
    assert kinds["robust %"] == kinds["loss bound"] == kinds["moved %"] == "estimated"
    assert kinds["certified % l2 0.25"] == "certified"
    for kind in ("attacked", "estimated", "certified", "clean"):
        assert f"kind {kind}" in [a.get("class") for a in page().of("span")]


def test_headers_are_buttons_that_say_how_the_table_is_sorted() -> None:
    headers = [a["aria-sort"] for a in page().of("th") if "aria-sort" in a]
    assert Counter(headers) == {"ascending": 1, "none": len(columns(full())) + 1}
    buttons = [a for a in page().of("button") if a["type"] == "button"]
    assert len(buttons) == len(headers)
    assert all(a["title"].endswith((".", "level.")) for a in buttons)


def test_masked_vacuous_and_uncertified_are_words() -> None:
    document = full()
    shown = columns(document)
    titles = [column.title for column in shown]
    table = {row.name: dict(zip(titles, row.cells, strict=True)) for row in rows(document)}
    assert table[HOSTILE[3]]["robust %"].text == "masked"
    assert table[HOSTILE[6]]["loss bound"].text == "vacuous"
    assert table[HOSTILE[0]]["certified % l2 0.25"].text == "50.0"
    assert table[HOSTILE[1]]["certified % l2 0.25"].text == "–"


def test_lines_are_drawn_of_the_first_and_of_the_cleanest() -> None:
    document = ranking(
        [evaluation(f"c{i}", right(90 - 9 * i), clean=right(91 + i)) for i in range(9)]
    )
    drawn = [row.name for row in rows(document) if row.drawn]
    assert drawn == ["c0", "c1", "c2", "c3", "c4", "c8"]


# --- charts --------------------------------------------------------------------------------------


def test_the_pareto_front_is_of_those_nobody_beats() -> None:
    some = [
        evaluation("robust", right(80), clean_head=right(85)),
        evaluation("beaten", right(70), clean_head=right(85)),
        evaluation("between", right(60), clean_head=right(90)),
        evaluation("clean", right(20), clean_head=right(99)),
        evaluation("blind", right(100), flags=["masked_gradients"]),
    ]
    front = plane.front(tradeoff.marks(ranking(some)), better=1)
    assert [e.name for e in front] == ["robust", "between", "clean"]


def test_equal_points_are_both_on_the_front() -> None:
    some = [evaluation(name, right(80), clean_head=right(85)) for name in "ab"]
    assert len(plane.front(tradeoff.marks(ranking(some)), better=1)) == 2


def test_a_bound_is_clean_loss_and_what_displacement_adds() -> None:
    clean, added = page().figures["bounds"]["data"]
    totals = [x + y for x, y in zip(clean["x"], added["x"], strict=True)]
    wanted = [e.bound_optimal.on_task.estimated_worst_case_loss.value for e in full().ranking]
    assert totals == pytest.approx(wanted, rel=1e-3)
    assert clean["x"] == [0.5] * len(HOSTILE)
    assert clean["marker"]["pattern"]["shape"][:2] == ["", ""]
    assert "/" in clean["marker"]["pattern"]["shape"]


def test_at_one_decision_radius_stands_the_estimated_robust_accuracy() -> None:
    smooth = (0.9, 0.6, 0.4, 0.0)  # s = r/9, 2r/3, 3r/2; the last is wrong
    document = ranking([evaluation("a", right(2, 4), smooth=smooth)])
    moved, survived, losses = distributions.charts(document)
    line = moved.figure.data[0]
    at = dict(zip(line.x, line.y, strict=True))
    assert (at[0.0], at[1.0], at[3.0]) == (0.0, 50.0, 75.0)
    assert list(survived.figure.data[0].y)[-1] == 50.0
    assert list(losses.figure.data[0].y)[-1] == 100.0


def test_intervals_of_relative_displacement_are_those_of_the_mean() -> None:
    document = ranking([evaluation("a", right(80), relative=0.6)])
    everywhere, for_task = displacement.chart(document.ranking, "this").figure.data
    assert everywhere.x[0] == pytest.approx(10.0)
    assert for_task.x[0] == pytest.approx(60.0)
    assert for_task.error_x.array[0] == pytest.approx(20.0)  # 0.1 units of 0.3, which are 60 %


def test_curves_have_a_panel_for_each_norm() -> None:
    linf, l2 = curves.charts(full())
    assert (linf.id, l2.id) == ("curves-linf", "curves-l2")
    assert list(linf.figure.layout.xaxis.ticktext) == ["1/255", "2/255", "4/255"]
    estimated, attacked = linf.figure.data[:2]
    assert (estimated.line.dash, attacked.line.dash) == ("dash", "solid")
    assert list(attacked.y) == pytest.approx([100, 90, 81])
    assert list(attacked.marker.symbol) == ["circle", "circle", "x"]
    assert attacked.error_y.arrayminus[1] == pytest.approx(10)
    assert curves.charts(ranking([evaluation("a", right(50))])) == ()


def test_certified_accuracy_falls_from_the_smoothed_one() -> None:
    document = ranking([evaluation("a", right(50))])
    assert certificates.charts(document) == ()
    assert certificates.charts(document.model_copy(update={"certified": (skipped(),)})) == ()
    (chart,) = certificates.charts(document.model_copy(update={"certified": (certified("a"),)}))
    line, points = chart.figure.data
    assert (line.y[0], line.y[-1]) == (50.0, 0.0)
    assert list(points.x) == [0.25, 0.5]
    assert list(points.y) == [50.0, 25.0]


def test_figures_belong_to_candidates_by_their_place() -> None:
    for name in ("moved", "survived", "losses", "frontier", "curves-linf"):
        assert {trace["meta"] for trace in page().figures[name]["data"]} == set(range(len(HOSTILE)))
    assert "meta" not in page().figures["tradeoff"]["data"][0]


@pytest.mark.parametrize("ground", ["#ffffff", "#161b24"])
def test_colours_are_told_from_either_ground(ground: str) -> None:
    for colour in (*base.COLOURS, *base.KINDS.values()):
        assert contrast(colour, ground) >= 3, colour


def contrast(one: str, other: str) -> float:
    """Of two colours, by WCAG 2; 3 is what it asks of graphics."""
    low, high = sorted(luminance(colour) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


# --- what else it tells --------------------------------------------------------------------------


def test_the_sentence_stands_on_top() -> None:
    document = full()
    assert document.choice is not None
    words = flat(page().words)
    assert words.index(flat(printed(document.choice.sentence))) < words.index("Rival")


@pytest.mark.parametrize(
    "words",
    [
        "Not ranked",
        "keys_mismatch",
        "Trying again may help.",
        "Read with care",
        "Eliminated early",
        "Not settled, the most promising first",
        "12,000 of 40,000 passes",
        "selector rank --task 'my </script><script>alert(1)</script>' --certify 1",
        "f" * 64,
        "a.lock.yaml",
        "a" * 64,
        "sha256:" + "0" * 64,
        "all threatslinf 1/255, linf 2/255, linf 4/255, l2 0.5",
        "seed0",
        "commitnone: a local folder",
        "licenceapache-2.0",
        "torch2.15.0",
        "not full or adversarial fine-tuning",
    ],
)
def test_the_record_is_told(words: str) -> None:
    assert words in page().words


def test_where_nothing_could_be_ranked_the_reasons_are_there() -> None:
    found = Page(render(ranking([], [skipped("broken")])))
    assert "Nothing could be ranked" in found.words
    assert "broken" in found.words
    assert not found.of("figure")


@pytest.mark.parametrize("objective", ["criterion", "clean", "log_me", "parameters"])
def test_every_objective_and_a_single_image_make_a_page(objective: str) -> None:
    document = ranking([evaluation("a", right(1, 1)), evaluation("b", right(0, 1))])
    by = ranking([evaluation("a", right(50))], objective=objective)
    assert Page(render(document)).figures
    assert Page(render(by)).figures


# --- the command ---------------------------------------------------------------------------------


def test_the_command_writes_the_page_and_tells_its_size(tmp_path: Path) -> None:
    source, target = tmp_path / "ranking.json", tmp_path / "report.html"
    source.write_text(to_json(full()), encoding="utf-8")
    done = CliRunner().invoke(app, ["report", str(source), "-o", str(target)])
    assert (done.exit_code, done.stdout) == (0, "")
    assert re.search(r"report\.html: [45]\.\d MB", done.stderr)
    assert target.read_text(encoding="utf-8") == render(full())


@KINDS
def test_the_same_ranking_is_the_same_page(kind: str) -> None:
    assert render(DOCUMENTS[kind]()) == render(DOCUMENTS[kind]())


def test_a_folder_that_cannot_be_written_is_told_first(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["report", "none.json", "-o", str(tmp_path / "no" / "x.html")])
    assert done.exit_code == 2
    assert "--output" in flat(done.stderr)
