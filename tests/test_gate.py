"""Policies: what holds, what is violated, and why; in all the forms it is told in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import jsonschema
import pytest
from builders import certified, evaluation, ranking, right, skipped
from hypothesis import given
from hypothesis import strategies as st
from test_regression_ranking import document as of_numbers
from test_regression_ranking import drawn
from test_regression_ranking import evaluation as measured_errors
from typer.testing import CliRunner

from selector.allowed import parse_age
from selector.cli import app
from selector.errors import UsageError
from selector.gating import gate, violations
from selector.norms import Norm
from selector.policy import Policy, combine, read_policy
from selector.records import (
    AnyRanking,
    Curve,
    CurvePoint,
    Estimate,
    Evaluation,
    Gate,
    GateCheck,
    Ranking,
    RegressionRanking,
    ThreatRecord,
)
from selector.reports.document import json_schema, read_any_ranking, to_json
from selector.reports.gate import escape_data, escape_property, to_github, to_text

# The builder's rankings were made on 23 November 2026, at eight.
NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)


def board(*evaluations: Evaluation, **fields: object) -> Ranking:
    """A ranking, of one candidate that withstands on 70 of 100 images where none is given."""
    document = ranking(evaluations or (evaluation("a", right(70), worst_case_loss=[1.0] * 100),))
    return document.model_copy(update=fields)


def required(**requirements: object) -> Policy:
    return combine(Policy(), requirements, {})


def only(document: AnyRanking, **requirements: object) -> GateCheck:
    """The single check of a policy with one requirement."""
    (check,) = gate(document, required(**requirements), NOW).checks
    return check


def with_licence(name: str, licence: str | None) -> Evaluation:
    one = evaluation(name, right(70))
    provenance = one.provenance.model_copy(update={"license": licence})
    return one.model_copy(update={"provenance": provenance})


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("requirement", "met", "not_met", "kind"),
    [
        ("min_attacked_accuracy", 0.7, 0.71, "attacked"),
        ("min_estimated_accuracy", 0.4, 0.41, "estimated"),
        ("min_clean_accuracy", 0.9, 0.91, "clean"),
        ("max_bound", 1.25, 1.24, "estimated"),
    ],
)
def test_a_number_is_compared_with_its_own_limit(
    requirement: str, met: float, not_met: float, kind: str
) -> None:
    one = evaluation(
        "a",
        right(40),
        attacked=right(70),
        clean_head=right(90),
        worst_case_loss=[1.25] * 100,
    )
    check = only(board(one), **{requirement: met})
    assert (check.holds, check.kind, check.images) == (True, kind, 100)
    assert check.value == pytest.approx(met)
    assert not only(board(one), **{requirement: not_met}).holds


@pytest.mark.parametrize(
    ("requirement", "met", "not_met"),
    # The builder's intervals reach a tenth to either side.
    [("min_attacked_accuracy", 0.59, 0.61), ("max_bound", 1.11, 1.09)],
)
def test_by_interval_the_worse_end_is_compared(
    requirement: str, met: float, not_met: float
) -> None:
    assert only(board(), by="interval", **{requirement: met}).holds
    check = only(board(), by="interval", **{requirement: not_met})
    assert not check.holds
    assert "worse end of the 95 % interval" in check.found


@given(st.floats(0, 1), st.sampled_from(["min_attacked_accuracy", "max_bound"]))
def test_what_holds_by_interval_holds_by_value(limit: float, requirement: str) -> None:
    strict = only(board(), by="interval", **{requirement: limit})
    assert only(board(), **{requirement: limit}).holds or not strict.holds


def test_masked_gradients_fail_what_rests_on_attacks_and_nothing_else() -> None:
    document = board(evaluation("a", right(70), flags=["masked_gradients"]))
    found = gate(
        document,
        required(
            min_attacked_accuracy=0.1,
            min_estimated_accuracy=0.1,
            max_bound=9.0,
            min_clean_accuracy=0.1,
            max_params=2000,
        ),
        NOW,
    )
    states = {check.requirement: check.holds for check in found.checks}
    assert states == {
        "min_attacked_accuracy": False,
        "min_estimated_accuracy": False,
        "max_bound": False,
        "min_clean_accuracy": True,
        "max_params": True,
    }
    assert all("masked" in check.reason for check in found.checks if not check.holds)


def test_a_vacuous_bound_exceeds_every_maximum() -> None:
    check = only(board(evaluation("a", right(70), vacuous=True)), max_bound=99.0)
    assert not check.holds
    assert "vacuous" in check.reason
    assert only(board(evaluation("a", right(70), vacuous=True)), min_attacked_accuracy=0.7).holds


# --- several eps ---------------------------------------------------------------------------------


def about(value: float) -> Estimate:
    return Estimate(value=value, low=value - 0.1, high=value + 0.1, n=100)


def point(norm: Norm, eps: float, value: float, **changed: bool) -> CurvePoint:
    """What a candidate withstands under a threat, and half as much by the criterion."""
    return CurvePoint(
        threat=ThreatRecord(norm=norm, eps=eps),
        rank=1,
        rank_interval=(1, 1),
        radius_scale=0.5,
        clean_accuracy=about(0.9),
        attacked_accuracy=about(value),
        estimated_robust_accuracy=about(value / 2),
        estimated_worst_case_loss=about(3 - value),
        **{"masked": False, "vacuous": False} | changed,
    )


def swept(**changed: bool) -> Ranking:
    """A ranking at linf 4/255 that was also made at 8/255 and under l2."""
    document = board()
    (only_one,) = document.ranking
    points = (point("linf", 8 / 255, 0.3, **changed), point("l2", 0.5, 0.6))
    curve = Curve(name=only_one.name, model=only_one.model, points=points)
    return document.model_copy(update={"curves": (curve,)})


@pytest.mark.parametrize(
    ("at", "attacked", "estimated", "clean", "bound", "words"),
    [
        ("8/255", 0.3, 0.15, 0.9, 2.7, "linf 8/255"),
        ("linf:8/255", 0.3, 0.15, 0.9, 2.7, "linf 8/255"),
        ("l2:0.5", 0.6, 0.3, 0.9, 2.4, "l2 0.5"),
    ],
)
def test_numbers_are_compared_at_the_eps_that_is_asked_for(
    at: str, attacked: float, estimated: float, clean: float, bound: float, words: str
) -> None:
    limits = {
        "min_attacked_accuracy": attacked,
        "min_estimated_accuracy": estimated,
        "min_clean_accuracy": clean,
        "max_bound": bound,
    }
    for check in gate(swept(), required(at_eps=at, **limits), NOW).checks:
        assert check.value == limits[check.requirement]
        assert check.holds and check.required.endswith(f" under {words}")


def test_the_rankings_own_eps_has_its_own_numbers() -> None:
    own = swept().threat
    for at in ("4/255", f"linf:{own.eps!r}"):
        check = only(swept(), min_attacked_accuracy=0.7, at_eps=at)
        assert (check.holds, check.value) == (True, 0.7)
    assert only(swept(), min_attacked_accuracy=0.7).required == "at least 0.7"


def test_an_eps_that_was_not_measured_is_violated() -> None:
    for document, there in ((swept(), "linf 8/255, l2 0.5"), (board(), "linf 4/255")):
        check = only(document, min_attacked_accuracy=0.0, at_eps="l2:0.25")
        assert (check.holds, check.value) == (False, None)
        assert check.found == "not measured under l2 0.25"
        assert check.reason == f"measured under {there}; rank --eps takes several"


def test_what_was_masked_or_vacuous_at_an_eps_is_violated_there() -> None:
    asked = {"at_eps": "8/255", "min_attacked_accuracy": 0.0}
    assert "masked" in only(swept(masked=True), **asked).reason
    assert not only(swept(masked=True), **asked).holds
    assert only(swept(masked=True), **asked | {"at_eps": "l2:0.5"}).holds
    assert "vacuous" in only(swept(vacuous=True), max_bound=9.0, at_eps="8/255").reason


# --- rankings of numbers -------------------------------------------------------------------------


def errors(**changed: object) -> RegressionRanking:
    """Of one candidate: 0.25 under attack, 0.9 by the bound, 0.125 clean."""
    return of_numbers(measured_errors("a", [0.25] * 60, **changed))


@pytest.mark.parametrize(
    ("requirement", "met", "not_met", "kind"),
    [
        ("max_attacked_error", 0.25, 0.24, "attacked"),
        ("max_estimated_error", 0.9, 0.89, "estimated"),
        ("max_clean_error", 0.125, 0.12, "clean"),
    ],
)
def test_an_error_is_compared_with_its_own_limit(
    requirement: str, met: float, not_met: float, kind: str
) -> None:
    check = only(errors(), **{requirement: met})
    assert (check.holds, check.kind, check.value) == (True, kind, met)
    assert not only(errors(), **{requirement: not_met}).holds
    blind = only(errors(masked=True), **{requirement: 9.0})
    assert blind.holds is (kind == "clean")


def test_an_attacked_error_is_called_a_lower_estimate() -> None:
    policy = Policy(max_attacked_error=0.5, model="a")
    for of, said in ((errors(), "a lower estimate"), (board(), "an upper estimate")):
        text = to_text(gate(of, policy, NOW))
        assert f"(attacked: {said}, " in text
        assert text.count("estimate,") == text.count(f"attacked: {said},")


def test_what_a_ranking_of_another_kind_tells_is_violated() -> None:
    check = only(errors(), min_attacked_accuracy=0.0)
    assert (check.holds, check.value) == (False, None)
    assert check.found == "a ranking of numbers, which does not tell it"
    assert "max_attacked_error" in check.reason
    check = only(board(), max_attacked_error=9.0)
    assert not check.holds and check.found.startswith("a ranking of classes")
    assert not only(errors(), min_certified_accuracy=0.0).holds
    assert not only(errors(), max_attacked_error=9.0, at_eps="8/255").holds
    assert only(errors(), max_attacked_error=9.0, at_eps="4/255").holds


def test_all_else_is_required_of_numbers_as_well(tmp_path: Path) -> None:
    document = of_numbers(
        measured_errors("a", drawn(0.2)),
        measured_errors("b", drawn(0.9)),
    ).model_copy(update={"skipped": (skipped("c"),)})
    policy = required(model="b", max_params=10, license=["mit"], max_skipped=0, max_age="30d")
    found = gate(document, policy, NOW)
    states = {check.requirement: check.holds for check in found.checks}
    assert states == {
        "model": False,
        "max_params": False,
        "license": False,
        "max_skipped": False,
        "max_age": True,
    }
    assert "told apart from the top group, a first" in to_text(found)
    assert "not ranked" in only(document, model="c").found
    file = tmp_path / "regression.json"
    file.write_text(to_json(document))
    arguments = ["gate", str(file), "--max-attacked-error", "0.1"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 4
    assert "violated max_attacked_error of a: required at most 0.1; found 0.2" in done.stdout


def test_a_ranking_of_numbers_that_is_none_is_not_believed(tmp_path: Path) -> None:
    whole = json.loads(to_json(of_numbers(measured_errors("a", [0.2] * 60))))
    whole["ranking"].append(whole["ranking"][0] | {"rank": 2})
    file = tmp_path / "regression.json"
    file.write_text(json.dumps(whole))
    with pytest.raises(UsageError, match=r"is not a ranking .*each name once, found 'a' twice"):
        read_any_ranking(file)


# --- certificates --------------------------------------------------------------------------------


def test_certified_accuracy_is_told_at_its_radius() -> None:
    document = board(certified=(certified("a"),))  # 0.5 at 0.25, 0.25 at 0.5
    assert only(document, min_certified_accuracy=0.5).holds
    assert not only(document, min_certified_accuracy=0.51).holds
    at = only(document, min_certified_accuracy=0.25, at_radius="1/2")
    assert (at.holds, at.kind, at.images) == (True, "certified", 4)
    assert at.required == "at least 0.25 at l2 0.5"
    assert at.found == "0.25, each image with confidence 0.999"
    assert not only(document, min_certified_accuracy=0.26, at_radius=0.5).holds


def test_certificates_that_are_not_there_are_violations() -> None:
    assert "--certify" in only(board(), min_certified_accuracy=0.0).reason
    other = board(certified=(certified("other"),))
    assert not only(other, min_certified_accuracy=0.0).holds
    failed = board(certified=(skipped("a", model="local-dir:a", reason="out of memory."),))
    assert only(failed, min_certified_accuracy=0.0).reason == "out of memory"
    elsewhere = only(board(certified=(certified("a"),)), min_certified_accuracy=0.0, at_radius=0.6)
    assert not elsewhere.holds
    assert elsewhere.found == "certified accuracy at l2 0.25, 0.5"
    assert elsewhere.reason == "the ranking tells it at no radius so large"


@pytest.mark.parametrize(
    ("asked", "told", "accuracy"), [(0.1, 0.25, "0.5"), (0.3, 0.5, "0.25"), (0.499, 0.5, "0.25")]
)
def test_a_certificate_at_a_larger_radius_implies_it(
    asked: float, told: float, accuracy: str
) -> None:
    document = board(certified=(certified("a"),))
    check = only(document, min_certified_accuracy=0.25, at_radius=asked)
    assert check.holds
    assert check.required == f"at least 0.25 at l2 {asked:g}"
    assert check.found == (
        f"{accuracy} at l2 {told:g}, and no less at l2 {asked:g}, each image with confidence 0.999"
    )
    assert only(document, min_certified_accuracy=0.3, at_radius=asked).holds is (told == 0.25)


# --- what is recorded ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("licence", "allowed", "holds"),
    [
        ("Apache-2.0", ["apache-2.0"], True),
        ("mit", ["apache-2.0", "MIT"], True),
        ("cc-by-nc-4.0", ["apache-2.0", "mit"], False),
        (None, ["apache-2.0"], False),
    ],
)
def test_licences(licence: str | None, allowed: list[str], holds: bool) -> None:
    check = only(board(with_licence("a", licence)), license=allowed)
    assert check.holds is holds
    assert check.found == (licence or "none stated")


def test_parameters_skipped_and_age() -> None:
    assert only(board(), max_params="1K").holds
    assert not only(board(), max_params=999).holds
    full = board(skipped=(skipped("x"), skipped("y")))
    assert only(full, max_skipped=2).holds
    assert only(full, max_skipped=1).reason == "skipped: x, y"
    assert only(board(), max_age="1d").holds
    assert not only(board(), max_age="23h").holds
    assert not only(board(created="yesterday"), max_age="1d").holds
    assert only(board(created="2026-11-23T10:00:00+02:00"), max_age="24h").holds
    assert not only(board(created="2026-11-23T07:59:59"), max_age="24h").holds


def test_a_ranking_of_the_future_is_not_young() -> None:
    check = only(board(created="2026-11-26T08:00:00+00:00"), max_age="30d")
    assert (check.holds, check.found, check.value) == (False, "-2 days", -2)
    assert "made in the future" in check.reason
    assert only(board(created="2026-11-24T08:00:00+00:00"), max_age="30d").reason == ""


def test_days_are_counted_in_words() -> None:
    check = only(board(), max_age="1d")
    assert (check.required, check.found) == ("at most 1 day", "1 day")
    assert only(board(), max_age="12h").required == "at most 12 hours"


@pytest.mark.parametrize(
    ("text", "age"),
    [("12h", timedelta(hours=12)), ("30D", timedelta(days=30)), (" 4w ", timedelta(weeks=4))],
)
def test_ages(text: str, age: timedelta) -> None:
    assert parse_age(text) == age


# --- which candidate -----------------------------------------------------------------------------


def test_the_first_is_checked_unless_a_model_is_in_use() -> None:
    document = board(evaluation("a", right(70)), evaluation("b", right(69)))
    assert gate(document, required(min_attacked_accuracy=0.7), NOW).candidate == "a"
    found = gate(document, required(min_attacked_accuracy=0.7, model="b"), NOW)
    assert found.candidate == "b"
    assert [(c.requirement, c.holds) for c in found.checks] == [
        ("model", True),
        ("min_attacked_accuracy", False),
    ]
    assert gate(document, required(model="local-dir:b"), NOW).holds


def test_a_model_outside_the_top_group_is_a_violation() -> None:
    document = board(evaluation("a", right(90)), evaluation("b", right(50)))
    check = only(document, model="b")
    assert not check.holds
    assert check.found == "number 2 of 2, group 2"
    assert check.reason == "told apart from the top group, a first"


def test_a_masked_model_is_not_among_the_best_by_what_rests_on_attacks() -> None:
    one = evaluation("a", right(90), flags=["masked_gradients"])
    assert not only(board(one), model="a").holds
    assert only(ranking([one], objective="clean"), model="a").holds


def test_absent_models_and_empty_rankings_are_violations() -> None:
    document = board(skipped=(skipped("broken", reason="does not fit."),))
    assert only(document, model="broken").reason == "does not fit"
    missing = gate(document, required(model="c", min_clean_accuracy=0.1, max_skipped=3), NOW)
    assert [(c.requirement, c.holds) for c in missing.checks] == [
        ("model", False),
        ("max_skipped", True),
    ]
    assert missing.candidate is None
    nobody = gate(ranking(), required(min_attacked_accuracy=0.0), NOW)
    assert [(c.requirement, c.holds) for c in nobody.checks] == [("ranked", False)]


def test_violations_are_what_does_not_hold() -> None:
    policy = required(min_attacked_accuracy=0.9, min_clean_accuracy=0.5)
    (violated,) = violations(board(), policy, NOW)
    assert violated.requirement == "min_attacked_accuracy"


# --- policies ------------------------------------------------------------------------------------


def test_options_override_the_file(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("min_attacked_accuracy: 0.9\nmax_params: 100M\nlicense: [mit]\nmodel: null\n")
    policy = combine(read_policy(file), {"min_attacked_accuracy": 0.5, "license": None}, {})
    assert policy.min_attacked_accuracy == 0.5
    assert policy.max_params == 100_000_000
    assert policy.license == ("mit",)
    assert policy.model is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_params: 1\nmin_atacked_accuracy: 1\n", "line 2: min_atacked_accuracy: unknown field"),
        ("min_clean_accuracy: 90\n", "found 90; write 0.9."),
        ("min_clean_accuracy: 60%\n", "line 1: min_clean_accuracy: must be a number from 0 to 1"),
        ("min_clean_accuracy: 60%\n", "such as 0.6, found '60%'; write 0.6."),
        ("min_clean_accuracy: '0.6'\n", "found '0.6'; write 0.6."),
        ("min_clean_accuracy: 1.5\n", "from 0 to 1 such as 0.6, found 1.5."),
        ("min_clean_accuracy: 400\n", "from 0 to 1 such as 0.6, found 400."),
        ("min_clean_accuracy: true\n", "line 1: min_clean_accuracy: must be a number from 0 "),
        ("max_params: 1.5\n", "max_params: must be a number such as 100M, found 1.5."),
        ("max_bound: -1\n", "max_bound: must be a number, 0 or more, found -1."),
        ("max_skipped: some\n", "max_skipped: must be a whole number, 0 or more, found 'some'."),
        ("model: ''\n", "model: must be the name of a model, found ''."),
        ("max_age: '30'\n", "max_age: must be an age such as 12h, 30d or 4w, found '30'."),
        ("max_params: many\n", "line 1: max_params: must be a number such as 100M, found 'many'"),
        ("max_age: 30\n", "line 1: max_age: must be an age such as 12h, 30d or 4w, found 30"),
        ("max_age: 30\n", "; write 30d for days."),
        ("max_age: 30 days\n", "line 1: max_age: must be an age such as 12h, 30d or 4w"),
        ("license: []\n", "line 1: license: must be one or more names of licences"),
        ("license: []\n", "[mit, apache-2.0], found []."),
        ("license: ['']\n", "line 1: license: must be one or more names"),
        ("license: mit\n", "found 'mit'; write [mit]."),
        ("at_radius: 0\n", "at_radius: must be a number above 0 such as 0.5 or 1/2, found 0."),
        ("- max_params\n", "must hold keys such as"),
        ("", "must hold keys such as"),
        ("by: interval\n", "gate needs something to require"),
        ("at_eps: 0\n", "at_eps: must be a text such as 2/255 or l2:0.5, found 0."),
        ("at_eps: l3:0.5\n", "at_eps: must be a text such as 2/255 or l2:0.5, found 'l3:0.5'."),
        ("at_eps: l2:-1\n", "at_eps: must be a text such as 2/255 or l2:0.5, found 'l2:-1'."),
        ("license: [mit]\nat_eps: 2/255\n", "--at-eps needs something that depends on eps"),
        ("max_skipped: 1\nat_radius: 0.5\n", "--at-radius needs --min-certified-accuracy"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as refused:
        combine(read_policy(file), {}, {})
    assert said in refused.value.message


def test_the_schema_of_policies_accepts_what_is_accepted() -> None:
    schema = json.loads(json_schema(Policy))
    jsonschema.Draft202012Validator.check_schema(schema)
    good = {"min_attacked_accuracy": 0.6, "max_params": "1.5B", "max_age": "30d", "at_radius": 1}
    good["at_eps"] = "l2:1/2"
    jsonschema.validate(good, schema)
    Policy.model_validate(good)
    for wrong in ({"min": 1}, {"max_age": 30}, {"license": []}, {"min_clean_accuracy": 1.5}):
        assert not jsonschema.Draft202012Validator(schema).is_valid(wrong)
        with pytest.raises(ValueError, match="validation error"):
            Policy.model_validate(wrong)


# --- how it is told ------------------------------------------------------------------------------


def test_a_line_for_each_requirement() -> None:
    found = gate(board(), required(min_attacked_accuracy=0.6, max_params=10, max_skipped=0), NOW)
    assert to_text(found).splitlines() == [
        "holds min_attacked_accuracy of a: required at least 0.6; found 0.7 (attacked: an upper"
        " estimate, 100 images)",
        "violated max_params of a: required at most 10; found 1,000",
        "holds max_skipped: required at most 0; found 0",
    ]


def test_annotations_are_escaped() -> None:
    assert escape_data("5 %\r\n::error::") == "5 %25%0D%0A::error::"
    assert escape_property("a:b,c%") == "a%3Ab%2Cc%25"
    found = gate(
        board(with_licence("a", "50 %\n::stop-commands::x")), required(license=["mit"]), NOW
    )
    assert to_github(found) == (
        "::error title=selector gate%3A license::license of a: required mit; found"
        " 50 %25?::stop-commands::x\n"
    )


def test_names_cannot_give_commands_to_the_runner() -> None:
    hostile = evaluation("a\n::error::##[stop-commands]x", right(70))
    lines = to_github(gate(board(hostile), required(max_params=2000), NOW)).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("holds max_params")
    assert "##[" not in lines[0]


def test_the_command_in_all_its_forms(tmp_path: Path) -> None:
    path = tmp_path / "ranking.json"
    path.write_text(to_json(board()))
    run = CliRunner().invoke

    met = run(app, ["gate", str(path), "--min-attacked-accuracy", "0.7"])
    assert (met.exit_code, met.stderr) == (0, "")
    assert met.stdout.startswith("holds min_attacked_accuracy of a: ")

    policy = tmp_path / "policy.yaml"
    policy.write_text("min_attacked_accuracy: 0.8\n")
    violated = run(app, ["gate", str(path), "--policy", str(policy), "--format", "json"])
    assert violated.exit_code == 4
    document = json.loads(violated.stdout)
    jsonschema.validate(document, json.loads(json_schema(Gate)))
    assert document["holds"] is False

    overridden = run(
        app, ["gate", str(path), "--policy", str(policy), "--min-attacked-accuracy", "0.1"]
    )
    assert overridden.exit_code == 0

    github = run(app, ["gate", str(path), "--max-params", "1", "--format", "github"])
    assert github.exit_code == 4
    assert github.stdout.startswith("::error title=selector gate%3A max_params::")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "gate needs something to require"),
        (["--max-params", "lots"], "--max-params: must be a number such as 100M, found 'lots'."),
        (["--min-clean-accuracy", "90"], "--min-clean-accuracy: must be a number from 0 to 1"),
        (["--license", ""], "--license: must be one or more names of licences such as"),
        (["--min-clean-accuracy", "nan"], "such as 0.6, found nan."),
        (["--max-age", "soon"], "--max-age: must be an age"),
        (["--policy", "nowhere.yaml"], "--policy must name a readable file"),
    ],
)
def test_wrong_usage(tmp_path: Path, arguments: list[str], said: str) -> None:
    path = tmp_path / "ranking.json"
    path.write_text(to_json(board()))
    result = CliRunner().invoke(app, ["gate", str(path), *arguments])
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr


def test_nothing_heavy_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "ranking.json"
    path.write_text(to_json(board()))
    program = (
        "import sys; from selector.cli import app;"
        f"app(['gate', {str(path)!r}, '--max-params', '1K'], standalone_mode=False);"
        "print(*{m.partition('.')[0] for m in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.startswith("holds max_params"), done.stderr
    loaded = set(done.stderr.split())
    assert "pydantic" in loaded
    assert not loaded & {"torch", "numpy", "scipy", "timm", "huggingface_hub", "datasets"}


# --- what was not typed --------------------------------------------------------------------------


@pytest.fixture
def weak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a ranking that a strict policy does not hold of."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.json").write_text(to_json(board()))
    (tmp_path / "pol.yaml").write_text("min_attacked_accuracy: 0.9\n")
    return tmp_path


def required_of(*arguments: str) -> tuple[dict[str, str], str]:
    """Requirements by their keys, and what was said beside them."""
    done = CliRunner().invoke(app, ["gate", "r.json", "--format", "json", *arguments])
    checks = json.loads(done.stdout)["checks"]
    assert done.exit_code == (0 if all(check["holds"] for check in checks) else 4)
    return {check["requirement"]: check["required"] for check in checks}, done.stderr


def test_the_environment_does_not_weaken_a_policy(
    weak: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECT_GATE_MIN_ATTACKED_ACCURACY", "0")
    checks, said = required_of("--policy", "pol.yaml")
    assert checks == {"min_attacked_accuracy": "at least 0.9"}
    assert said == (
        "not typed: --min-attacked-accuracy 0.0 from SELECT_GATE_MIN_ATTACKED_ACCURACY"
        " (not used: pol.yaml says it)\n"
    )


def test_a_configuration_does_not_weaken_a_policy_and_adds_to_it(weak: Path) -> None:
    (weak / "selector.toml").write_text('[gate]\nmin-attacked-accuracy = 0\nmax-params = "1B"\n')
    checks, said = required_of("--policy", "pol.yaml")
    assert checks == {
        "min_attacked_accuracy": "at least 0.9",
        "max_params": "at most 1,000,000,000",
    }
    table = f"{weak / 'selector.toml'} [gate]"
    assert said == (
        f"not typed: --min-attacked-accuracy 0.0 from {table} (not used: pol.yaml says it);"
        f" --max-params 1B from {table}\n"
    )


def test_a_policy_that_can_be_read_once_is_read_once(
    weak: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECT_GATE_MAX_SKIPPED", "0")
    os.mkfifo(weak / "pipe")
    writer = Thread(target=(weak / "pipe").write_text, args=("max_params: 1B\n",), daemon=True)
    writer.start()
    checks, _ = required_of("--policy", "pipe")
    writer.join(5)
    assert checks == {"max_params": "at most 1,000,000,000", "max_skipped": "at most 0"}


def test_what_is_typed_overrides_a_policy_whatever_is_configured(
    weak: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECT_GATE_MIN_ATTACKED_ACCURACY", "0")
    checks, said = required_of("--policy", "pol.yaml", "--min-attacked-accuracy", "0.8")
    assert (checks, said) == ({"min_attacked_accuracy": "at least 0.8"}, "")


def test_without_a_policy_what_is_not_typed_counts_and_is_told(
    weak: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECT_GATE_MIN_ATTACKED_ACCURACY", "0.95")
    checks, said = required_of()
    assert checks == {"min_attacked_accuracy": "at least 0.95"}
    assert said == (
        "not typed: --min-attacked-accuracy 0.95 from SELECT_GATE_MIN_ATTACKED_ACCURACY\n"
    )
