"""The commands of the documents: which there are, and what each page says of running them.

The convention is told to writers in CONTRIBUTING.md.
"""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCENES = ("service", "bucket", "files")
FENCE = re.compile(r"[ >]*(`{3,}|~{3,}) *(.*)")
# Commands stand in blocks of one language, so that none is overlooked.
LANGUAGE = "bash"
OTHER_SHELLS = frozenset({"sh", "shell", "console", "zsh", "shell-session"})
SCENE = re.compile(r"<!-- scene: (\w+) -->")
NOT_RUN = re.compile(r"<!-- not run: (\S.*) -->")
EXITS = re.compile(r"<!-- exits: (\d+) -->")


@dataclass(frozen=True, slots=True)
class Block:
    """The commands of one fenced block; `reason` says why they are not run, if they are not."""

    line: int
    text: str
    reason: str | None = None
    code: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """A document, by its name in the repository."""

    name: str
    scene: str | None
    blocks: tuple[Block, ...]
    mistakes: tuple[str, ...] = ()  # what could be read in more than one way

    @property
    def commands(self) -> tuple[Block, ...]:
        """What is run, in order."""
        return tuple(block for block in self.blocks if block.reason is None)

    def faults(self) -> Iterator[str]:
        """What a writer has still to say."""
        yield from (f"{self.name}:{mistake}" for mistake in self.mistakes)
        for block in self.commands:
            if block.code and block.text.replace("\\\n", "").count("\n") != 1:
                yield f"{self.name}:{block.line}: one command, where an exit code is expected"
        if self.scene is not None and self.scene not in SCENES:
            yield f"{self.name}: there is no scene '{self.scene}': one of {', '.join(SCENES)}"
        if self.scene is None:
            for block in self.commands:
                yield (
                    f"{self.name}:{block.line}: these commands are not run by any test: begin the "
                    "page with '<!-- scene: service -->' (or bucket, or files), or put "
                    "'<!-- not run: reason -->' on the line before the fence"
                )


def documents() -> list[str]:
    """Every document whose commands count."""
    found = [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")]
    return ["README.md", *sorted(found)]


def read(name: str) -> Page:
    return parse(name, (ROOT / name).read_text(encoding="utf-8"))


def parse(name: str, text: str) -> Page:
    """The page that this text is."""
    found = SCENE.match(text)
    lines = text.splitlines()
    fences = tuple(_fences(lines))
    blocks = [_block(lines, *place) for *place, told in fences if told == LANGUAGE]
    mistakes = [each for fence in fences for each in _mistakes(lines, *fence)]
    return Page(name, found[1] if found else None, tuple(blocks), tuple(mistakes))


def _fences(lines: list[str]) -> Iterator[tuple[int, int, str]]:
    """First and last line of each fenced block, and what its fence says; those in lists too."""
    opened: tuple[int, str, str] | None = None
    for number, line in enumerate(lines, 1):
        fence = FENCE.fullmatch(line.rstrip())
        if opened is None and fence:
            opened = (number, fence[1], fence[2])
        elif opened is not None and fence and fence[1].startswith(opened[1]) and not fence[2]:
            yield opened[0], number, opened[2]
            opened = None
    if opened is not None:
        yield opened[0], len(lines), opened[2] or "a block"


def _mistakes(lines: list[str], start: int, end: int, told: str) -> Iterator[str]:
    language = told.split()[0].lower() if told else ""
    if language in OTHER_SHELLS or (language == LANGUAGE and told != LANGUAGE):
        yield f"{start}: commands stand in blocks of '{LANGUAGE}', without more behind it"
    if language == LANGUAGE and lines[start - 1].lstrip().startswith(">"):
        yield f"{start}: commands stand in no quotation"
    if not FENCE.fullmatch(lines[end - 1].rstrip()) or start == end:
        yield f"{start}: this block has no end"


def _block(lines: list[str], start: int, end: int) -> Block:
    """The block between two fences (numbers of lines from 1), with the mark before it."""
    mark = lines[start - 2].strip() if start > 1 else ""
    reason, code = NOT_RUN.fullmatch(mark), EXITS.fullmatch(mark)
    return Block(
        line=start,
        text=textwrap.dedent("\n".join(lines[start : end - 1])) + "\n",
        reason=reason[1] if reason else None,
        code=int(code[1]) if code else 0,
    )
