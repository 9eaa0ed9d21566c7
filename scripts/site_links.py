"""Where a link of a document leads on the site.

Documents link to each other and to other files of the repository by relative paths, so that they
can be followed in the source tree as well. On the site, what lies outside of `docs/` is found
below `repository/`: documents as pages, other files as they are.
"""

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
# The site has pages of its own for what the README tells in short, section by section.
README = {
    "": "index.md",
    "#configuration": "reference/settings.md",
    "#http-api": "reference/http-api.md",
    "#access": "reference/http-api.md#access",
    "#command-line": "reference/command-line.md",
    "#events-from-s3-the-lambda-function": "guides/lambda.md",
    "#production": "guides/index.md",
    "#how-it-keeps-data-safe": "explanation/data-safety.md",
    "#troubleshooting": "troubleshooting.md",
}
DOCUMENTS = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "deploy/README.md",
    "deploy/docker.md",
    "deploy/kubernetes/README.md",
    "deploy/terraform/README.md",
    "lambda/README.md",
)
_LINK = re.compile(r"(?<=\]\()([^)\s:#]+)(#[^)\s]*)?(?=\))")
_CODE = re.compile(r"(^ *```.*?^ *```)", re.MULTILINE | re.DOTALL)


def uri_of(path: str) -> str:
    """The address inside the site of a file of the repository."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"repository/{path}"


def path_of(uri: str) -> str:
    """The file of the repository that a page was made of."""
    outside = uri.removeprefix("repository/")
    return outside if outside != uri else f"docs/{uri}"


def brought_along() -> list[str]:
    """The documents outside of `docs/`, and the files that any page links to."""
    pages = [path.relative_to(ROOT).as_posix() for path in DOCS.rglob("*.md")]
    linked = {target for page in (*pages, *DOCUMENTS) for target in _files(page)}
    return sorted(linked | set(DOCUMENTS))


def _files(page: str) -> Iterator[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    for part in _CODE.split(text)[::2]:
        for found in _LINK.finditer(part):
            target = _target(page, found[1])
            if (ROOT / target).is_file() and not target.startswith(("docs/", "README.md")):
                yield target


def _target(page: str, link: str) -> str:
    """What a link of a page means, as a path in the repository; a folder's text if it has one."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(page), link))
    for name in ("README.md", "index.md"):
        if (ROOT / path / name).is_file():
            return posixpath.join(path, name)
    return path


def inside(markdown: str, uri: str) -> str:
    """The text of the page `uri` with links that lead to the site only."""
    page = path_of(uri)
    parts = _CODE.split(markdown)
    parts[::2] = [_without_folders(_linked(part, page), page) for part in parts[::2]]
    return "".join(parts)


def _linked(text: str, page: str) -> str:
    return _LINK.sub(_moved(page), text)


def _moved(page: str) -> Callable[[re.Match[str]], str]:
    def moved(found: re.Match[str]) -> str:
        target = _target(page, found[1])
        if not (ROOT / target).is_file():
            return found[0]  # a mistake, which the build reports; or a folder
        where = found[2] or ""
        uri = README.get(where, "") if target == "README.md" else uri_of(target) + where
        return posixpath.relpath(uri, posixpath.dirname(uri_of(page)) or ".") if uri else found[0]

    return moved


def _without_folders(text: str, page: str) -> str:
    """A folder without a text of its own can be named, but not be looked at on the site."""

    def named(found: re.Match[str]) -> str:
        return found[1] if (ROOT / _target(page, found[2])).is_dir() else found[0]

    return re.sub(r"(?<!!)\[([^\[\]]+)\]\(([^)\s:#]+)\)", named, text)
