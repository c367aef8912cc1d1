"""What may be ranked by: each score against the record, by hand."""

from __future__ import annotations

import math

import pytest
from builders import evaluation, right

from selector.objectives import DEFAULT_OBJECTIVE, OBJECTIVES
from selector.ranking import rank, told_apart
from selector.records import ERROR_OBJECTIVE_NAMES, OBJECTIVE_NAMES, Evaluation
from selector.regression.ranking import OBJECTIVES as ERROR_OBJECTIVES

MASKED = ("masked_gradients",)


def different() -> Evaluation:
    """Four images, and no two numbers of one kind alike."""
    return evaluation(
        "a",
        right(1, 4),
        clean=(True,) * 4,
        clean_head=right(3, 4),
        attacked=right(2, 4),
        smooth=(0.75, 0.5, 0.25, 0.125),
        worst_case_loss=(0.5, 1.0, 2.0, 4.0),
        relative=0.375,
        parameters=1234,
    )


BY_HAND = {
    "attacked": 2 / 4,
    "criterion": 1 / 4,
    "smooth": 1.625 / 4,
    "bound": -7.5 / 4,
    "sensitivity": -0.375,
    "clean": 1.0,
    "parameters": 1234.0,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_score_is_that_of_the_record(name: str) -> None:
    assert OBJECTIVES[name].score(different()) == BY_HAND[name]
    (ranked,) = rank([different()], seed=0, objective=name)
    assert ranked.score == BY_HAND[name]


def test_the_scores_of_images_are_in_their_order() -> None:
    e = different()
    found = {name: OBJECTIVES[name].scores(e).tolist() for name in ("attacked", "smooth", "bound")}
    assert found == {
        "attacked": [1, 1, 0, 0],
        "smooth": [0.75, 0.5, 0.25, 0.125],
        "bound": [-0.5, -1, -2, -4],
    }


def test_scores_of_images_average_to_what_the_reports_say() -> None:
    e, scores = different(), {name: OBJECTIVES[name].score(different()) for name in BY_HAND}
    assert scores["attacked"] == e.head.attacked_accuracy.value
    assert scores["criterion"] == e.head.on_task.estimated_robust_accuracy.value
    assert scores["smooth"] == e.head.on_task.estimated_smooth_accuracy.value
    assert scores["bound"] == -e.bound_optimal.on_task.estimated_worst_case_loss.value
    assert scores["clean"] == e.probe.clean_accuracy.value


def test_accuracy_under_attack_is_what_is_ranked_by_unless_told_otherwise() -> None:
    many = [evaluation("a", right(60), attacked=right(40)), evaluation("b", attacked=right(45))]
    assert DEFAULT_OBJECTIVE == "attacked"
    assert rank(many, seed=0) == rank(many, seed=0, objective="attacked")
    assert [e.name for e in rank(many, seed=0)] == ["b", "a"]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_says_what_it_is(name: str) -> None:
    objective = OBJECTIVES[name]
    assert objective.kind in ("attacked", "estimated", "clean")
    assert objective.what


@pytest.mark.parametrize("name", ["sensitivity", "parameters"])
def test_of_single_scores_no_interval_is_known(name: str) -> None:
    many = [
        evaluation(f"c{i}", right(50), relative=0.2 + i / 100, parameters=1000 - i)
        for i in range(5)
    ]
    ranked = rank(many, seed=0, objective=name)
    assert [e.name for e in ranked] == [f"c{i}" for i in range(5)]
    assert [e.rank_interval for e in ranked] == [(i, i) for i in range(1, 6)]
    assert [e.group for e in ranked] == [1, 2, 3, 4, 5]


def test_equal_single_scores_are_one_group() -> None:
    ranked = rank([evaluation("a"), evaluation("b")], seed=0, objective="parameters")
    assert [e.group for e in ranked] == [1, 1]
    assert [e.rank_interval for e in ranked] == [(1, 2), (1, 2)]


def test_accuracies_of_discriminant_analysis_are_compared_image_by_image() -> None:
    """One of 100 images less is no difference; where there is no analysis there is no doubt."""
    best = evaluation("best", clean=right(49))
    next_to_it = evaluation("next", clean=(False,) * 10 + right(48, 90))
    worst, none = evaluation("worst", clean=right(20)), evaluation("none", clean=right(50))
    none = none.model_copy(
        update={"per_image": none.per_image.model_copy(update={"lda_correct": None})}
    )
    ranked = rank([none, worst, next_to_it, best], seed=0, objective="lda")
    assert [e.name for e in ranked] == ["best", "next", "worst", "none"]
    assert [e.group for e in ranked] == [1, 1, 2, 3]
    assert [e.rank_interval for e in ranked] == [(1, 2), (1, 2), (3, 3), (4, 4)]
    assert [e.score for e in ranked] == [0.49, 0.48, 0.2, None]


@pytest.fixture
def with_gaps(monkeypatch: pytest.MonkeyPatch) -> str:
    """An objective that cannot be computed of the candidate "none"."""
    from selector.objectives import _single

    by = _single(
        "clean", "length of its name", lambda e: None if e.name == "none" else float(len(e.name))
    )
    monkeypatch.setitem(OBJECTIVES, "gaps", by)
    return "gaps"


def test_documents_know_the_objectives_that_there_are() -> None:
    assert tuple(OBJECTIVES) == OBJECTIVE_NAMES
    assert tuple(ERROR_OBJECTIVES) == ERROR_OBJECTIVE_NAMES


def test_what_could_not_be_computed_ranks_last_and_has_no_score(with_gaps: str) -> None:
    many = [evaluation("none", right(90)), evaluation("abc"), evaluation("a")]
    ranked = rank(many, seed=0, objective=with_gaps)
    assert [(e.name, e.score) for e in ranked] == [("abc", 3), ("a", 1), ("none", None)]
    assert [e.group for e in ranked] == [1, 2, 3]
    assert OBJECTIVES[with_gaps].score(many[0]) == -math.inf
    assert '"score":null' in ranked[-1].model_dump_json()
    assert not told_apart(many[0], many[0], OBJECTIVES[with_gaps])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_masked_gradients_count_where_a_number_rests_on_attacks(name: str) -> None:
    blind = evaluation(
        "blind",
        right(80),
        attacked=right(80),
        worst_case_loss=(0.1,) * 100,
        relative=0.01,
        parameters=2000,
        flags=MASKED,
    )
    sound = evaluation("sound", right(20), clean=right(90))
    ranked = [e.name for e in rank([blind, sound], seed=0, objective=name)]
    knows_the_threat = OBJECTIVES[name].kind != "clean"
    assert ranked == (["sound", "blind"] if knows_the_threat else ["blind", "sound"])
