"""The choice in words, and what choosing by clean accuracy would have cost."""

from __future__ import annotations

import pytest
from builders import evaluation, right

from selector.advice import choose
from selector.ranking import rank
from selector.records import Choice, Evaluation

THREAT = "linf 4/255"
MASKED = ("masked_gradients",)


def chosen(*evaluations: Evaluation, constant: float = 0.05, objective: str = "attacked") -> Choice:
    ranked = rank(evaluations, seed=0, objective=objective)
    choice = choose(ranked, THREAT, constant, objective)
    assert choice is not None
    return choice


def test_of_nothing_nothing_is_chosen() -> None:
    assert choose([], THREAT, 0.05) is None


def test_the_choice_is_the_first() -> None:
    choice = chosen(
        evaluation("robust", right(60), clean=right(80), clean_head=right(75), attacked=right(70)),
        evaluation("clean", right(62), clean=right(95), clean_head=right(60), attacked=right(40)),
    )
    assert choice.name == "robust"
    assert choice.attacked_accuracy == pytest.approx(0.70)
    assert choice.estimated_robust_accuracy == pytest.approx(0.60)
    assert choice.clean_accuracy == pytest.approx(0.75)
    # Clean accuracies are compared between ordinary probes, by which one would have chosen.
    assert choice.clean_accuracy_gained == pytest.approx(0.15)


def test_what_choosing_by_clean_accuracy_costs() -> None:
    choice = chosen(
        evaluation("robust", right(60), clean=right(80), attacked=right(70)),
        evaluation("between", right(50), clean=right(90), attacked=right(69)),
        evaluation("clean", right(40), clean=right(95), attacked=right(50)),
    )
    assert choice.by_clean_accuracy == "clean"
    assert choice.clean_accuracy_gained == pytest.approx(0.15)
    assert choice.estimated_robust_accuracy_lost == pytest.approx(0.20)
    assert choice.attacked_accuracy_lost == pytest.approx(0.20)
    assert choice.sentence == (
        "Choose robust: 70 % of 100 test images withstood every attack at linf 4/255 (an upper"
        " estimate; the criterion holds for an estimated 60 %). Cannot be told apart from it:"
        " between. Choosing among these by clean accuracy would have taken clean: +15.0 points"
        " clean, -20.0 points under attack."
    )


def test_a_choice_that_is_also_the_cleanest_costs_nothing() -> None:
    choice = chosen(
        evaluation("best", right(60), clean=right(90)), evaluation("b", right(40), clean=right(90))
    )
    assert choice.by_clean_accuracy == "best"
    assert choice.clean_accuracy_gained == 0
    assert choice.estimated_robust_accuracy_lost == 0
    assert choice.attacked_accuracy_lost == 0
    assert choice.sentence.endswith("It also has the best clean accuracy of these.")


def test_the_sentence_names_what_cannot_be_told_apart() -> None:
    choice = chosen(
        evaluation("a", right(60)), evaluation("b", right(58)), evaluation("c", right(10))
    )
    assert "Cannot be told apart from it: b." in choice.sentence


def test_no_better_than_a_constant_answer_is_no_advice() -> None:
    # 30 % withstood, at least 20 % at the lower end of the interval.
    best = evaluation("a", right(10), attacked=right(30), tolerance=0.6)
    other = evaluation("b", right(5), tolerance=0.9)
    choice = chosen(best, other, constant=0.2)
    assert choice.name == "a"
    assert choice.sentence == (
        "No candidate clearly withstands more at linf 4/255 than a constant answer, which is right"
        " on 20 % of the test images. Nearest to it is a, whose usual probe survives 60 % of what"
        " the attacks attain. Try a smaller --eps, or candidates pretrained to be robust."
    )
    assert chosen(best, other, constant=0.19).sentence.startswith("Choose a: ")


def test_a_vacuous_bound_keeps_no_one_from_being_chosen() -> None:
    choice = chosen(evaluation("a", right(60), vacuous=True), evaluation("b", right(70)))
    assert choice.name == "b"
    assert chosen(evaluation("a", right(60), vacuous=True)).sentence.startswith("Choose a: ")


