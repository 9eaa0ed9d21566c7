"""Somebody who plants links in the mirror while we work, and the proof that nothing came of it."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path


def everything(folder: Path) -> list[tuple[str, int, int, int]]:
    """What is in a folder, so that any change shows: names, inodes, times, number of names."""
    found = []
    for path in [folder, *sorted(folder.rglob("*"))]:
        status = path.lstat()
        found.append((str(path), status.st_ino, status.st_mtime_ns, status.st_nlink))
    return found


@contextmanager
def swapping(
    root: Path, outside: Path, *places: str, seconds_between: float = 0.0
) -> Iterator[None]:
    """Swap folders of the mirror for links to the outside and back, all the time."""
    stop = threading.Event()

    def swap() -> None:
        for number in count():
            if stop.is_set():
                return
            place = root / places[number % len(places)]
            with suppress(OSError):
                os.rename(place, root / f"away{number}")
            with suppress(OSError):
                os.symlink(outside, place)
            stop.wait(seconds_between)
            with suppress(OSError):
                os.unlink(place)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
