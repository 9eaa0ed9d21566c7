"""/docs, /redoc and the OpenAPI document: complete, and without any other host."""

import re
from typing import Any

import pytest

from datasync.api.security import OPEN_PATHS, OPEN_WITH_KEYS
from tests.support.service import Service

_LOADED = re.compile(r'(?:src|href|spec-url|data-openapi)="([^"]+)"')


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_the_pages_load_everything_from_here(service: Service, page: str) -> None:
    answer = service.api.get(page)
    assert answer.status_code == 200
    assert "http://" not in answer.text and "https://" not in answer.text
    loaded = _LOADED.findall(answer.text)
    assert len(loaded) >= 3
    for path in loaded:
        assert path.startswith("/") and not path.startswith("//")
        part = service.api.get(path)
        assert part.status_code == 200, path
        assert len(part.content) > 100
    # Whatever the scripts would like to load, the browser may ask nobody but this origin.
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert not re.search(r"https?:|\*", policy)


def test_scripts_have_their_types(service: Service) -> None:
    for path, kind in (
        ("/docs-assets/swagger-ui-bundle.js", "javascript"),
        ("/docs-assets/redoc.standalone.js", "javascript"),
        ("/docs-assets/swagger-ui.css", "text/css"),
        ("/docs/start.js", "text/javascript"),
        ("/docs-assets/favicon.png", "image/png"),
    ):
        assert kind in service.api.get(path).headers["content-type"], path


def _operations(service: Service) -> list[tuple[str, dict[str, Any]]]:
    paths = service.get("/openapi.json")["paths"]
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in paths.items()
        for method, operation in methods.items()
    ]


def test_every_operation_is_described(service: Service) -> None:
    found = _operations(service)
    assert len(found) == 27
    for name, operation in found:
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name
        for parameter in operation.get("parameters", []):
            assert parameter["description"], (name, parameter["name"])


def test_operation_ids_are_unique(service: Service) -> None:
    ids = [operation["operationId"] for _, operation in _operations(service)]
    assert len(set(ids)) == len(ids)


def test_every_operation_but_the_open_ones_names_the_keys_and_the_errors(service: Service) -> None:
    document = service.get("/openapi.json")
    assert set(document["components"]["securitySchemes"]) == {"BearerKey", "HeaderKey"}
    for name, operation in _operations(service):
        if name.removeprefix("GET ") in OPEN_PATHS | OPEN_WITH_KEYS:
            assert "security" not in operation
            continue
        assert {"BearerKey": []} in operation["security"], name
        assert {"HeaderKey": []} in operation["security"], name
        refused = operation["responses"]["401"]["content"]["application/json"]
        assert refused["schema"]["$ref"].endswith("/ErrorAnswer"), name


def test_every_json_answer_has_a_model(service: Service) -> None:
    for name, operation in _operations(service):
        for status, response in operation["responses"].items():
            for kind, content in response.get("content", {}).items():
                if kind == "application/json":
                    assert content.get("schema"), (name, status)
        if operation["responses"].get("422"):
            schema = operation["responses"]["422"]["content"]["application/json"]["schema"]
            assert schema["$ref"].endswith("/ErrorAnswer"), name


def test_the_notification_shows_an_example(service: Service) -> None:
    operation = service.get("/openapi.json")["paths"]["/sync/s3-notification"]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    assert content["example"]["Records"][0]["eventName"] == "ObjectCreated:Put"
    assert {"200", "202", "400", "413", "415", "422", "503"} <= set(operation["responses"])
