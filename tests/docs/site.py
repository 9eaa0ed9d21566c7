"""The built site, as files: its pages, what each loads and where each leads."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.docs.pages import ROOT

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
FOLLOWED = ("canonical", "edit", "next", "prev")  # of a <link>: named, not loaded


@dataclass
class Html(HTMLParser):
    """What one page holds of interest."""

    loads: set[str] = field(default_factory=set)
    links: set[str] = field(default_factory=set)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and "href" in given:
            self.links.add(given["href"])
        target = given.get(LOADED.get(tag, ""))
        if target and given.get("rel") not in FOLLOWED:
            self.loads.add(target)


@dataclass(frozen=True)
class Site:
    """A folder with the site in it, and its pages by their paths."""

    folder: Path
    pages: dict[str, Html]

    def page(self, path: str) -> Html:
        """A page by its address, as reference/settings."""
        return self.pages[f"{path}/index.html" if path else "index.html"]

    def leads_nowhere(self) -> Iterator[str]:
        """Every link and every file of a page that is not there."""
        for name, page in self.pages.items():
            for target in sorted(page.loads | page.links):
                if not self._is_there(name, target):
                    yield f"{name}: {target}"

    def _is_there(self, name: str, target: str) -> bool:
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            return parts.scheme in ("https", "http", "mailto")  # other sites are not ours to try
        if name == "404.html" and parts.path.startswith("/"):
            path = parts.path.lstrip("/")
        else:
            path = os.path.normpath(os.path.join(os.path.dirname(name), parts.path or "."))
            path = path if parts.path else name
        path = unquote(path)
        found = path if (self.folder / path).is_file() else os.path.join(path, "index.html")
        found = os.path.normpath(found)
        if not parts.fragment:
            return (self.folder / found).is_file()
        return found in self.pages and unquote(parts.fragment) in self.pages[found].anchors


def build(folder: Path, checkout: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    """What MkDocs said, building a checkout's site into a folder."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)],
        cwd=checkout,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )


def read(folder: Path) -> Site:
    pages = {}
    for path in folder.rglob("*.html"):
        pages[path.relative_to(folder).as_posix()] = html = Html()
        html.feed(path.read_text(encoding="utf-8"))
    return Site(folder, pages)
