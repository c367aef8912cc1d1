"""Order of candidates by error, the advice, and the documents of a regression."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from io import StringIO
from pathlib import Path

import builders
import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rich.console import Console

from selector.errors import UsageError
from selector.records import (
    EstimatedErrors,
    Flag,
    RankedRegression,
    RegressionEvaluation,
    RegressionHead,
    RegressionPerImage,
    RegressionPoint,
    RegressionRanking,
    RegressionTaskRecord,
    TargetColumn,
)
from selector.regression.ranking import OBJECTIVES, choose, rank
from selector.reports.document import json_schema, read_ranking, to_json
from selector.reports.regression import print_table

Errors = Sequence[float]


def head(clean: Errors, attacked: Errors, bound: float) -> RegressionHead:
    theory = EstimatedErrors(
        estimated_squared_error=builders.loss(bound),
        estimated_absolute_error=builders.loss(bound),
        estimated_theorem1_error=2.5,
    )
    return RegressionHead(
        l2=0.01,
        radius_scale=0.5,
        validation_bound=bound,
        clean_squared_error=builders.loss(float(np.mean(clean))),
        clean_absolute_error=builders.loss(0.5),
        clean_by_column=(0.25,),
        attacked_squared_error=builders.loss(float(np.mean(attacked))),
        attacked_absolute_error=builders.loss(0.5),
        on_representation=theory,
        on_task=theory,
    )


def evaluation(
    name: str,
    attacked: Errors,
    *,
    clean: Errors | None = None,
    bound: float = 0.9,
    masked: bool = False,
    vacuous: bool = False,
) -> RegressionEvaluation:
    """A candidate by the squared errors of its head; its ridge has the clean ones."""
    clean = [0.5 * error for error in attacked] if clean is None else clean
    return RegressionEvaluation(
        name=name,
        model=f"local-dir:{name}",
        provenance=builders.provenance(),
        cost=builders.cost(),
        head=head(clean, attacked, bound),
        probe=head(clean, attacked, bound),
        bound_optimal=head(clean, attacked, bound),
        frontier=tuple(_point(scale, clean, attacked, bound) for scale in (0.0, 0.5, 1.0)),
        vacuous=vacuous,
        sensitivity=builders.Sensitivity(mean=builders.loss(0.7), relative=0.1),
        task_sensitivity=builders.Sensitivity(mean=builders.loss(0.3), relative=0.2),
        diagnostics=builders.sound(),
        warnings=(Flag(code="masked_gradients", message="blind"),) if masked else (),
        per_image=RegressionPerImage(
            probe_clean=tuple(clean),
            clean=tuple(clean),
            attacked=tuple(attacked),
            bound=(bound,) * len(attacked),
        ),
    )


def _point(scale: float, clean: Errors, attacked: Errors, bound: float) -> RegressionPoint:
    return RegressionPoint(
        radius_scale=scale,
        l2=0.01,
        validation_attacked_error=0.5,
        clean_squared_error=builders.loss(float(np.mean(clean))),
        attacked_squared_error=builders.loss(float(np.mean(attacked)) + 1 - scale),
        estimated_squared_error=builders.loss(bound),
    )


def drawn(mean: float, seed: int = 0, images: int = 60) -> list[float]:
    spread = np.random.default_rng(seed).uniform(0.8, 1.2, images)
    return (mean * spread).tolist()


def ranked(*evaluations: RegressionEvaluation, by: str = "attacked") -> Sequence[RankedRegression]:
    return rank(evaluations, seed=0, objective=by)


def order(*evaluations: RegressionEvaluation, by: str = "attacked") -> list[str]:
    return [e.name for e in ranked(*evaluations, by=by)]


def document(*evaluations: RegressionEvaluation) -> RegressionRanking:
    ranking = ranked(*evaluations)
    return RegressionRanking(
        **dict(builders.made()),
        task=RegressionTaskRecord(
            name="discs",
            source="discs.csv",
            columns=(TargetColumn(name="x [red]", mean=16.5, sd=3.25),),
            image_size=32,
            train_images=30,
            validation_images=10,
            test_images=len(ranking[0].per_image.clean) if ranking else 60,
            mean_error=1.05,
            unreadable=(),
            fingerprint="f" * 64,
        ),
        choice=choose(ranking, "linf 4/255", 1.05, "attacked"),
        ranking=ranking,
    )


def test_the_lowest_error_is_first_and_scores_are_errors() -> None:
    found = ranked(evaluation("b", drawn(0.4)), evaluation("a", drawn(0.8)))
    assert [e.name for e in found] == ["b", "a"]
    assert [e.rank for e in found] == [1, 2]
    assert found[0].score == pytest.approx(float(np.mean(drawn(0.4))))


def test_the_bound_decides_between_equals() -> None:
    errors = drawn(0.5)
    assert order(evaluation("a", errors, bound=0.9), evaluation("b", errors, bound=0.8)) == [
        "b",
        "a",
    ]
    assert order(evaluation("b", errors), evaluation("a", errors)) == ["a", "b"]


def test_each_objective_ranks_by_its_own_errors() -> None:
    a = evaluation("a", drawn(0.3), clean=drawn(0.29), bound=0.7)
    b = evaluation("b", drawn(0.4), clean=drawn(0.1), bound=0.6)
    assert {by: order(a, b, by=by)[0] for by in OBJECTIVES} == {
        "attacked": "a",
        "bound": "b",
        "clean": "b",
    }


def test_the_blindly_attacked_is_last_unless_attacks_do_not_count() -> None:
    masked, sound = evaluation("m", drawn(0.1), masked=True), evaluation("s", drawn(0.9))
    found = ranked(masked, sound)
    assert [e.name for e in found] == ["s", "m"]
    assert [e.rank_interval for e in found] == [(1, 1), (2, 2)]
    assert [e.group for e in found] == [1, 2]
    assert order(masked, sound, by="clean") == ["m", "s"]


def test_paired_differences_part_groups_where_means_alone_would_not() -> None:
    # A wide spread over images, the same for both, and a small constant difference.
    wide = np.random.default_rng(0).uniform(0, 2, 60)
    other = wide + np.random.default_rng(1).uniform(0.01, 0.03, 60)
    unpaired = np.random.default_rng(2).permutation(wide) + 0.02
    apart = ranked(evaluation("a", wide.tolist()), evaluation("b", other.tolist()))
    assert [e.group for e in apart] == [1, 2]
    assert [e.rank_interval for e in apart] == [(1, 1), (2, 2)]
    equal = ranked(evaluation("a", wide.tolist()), evaluation("b", unpaired.tolist()))
    assert [e.group for e in equal] == [1, 1]
    assert [e.rank_interval for e in equal] == [(1, 2), (1, 2)]


def test_only_the_same_images_can_be_compared() -> None:
    with pytest.raises(ValueError, match="same test images"):
        ranked(evaluation("a", drawn(0.4)), evaluation("b", drawn(0.4, images=59)))
    assert ranked() == ()


@given(st.lists(st.floats(0.01, 3), min_size=1, max_size=5))
def test_rank_intervals_contain_the_rank(means: list[float]) -> None:
    found = ranked(*(evaluation(str(i), drawn(m, seed=i)) for i, m in enumerate(means)))
    assert sorted(e.score for e in found) == [e.score for e in found]
    for e in found:
        assert e.rank_interval[0] <= e.rank <= e.rank_interval[1]


def advice(*evaluations: RegressionEvaluation, by: str = "attacked") -> str:
    choice = choose(ranked(*evaluations, by=by), "linf 4/255", 1.05, by)
    assert choice is not None
    return choice.sentence


def test_the_advice_names_the_price_of_choosing_by_clean_error() -> None:
    best = evaluation("robust", drawn(0.4), clean=drawn(0.2))
    clean = evaluation("clean", drawn(0.9), clean=drawn(0.1))
    said = advice(best, clean)
    assert said.startswith(
        "Choose robust: under attack at linf 4/255 its mean squared error is 0.4"
    )
    assert "knowing only the mean has 1.05" in said
    assert "would have taken clean: -0.10 clean, +0.50 under attack." in said
    choice = choose(ranked(best, clean), "linf 4/255", 1.05, "attacked")
    assert choice is not None and choice.by_clean_error == "clean"
    assert choice.clean_error_saved == pytest.approx(0.1, abs=0.01)
    assert "It also has the lowest clean error" in advice(best)


def test_the_advice_where_nothing_is_better_than_the_mean_or_sound() -> None:
    assert "than knowing only the mean" in advice(evaluation("a", drawn(1.0)))
    assert "blind" in advice(evaluation("a", drawn(0.2), masked=True))
    assert advice(evaluation("a", drawn(0.2)), by="clean").startswith("By clean squared error")
    errors = drawn(0.3)
    said = advice(evaluation("a", errors), evaluation("b", errors))
    assert "Cannot be told apart from it: b." in said
    assert choose((), "linf 4/255", 1.0, "attacked") is None


# Documents.


def test_the_published_schema_is_up_to_date_and_describes_documents() -> None:
    published = (files("selector") / "regression.schema.json").read_text(encoding="utf-8")
    assert published == json_schema(RegressionRanking)
    schema = json.loads(published)
    jsonschema.Draft202012Validator.check_schema(schema)
    whole = json.loads(to_json(document(evaluation("a", drawn(0.4)))))
    jsonschema.validate(whole, schema)
    assert whole["kind"] == "regression"
    for change in ({"kind": "ranking"}, {"more": 1}, {"objective_kind": "certified"}):
        assert not jsonschema.Draft202012Validator(schema).is_valid(whole | change)


def test_a_document_is_closed_and_its_deviations_are_above_0() -> None:
    whole = document(evaluation("a", drawn(0.4)))
    with pytest.raises(ValidationError):
        RegressionRanking.model_validate(dict(whole) | {"certified": 1})
    two = whole.task.model_copy(update={"columns": whole.task.columns * 2})
    with pytest.raises(ValidationError, match=r"clean_by_column of head of 'a' must have a value"):
        RegressionRanking.model_validate(dict(whole) | {"task": two})
    with pytest.raises(ValidationError):
        TargetColumn(name="x", mean=0.0, sd=0.0)
    with pytest.raises(ValidationError):
        TargetColumn(name="x", mean=float("nan"), sd=1.0)


def printed(ranking: RegressionRanking) -> str:
    out = StringIO()
    print_table(ranking, Console(file=out, width=100, highlight=False))
    return out.getvalue()


def test_the_table_has_a_row_for_each_and_says_how_to_turn_numbers_back() -> None:
    text = printed(
        document(
            evaluation("good", drawn(0.4)),
            evaluation("nothing", drawn(1.3), vacuous=True),
            evaluation("blind", drawn(0.1), masked=True),
        )
    )
    assert "discs: x [red] 16.5 ± 3.25 (mean ± sd of train), 60 test images of 32 px" in " ".join(
        text.split()
    )
    rows = {line.split("│")[2].strip(): line for line in text.splitlines() if line[:1] == "│"}
    assert list(rows) == ["good", "nothing", "blind"]
    assert "0.40 (0.30-0.50)" in rows["good"] and "0.90" in rows["good"]
    assert "vacuous" in rows["nothing"] and "masked" in rows["blind"]
    assert "blind: blind." in text and "Choose good" in text
    assert max(map(len, text.splitlines())) <= 100


def test_with_nothing_ranked_there_is_no_table() -> None:
    ranking = document().model_copy(update={"skipped": (builders.skipped("broken"),)})
    text = printed(ranking)
    assert "│" not in text and "broken [keys_mismatch]" in text


def test_what_reads_rankings_of_classes_says_what_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "discs.json"
    path.write_text(to_json(document(evaluation("a", drawn(0.4)))), encoding="utf-8")
    with pytest.raises(UsageError, match="found a document of another kind: regression"):
        read_ranking(path)
