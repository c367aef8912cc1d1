"""The order of candidates, and how sure it is."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from builders import evaluation, right
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from selector.objectives import OBJECTIVES
from selector.ranking import rank, told_apart
from selector.records import Evaluation, RankedEvaluation

IMAGES = 12
MASKED = ("masked_gradients",)

outcomes = st.lists(st.booleans(), min_size=IMAGES, max_size=IMAGES)
fields = st.tuples(outcomes, st.sampled_from([0.1, 0.5, 0.9]), st.booleans())
fields_of_many = st.lists(fields, min_size=1, max_size=6)


def build(many: Sequence[tuple[list[bool], float, bool]]) -> list[Evaluation]:
    """Evaluations from what hypothesis drew, named by their place."""
    return [
        evaluation(f"c{place}", right, tolerance=tolerance, flags=MASKED if masked else ())
        for place, (right, tolerance, masked) in enumerate(many)
    ]


def names(ranked: Sequence[Evaluation]) -> list[str]:
    return [e.name for e in ranked]


def by_name(ranked: Sequence[RankedEvaluation]) -> dict[str, RankedEvaluation]:
    return {e.name: e for e in ranked}


def differing(only_first: int, only_second: int, images: int = 100) -> tuple[Evaluation, ...]:
    """Two candidates that are right on different images, and both on the rest."""
    both = images - only_first - only_second
    return (
        evaluation("first", (True,) * only_first + (False,) * only_second + (True,) * both),
        evaluation("second", (False,) * only_first + (True,) * only_second + (True,) * both),
    )


def test_nothing_to_rank() -> None:
    assert rank([], seed=0) == ()


def test_who_withstands_more_ranks_first() -> None:
    ranked = rank(
        [
            evaluation(n, right(30), attacked=right(k))
            for n, k in zip("abc", (20, 70, 40), strict=True)
        ],
        seed=0,
    )
    assert names(ranked) == ["b", "c", "a"]
    assert [e.rank for e in ranked] == [1, 2, 3]
    assert [e.score for e in ranked] == pytest.approx([0.7, 0.4, 0.2])


def test_of_equals_the_one_is_better_whose_usual_probe_survives_more_of_the_attacks() -> None:
    ranked = rank([evaluation("a", tolerance=0.2), evaluation("b", tolerance=0.3)], seed=0)
    assert names(ranked) == ["b", "a"]


def test_tolerance_decides_where_no_head_withstands_anything() -> None:
    many = [
        evaluation(n, right(0), tolerance=t / 10) for n, t in zip("abc", (2, 4, 3), strict=True)
    ]
    ranked = rank(many, seed=0)
    assert names(ranked) == ["b", "c", "a"]
    # It decides the order and says nothing of how sure that is: all of them withstand nothing.
    assert {e.group for e in ranked} == {1}
    assert {e.score for e in ranked} == {0.0}


def test_tolerance_decides_between_equals_only() -> None:
    first = evaluation("a", right(51), tolerance=0.0)
    second = evaluation("b", right(50), tolerance=1.0)
    assert names(rank([second, first], seed=0)) == ["a", "b"]


def test_the_model_decides_between_those_that_are_equal_in_everything() -> None:
    assert names(rank([evaluation("b"), evaluation("a")], seed=0)) == ["a", "b"]


def test_masked_rank_last_and_a_vacuous_bound_costs_nothing() -> None:
    ranked = rank(
        [
            evaluation("masked", right(100), flags=MASKED),
            evaluation("masked and vacuous", right(99), vacuous=True, flags=MASKED),
            evaluation("vacuous", right(60), vacuous=True),
            evaluation("sound", right(5), flags=["still_rising"]),
        ],
        seed=0,
    )
    assert names(ranked) == ["vacuous", "sound", "masked", "masked and vacuous"]
    assert [e.group for e in ranked] == [1, 2, 3, 3]
    assert [e.rank_interval for e in ranked[:2]] == [(1, 1), (2, 2)]


def smooth(name: str, scores: Sequence[float]) -> Evaluation:
    """A candidate with a score of each image that is no count."""
    return evaluation(name, right(0, len(scores)), smooth=scores)


def test_scores_that_are_no_counts_are_told_apart_by_students_paired_test() -> None:
    draw = np.random.default_rng(0)
    first, by = draw.random(100) * 0.9, OBJECTIVES["smooth"]
    found = set()
    for shift, noise in ((0.01, 0.01), (0.01, 0.2), (0.1, 0.2)):
        second = np.clip(first + shift + noise * draw.normal(size=100), 0, 1)
        a, b = smooth("a", first.tolist()), smooth("b", second.tolist())
        difference = second - first
        t = difference.mean() / (difference.std(ddof=1) / 10)
        apart = bool(abs(t) > stats.t.ppf(0.975, 99))
        assert told_apart(a, b, by) == told_apart(b, a, by) == apart
        found.add(apart)
    assert found == {True, False}


def test_scores_that_differ_by_the_same_on_every_image_are_told_apart() -> None:
    # Without variance there is nothing to divide by.
    a, b = smooth("a", [0.75] * 100), smooth("b", [0.25] * 100)
    assert told_apart(a, b, OBJECTIVES["smooth"])


@pytest.mark.parametrize("objective", ["attacked", "smooth"])
def test_a_single_image_tells_nothing_apart(objective: str) -> None:
    a, b = evaluation("a", [True]), evaluation("b", [False])
    assert not told_apart(a, b, OBJECTIVES[objective])
    assert [e.group for e in rank([a, b], seed=0, objective=objective)] == [1, 1]


def test_candidates_of_the_same_scores_keep_their_order() -> None:
    scores = np.random.default_rng(0).random(101).tolist()
    ranked = rank([smooth(f"c{i:02}", scores) for i in range(13)], seed=0, objective="smooth")
    assert names(ranked) == [f"c{i:02}" for i in range(13)]
    assert [e.rank_interval for e in ranked] == [(i, i) for i in range(1, 14)]
    assert {e.group for e in ranked} == {1}


def test_ranked_rows_keep_everything_that_was_measured() -> None:
    before = evaluation("a", right(30), clean=right(90), attacked=right(40), flags=["at_chance"])
    (after,) = rank([before], seed=0)
    assert {name: getattr(after, name) for name in Evaluation.model_fields} == dict(before)
    assert (after.rank, after.rank_interval, after.group) == (1, (1, 1), 1)


@given(fields_of_many)
def test_ranks_are_a_permutation_and_follow_the_objective(
    many: list[tuple[list[bool], float, bool]],
) -> None:
    evaluations = build(many)
    ranked = rank(evaluations, seed=0)
    assert [e.rank for e in ranked] == list(range(1, len(many) + 1))
    assert sorted(names(ranked)) == sorted(names(evaluations))
    keys = [
        (bool(e.warnings), -e.head.attacked_accuracy.value, -e.probe.attacked_tolerance.value)
        for e in ranked
    ]
    assert keys == sorted(keys)


@given(fields_of_many)
def test_rank_intervals_contain_the_rank(many: list[tuple[list[bool], float, bool]]) -> None:
    for e in rank(build(many), seed=0):
        low, high = e.rank_interval
        assert 1 <= low <= e.rank <= high <= len(many)


def test_rank_intervals_of_many_equals_contain_the_rank() -> None:
    draw = np.random.default_rng(0)
    many = [evaluation(f"c{i}", draw.permutation(right(50)).tolist()) for i in range(60)]
    ranked = rank(many, seed=0)
    outside = [
        (e.rank, e.rank_interval)
        for e in ranked
        if not e.rank_interval[0] <= e.rank <= e.rank_interval[1]
    ]
    assert not outside


@given(fields_of_many, st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(
    many: list[tuple[list[bool], float, bool]], random: Random
) -> None:
    evaluations = build(many)
    shuffled = list(evaluations)
    random.shuffle(shuffled)
    assert rank(evaluations, seed=0) == rank(shuffled, seed=0)


@given(fields_of_many)
def test_a_worse_candidate_does_not_change_the_order_of_others(
    many: list[tuple[list[bool], float, bool]],
) -> None:
    evaluations = build(many)
    worst = evaluation("worst", right(0, IMAGES), tolerance=0.0, flags=MASKED)
    before, after = rank(evaluations, seed=0), rank([worst, *evaluations], seed=0)
    assert names(after) == [*names(before), "worst"]
    assert [e.rank_interval for e in after[:-1]] == [e.rank_interval for e in before]
    assert [e.group for e in after[:-1]] == [e.group for e in before]


def test_intervals_depend_on_the_seed_alone() -> None:
    draw = np.random.default_rng(1)
    many = [evaluation(f"c{i}", (draw.random(40) < 0.5).tolist()) for i in range(8)]
    assert rank(many, seed=0) == rank(many, seed=0)
    others = [rank(many, seed=seed) for seed in range(1, 6)]
    assert any(
        [e.rank_interval for e in other] != [e.rank_interval for e in rank(many, seed=0)]
        for other in others
    )


def test_a_clear_winner_is_sure_of_its_rank() -> None:
    ranked = rank([evaluation("a", right(95)), evaluation("b", right(40))], seed=0)
    assert [e.rank_interval for e in ranked] == [(1, 1), (2, 2)]
    assert [e.group for e in ranked] == [1, 2]


def test_twins_on_different_images_are_not_sure_of_theirs() -> None:
    ranked = rank(differing(20, 20), seed=0)
    assert [e.rank_interval for e in ranked] == [(1, 2), (1, 2)]
    assert [e.group for e in ranked] == [1, 1]


@pytest.mark.parametrize(
    ("only_first", "only_second", "expected"),
    # The difference in a resample has the mean 10, 6 or 4 and a variance of about 13, 10 or 10:
    # it is negative in 0.2 %, 2 % and 8 % of them.
    [(12, 2, (1, 1)), (8, 2, (1, 1)), (7, 3, (1, 2))],
)
def test_rank_intervals_leave_out_what_is_rare(
    only_first: int, only_second: int, expected: tuple[int, int]
) -> None:
    for seed in range(3):
        first, second = rank(differing(only_first, only_second), seed=seed)
        assert (first.name, first.rank_interval) == ("first", expected)
        assert second.rank_interval == (3 - expected[1], 3 - expected[0])


def test_candidates_that_are_right_on_the_same_images_keep_their_order() -> None:
    # Nothing differs in any resample, so what decides between equals does in all of them.
    ranked = rank([evaluation("a", tolerance=0.2), evaluation("b", tolerance=0.3)], seed=0)
    assert [e.rank_interval for e in ranked] == [(1, 1), (2, 2)]
    assert [e.group for e in ranked] == [1, 1]


def test_comparisons_are_paired() -> None:
    # Six points of a hundred, far within the sampling error of either share; but every image
    # that tells the two apart speaks for the same one.
    a, b = evaluation("a", right(56)), evaluation("b", right(50))
    assert stats.fisher_exact([[56, 44], [50, 50]]).pvalue > 0.4
    assert told_apart(a, b)
    assert [e.group for e in rank([a, b], seed=0)] == [1, 2]


@pytest.mark.parametrize(
    ("only_first", "only_second", "apart"),
    [
        # Two-sided p: 2/2^5 = 0.0625, 2/2^6 = 0.03125; 2(1 + 8)/2^8 = 0.0703, 2(1 + 9)/2^9 = 0.0391
        (0, 0, False),
        (5, 0, False),
        (6, 0, True),
        (0, 6, True),
        (7, 1, False),
        (8, 1, True),
        (20, 20, False),
        (25, 10, True),
    ],
)
def test_told_apart_is_mcnemars_exact_test(only_first: int, only_second: int, apart: bool) -> None:
    a, b = differing(only_first, only_second)
    assert told_apart(a, b) is apart
    assert told_apart(b, a) is apart


@given(st.integers(0, 50), st.integers(0, 50))
def test_told_apart_agrees_with_the_binomial_tail(only_first: int, only_second: int) -> None:
    a, b = differing(only_first, only_second)
    tail = stats.binom.cdf(min(only_first, only_second), only_first + only_second, 0.5)
    assert told_apart(a, b) is bool(min(1.0, 2 * tail) < 0.05)


def test_a_group_is_not_told_apart_from_its_first() -> None:
    # b is level with a, c with b but not with a: c opens a group of its own.
    ranked = by_name(
        rank(
            [evaluation("a", right(60)), evaluation("b", right(56)), evaluation("c", right(52))],
            seed=0,
        )
    )
    assert not told_apart(ranked["b"], ranked["c"])
    assert [ranked[n].group for n in "abc"] == [1, 1, 2]


def test_different_images_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="same test images"):
        rank([evaluation("a", right(5, 10)), evaluation("b", right(5, 11))], seed=0)


def test_every_order_of_three_gives_one_ranking() -> None:
    three = [evaluation(n, right(k)) for n, k in zip("abc", (50, 50, 30), strict=True)]
    rankings = [rank(order, seed=3) for order in itertools.permutations(three)]
    assert all(ranked == rankings[0] for ranked in rankings)


@pytest.mark.parametrize("at_once", [1, 7 * 12, 1999 * 12])
def test_intervals_do_not_depend_on_how_many_resamples_are_drawn_at_once(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [evaluation(f"c{count}", right(count, IMAGES)) for count in (5, 6, 7)]
    whole = rank(many, seed=0)
    monkeypatch.setattr("selector.ranking._COUNTS_AT_ONCE", at_once)
    assert rank(many, seed=0) == whole
