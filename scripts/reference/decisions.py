"""The list of decisions: each with the one sentence that can be quoted."""

import re
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs" / "decisions"


def decisions() -> str:
    return "\n".join(map(_entry, all_decisions()))


def all_decisions() -> list[Path]:
    return sorted(FOLDER.glob("[0-9]*.md"))


def short_title(path: Path) -> str:
    """Number and subject: what stands before the colon of its title."""
    return path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ").split(":")[0]


def _entry(path: Path) -> str:
    title = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
    sentence = sentence_of(path)
    return f"- **[{title}]({path.name})**\n\n    {sentence[0].upper()}{sentence[1:]}\n"


def sentence_of(path: Path) -> str:
    """What was decided, on one line."""
    text = path.read_text(encoding="utf-8")
    found = re.search(r"^\*\*Decision: (.+?)\*\*", text, re.MULTILINE | re.DOTALL)
    assert found is not None, path.name
    return " ".join(found[1].split())