@pytest.mark.parametrize(("unsettled", "more"), [(1, "one more was"), (7, "7 more were")])
def test_of_those_there_was_no_time_for_nothing_is_said(unsettled: int, more: str) -> None:
    for flags, words in (((), "clearly withstands more"), (MASKED, "could be measured soundly")):
        ranked = rank([evaluation("a", right(0), attacked=right(0), flags=flags)], seed=0)
        choice = choose(ranked, THREAT, 0.1, unsettled=unsettled)
        assert choice is not None
        assert choice.sentence.startswith(f"None of the 1 measured {words}")
        if not flags:
            assert f"no time for all, {more} not settled: give a longer" in choice.sentence
            assert "smaller --eps" not in choice.sentence


def test_the_sentence_where_every_attack_was_blind() -> None:
    choice = chosen(evaluation("a", right(60), flags=MASKED))
    assert choice.sentence.startswith("No candidate could be measured soundly")


def test_no_cost_is_not_printed_as_minus_nothing() -> None:
    choice = chosen(
        evaluation("a", right(60), clean=right(80), tolerance=0.6),
        evaluation("b", right(60), clean=right(90), tolerance=0.5),
    )
    assert choice.name == "a"
    assert choice.attacked_accuracy_lost == 0
    assert choice.sentence.endswith("+10.0 points clean, +0.0 points under attack.")


def test_the_flattering_numbers_of_a_masked_candidate_are_no_advice() -> None:
    choice = chosen(
        evaluation("sound", right(60), clean=right(80)),
        evaluation("blind", right(90), clean=right(95), flags=MASKED),
    )
    assert choice.name == "sound"
    assert "30.0 points" not in choice.sentence
    assert choice.sentence.endswith(
        "blind has the best clean accuracy, but was not measured soundly."
    )


def test_candidates_of_the_same_name_are_told_apart_by_their_model() -> None:
    # Two local folders may have the same name of their own.
    choice = chosen(
        evaluation("export", right(60), clean=right(80), model="local-dir:/a/export"),
        evaluation("export", right(40), clean=right(95), model="local-dir:/b/export"),
    )
    assert choice.clean_accuracy_gained == pytest.approx(0.15)
    assert "also has the best clean accuracy" not in choice.sentence


def test_a_choice_by_something_else_is_told_what_it_withstands() -> None:
    large = evaluation("large", right(40), parameters=9)
    robust = evaluation("robust", right(60), parameters=8)
    blind = evaluation("blind", right(90), parameters=7, flags=MASKED)
    choice = chosen(robust, large, blind, objective="parameters")
    assert choice.name == "large"
    assert choice.attacked_accuracy == pytest.approx(0.4)
    assert choice.sentence == (
        "By number of parameters: large. 40 % of 100 test images withstood every attack at"
        " linf 4/255; of robust 60 %."
    )
    assert chosen(large, objective="parameters").sentence.endswith(
        "40 % of 100 test images withstood every attack at linf 4/255, the most of these."
    )


def test_the_flattering_numbers_of_a_masked_choice_are_not_told() -> None:
    choice = chosen(
        evaluation("blind", right(90), clean=right(95), flags=MASKED),
        evaluation("sound", right(20), clean=right(80)),
        objective="clean",
    )
    assert choice.sentence == (
        "By clean accuracy of the ordinary probe: blind. What it withstands was not measured"
        " soundly: the attack was blind."
    )


def test_by_something_else_too_the_sentence_names_what_cannot_be_told_apart() -> None:
    choice = chosen(
        evaluation("a", right(20), clean=right(91)),
        evaluation("b", right(40), clean=right(90)),
        objective="clean",
    )
    assert choice.name == "a"
    assert choice.sentence.startswith(
        "By clean accuracy of the ordinary probe: a. Cannot be told apart from it: b. 20 % of 100"
    )
