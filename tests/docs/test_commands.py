"""Every command of the README and of `docs/` is run, page by page, or says why it is not."""

import re
from pathlib import Path

import pytest

from tests.docs import pages, scenes, shell
from tests.docs.pages import Page
from tests.support.programs import needed

PAGES = [pages.read(name) for name in pages.documents()]
RUN = [page for page in PAGES if page.commands and page.scene in pages.SCENES]
# Programs that pages use and the machine may lack; the rest comes with bash, or with Python.
PROGRAMS = {
    "curl": "apt-get install curl",
    "kubectl": "see CONTRIBUTING.md",
    "systemd-analyze": "apt-get install systemd",
    "promtool": "scripts/fetch_promtool .venv/bin",
}


def test_every_command_is_run_or_says_why_not() -> None:
    faults = [fault for page in PAGES for fault in page.faults()]
    assert not faults, "\n" + "\n".join(faults)


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_the_commands_of_a_page(page: Page, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    assert page.scene is not None
    text = "\n".join(block.text for block in page.commands)
    for program, way in PROGRAMS.items():
        if re.search(rf"(?<![\w/.-]){program}(?![\w.-])", text):
            needed(program, way)
    server = None if page.scene == "files" else request.getfixturevalue("seaweed")
    with scenes.scene(page.scene, server, tmp_path) as scene:
        shell.run(page, scene)
