"""The command that makes a ranking again, from what its record says."""

from __future__ import annotations

from builders import evaluation, ranking

from selector.records import ConfiguredOption, Curve, CurvePoint, Flag, Ranking, ThreatRecord
from selector.reports.again import eps_option, whole_command
from selector.reports.card.markdown import markdown
from selector.reports.card.metrics import metrics
from selector.reports.html.page import render


def configured() -> Ranking:
    given = (
        ConfiguredOption(option="--eps", value="1/255", origin="SELECT_RANK_EPS"),
        ConfiguredOption(option="--offline", value="true", origin="selector.toml [rank]"),
        ConfiguredOption(option="--fresh", value="false", origin="selector.toml [rank]"),
        ConfiguredOption(option="--test-images", value="20", origin="SELECT_RANK_TEST_IMAGES"),
    )
    return ranking([evaluation("a")]).model_copy(update={"configured": given})


def swept() -> Ranking:
    document = ranking([evaluation("a")])
    (one,) = document.ranking
    points = tuple(
        CurvePoint(
            threat=ThreatRecord(norm=norm, eps=eps),
            rank=1,
            rank_interval=(1, 1),
            masked=False,
            radius_scale=0.5,
            clean_accuracy=one.head.clean_accuracy,
            attacked_accuracy=one.head.attacked_accuracy,
            estimated_robust_accuracy=one.head.on_task.estimated_robust_accuracy,
            estimated_worst_case_loss=one.head.on_task.estimated_worst_case_loss,
            vacuous=False,
        )
        for norm, eps in (("l2", 0.5), ("linf", 1 / 255), ("linf", 4 / 255))
    )
    curve = Curve(name=one.name, model=one.model, points=points)
    return document.model_copy(update={"curves": (curve,)})


def test_options_that_nobody_typed_are_typed() -> None:
    assert whole_command(configured()) == (
        *("selector", "rank", "--eps", "1/255", "--offline", "--test-images", "20"),
    )
    assert whole_command(ranking([evaluation("a")])) == ("selector", "rank")


def test_all_perturbations_are_named_the_first_one_first() -> None:
    assert eps_option(swept()) == "4/255,l2:0.5,linf:1/255"
    assert eps_option(ranking([evaluation("a")])) == "4/255"


def test_the_report_and_the_card_repeat_the_whole_of_it() -> None:
    page = render(configured())
    assert "selector rank --eps 1/255 --offline --test-images 20" in page
    assert "1/255 (not typed: SELECT_RANK_EPS)" in page
    document = configured()
    assert "--test-images 20" in markdown(document, document.ranking[0])
    document = swept()
    assert "--norm linf --eps 4/255,l2:0.5,linf:1/255" in markdown(document, document.ranking[0])


def test_a_warning_is_of_the_perturbation_that_it_came_with() -> None:
    document = swept()
    (curve,) = document.curves or ()
    rising = Flag(code="still_rising", message="the attack was still gaining")
    first, *others = curve.points
    points = (first.model_copy(update={"warnings": (rising,)}), *others)
    document = document.model_copy(
        update={"curves": (curve.model_copy(update={"points": points}),)}
    )
    found = {
        (metric.threat.norm, metric.threat.eps): metric.warnings
        for metric in metrics(document, document.ranking[0])
    }
    assert found == {("l2", 0.5): ("still_rising",), ("linf", 1 / 255): (), ("linf", 4 / 255): ()}
