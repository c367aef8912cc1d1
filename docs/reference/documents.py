"""The reference of the documents, read off their JSON Schemas."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from reference.markdown import PROGRAM, code, escaped, first_line, joined, paragraphs, table
from selector.reports.document import SCHEMAS, json_schema

Schema = Mapping[str, Any]

WRITTEN = "written by selector, with every field"
READ = "read by selector; what has a default may be left out"


def json_reference() -> str:
    """Every document and the records in it, field by field."""
    schemas = {name: json.loads(json_schema(of)) for name, of in SCHEMAS.items()}
    records = all_records(schemas.values())
    parts = [
        "# Documents",
        "*Written by `make docs` from the JSON Schemas, which `selector schema NAME` prints.*",
        "Names say what numbers promise: `estimated_*` rests on an attack's displacement,"
        " `attacked_*` is what a head withstood, an upper estimate of what it can withstand, and"
        " `certified_*` is proven, with a confidence that stands beside it. Accuracies and shares"
        " are from 0 to 1, losses in nats, `eps`, radii and `sigma` in pixel units of [0,1]. No"
        " number is NaN or infinite.",
        *[
            f"- [{code(name)}](#document-{name}): {first_line(schema.get('description'))}"
            for name, schema in schemas.items()
        ],
    ]
    for name, schema in schemas.items():
        complete = set(schema["properties"]) == set(schema.get("required", ()))
        kind = WRITTEN if complete else READ
        parts += [
            f"## Document: {name}",
            f"`{PROGRAM} schema {name}`; {kind}.",
            *record_section(schema),
        ]
    parts.append("## Records")
    for name in sorted(records):
        parts += [f"### {name}", *record_section(records[name])]
    return joined(parts)


def all_records(schemas: Iterable[Schema]) -> dict[str, Schema]:
    """The records in all documents by name; of those that differ, the one that may be shorter.

    A record that people write may leave out fields that selector, where it writes it, does not.
    """
    found: dict[str, Schema] = {}
    for schema in schemas:
        for name, record in schema.get("$defs", {}).items():
            known = found.setdefault(name, record)
            if known.get("properties", {}).keys() != record.get("properties", {}).keys():
                raise ValueError(f"two different records are called {name}")
            found[name] = min(known, record, key=lambda one: len(one.get("required", ())))
    return found


def record_section(schema: Schema) -> Iterator[str]:
    """What a record is, and its fields."""
    yield from paragraphs(schema.get("description", ""))
    if "properties" not in schema:
        yield f"Values: {type_of(schema)}."
        return
    required = set(schema.get("required", ()))
    yield table(
        ("field", "type", "meaning"),
        [
            (code(name), type_of(field) + default(name, field, required), meaning(field))
            for name, field in schema["properties"].items()
        ],
    )


def default(name: str, field: Schema, required: set[str]) -> str:
    """What counts where a field is left out."""
    found = name not in required and "default" in field
    return f"; default {code(json.dumps(field['default']))}" if found else ""


def meaning(field: Schema) -> str:
    """Description of a field."""
    return escaped(" ".join(field.get("description", "").split()))


def type_of(field: Schema) -> str:
    """A field's type in words, with links to the records."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field or "oneOf" in field:
        return " or ".join(map(type_of, field.get("anyOf") or field["oneOf"]))
    if "const" in field:
        return code(json.dumps(field["const"]))
    if "enum" in field:
        return " or ".join(code(json.dumps(value)) for value in field["enum"])
    if "prefixItems" in field:
        return f"[{', '.join(map(type_of, field['prefixItems']))}]"
    if field.get("type") == "array":
        least = f", at least {field['minItems']}" if "minItems" in field else ""
        return f"list of {type_of(field.get('items', {}))}{least}"
    if field.get("type") == "object":
        inner = field.get("additionalProperties")
        return f"map to {type_of(inner)}" if isinstance(inner, dict) else "map"
    return " ".join((field.get("type", "anything"), *restrictions(field)))


def restrictions(field: Schema) -> Iterator[str]:
    """Limits of a number, form of a string."""
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    yield from (f"{escaped(sign)} {field[key]}" for key, sign in signs.items() if key in field)
    if "pattern" in field:
        yield code(field["pattern"])
