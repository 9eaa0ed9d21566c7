"""The image's recipe: it finds what it copies, holds no secret, and runs as the code expects."""

import re
import shlex
import tomllib
from pathlib import Path

from datasync.api.security import OPEN_PATHS
from datasync.config.settings import SECRETS, Settings
from scripts.compose_setup import DATASYNC

ROOT = Path(__file__).resolve().parents[2]
# What is no setting of ours.
OTHERS = {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}


def _steps() -> list[tuple[str, str]]:
    """Instruction and its text, comments gone and lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    steps = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(name, rest) for name, rest in steps]


STEPS = _steps()


def texts(instruction: str) -> list[str]:
    return [text for name, text in STEPS if name == instruction]


def only(instruction: str) -> str:
    (text,) = texts(instruction)
    return text


def environment() -> dict[str, str]:
    pairs = (word.partition("=") for text in texts("ENV") for word in shlex.split(text))
    return {name: value for name, _, value in pairs}


def test_the_build_copies_what_there_is_and_what_is_let_in() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in ignored if not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    copies = [text.split()[:-1] for text in texts("COPY") if not text.startswith("--from")]
    sources = {source for words in copies for source in words}
    assert sources == let_in
    assert all((ROOT / source).exists() for source in sources)


def test_the_line_of_python_and_the_release_of_debian_are_pinned() -> None:
    (pinned,) = (text for text in texts("ARG") if text.startswith("PYTHON="))
    assert re.fullmatch(r"PYTHON=3\.\d+-slim-[a-z]+", pinned)
    assert {text.split()[0] for text in texts("FROM")} == {"python:${PYTHON}"}
    classifiers = (ROOT / "pyproject.toml").read_text()
    assert f":: {pinned.removeprefix('PYTHON=').partition('-')[0]}\"" in classifiers


def test_its_variables_are_settings_and_none_is_secret() -> None:
    settings = {name.upper() for name in Settings.model_fields}
    assert set(environment()) - settings == OTHERS
    given = " ".join(environment()) + " ".join(texts("ARG"))
    assert not [name for name in SECRETS if name.upper() in given]


def test_the_mirror_is_in_the_volume_and_logs_go_to_stderr() -> None:
    given, volume = environment(), only("VOLUME")
    assert Path(given["LOCAL_DOWNLOAD_DIR"]).is_relative_to(volume)
    assert (given["LOG_FILE"], given["LOG_FORMAT"]) == ("", "json")
    assert texts("WORKDIR")[-1] == volume


def test_the_port_is_the_default_one() -> None:
    port = str(Settings.model_fields["api_port"].default)
    assert (environment()["API_PORT"], only("EXPOSE")) == (port, port)


def test_it_runs_as_an_ordinary_user_that_has_a_number() -> None:
    user = only("USER")
    assert user == f"{DATASYNC}:{DATASYNC}"
    (made,) = (text for text in texts("RUN") if "useradd" in text)
    assert f"--uid {DATASYNC} --gid {DATASYNC}" in made


def test_it_is_asked_for_life_at_a_path_that_needs_no_key() -> None:
    path = re.search(r"\}(/[a-z/]+)", only("HEALTHCHECK"))
    assert path is not None and path[1] in OPEN_PATHS


def test_the_service_is_the_first_process_and_gets_the_signal() -> None:
    assert only("CMD") == '["datasync", "serve"]'
    assert only("STOPSIGNAL") == "SIGTERM"


def test_the_label_tells_the_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"VERSION={project['version']}" in texts("ARG")
    assert f'licenses="{project["license"]}"' in only("LABEL")
