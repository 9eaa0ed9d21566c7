"""A real browser: Debian's Chromium, or one that Playwright has installed."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from tests.support.programs import missing

CHROMIUM = Path("/usr/bin/chromium")
PATIENCE_MS = 15_000  # for an action and for what is expected: much else may go on beside it
expect.set_options(timeout=PATIENCE_MS)
# As root there is no sandbox; the rest keeps it from asking hosts that a test has no use for.
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
).split()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        program = str(CHROMIUM) if CHROMIUM.exists() else None
        home = tmp_path_factory.mktemp("browser")  # it keeps a folder for reports of crashes
        try:
            started = playwright.chromium.launch(
                executable_path=program,
                args=ARGUMENTS,
                env={**os.environ, "HOME": str(home), "XDG_CONFIG_HOME": str(home)},
            )
        except Error as error:
            missing(f"Chromium does not start: {error.message.splitlines()[0]}")
        yield started
        started.close()


class Tab:
    """A page, and all that it had to complain of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", lambda said: self._heard(said.type, said.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    """A fresh page of 1280 by 900; whatever it complains of fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    opened = Tab(context.new_page())
    yield opened
    context.close()
    assert opened.complaints == []
