"""Every route of the service, out of its own OpenAPI document."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from datasync.api.security import OPEN_PATHS, OPEN_WITH_KEYS, right_for
from datasync.models.access import Role
from scripts.reference.markdown import (
    anchor,
    block,
    code,
    facts,
    heading,
    joined,
    names_as_code,
    table,
)
from scripts.reference.shapes import fields, name_of, sample, type_words

SERVICE = "http://localhost:8888"
TAGS = {"service": "The service", "sync": "Runs and events", "runs": "History of runs"}
MACHINE_ONLY = {"/openapi.json"}


def http_api(document: dict[str, Any] | None = None) -> str:
    """Each route below the heading of its tag, then the shapes that they share."""
    document = document or _document()
    shapes = _Shapes(document)
    parts: list[str] = []
    tag = ""
    for method, path, operation in operations(document):
        if operation["tags"][0] != tag:
            tag = operation["tags"][0]
            parts.append(heading(2, TAGS.get(tag, tag.capitalize()), f"tag-{anchor(tag)}"))
        parts.append(_route(method, path, operation, shapes))
    return joined([*parts, shapes.section()])


def _document() -> dict[str, Any]:
    from server import app

    return app.openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of every route, those of one tag together."""
    found = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    order = list(dict.fromkeys(operation["tags"][0] for _, _, operation in found))
    return iter(sorted(found, key=lambda each: order.index(each[2]["tags"][0])))


class _Shapes:
    """The schemas that answers name, shown once, at the end of the page."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._schemas: dict[str, Any] = document["components"]["schemas"]

    def __getitem__(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._schemas[name]
        return found

    def get(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema itself, where a reference stands for it."""
        name = name_of(schema)
        return self[name] if name else schema

    def section(self) -> str:
        parts = [heading(2, "Shapes", "shapes"), "What answers and bodies are made of."]
        for name in sorted(self._schemas):
            schema = self[name]
            if "properties" in schema:
                parts.append(self._shape(name, schema))
        return joined(parts)

    def _shape(self, name: str, schema: dict[str, Any]) -> str:
        return joined(
            [
                heading(3, name, f"shape-{anchor(name)}"),
                names_as_code(" ".join(schema.get("description", "").split())),
                table(("Field", "Type", "Meaning"), fields(schema, self)),
            ]
        )


def _route(method: str, path: str, operation: dict[str, Any], shapes: _Shapes) -> str:
    return joined(
        [
            heading(3, f"{method} {path}", anchor(f"{method} {path}")),
            f"**{operation['summary']}.** {names_as_code(operation['description'])}",
            facts([("Who may", who_may(method, path))]),
            _parameters(operation, shapes),
            _body(operation, shapes),
            _answers(operation, shapes),
            _example(method, path, operation, shapes),
        ]
    )


def who_may(method: str, path: str) -> str:
    """The roles whose keys are let in."""
    if path in OPEN_PATHS:
        return "everybody, without a key"
    right = right_for(method, path)
    roles = " ".join(code(role.value) for role in Role if right in role.rights)
    return f"{roles}; where there are keys, everybody" if path in OPEN_WITH_KEYS else roles


def _parameters(operation: dict[str, Any], shapes: _Shapes) -> str:
    rows = [
        [
            code(each["name"]),
            each["in"],
            type_words(each["schema"], shapes),
            _default(each),
            names_as_code(each.get("description", "")),
        ]
        for each in operation.get("parameters", [])
    ]
    return table(("Parameter", "In", "Type", "Default", "Meaning"), rows) if rows else ""


def _default(parameter: dict[str, Any]) -> str:
    if parameter.get("required"):
        return "required"
    default = parameter["schema"].get("default")
    return "" if default in (None, "", []) else code(json.dumps(default).strip('"'))


def _body(operation: dict[str, Any], shapes: _Shapes) -> str:
    body = operation.get("requestBody")
    if body is None:
        return ""
    kinds = list(body["content"])
    content = body["content"][kinds[0]]
    shape = f" It is a {_link(content['schema'])}." if name_of(content["schema"]) else ""
    text = names_as_code(body.get("description", "").rstrip(".") or "JSON")
    example = content.get("example") or sample(content["schema"], shapes)
    as_json = block("json", json.dumps(example, indent=2))
    return f"**Body** ({', '.join(map(code, kinds))}): {text}.{shape}\n\n{as_json}"


def _answers(operation: dict[str, Any], shapes: _Shapes) -> str:
    rows = [
        [code(status), _kind(answer), _when(answer)]
        for status, answer in sorted(operation["responses"].items())
    ]
    return table(("Status", "Answer", "When"), rows)


def _when(answer: dict[str, Any]) -> str:
    return names_as_code(answer["description"])


def _kind(answer: dict[str, Any]) -> str:
    content = answer.get("content", {})
    shown = []
    for kind, each in content.items():
        schema = each.get("schema", {})
        shown.append(_link(schema) if name_of(schema) else code(kind))
    return ", ".join(dict.fromkeys(shown))


def _link(schema: dict[str, Any]) -> str:
    name = name_of(schema)
    return f"[{name}](#shape-{anchor(name)})"


def _example(method: str, path: str, operation: dict[str, Any], shapes: _Shapes) -> str:
    if path in MACHINE_ONLY:
        return ""
    asked = f"Example:\n\n{block('bash', _curl(method, path, operation, shapes))}"
    status = min(operation["responses"])
    content = operation["responses"][status].get("content", {}).get("application/json")
    if method == "HEAD" or not content or not name_of(content.get("schema", {})):
        return asked
    answer = content.get("example") or sample(content["schema"], shapes)
    shown = block("json", json.dumps(answer, indent=2))
    return f"{asked}\n\nAn answer has this form; the values are made up:\n\n{shown}"


def _curl(method: str, path: str, operation: dict[str, Any], shapes: _Shapes) -> str:
    words = {"GET": "", "HEAD": "-I ", "POST": "-X POST "}[method]
    query = {}
    for each in operation.get("parameters", []):
        value = _value_of(each, shapes)
        if each["in"] == "path":
            path = path.replace(f"{{{each['name']}}}", str(value))
        elif each["in"] == "query" and each.get("required"):
            query[each["name"]] = value
    url = f"{SERVICE}{path}" + (f"?{urlencode(query)}" if query else "")
    if "requestBody" not in operation:
        return f"curl {words}{url}"
    content = next(iter(operation["requestBody"]["content"].values()))
    body = json.dumps(content.get("example") or sample(content["schema"], shapes))
    return f"curl {words}{url} \\\n  -H 'Content-Type: application/json' \\\n  -d '{body}'"


def _value_of(parameter: dict[str, Any], shapes: _Shapes) -> object:
    schema = parameter["schema"]
    examples = parameter.get("examples") or schema.get("examples") or {}
    if isinstance(examples, list) and examples:
        return examples[0]
    return 12 if type_words(schema, shapes).startswith("whole") else "reports/2026/01.csv"
