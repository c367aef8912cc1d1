"""Two rankings of one question: what moved, whether it is more than noise, and what is refused."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from builders import evaluation, ranking, right, skipped
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats
from test_regression_ranking import document as of_numbers
from test_regression_ranking import drawn
from test_regression_ranking import evaluation as measured_errors
from typer.testing import CliRunner

from selector.cli import app
from selector.comparing import compare, holm
from selector.errors import UsageError
from selector.records import (
    AnyComparison,
    Comparison,
    Eliminated,
    Evaluation,
    RaceRecord,
    Ranking,
    RegressionComparison,
)
from selector.reports.comparison import print_comparison, to_markdown
from selector.reports.document import json_schema, to_json
from selector.reports.escaping import prose


def board(*evaluations: Evaluation, **fields: object) -> Ranking:
    return ranking(evaluations).model_copy(update=fields)


def protocol(document: Ranking, **fields: object) -> Ranking:
    changed = document.protocol.model_copy(update=fields)
    return document.model_copy(update={"protocol": changed})


def table(comparison: AnyComparison) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_comparison(comparison, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


# --- what moved ----------------------------------------------------------------------------------


def test_a_ranking_has_not_moved_from_itself() -> None:
    document = board(evaluation("a", right(70)), evaluation("b", right(50)))
    found = compare(document, document)
    assert [one.name for one in found.candidates] == ["a", "b"]
    for one in found.candidates:
        assert (one.moved, one.p_value, one.differs_in) == (False, 1.0, ())
        assert one.rank.difference == one.attacked_accuracy.difference == 0
    assert (found.entered, found.left, found.surroundings) == ((), (), ())
    assert found.choice.told_apart is None
    assert found.sentence.startswith("The choice stays a. None of 2 candidates in both moved")


def test_the_test_is_paired_exact_and_corrected() -> None:
    # 12 of 100 images are lost and none won: McNemar's p is 2 * 2^-12, Holm's of two is twice that.
    before = board(evaluation("a", right(82)), evaluation("b", right(50)))
    after = board(evaluation("a", right(70)), evaluation("b", right(50)))
    a, b = compare(before, after).candidates
    assert a.p_value == pytest.approx(2 * 0.5**12)
    assert a.adjusted_p_value == pytest.approx(4 * 0.5**12)
    assert a.attacked_accuracy.difference == pytest.approx(-0.12)
    assert (a.moved, b.moved) == (True, False)


def test_the_same_difference_may_be_noise_where_images_are_exchanged() -> None:
    before = board(evaluation("a", right(50)))
    after = board(evaluation("a", (False,) * 46 + (True,) * 54))
    (a,) = compare(before, after).candidates
    assert a.attacked_accuracy.difference == pytest.approx(0.04)
    assert a.p_value == pytest.approx(stats.binomtest(46, 96).pvalue)
    assert a.moved is False


def test_many_candidates_make_one_small_difference_noise() -> None:
    # 6 images of difference: p = 2 * 2^-6 = 0.03, which is noise where four are looked at.
    others = [evaluation(name, right(40)) for name in "bcd"]
    before = board(evaluation("a", right(76)), *others)
    after = board(evaluation("a", right(70)), *others)
    a, *_ = compare(before, after).candidates
    assert a.p_value == pytest.approx(2 * 0.5**6)
    assert a.moved is False
    (alone,) = compare(
        board(evaluation("a", right(76))), board(evaluation("a", right(70)))
    ).candidates
    assert alone.moved is True


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holms_values_keep_the_order_and_lie_between_the_raw_and_bonferronis(
    raw: list[float],
) -> None:
    adjusted = holm(raw)
    for p, q in zip(raw, adjusted, strict=True):
        assert p <= q <= min(1.0, len(raw) * p)
    order = sorted(range(len(raw)), key=raw.__getitem__)
    assert [adjusted[i] for i in order] == sorted(adjusted)
    assert not raw or min(adjusted) == min(1.0, len(raw) * min(raw))


def test_ranks_clean_criterion_and_bound_are_told_before_and_after() -> None:
    before = board(
        evaluation("a", right(60), clean_head=right(90)),
        evaluation("b", right(50), attacked=right(50)),
    )
    after = board(
        evaluation("a", right(40), clean_head=right(95), worst_case_loss=[1.5] * 100),
        evaluation("b", right(30), attacked=right(50)),
    )
    by_name = {one.name: one for one in compare(before, after).candidates}
    a, b = by_name["a"], by_name["b"]
    assert (a.rank.before, a.rank.after) == (1, 2)
    assert a.clean_accuracy.difference == pytest.approx(0.05)
    assert a.estimated_worst_case_loss.difference == pytest.approx(0.25)
    assert b.estimated_robust_accuracy.difference == pytest.approx(-0.2)
    assert [one.name for one in compare(before, after).candidates] == ["b", "a"]


def test_by_the_objective_the_score_is_tested() -> None:
    one, other = (
        evaluation("a", right(50), worst_case_loss=[loss + 0.01 * (i % 7) for i in range(100)])
        for loss in (1.0, 1.5)
    )
    (a,) = compare(
        ranking([one], objective="bound"), ranking([other], objective="bound")
    ).candidates
    assert a.moved is True
    assert a.score is not None
    assert a.score.difference == pytest.approx(-0.5)
    assert a.attacked_accuracy.difference == 0


def test_one_number_for_all_images_is_not_tested() -> None:
    before, after = (
        ranking([evaluation("a", relative=size)], objective="sensitivity") for size in (0.2, 0.4)
    )
    found = compare(before, after)
    (a,) = found.candidates
    assert (a.p_value, a.adjusted_p_value, a.moved) == (None, None, None)
    assert "noise cannot be told from change" in found.sentence
    assert "untested" in table(found)


def test_what_is_no_longer_the_same_backbone_is_said() -> None:
    one = evaluation("a", right(50))
    new = one.provenance.model_copy(update={"commit": "f" * 40, "input_size": (64, 64)})
    found = compare(board(one), board(one.model_copy(update={"provenance": new})))
    assert found.candidates[0].differs_in == ("commit", "input_size")
    assert "a: commit, input_size" in table(found)


# --- who came and went ---------------------------------------------------------------------------


def test_who_has_a_place_in_one_ranking_only_is_told_with_the_reason() -> None:
    a, b, c, d = (evaluation(name, right(90 - 20 * i)) for i, name in enumerate("abcd"))
    before = board(a, b, c, skipped=(skipped("d", reason="was down."), skipped("old")))
    race = RaceRecord(
        top=1,
        confidence=0.95,
        budget_seconds=None,
        seconds=1.0,
        passes=1,
        exhaustive_passes=2,
        settled=True,
        eliminated=(
            Eliminated(
                name="c", model="c", images=32, passes=9, upper=0.4, bar=0.6, reason="is too weak"
            ),
        ),
        unsettled=(),
        sentence="The best 1: b.",
    )
    after = board(
        b, d, race=race, skipped=(skipped("old"), skipped("x", code="gone", reason="is gone."))
    )
    found = compare(before, after)
    assert [one.name for one in found.candidates] == ["b"]
    assert [(one.name, one.rank, one.code, one.reason) for one in found.entered] == [
        ("d", 2, "keys_mismatch", "was down.")
    ]
    assert [(one.name, one.rank, one.code, one.reason) for one in found.left] == [
        ("a", 1, "not_listed", ""),
        ("c", 3, "eliminated", "is too weak"),
        ("x", None, "gone", "is gone."),
    ]
    assert "New: d. Gone: a." in found.sentence
    text = table(found)
    assert "c, number 3: [eliminated] is too weak" in text
    assert "x: [gone] is gone." in text


def test_newly_masked_gradients_are_told() -> None:
    sound = board(evaluation("a", right(70)))
    blind = board(evaluation("a", right(70), flags=["masked_gradients"]))
    assert "Masked only now, so that attacks were blind" in compare(sound, blind).sentence
    assert "Masked before and not now" in compare(blind, sound).sentence
    assert "a: only now" in table(compare(sound, blind))


# --- the choice ----------------------------------------------------------------------------------


def test_a_new_choice_is_told_apart_from_the_old_one_or_not() -> None:
    before = board(evaluation("a", right(80)), evaluation("b", right(50)))
    close = board(evaluation("a", right(80)), evaluation("b", right(82)))
    far = board(evaluation("a", right(50)), evaluation("b", right(82)))
    unsure, sure = compare(before, close), compare(before, far)
    assert (unsure.choice.before, unsure.choice.after) == ("a", "b")
    assert (unsure.choice.told_apart, sure.choice.told_apart) == (False, True)
    assert "from a to b, but the new ranking cannot tell the two apart." in unsure.sentence
    assert "from a to b, which the new ranking tells apart from it." in sure.sentence


def test_a_masked_old_choice_is_told_apart() -> None:
    before = board(evaluation("a", right(80)), evaluation("b", right(79)))
    after = board(
        evaluation("a", right(80), flags=["masked_gradients"]), evaluation("b", right(79))
    )
    assert compare(before, after).choice.told_apart is True


def test_a_choice_that_is_gone_is_said_to_be() -> None:
    a, b = evaluation("a", right(80)), evaluation("b", right(50))
    after = board(b, skipped=(skipped("a", reason="the file is gone."),))
    found = compare(board(a, b), after)
    assert found.choice.told_apart is None
    assert "as the former is not ranked any more: the file is gone." in found.sentence
    nobody = compare(board(a), board())
    assert nobody.choice.after is None
    assert nobody.sentence.startswith("Nobody is ranked any more; the choice was a.")
    assert compare(board(), board(a)).sentence.startswith("The choice is a; before, nobody was")


# --- what cannot be compared ---------------------------------------------------------------------


def test_everything_that_makes_it_another_question_is_listed_with_both_values() -> None:
    before = board(evaluation("a"))
    after = protocol(
        ranking([evaluation("a")], objective="criterion", fingerprint="e" * 64), steps=50, seed=7
    )
    with pytest.raises(UsageError) as refused:
        compare(before, after)
    for said in (
        f"task.fingerprint {'f' * 64} and {'e' * 64}",
        "protocol.steps 20 and 50",
        "protocol.seed 0 and 7",
        "objective attacked and criterion",
    ):
        assert said in refused.value.message
    assert "threat" not in refused.value.message


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"threat": {"norm": "l2", "eps": 0.5}}, "threat.norm linf and l2; threat.eps 0.0156"),
        ({"task": {"image_size": 32}}, "task.image_size 224 and 32"),
        ({"protocol": {"version": 2}}, "protocol.version 1 and 2"),
        ({"protocol": {"preset": "quick"}}, "protocol.preset standard and quick"),
        ({"protocol": {"attack": "pgd"}}, "protocol.attack apgd and pgd"),
        ({"protocol": {"restarts": 1}}, "protocol.restarts 5 and 1"),
        ({"protocol": {"head": "probe"}}, "protocol.head recommended and probe"),
    ],
)
def test_each_part_of_the_question_counts(fields: dict[str, dict[str, object]], said: str) -> None:
    before = board(evaluation("a"))
    (part,) = fields
    record = getattr(before, part).model_copy(update=fields[part])
    with pytest.raises(UsageError) as refused:
        compare(before, before.model_copy(update={part: record}))
    assert said in refused.value.message


def test_results_of_fewer_images_are_refused_whatever_the_fingerprint_says() -> None:
    with pytest.raises(UsageError, match=r"task\.test_images 50 and 100"):
        compare(board(evaluation("a", right(20, 50))), board(evaluation("a")))


def test_other_versions_and_machines_are_compared_and_said() -> None:
    before = board(evaluation("a"))
    device = before.device.model_copy(update={"type": "cuda"})
    after = before.model_copy(update={"device": device, "versions": {"torch": "3", "timm": "1"}})
    found = compare(before, after)
    assert [(one.field, one.before, one.after) for one in found.surroundings] == [
        ("device.type", "cpu", "cuda"),
        ("timm", "none", "1"),
        ("torch", "2.15.0", "3"),
    ]


# --- numbers -------------------------------------------------------------------------------------


def test_a_regression_is_compared_by_its_errors_image_by_image() -> None:
    before = of_numbers(measured_errors("a", drawn(0.4)), measured_errors("b", drawn(0.8)))
    after = of_numbers(measured_errors("a", drawn(1.0)), measured_errors("b", drawn(0.8)))
    found = compare(before, after)
    assert isinstance(found, RegressionComparison)
    b, a = found.candidates
    assert (a.rank.before, a.rank.after) == (1, 2)
    old, new = (r.ranking[place].per_image.attacked for r, place in ((before, 0), (after, 1)))
    assert a.p_value == pytest.approx(stats.ttest_rel(old, new).pvalue)
    assert a.attacked_squared_error.difference == pytest.approx(sum(new) / 60 - sum(old) / 60)
    assert a.clean_squared_error.difference == pytest.approx(
        a.attacked_squared_error.difference / 2
    )
    assert a.score == a.attacked_squared_error
    assert (a.moved, b.moved, b.p_value) == (True, False, 1.0)
    assert found.choice.told_apart is True
    assert "The choice changes from a to b, which the new ranking tells apart" in found.sentence
    assert "1 of 2 candidates in both moved by more than noise: a (+0.6" in found.sentence


def test_a_regression_has_a_table_that_fits(tmp_path: Path) -> None:
    name = "timm/" + "long_" * 12
    before = of_numbers(measured_errors(name, drawn(0.4)), measured_errors("b", drawn(0.8)))
    after = of_numbers(
        measured_errors(name, drawn(0.8, 1), bound=1.5),
        measured_errors("b", drawn(0.8), masked=True),
    )
    found = compare(before, after)
    text = table(found)
    assert max(map(len, text.splitlines())) <= 100
    rows = {row.split("│")[1].strip(): row for row in text.splitlines() if row.startswith("│")}
    assert re.search(r"│ 0\.[34]\d* → 0\.[78]\d* │ +\+0\.\d+ │ +\+0\.60 │ <0\.001 │", rows["1"])
    assert "│ masked │" in re.sub(" +", " ", rows["2"])
    assert "b: only now" in text
    assert f"| 1 | {prose(name)} |" in to_markdown(found)
    schema = json.loads(json_schema(RegressionComparison))
    jsonschema.validate(json.loads(to_json(found)), schema)

    old, new, classes = (tmp_path / f"{name}.json" for name in ("old", "new", "classes"))
    old.write_text(to_json(before))
    new.write_text(to_json(after))
    classes.write_text(to_json(board(evaluation("a"))))
    printed = CliRunner().invoke(app, ["compare", str(old), str(new), "--format", "json"])
    assert (printed.exit_code, printed.stdout) == (0, to_json(found))
    told = tmp_path / "comparison.json"
    told.write_text(printed.stdout)
    again = CliRunner().invoke(app, ["compare", str(told), str(new)])
    assert "found a document of another kind: regression-comparison" in " ".join(
        again.stderr.split()
    )
    for pair in ((old, classes), (classes, old)):
        refused = CliRunner().invoke(app, ["compare", *map(str, pair)])
        assert refused.exit_code == 2
        assert "one of classes" in refused.stderr


def test_what_makes_it_another_question_counts_for_numbers_too() -> None:
    one = of_numbers(measured_errors("a", drawn(0.4)))
    other = one.model_copy(update={"threat": one.threat.model_copy(update={"eps": 0.5})})
    with pytest.raises(UsageError, match=r"threat\.eps 0\.0156\d* and 0\.5"):
        compare(one, other)


def test_numbers_by_another_objective_have_a_column_of_it() -> None:
    before, after = (
        of_numbers(measured_errors("a", drawn(0.4), clean=drawn(clean))).model_copy(
            update={"objective": "clean", "objective_kind": "clean"}
        )
        for clean in (0.2, 0.3)
    )
    found = compare(before, after)
    (a,) = found.candidates
    assert a.score is not None
    assert (a.score.before, a.score.after) == pytest.approx((0.2, 0.3), abs=0.02)
    assert a.moved is True
    assert max(map(len, table(found).splitlines())) <= 100
    (row,) = [line for line in table(found).splitlines() if line.startswith("│1 ")]
    assert re.search(r"│ 0\.\d+ → 0\.\d+ │ +=? *│ \+0\.10 │", row)


# --- how it is told ------------------------------------------------------------------------------


def test_the_table_fits_and_says_what_moved() -> None:
    before = board(evaluation("timm/" + "long_" * 12, right(82)), evaluation("b", right(60)))
    after = board(evaluation("timm/" + "long_" * 12, right(50)), evaluation("b", right(61)))
    text = table(compare(before, after))
    assert max(map(len, text.splitlines())) <= 100
    rows = {row.split("│")[1].strip(): row for row in text.splitlines() if row.startswith("│")}
    assert "82.0 → 50.0" in rows["1 → 2"]
    assert "<0.001" in rows["1 → 2"]
    assert "moved" in rows["1 → 2"]
    assert "60.0 → 61.0" in rows["2 → 1"]
    assert "noise" in rows["2 → 1"]


def test_another_objective_has_a_column_and_fits() -> None:
    before, after = (
        ranking([evaluation("a", right(count))], objective="criterion") for count in (50, 70)
    )
    text = table(compare(before, after))
    assert "50.0 → 70.0" in text
    assert "+20.0" in text
    assert max(map(len, text.splitlines())) <= 100


def test_hostile_names_stay_names() -> None:
    name = "http://a|[red]b[/]<script>`x`\n::error::\x1b[31m"
    found = compare(board(evaluation(name, right(70))), board(evaluation(name, right(50))))
    markdown = to_markdown(found)
    assert "a&#124;&#91;red&#93;b&#91;/&#93;&#60;script&#62;&#96;x&#96;?" in markdown
    (row,) = [line for line in markdown.splitlines() if line.startswith("| 1 ")]
    assert row.count("|") == 9
    assert "http&#58;//a" in row
    assert "\x1b" not in markdown + table(found)
    assert "[red]b[/]" in "".join(table(found).split())


def test_the_command_in_all_its_forms(tmp_path: Path) -> None:
    old, new, other = (tmp_path / f"{name}.json" for name in ("old", "new", "other"))
    old.write_text(to_json(board(evaluation("a", right(82)))))
    new.write_text(to_json(board(evaluation("a", right(60)))))
    other.write_text(to_json(protocol(board(evaluation("a")), steps=3)))
    run = CliRunner().invoke

    shown = run(app, ["compare", str(old), str(new)])
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert "82.0 → 60.0" in shown.stdout
    assert "1 of 1 candidate in both moved by more than noise: a (-22.0 points)." in " ".join(
        shown.stdout.split()
    )

    output = tmp_path / "comparison.json"
    printed = run(app, ["compare", str(old), str(new), "--format", "json", "-o", str(output)])
    assert printed.exit_code == 0
    assert output.read_text() == printed.stdout
    jsonschema.validate(json.loads(printed.stdout), json.loads(json_schema(Comparison)))

    markdown = run(app, ["compare", str(old), str(new), "--format", "markdown"])
    assert markdown.stdout.startswith("**The choice stays a.")

    refused = run(app, ["compare", str(old), str(other)])
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "protocol.steps 20 and 3" in refused.stderr


@pytest.mark.parametrize("place", ["old.json", "./new.json", "link.json"])
def test_what_is_read_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.chdir(tmp_path)
    text = to_json(board(evaluation("a", right(82))))
    for name in ("old.json", "new.json"):
        (tmp_path / name).write_text(text)
    (tmp_path / "link.json").symlink_to("old.json")
    done = CliRunner().invoke(app, ["compare", "old.json", "new.json", "-o", place])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--output must not be the file that is read" in done.stderr
    assert {(tmp_path / name).read_text() for name in ("old.json", "new.json")} == {text}


def test_torch_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "ranking.json"
    path.write_text(to_json(board(evaluation("a"))))
    program = (
        "import sys; from selector.cli import app;"
        f"app(['compare', {str(path)!r}, {str(path)!r}], standalone_mode=False);"
        "print(*{m.partition('.')[0] for m in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "The choice stays a." in done.stdout, done.stderr
    loaded = set(done.stderr.split())
    assert "scipy" in loaded
    assert not loaded & {"torch", "timm", "huggingface_hub", "datasets"}
