"""The documents: closed, immutable, free of NaN, and described by the published schema."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from builders import evaluation, ranking, right, share, skipped
from pydantic import BaseModel, ValidationError

import selector
from selector import records
from selector.records import Estimate, Evaluation, Ranking
from selector.reports.document import json_schema

SCHEMA_FILE = Path(selector.__file__).parent / "ranking.schema.json"
# Pretraining is defined elsewhere, but it is part of the documents.
KINDS = [
    kind
    for kind in vars(records).values()
    if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not BaseModel
]


@pytest.fixture(scope="module")
def document() -> Ranking:
    """A ranking with a warning, a vacuous row and a candidate left out."""
    return ranking(
        [evaluation("a", right(80), flags=["still_rising"]), evaluation("b", vacuous=True)],
        [skipped()],
    )


def refuses(schema: dict[str, Any], instance: dict[str, Any]) -> bool:
    return not jsonschema.Draft202012Validator(schema).is_valid(instance)


def test_the_published_schema_is_up_to_date() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == json_schema()


def test_documents_follow_the_published_schema(document: Ranking) -> None:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(document.model_dump_json()), schema)
    jsonschema.validate(json.loads(ranking().model_dump_json()), schema)


def test_the_published_schema_tells_a_document_from_others(document: Ranking) -> None:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    whole = json.loads(document.model_dump_json())
    assert not refuses(schema, whole)
    assert refuses(schema, whole | {"more": 1})
    assert refuses(schema, whole | {"schema_version": "0.9"})
    assert refuses(schema, whole | {"threat": {"norm": "l1", "eps": 0.1}})
    assert refuses(schema, whole | {"threat": {"norm": "linf", "eps": 0}})
    for field in whole:
        assert refuses(schema, {key: value for key, value in whole.items() if key != field}), field


def test_every_field_of_the_schema_is_required(document: Ranking) -> None:
    # A reader may rely on every field that this version writes, null included.
    schema = json.loads(json_schema())
    for kind in (schema, *schema["$defs"].values()):
        assert set(kind["required"]) == set(kind["properties"]), kind["title"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_refused(value: float, document: Ranking) -> None:
    with pytest.raises(ValidationError, match="finite"):
        Estimate(value=value, low=0, high=1, n=1)
    whole = document.model_dump()
    whole["ranking"][0]["per_image"]["worst_case_loss"] = (value,) * 100
    with pytest.raises(ValidationError, match="finite"):
        Ranking.model_validate(whole)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_record_is_frozen_and_closed_and_finite(kind: type[BaseModel]) -> None:
    config = kind.model_config
    assert config.get("frozen") is True
    assert config.get("extra") == "forbid"
    assert config.get("allow_inf_nan") is False


def test_unknown_fields_are_refused_at_any_depth(document: Ranking) -> None:
    whole = document.model_dump()
    whole["ranking"][0]["bound_optimal"]["on_task"]["certified_accuracy"] = 0.5
    with pytest.raises(ValidationError, match="certified_accuracy"):
        Ranking.model_validate(whole)


def test_records_cannot_be_changed(document: Ranking) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        document.ranking[0].rank = 2  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        document.threat.eps = 1.0  # type: ignore[misc]


def test_an_estimate_needs_an_image() -> None:
    with pytest.raises(ValidationError):
        Estimate(value=0.5, low=0, high=1, n=0)
    assert share([True]).n == 1


def test_a_record_survives_json_exactly() -> None:
    before = evaluation("ä \u2028 [x]", right(1, 3), relative=0.1 + 0.2)
    after = Evaluation.model_validate_json(before.model_dump_json())
    assert after == before


def test_names_say_what_numbers_promise() -> None:
    # Everything rests on attacks, so nothing may be called certified, nor robust without a word
    # for how that is known.
    schema = json.loads(json_schema())
    names = {name for kind in (schema, *schema["$defs"].values()) for name in kind["properties"]}
    assert "estimated_robust_accuracy" in names
    assert not {n for n in names if n.startswith(("certified", "guaranteed"))}
    assert not {n for n in names if n.startswith("robust_") and n != "robust_correct"}
