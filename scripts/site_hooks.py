"""What MkDocs calls while it builds the site; see `mkdocs.yml`.

Puts what is made from the code between the marks of a page, brings the documents of other folders
in, and turns links that leave `docs/` into links inside the site. In the source tree all of them
stay ordinary links to ordinary files.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from scripts import site_links
from scripts.reference.client import python_client
from scripts.reference.commands import command_line, exit_codes
from scripts.reference.decisions import all_decisions, decisions, short_title
from scripts.reference.errors import error_tree
from scripts.reference.routes import http_api
from scripts.reference.settings import settings

PARTS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "command-line": command_line,
    "exit-codes": exit_codes,
    "http-api": http_api,
    "errors": error_tree,
    "python-client": python_client,
    "decisions": decisions,
}
MARKS = re.compile(r"<!-- generated: ([a-z-]+) -->\n.*?<!-- end of generated -->", re.DOTALL)


def on_config(config: MkDocsConfig, **_: Any) -> MkDocsConfig:
    """Name the decisions in the navigation, below their list: nobody has to add one twice."""
    for name, pages in sections(config.nav or []):
        if name == "Decisions":
            pages += [{short_title(path): f"decisions/{path.name}"} for path in all_decisions()]
    return config


def sections(nav: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    """Every section of the navigation, with what is in it."""
    for entry in nav:
        for name, inside in entry.items() if isinstance(entry, dict) else ():
            if isinstance(inside, list):
                yield name, inside
                yield from sections(inside)


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Add the documents outside of `docs/`, and every file that a page links to."""
    for path in site_links.brought_along():
        source = site_links.ROOT / path
        files.append(File.generated(config, site_links.uri_of(path), abs_src_path=str(source)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """The page as the site shows it."""
    if page.is_homepage:
        page.meta.update(template="home.html", hide=["navigation", "toc"])
    filled = MARKS.sub(lambda found: PARTS[found[1]](), markdown)
    return site_links.inside(filled, page.file.src_uri)


def on_post_page(output: str, **_: Any) -> str:
    """Give the theme's search a name, for those who hear the page instead of seeing it."""
    search = 'data-md-component="search" role="dialog"'
    return output.replace(search, f'{search} aria-label="Search"')
