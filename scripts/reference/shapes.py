"""Schemas of OpenAPI in words, and a sample of each as JSON."""

from collections.abc import Iterator
from typing import Any, Protocol

from scripts.reference.markdown import anchor, code, names_as_code

_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "object",
    "array": "list",
    "null": "null",
}
_FORMATS = {"date-time": "time", "binary": "bytes"}
_LIMITS = {"minimum": "at least {}", "maximum": "at most {}", "maxLength": "at most {} characters"}
_MOST_SHOWN = 10**12  # what only keeps numbers inside the database is no news to anybody
# What fields of these names look like, where the document has no example of its own.
_SAMPLES: dict[str, object] = {
    "key": "reports/2026/01.csv",
    "path": "reports/2026/01.csv",
    "prefix": "",
    "etag": "9e107d9d372bb6826bd81d3542a419d6",
    "kind": "reconcile",
    "planned_deletes": ["reports/2025/12.csv"],
    "s3_connection": True,
    "directory_writable": True,
    "state": "synced",
    "verdict": "md5",
    "size": 48213,
    "bytes": 48213,
    "hint": "",
    "reason": "",
    "next_token": None,
    "next_before": None,
    "run_id": 12,
    "held_run": None,
    "id": 12,
    "ids": ["12"],
    "in_sync": True,
    "token": "",
}


class Schemas(Protocol):
    """Where references lead."""

    def get(self, schema: dict[str, Any]) -> dict[str, Any]: ...


def name_of(schema: dict[str, Any]) -> str:
    """The name of the shape that a schema refers to; empty for one that stands for itself."""
    return str(schema.get("$ref", "")).rpartition("/")[2]


def type_words(schema: dict[str, Any], schemas: Schemas) -> str:
    """A type in a few words; a shape with fields as a link to it."""
    inner = schemas.get(schema)
    if "properties" in inner and (name := name_of(schema)):
        return f"[{name}](#shape-{anchor(name)})"
    if "enum" in inner or "const" in inner:
        return " or ".join(map(code, inner.get("enum", [inner.get("const")])))
    if members := inner.get("anyOf") or inner.get("oneOf"):
        return " or ".join(dict.fromkeys(type_words(each, schemas) for each in members))
    return _plain(inner, schemas)


def _plain(schema: dict[str, Any], schemas: Schemas) -> str:
    kind = schema.get("type", "")
    if isinstance(kind, list):
        return " or ".join(_TYPES[each] for each in kind)
    if kind == "array":
        return f"list of {type_words(schema.get('items', {}), schemas)}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {type_words(schema['additionalProperties'], schemas)}"
    words = [_FORMATS.get(schema.get("format", ""), _TYPES.get(kind, "anything")), *_limits(schema)]
    return ", ".join(words)


def _limits(schema: dict[str, Any]) -> Iterator[str]:
    for name, words in _LIMITS.items():
        limit = schema.get(name)
        if limit is not None and abs(limit) < _MOST_SHOWN:
            yield words.format(f"{limit:,}")


def fields(schema: dict[str, Any], schemas: Schemas) -> Iterator[list[str]]:
    """A row for each field: name, type, meaning."""
    for name, field in schema["properties"].items():
        words = type_words(field, schemas)
        yield [code(name), words, names_as_code(field.get("description", ""))]


def sample(schema: dict[str, Any], schemas: Schemas, name: str = "") -> Any:
    """A value of this shape, as it might be answered."""
    schema = {**schemas.get(schema), **{k: v for k, v in schema.items() if k != "$ref"}}
    if schema.get("examples"):
        return schema["examples"][0]
    if name in _SAMPLES and _fits(_SAMPLES[name], schema, schemas):
        return _SAMPLES[name]
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    if members := schema.get("anyOf") or schema.get("oneOf"):
        return sample(_most_telling(members), schemas, name)
    return _sample_of_type(schema, schemas, name)


def _fits(value: object, schema: dict[str, Any], schemas: Schemas) -> bool:
    """Whether one of the common samples is of the schema's type."""
    kinds = {str: "string", bool: "boolean", int: "integer", list: "array", type(None): "null"}
    members = schema.get("anyOf") or [schema]
    return kinds[type(value)] in [schemas.get(each).get("type") for each in members]


def _most_telling(members: list[dict[str, Any]]) -> dict[str, Any]:
    """Null where there may be null: the sample stays short."""
    nothing = [each for each in members if each.get("type") == "null"]
    return nothing[0] if nothing else members[0]


def _sample_of_type(schema: dict[str, Any], schemas: Schemas, name: str) -> Any:
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if "properties" in schema:
        return {
            inner: sample(field, schemas, inner) for inner, field in schema["properties"].items()
        }
    if kind == "array":
        return [sample(schema["items"], schemas)] if schema.get("items") else []
    if schema.get("format") == "date-time":
        return "2026-11-26T09:30:00Z"
    return {"integer": 0, "number": 0.0, "boolean": False, "object": {}, "null": None}.get(
        str(kind), name or "text"
    )
