"""The files of a bucket's objects: made, and looked at byte for byte."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.light import BORN, Item, Pool


def write(folder: Path, items: Sequence[Item], pool: Pool) -> None:
    """Make the file of each object, with the date at which it was put."""
    for item in items:
        path = folder / item.key
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            for piece in pool.cut(item.offset, item.size):
                file.write(piece)
        put = BORN.timestamp() + item.age
        os.utime(path, (put, put))


def check(name: str, folder: Path, items: Sequence[Item], pool: Pool) -> None:
    """Every object is there byte for byte, and nothing else. Raises: SystemExit."""
    found = set(_files(folder))
    if found != {item.key for item in items}:
        raise SystemExit(f"{name} did not write the bucket's keys")
    for item in items:
        if not _equal(f"{folder}/{item.key}", item, pool):
            raise SystemExit(f"{name} wrote a wrong {item.key}")


def _files(folder: Path) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        if place == str(folder) and ".datasync" in folders:
            folders.remove(".datasync")
        start = place[len(str(folder)) + 1 :]
        yield from (f"{start}/{name}" if start else name for name in names)


def _equal(path: str, item: Item, pool: Pool) -> bool:
    with open(path, "rb", buffering=0) as file:
        if os.fstat(file.fileno()).st_size != item.size:
            return False
        return all(file.read(len(piece)) == piece for piece in pool.cut(item.offset, item.size))
