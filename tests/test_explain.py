"""One candidate of a ranking in words: what is said is what the record holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders import certified, evaluation, ranking, right, skipped
from typer.testing import CliRunner

from selector.cli import app
from selector.errors import UsageError
from selector.reports.document import read_ranking, to_json
from selector.reports.explain import explain


def said(*arguments: object) -> str:
    return " ".join(explain(*arguments).split())  # type: ignore[arg-type]


def test_place_neighbour_and_accuracies_are_the_records() -> None:
    document = ranking(
        [
            evaluation("first", right(80), clean_head=right(95)),
            evaluation("second", right(60), clean=right(90)),
        ]
    )
    text = said(document, "first")
    assert text.startswith("first is number 1 of 2 by attacked accuracy of the head")
    assert "second is next, with 20 images fewer." in text
    assert "it is right on 95 of 100 test images, and still right after every attack on 80" in text
    assert "first, just above, withstands on 20 images more." in said(document, "second")


def test_one_image_is_not_images() -> None:
    document = ranking([evaluation("a", right(61)), evaluation("b", right(60))])
    assert "b is next, with 1 image fewer." in said(document, "a")


def test_who_cannot_be_told_apart_is_named() -> None:
    document = ranking([evaluation("a", right(61)), evaluation("b", right(60))])
    assert "It cannot be told apart from b." in said(document, "a")


def test_three_resolutions_in_their_order() -> None:
    one = evaluation("a", right(30), attacked=right(70))
    text = said(ranking([one]), "a")
    assert "In all directions: 30 of 100 images are safe." in text
    assert "Class pair by class pair, which settles it: 70." in text


def test_a_bound_is_taken_apart_and_a_vacuous_one_said_to_be() -> None:
    text = said(ranking([evaluation("a", right(70))]), "a")
    assert "Loss bound, of the bound-optimal head" in text
    assert "1.25 nats, where 1.10 is knowing only class frequencies." in text
    assert "0.50 of it is this head's clean loss and 0.75 what displacement adds." in text
    assert "vacuous" not in text
    assert "vacuous" in said(ranking([evaluation("a", right(70), vacuous=True)]), "a")


def test_accuracy_that_a_constant_answer_may_reach_is_no_robustness() -> None:
    text = said(ranking([evaluation("a", right(12))]), "a")
    assert "no robustness that can be relied on" in text
    assert "no robustness" not in said(ranking([evaluation("a", right(90))]), "a")


def test_the_head_is_named_as_it_was_picked() -> None:
    document = ranking([evaluation("a")])
    assert "with the recommended linear head it is right" in said(document, "a")
    protocol = document.protocol.model_copy(update={"head": "0.5"})
    picked = document.model_copy(update={"protocol": protocol})
    assert "with the linear head of radius scale 0.5 it is right" in said(picked, "a")


def test_masked_gradients_and_other_doubts_are_told() -> None:
    one = evaluation("a", right(70), flags=["masked_gradients"], messages=["noise beat the attack"])
    text = said(ranking([one]), "a")
    assert "Its gradients are masked" in text
    assert "With care: noise beat the attack." in text


def test_masked_gradients_put_it_last_unless_attacks_do_not_count() -> None:
    one = evaluation("a", right(70), flags=["masked_gradients"])
    by_clean = ranking([one], objective="clean")
    assert "ranked below all others" not in said(by_clean, "a")
    assert "With care: about masked_gradients." in said(by_clean, "a")


def test_what_is_certified_is_said_with_its_confidence() -> None:
    document = ranking([evaluation("a", right(70))])
    assert "Nothing here is certified." in said(document, "a")
    proven = document.model_copy(update={"certified": (certified("a"),)})
    text = said(proven, "a")
    assert "Nothing here is certified" not in text
    assert "Certified: proven of a smoothed head, each image with confidence 0.999" in text


def test_by_another_objective_no_image_counts_are_compared() -> None:
    document = ranking([evaluation("a", right(80)), evaluation("b", right(60))])
    other = document.model_copy(update={"objective": "clean"})
    assert "images fewer" not in said(other, "a")


def test_unknown_and_skipped_candidates_are_refused_with_a_way_out() -> None:
    document = ranking([evaluation("a", right(80))], [skipped("broken")])
    with pytest.raises(UsageError, match="'nope'") as unknown:
        explain(document, "nope")
    assert "a" in unknown.value.hint
    with pytest.raises(UsageError, match="does not fit its architecture"):
        explain(document, "broken")


def test_names_from_the_hub_cannot_move_the_cursor() -> None:
    text = explain(ranking([evaluation("a\x1b[2J", right(80))]), "a\x1b[2J")
    assert "\x1b" not in text
    assert text.count("\n\n") == 5


def test_the_command_reads_what_rank_writes(tmp_path: Path) -> None:
    document = ranking([evaluation("a", right(80))])
    path = tmp_path / "ranking.json"
    path.write_text(to_json(document), encoding="utf-8")
    assert read_ranking(path) == document
    done = CliRunner().invoke(app, ["explain", "a", str(path)])
    assert done.exit_code == 0
    assert done.stdout == explain(document, "a")


def _by(objective: str) -> bytes:
    """A ranking by what nobody knows."""
    document = ranking([evaluation("a")])
    return to_json(document.model_copy(update={"objective": objective})).encode()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{}", "is not a ranking of this version"),
        (b"\xff\xfe", "cannot be read"),
        (None, "cannot be read"),
        (b'{"\x1b": ' + b"[" * 100_000, "is not a ranking of this version"),
        (_by("x\x1b[31m"), "must be ranked by one of attacked, criterion"),
    ],
)
def test_what_is_no_ranking_is_refused(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "ranking.json"
    if content is not None:
        path.write_bytes(content)
    done = CliRunner().invoke(app, ["explain", "a", str(path)])
    assert done.exit_code == 2
    assert words in " ".join(done.stderr.split())


def test_of_nothing_ranked_that_is_said() -> None:
    with pytest.raises(UsageError) as caught:
        explain(ranking([]), "a")
    assert caught.value.hint == "Nothing was ranked."


def test_arguments_in_the_other_order_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "ranking.json"
    path.write_text(to_json(ranking([evaluation("a")])), encoding="utf-8")
    done = CliRunner().invoke(app, ["explain", str(path), "a"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "MODEL comes before RANKING.JSON" in done.stderr
    assert CliRunner().invoke(app, ["explain", "a", str(path)]).exit_code == 0
