"""What a mutation is: a search and a replacement in one file, and the tests that must go red."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


class TextNotFound(Exception):
    """The text of a mutation is not in its file exactly once: the mutation is out of date."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """A break of one promise of DESIGN section 1.

    `file` is relative to `datasync/`, `tests` are node ids relative to `tests/`.
    """

    promise: int
    name: str
    file: str
    search: str
    replacement: str
    tests: tuple[str, ...]

    @property
    def source(self) -> Path:
        return Path("datasync") / self.file

    def applied_to(self, text: str) -> str:
        """The file's text with the break in it. Raises: TextNotFound."""
        found = text.count(self.search)
        if found != 1:
            raise TextNotFound(f"{self.name!r}: its text is {found} times in {self.source}")
        return text.replace(self.search, self.replacement)

    def apply(self, root: Path) -> None:
        """Break the copy of the tree at `root`. Raises: TextNotFound."""
        file = root / self.source
        file.write_text(self.applied_to(file.read_text("utf-8")), "utf-8")
