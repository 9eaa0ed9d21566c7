"""The site in a real browser: nothing is asked elsewhere, search finds, narrow screens hold."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.docs.site import Site
from tests.support.browser import Tab, browser, tab

__all__ = ["browser", "tab"]
PAGES = ("", "getting-started/", "reference/settings/", "reference/errors/", "decisions/")
SERIOUS = {"serious", "critical"}
FITS = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(site: Site) -> Iterator[str]:
    """The site, served on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site.folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("path", PAGES)
def test_a_page_can_be_read_by_everybody_and_asks_nobody_else(
    address: str, tab: Tab, path: str
) -> None:
    for scheme in ("light", "dark"):
        tab.page.emulate_media(color_scheme=scheme)
        tab.page.goto(f"http://{address}/{path}")
        found = Axe().run(tab.page).response["violations"]
        bad = [(each["id"], each["nodes"][0]["html"]) for each in found]
        serious = [one for one, each in zip(bad, found, strict=True) if each["impact"] in SERIOUS]
        assert serious == [], scheme
    assert tab.hosts == {address}


@pytest.mark.parametrize("path", PAGES)
def test_a_narrow_screen_scrolls_only_inside_tables_and_code(
    address: str, tab: Tab, path: str
) -> None:
    tab.page.set_viewport_size({"width": 400, "height": 800})
    tab.page.goto(f"http://{address}/{path}")
    tab.page.wait_for_function(FITS)  # the menu at the side moves out first


def test_search_finds_a_setting(address: str, tab: Tab) -> None:
    tab.page.goto(f"http://{address}/")
    tab.page.get_by_placeholder("Search").fill("DELETE_LIMIT_FILES")
    expect(tab.page.locator(".md-search-result__item").first).to_contain_text("DELETE_LIMIT_FILES")
    assert tab.hosts == {address}
