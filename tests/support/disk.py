"""A real folder for the mirror's tests, and disk calls that are recorded or made to fail."""

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from datasync.models.sync_models import FileStat
from datasync.services.storage.mirror import Mirror, Publication, Published
from datasync.utils.file_utils import DiskCalls

MTIME = 1_700_000_000
BUCKET = "s3://bucket at https://s3.example"


class RecordingCalls(DiskCalls):
    """Does the real thing; `calls` tells in which order."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failures: dict[str, list[int]] = {}  # call -> errno of its next times, 0: succeed
        self.before: dict[str, list[Callable[[], object]]] = {}  # what happens just before it

    def fail(self, call: str, *errnos: int) -> None:
        """Make the next uses of a call fail, or succeed where the number is 0."""
        self.failures.setdefault(call, []).extend(errnos)

    def without(self, *calls: str) -> "RecordingCalls":
        """As on a system that lacks these calls."""
        for call in calls:
            self.failures[call] = [errno.ENOSYS] * 10_000
        return self

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if happenings := self.before.get(call):
            happenings.pop(0)()
        planned = self.failures.get(call)
        if planned and (number := planned.pop(0)):
            raise OSError(number, os.strerror(number))

    def write_at(self, descriptor: int, data: bytes | bytearray | memoryview, offset: int) -> None:
        self._note("write_at")
        super().write_at(descriptor, data, offset)

    def write_out(self, descriptor: int, offset: int, nbytes: int) -> None:
        self._note(f"write_out {offset} {nbytes}")
        super().write_out(descriptor, offset, nbytes)

    def sync(self, descriptor: int) -> None:
        self._note("sync folder" if _is_folder(descriptor) else "sync file")
        super().sync(descriptor)

    def sync_file_system(self, descriptor: int) -> bool:
        planned = self.failures.get("sync_file_system")
        if planned and planned[0] == errno.ENOSYS:
            return False
        self._note("sync_file_system")
        return super().sync_file_system(descriptor)

    def replace(self, source: bytes, source_folder: int, name: bytes, folder: int) -> None:
        self._note("replace")
        super().replace(source, source_folder, name, folder)

    def rename_new(self, source: bytes, source_folder: int, name: bytes, folder: int) -> None:
        self._note("rename_new")
        super().rename_new(source, source_folder, name, folder)

    def exchange(self, source: bytes, source_folder: int, name: bytes, folder: int) -> None:
        self._note("exchange")
        super().exchange(source, source_folder, name, folder)

    def link(self, source: bytes, source_folder: int, name: bytes, folder: int) -> None:
        self._note("link")
        super().link(source, source_folder, name, folder)


def _is_folder(descriptor: int) -> bool:
    return os.path.isdir(f"/dev/fd/{descriptor}")


class Space:
    """What the disk says of its free space: set `free`, of `total` bytes."""

    def __init__(self, patch: pytest.MonkeyPatch, free: int, total: int = 100 * 2**20) -> None:
        self.free = free
        self._total = total
        patch.setattr(os, "statvfs", self._statvfs)

    def _statvfs(self, _: object) -> os.statvfs_result:
        blocks = (self._total, self.free, self.free)
        return os.statvfs_result((1, 1, *blocks, 1000, 1000, 1000, 0, 255))


def put(
    mirror: Mirror, key: str, data: bytes, *, held: FileStat | None = None, mtime: int = MTIME
) -> Published:
    """Stage and publish one file that must succeed."""
    result = try_put(mirror, key, data, held=held, mtime=mtime)
    assert isinstance(result, Published), result
    return result


def try_put(
    mirror: Mirror, key: str, data: bytes, *, held: FileStat | None = None, mtime: int = MTIME
) -> Published | Exception:
    """Stage and publish one file; what came of it. Leaves nothing staged."""
    with mirror.stage(len(data)) as staged:
        staged.write(data)
        return mirror.publish([Publication(key, staged, mtime, held)])[0]


def put_all(mirror: Mirror, files: Sequence[tuple[str, bytes]]) -> list[Published]:
    """Publish several files in one batch; all must succeed."""
    batch = []
    for key, data in files:
        staged = mirror.stage()
        staged.write(data)
        batch.append(Publication(key, staged, MTIME))
    results = mirror.publish(batch)
    published = [result for result in results if isinstance(result, Published)]
    assert len(published) == len(batch), results
    return published


def tree(folder: Path) -> dict[str, bytes | str]:
    """All files below a folder but the mirror's own; links as text. Follows nothing."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = os.fsencode(path.relative_to(folder)).decode()  # UTF-8, whatever the locale says
        if name.split("/")[0] == ".datasync" or (path.is_dir() and not path.is_symlink()):
            continue
        found[name] = os.readlink(path) if path.is_symlink() else path.read_bytes()
    return found


def staged_names(root: Path) -> list[str]:
    """What is in the staging folder, owners' locks apart."""
    names = os.listdir(root / ".datasync" / "staging")
    return [name for name in names if not name.endswith(".owner")]


def open_below(root: Path) -> int:
    """How many descriptors of this process are of files and folders below a folder."""
    below = {(status.st_dev, status.st_ino) for status in map(os.lstat, [root, *root.rglob("*")])}
    count = 0
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):  # the listing's own descriptor
            status = os.fstat(int(name))
            count += (status.st_dev, status.st_ino) in below
    return count
