"""What is at a path: a look at the mirror and its trash that follows nothing. Knows no engine."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from datasync.services.storage.mirror import conflict_path_for, path_for


@dataclass(frozen=True, slots=True)
class Thing:
    """Something in a folder that is no folder: a file's bytes, where a link points, or a pipe."""

    kind: str
    content: bytes = b""

    def __repr__(self) -> str:
        shown = self.content if len(self.content) < 40 else self.content[:30] + b"..."
        return f"{self.kind} {shown!r} ({len(self.content)})"


class Homes:
    """Which key may be at which path."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self.key_at = {place(key): key for place in (path_for, conflict_path_for) for key in keys}

    def of(self, key: str) -> tuple[str, str]:
        return path_for(key), conflict_path_for(key)


def look(root: Path) -> dict[str, Thing]:
    """Everything below a folder but our own folder, by its path."""
    return _below(os.fsencode(root), b"", skip=b".datasync")


def trash(root: Path) -> list[Thing]:
    return list(_below(os.fsencode(root / ".datasync" / "trash"), b"").values())


def _below(folder: bytes, at: bytes, skip: bytes = b"") -> dict[str, Thing]:
    found: dict[str, Thing] = {}
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        here = os.path.join(at, name) if at else name
        mode = os.lstat(path).st_mode
        if name == skip:
            continue
        if stat.S_ISDIR(mode):
            found.update(_below(path, here))
        else:
            found[here.decode(errors="surrogateescape")] = _thing(path, mode)
    return found


def _thing(path: bytes, mode: int) -> Thing:
    if stat.S_ISLNK(mode):
        return Thing("link", os.readlink(path))
    if stat.S_ISREG(mode):
        with open(path, "rb") as file:
            return Thing("file", file.read())
    return Thing("pipe")


class Sentinel:
    """A folder outside the mirror that links in it point to; nothing of it may ever change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "file").write_bytes(b"outside")
        (folder / "linked").write_bytes(b"outside too")  # hard links of it go into the mirror
        (folder / "b").mkdir()
        self._before = self._state()

    def check(self) -> None:
        assert self._state() == self._before, "something outside the root was touched"

    def _state(self) -> dict[str, object]:
        state: dict[str, object] = {}
        for path in sorted(self.folder.rglob("*")):
            status = path.lstat()
            times = status.st_mtime_ns if path.name != "linked" else 0
            content = path.read_bytes() if path.is_file() else b""
            state[path.name] = (status.st_mode, times, content)
        return state
