"""docs/ARCHITECTURE.md is true: its modules and contracts are the real ones, and all of them."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "datasync"
TEXT = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))


def _first_cells(title: str) -> list[str]:
    section = TEXT.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    return [row.strip("|").split(" | ")[0].strip() for row in rows]


def _listed_modules() -> list[str]:
    """A name without a folder is in the folder of the name before it."""
    found = []
    for cell in _first_cells("The modules"):
        folder = ""
        for name in re.findall(r"`([\w/]+\.py)`", cell):
            folder = folder if (PACKAGE / folder / name).is_file() else ""
            found.append(folder + name)
            folder = f"{Path(folder + name).parent}/".removeprefix("./")
    return found


def test_every_module_is_listed_once() -> None:
    real = [path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")]
    assert sorted(_listed_modules()) == sorted(n for n in real if not n.endswith("__init__.py"))


def test_every_file_that_it_names_exists() -> None:
    names = set(re.findall(r"`((?:\w+/)+\w+\.py)`", TEXT))
    modules = [path.as_posix() for path in PACKAGE.rglob("*.py")]
    assert [name for name in names if not any(path.endswith(f"/{name}") for path in modules)] == []


def test_the_contracts_are_those_of_the_linter() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    real = [contract["name"] for contract in settings["tool"]["importlinter"]["contracts"]]
    listed = [cell for cell in _first_cells("The layers") if cell in real]
    assert listed == real


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.name)
def test_a_decision_is_short_and_can_be_quoted(path: Path) -> None:
    title, *paragraphs = path.read_text(encoding="utf-8").strip().split("\n\n")
    assert re.fullmatch(rf"# {path.name[:4]} \S.*", title)
    assert sum(text.startswith("**Decision: ") for text in paragraphs) == 1
    assert paragraphs[-1].startswith("The check: ")
