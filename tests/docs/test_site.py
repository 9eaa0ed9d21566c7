"""The site is built without a warning, is whole, and loads nothing from anywhere else."""

import re
from pathlib import Path

from tests.docs import site as sites
from tests.docs.checkout import copied
from tests.docs.pages import ROOT
from tests.docs.site import Site

# What a build reads beside the code of the service.
SOURCES = (
    *("docs", "scripts", "deploy", "lambda", "datasync"),
    *("mkdocs.yml", ".env.example", "README.md", "CHANGELOG.md", "CONTRIBUTING.md"),
    *("compose.yaml", "server.py"),
)


def test_every_document_is_a_page(site: Site) -> None:
    """Strictness sees to it that each is in the navigation as well."""
    written = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    wanted = {
        (path.parent if path.name in ("index.md", "README.md") else path.with_suffix("")).as_posix()
        for path in written
        if not path.parts[0].startswith(".")
    }
    missing = {name for name in wanted if f"{name}/index.html".removeprefix("./") not in site.pages}
    assert not missing
    assert len(wanted) > 50


def test_every_link_leads_to_a_page_a_file_or_a_heading(site: Site) -> None:
    assert [*site.leads_nowhere()] == []


def test_no_page_loads_anything_from_another_host(site: Site) -> None:
    foreign = {
        (name, target)
        for name, page in site.pages.items()
        for target in page.loads
        if "//" in target
    }
    assert not foreign
    for path in site.folder.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", path.read_text()), path.name


def test_no_page_makes_the_theme_fetch_a_library(site: Site) -> None:
    """Diagrams of Mermaid and formulas come from other hosts, once a page has one."""
    for name in site.pages:
        text = (site.folder / name).read_text(encoding="utf-8")
        assert not re.search(r'class="[^"]*\b(mermaid|arithmatex)\b', text), name
        assert "language-mermaid" not in text, name


def test_no_mark_of_a_generated_part_is_left(site: Site) -> None:
    for name in site.pages:
        text = (site.folder / name).read_text(encoding="utf-8")
        assert "when the site is built. In the source tree" not in text, name
        assert "<!-- generated" not in text, name


def test_a_fault_ends_the_build(tmp_path: Path) -> None:
    """A page out of the navigation, a link and an anchor that lead nowhere."""
    checkout = tmp_path / "checkout"
    copied(SOURCES, checkout)
    (checkout / "docs" / "lost.md").write_text("# Lost\n")
    with (checkout / "docs" / "SECURITY.md").open("a") as page:
        page.write(
            "\n[one](nowhere.md), [two](METRICS.md#nowhere), [three](../README.md#nowhere)\n"
        )
    done = sites.build(tmp_path / "site", checkout)
    assert done.returncode == 1, done.stderr
    for said in ("lost.md", "'nowhere.md'", "METRICS.md#nowhere", "README.md#nowhere"):
        assert said in done.stderr, said
