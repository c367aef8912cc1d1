"""One candidate of a ranking by error in words: what is said is what the record holds."""

from __future__ import annotations

from pathlib import Path

import builders
import pytest
from test_regression_ranking import document, drawn, evaluation
from typer.testing import CliRunner

from selector.cli import app
from selector.errors import UsageError
from selector.records import RegressionRanking
from selector.reports.document import to_json
from selector.reports.explain import explain


def said(ranking: RegressionRanking, model: str) -> str:
    return " ".join(explain(ranking, model).split())


def two() -> RegressionRanking:
    return document(
        evaluation("first", [0.4] * 60, clean=[0.25] * 60, bound=0.75),
        evaluation("second", [0.7] * 60, bound=1.5),
    )


def test_place_and_neighbour_are_the_records() -> None:
    text = said(two(), "first")
    assert text.startswith(
        "first is number 1 of 2 by squared error of the head under attack, lowest first, on 60 test"
        " images of discs at linf 4/255. second is next, with an attacked error 0.30 higher."
    )
    assert "first, just above, has an attacked error 0.30 lower." in said(two(), "second")
    assert "cannot be told apart" not in text
    assert said(two(), "local-dir:first") == text


def test_equals_are_named_with_what_other_images_might_show() -> None:
    ranking = document(evaluation("a", drawn(0.4, 1)), evaluation("b", drawn(0.4, 2)))
    text = said(ranking, ranking.ranking[1].name)
    assert "On other test images like these it may be anything from 1 to 2." in text
    assert f"It cannot be told apart from {ranking.ranking[0].name}." in text


def test_errors_clean_and_under_attack_in_both_units() -> None:
    text = said(two(), "first")
    assert (
        "with the recommended linear head its squared error is 0.25, and 0.40 after every attack."
        " With ordinary ridge these are 0.25 and 0.40."
    ) in text
    assert "knowing only the mean has 1.05." in text
    assert "squared error in the table's units: x [red] 1.62 (sd 3.25)." in text


def test_of_many_columns_the_first_are_told_and_the_others_counted() -> None:
    ranking = two()
    task = ranking.task.model_copy(update={"columns": ranking.task.columns * 10})
    one = ranking.ranking[0]
    head = one.head.model_copy(update={"clean_by_column": (0.25,) * 10})
    wide = ranking.model_copy(
        update={"task": task, "ranking": (one.model_copy(update={"head": head}),)}
    )
    assert "x [red] 1.62 (sd 3.25) and 2 more columns." in said(wide, "first")


def test_what_may_be_no_better_than_the_mean_is_no_robustness() -> None:
    weak = document(evaluation("a", drawn(1.0)))
    assert "no robustness that can be relied on" in said(weak, "a")
    assert "no robustness" not in said(two(), "first")


def test_displacement_at_both_resolutions_and_what_the_head_makes_of_it() -> None:
    text = said(two(), "first")
    assert "In all directions: 10 % of the distance between two images' features" in text
    assert "Only in the directions that this task uses: 20 %, and an estimated 0.75." in text
    assert "Attacks on the error itself reach 0.40." in text


def test_a_bound_is_taken_apart_and_a_vacuous_one_said_to_be() -> None:
    text = said(two(), "first")
    assert "Error bound: 0.75, where 1.05 is knowing only the mean." in text
    assert "0.25 of it is the head's clean error and 0.50 what displacement adds." in text
    assert "clipped at 2.2 standard deviations: an estimated 2.50 at most" in text
    assert "The larger part is displacement." in text
    assert "vacuous" not in text
    empty = said(document(evaluation("a", drawn(0.9), vacuous=True)), "a")
    assert "The bound is vacuous: on validation images no head's is below" in empty


def test_what_would_change_the_verdict() -> None:
    text = said(two(), "first")
    assert "0: 0.25 clean, 1.40 under attack; 0.5: 0.25 clean, 0.90 under attack; 1:" in text
    assert "More test images: 100 leave 0.10 of attacked error in doubt either way." in text
    one = two().ranking[0].model_copy(update={"frontier": ()})
    bare = said(two().model_copy(update={"ranking": (one,)}), "first")
    assert "What would change the verdict. More test images" in bare


def test_masked_gradients_are_told_and_put_it_last_unless_attacks_do_not_count() -> None:
    blind = evaluation("m", drawn(0.1), masked=True)
    ranking = document(evaluation("s", drawn(0.9)), blind)
    text = said(ranking, "m")
    assert "Its gradients are masked, so that it is ranked below all others." in text
    assert "With care: blind." in text
    assert "just above" not in text
    by_clean = said(ranking.model_copy(update={"objective": "clean"}), "m")
    assert "ranked below" not in by_clean
    assert "With care: blind." in by_clean


def test_kinds_of_numbers_are_said() -> None:
    text = said(two(), "first")
    assert "Under attack: measured, a lower estimate of the worst error" in text
    assert "Error bounds: estimated; they would be proven if attacks found" in text
    assert "Nothing here is certified." in text
    assert "upper estimate" not in text


def test_unknown_and_skipped_candidates_are_refused_with_a_way_out() -> None:
    ranking = two().model_copy(update={"skipped": (builders.skipped("broken"),)})
    with pytest.raises(UsageError, match="'nope'") as unknown:
        explain(ranking, "nope")
    assert "first" in unknown.value.hint
    with pytest.raises(UsageError, match="does not fit its architecture"):
        explain(ranking, "broken")


def test_names_cannot_move_the_cursor() -> None:
    ranking = document(evaluation("a\x1b[2J", drawn(0.4)))
    (column,) = ranking.task.columns
    hostile = column.model_copy(update={"name": "x\x1b[31m\n\n"})
    task = ranking.task.model_copy(update={"columns": (hostile,)})
    text = explain(ranking.model_copy(update={"task": task}), "a\x1b[2J")
    assert "\x1b" not in text
    assert text.count("\n\n") == 5


def test_the_command_reads_what_rank_writes(tmp_path: Path) -> None:
    path = tmp_path / "ranking.json"
    path.write_text(to_json(two()), encoding="utf-8")
    done = CliRunner().invoke(app, ["explain", "first", str(path)])
    assert done.exit_code == 0
    assert done.stdout == explain(two(), "first")
