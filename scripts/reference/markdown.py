"""The few forms of Markdown that the generated parts are made of."""

import re
from collections.abc import Iterable, Sequence

_NAMES = re.compile(
    r"(?<![`\w])([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+=?|(?:GET|POST|HEAD) /\S*\w"
    r"|s3:\w+|sqs:\w+|name:secret:role)"
)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def code(text: object) -> str:
    """As code in a line, whatever is in it."""
    shown = str(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    space = " " if "`" in shown else ""
    return f"{fence}{space}{shown}{space}{fence}"


def block(language: str, text: str) -> str:
    return f"```{language}\n{text.strip(chr(10))}\n```"


def heading(level: int, text: str, anchor: str) -> str:
    return f"{'#' * level} {text} {{ #{anchor} }}"


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Short facts in one line: what each is called, and what it is."""
    shown = (f"**{name}** {value}" for name, value in pairs if value)
    return " · ".join(shown) + "\n{ .facts }"


def joined(parts: Iterable[str]) -> str:
    """Parts of a page, with a line between them."""
    return "\n\n".join(part for part in parts if part)


def names_as_code(text: str) -> str:
    """Plain text in which names of settings, routes and permissions become code."""
    return _NAMES.sub(r"`\1`", text.replace("<", "&lt;"))


def anchor(text: str) -> str:
    """The anchor of a heading: words and hyphens."""
    return re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-")
