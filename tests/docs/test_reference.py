"""The reference has everything that the code has, and says it truly."""

import html
import json
import re
from typing import Any

import pytest
from pydantic import BaseModel

from datasync import client, errors
from datasync.api.error_responses import error_answer
from datasync.cli import exits
from datasync.cli.examples import EXAMPLES
from datasync.config.settings import Settings
from datasync.errors import DataSyncError
from datasync.models import s3_models
from scripts import site_links
from scripts.reference import routes, settings
from scripts.reference.commands import command_line, commands, exit_codes
from scripts.reference.decisions import all_decisions, sentence_of
from scripts.reference.errors import told, tree
from scripts.reference.markdown import anchor
from scripts.reference.shapes import sample
from server import app as http_app
from tests.docs.pages import ROOT
from tests.docs.site import Site


def _text(site: Site, path: str) -> str:
    """What a reader sees of a page, without the navigation around it."""
    page = (site.folder / path / "index.html").read_text(encoding="utf-8")
    article = page[page.index("<article") : page.index("</article>")]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", article)).split())


def test_every_setting_is_there_and_nothing_else(site: Site) -> None:
    named = [name.lower() for _, names in settings.groups() for name in names]
    assert sorted(named) == sorted(Settings.model_fields)
    assert set(named) <= site.page("reference/settings").anchors


def test_a_setting_is_told_in_full() -> None:
    shown = settings.settings()
    port = shown[shown.index("### `API_PORT`") :].split("###")[1]
    assert "Port to listen on." in port
    assert "**Type** whole number, at least 1, at most 65,535" in port
    assert "**Default** `8888`" in port and "`API_PORT=8888`" in port
    secret = shown[shown.index("### `API_KEYS` ") :].split("###")[1]
    assert "**Secret** shown nowhere" in secret
    assert "[`API_KEYS_FILE`](#api_keys_file)" in secret


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_a_type_in_words(name: str) -> None:
    words = settings.type_of(Settings.model_fields[name])
    assert words and not words.startswith(",") and "class" not in words


def test_every_command_and_option_is_there(site: Site) -> None:
    shown = command_line()
    for name, command in commands():
        assert anchor(name) in site.page("reference/command-line").anchors
        part = re.split(r"\n##+ ", shown.split(f"{{ #{anchor(name)} }}", 1)[1], maxsplit=1)[0]
        for parameter in command.params:
            is_option = parameter.param_type_name == "option"
            words = parameter.opts if is_option else [parameter.name.upper()]
            hidden = getattr(parameter, "hidden", False)
            assert hidden or all(word in part for word in words), (name, words)
    groups = {name.split()[0] for name in EXAMPLES}
    assert {name for name, _ in commands()} == set(EXAMPLES) | groups


def test_every_exit_code_is_there() -> None:
    codes = {value for name, value in vars(exits).items() if name.isupper() and type(value) is int}
    assert set(exits.MEANINGS) == codes
    assert all(f"| `{code}` |" in exit_codes() for code in codes)


def test_every_route_is_there_with_its_statuses(site: Site) -> None:
    anchors = site.page("reference/http-api").anchors
    shown = routes.http_api()
    for method, path, operation in routes.operations(http_app.openapi()):
        assert anchor(f"{method} {path}") in anchors
        part = shown.split(f"### {method} {path} {{", 1)[1].split("\n### ", 1)[0]
        assert all(f"| `{status}` |" in part for status in operation["responses"])
        assert all(f"| `{each['name']}` |" in part for each in operation.get("parameters", ()))
    assert len(re.findall(r"^### (?:GET|POST|HEAD) ", shown, re.MULTILINE)) == sum(
        len(methods) for methods in http_app.openapi()["paths"].values()
    )


@pytest.mark.parametrize(
    ("method", "path", "who"),
    [
        ("GET", "/ping", "everybody, without a key"),
        ("GET", "/sync/stats", "`read` `operate` `admin`"),
        ("POST", "/sync/trigger", "`operate` `admin`"),
        ("POST", "/sync/s3-notification", "`notify` `admin`"),
    ],
)
def test_the_roles_of_a_route(method: str, path: str, who: str) -> None:
    assert routes.who_may(method, path) == who


class _References:
    def __init__(self, document: dict[str, Any]) -> None:
        self._schemas = document["components"]["schemas"]

    def get(self, schema: dict[str, Any]) -> dict[str, Any]:
        name = str(schema.get("$ref", "")).rpartition("/")[2]
        found: dict[str, Any] = self._schemas[name] if name else schema
        return found


def test_the_sample_of_a_shape_is_one() -> None:
    document = http_app.openapi()
    for name, schema in document["components"]["schemas"].items():
        shape = getattr(s3_models, name, None)
        if shape is None:
            assert "enum" in schema, name  # a word of ours, in a parameter
        elif issubclass(shape, BaseModel):
            made = sample(schema, _References(document))
            shape.model_validate_json(json.dumps(made))


def test_every_error_is_there_and_the_tree_in_the_code_has_it(site: Site) -> None:
    kinds = tree(DataSyncError)
    assert set(told()) == {kind.__name__ for kind in kinds}
    assert {kind.__name__.lower() for kind in kinds} <= site.page("reference/errors").anchors


def test_the_hint_of_an_error_is_told(site: Site) -> None:
    text = _text(site, "reference/errors")
    for kind in tree(DataSyncError):
        assert kind.hint in text, kind.__name__


def test_the_error_that_is_shown_is_one_of_the_service() -> None:
    text = (ROOT / "docs" / "reference" / "http-api.md").read_text(encoding="utf-8")
    shown = json.loads(text.split("```json\n", 1)[1].split("```", 1)[0])
    answer = error_answer(errors.RunMissing("there is no run 7"))
    assert shown == json.loads(bytes(answer.body))


def test_every_name_of_the_client_is_there(site: Site) -> None:
    anchors = site.page("reference/python-client").anchors
    assert {name.lower() for name in client.__all__} <= anchors
    methods = {name for name in vars(client.Client) if not name.startswith("_")}
    assert {f"client-{name}" for name in methods} <= anchors


def test_every_decision_is_listed_with_its_sentence(site: Site) -> None:
    text = _text(site, "decisions")
    for path in all_decisions():
        assert sentence_of(path).replace("`", "").replace("*", "")[1:] in text.replace(
            "*", ""
        ), path
    assert len(all_decisions()) >= 29


def test_the_sections_of_the_readme_that_the_site_replaces_exist() -> None:
    headings = re.findall(r"^#+ (.+)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    real = {"#" + re.sub(r"[^\w -]", "", name.lower()).replace(" ", "-") for name in headings}
    assert set(site_links.README) - {""} <= real
