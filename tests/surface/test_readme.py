"""The README is true: its settings, endpoints, commands, links and examples are the real ones."""

import contextlib
import io
import re
import shlex
import threading
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import requests
import uvicorn
from typer.core import TyperGroup
from typer.main import get_command

from datasync.app import bind, create_app, server_config
from datasync.composition import compose
from datasync.cli.entry import app as command_line
from datasync.config.loading import load_settings
from datasync.config.settings import Settings
from datasync.utils.logger import close_logging
from scripts.reference.settings import default_of, meaning
from server import app as http_app
from tests.support.clients import VARIABLES
from tests.support.command_line import use_settings
from tests.support.fake_bucket import FakeBucket
from tests.support.world import eventually

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BASE = "http://localhost:8888"
PAGES = {"/openapi.json"}  # what /docs reads; not for people


def _section(title: str) -> str:
    return README.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def _rows(section: str) -> list[list[str]]:
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


# -- settings ------------------------------------------------------------------------------------


def _row(name: str) -> list[str]:
    """What the reference says of a setting, as a row of the table."""
    default = default_of(name)
    shown = default if default in ("required", "empty") else f"`{default}`"
    return [f"`{name.upper()}`", shown, meaning(Settings.model_fields[name]).rstrip(".")]


def test_the_configuration_table_is_the_settings() -> None:
    """Meanings have one home, the settings; here they may end with a pointer to more."""
    section = re.sub(r"\. See \[\w+\]\([#\w/.]+\)", "", _section("Configuration"))
    rows = [[name, default, " | ".join(more)] for name, default, *more in _rows(section)]
    assert sorted(rows) == sorted(_row(name) for name in Settings.model_fields)


# -- endpoints -----------------------------------------------------------------------------------


def _documented_routes() -> set[tuple[str, str]]:
    cells = " ".join(row[0] for row in _rows(_section("HTTP API")))
    return set(re.findall(r"`(GET|POST|HEAD) (/[^`]*)`", cells))


def test_every_endpoint_of_the_readme_exists_and_every_endpoint_is_in_the_readme() -> None:
    schema = http_app.openapi()["paths"]
    real = {
        (method.upper(), path)
        for path, methods in schema.items()
        for method in methods
        if method != "head" and path not in PAGES
    }
    documented = _documented_routes()
    pages = {("GET", "/docs"), ("GET", "/redoc")}
    assert documented - pages == real - pages
    assert pages <= documented


# -- commands ------------------------------------------------------------------------------------


def _command_names() -> set[str]:
    group = get_command(command_line)
    assert isinstance(group, TyperGroup)
    return set(group.commands)


def test_every_command_of_the_readme_exists_and_every_command_is_in_the_readme() -> None:
    cells = " ".join(row[0] for row in _rows(_section("Command line")))
    assert set(re.findall(r"`datasync ([a-z]+)", cells)) == _command_names()
    mentioned = set(re.findall(r"datasync ([a-z]+)", " ".join(re.findall(r"`([^`]+)`", README))))
    assert mentioned - {"demo"} <= _command_names()


def test_the_make_targets_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", " ".join(_blocks("bash")))) <= targets


def test_every_file_that_the_readme_names_exists() -> None:
    links = {link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link}
    named = set(re.findall(r"`((?:lambda|deploy|docs)/[\w./-]+)`", README)) | {".env.example"}
    assert links | named
    assert [name for name in sorted(links | named) if not (ROOT / name).exists()] == []


# -- examples ------------------------------------------------------------------------------------


def _curl_lines() -> list[str]:
    text = "\n".join(_blocks("bash")).replace("\\\n", " ")
    return [line for line in text.splitlines() if line.startswith("curl ")]


def _parsed(line: str) -> Namespace:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("-X", default=None)
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("-d", default=None)
    parser.add_argument("-I", action="store_true")
    parser.add_argument("url")
    return parser.parse_args(shlex.split(line)[1:])


def _perform(line: str, base: str) -> requests.Response:
    """What curl does with this line. An option that is not known here fails the test."""
    curl = _parsed(line)
    assert curl.url.startswith(BASE)
    return requests.request(
        curl.X or ("HEAD" if curl.I else "POST" if curl.d else "GET"),
        curl.url.replace(BASE, base),
        headers=dict(header.split(": ", 1) for header in curl.H),
        data=curl.d,
        timeout=30,
        allow_redirects=False,
    )


@pytest.fixture(scope="module")
def demo_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real server on a free loopback port, over a bucket that holds hello.txt."""
    bucket = FakeBucket()
    bucket.put("hello.txt", b"Hello")
    folder = tmp_path_factory.mktemp("readme")
    with pytest.MonkeyPatch.context() as patch:
        use_settings(patch, folder, API_HOST="127.0.0.1", LOG_FILE="", LOG_LEVEL="ERROR")
        settings = load_settings()
    composer = partial(compose, make_bucket=lambda _settings: bucket)
    listener = bind("127.0.0.1", 0)
    server = uvicorn.Server(server_config(create_app(settings, composer=composer)))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        eventually(lambda: server.started or not thread.is_alive())
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        eventually(lambda: requests.get(f"{base}/sync/health", timeout=5).json()["in_sync"])
        yield base
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
        close_logging()


def test_there_are_curl_examples() -> None:
    assert len(_curl_lines()) >= 15


@pytest.mark.parametrize("line", _curl_lines())
def test_a_curl_example_works_when_pasted(line: str, demo_service: str) -> None:
    answer = _perform(line, demo_service)
    assert answer.status_code in (200, 202, 206), answer.text
    if line.endswith("/sync/download/hello.txt") and "Range" not in line and "-I" not in line:
        assert answer.text == "Hello"
    if "Range" in line:
        assert answer.text == "Hell"


def test_the_python_client_works_when_pasted(
    demo_service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    code = _blocks("python")[0].replace(BASE, demo_service)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    first, *files, last = printed.getvalue().splitlines()
    assert first.startswith("success Synced")
    assert "in sync: True" in first
    assert "hello.txt 5 md5" in files
    assert last == "downloaded 5 bytes, checked by md5"
    assert [path.read_text() for path in tmp_path.iterdir()] == ["Hello"]
