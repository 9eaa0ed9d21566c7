"""A model of what a power cut may leave of a folder, from the calls that were made on it.

The model is the weakest of ALICE's abstract persistence models (Pillai et al., "All File Systems
Are Not Created Equal", OSDI 2014) that journaling file systems keep to. Every call becomes
micro-operations: entries of folders, the size of a file, its blocks, its times. `fsync` of a file
persists that file but not its name, `fsync` of a folder the entries of that folder, `syncfs`
everything. Of what is not persisted any subset may be there, in any order: a name without its
bytes, a size without its blocks (zeros), the later of two operations without the earlier. Only a
rename or an exchange is whole or not at all, and persisted with either of its folders; nothing is
in a folder that is not there, and no folder goes that is not empty. As in CrashMonkey (Mohan et
al., "Finding Crash-Consistency Bugs with Bounded Black-Box Crash Testing", OSDI 2018) a recorded
run is cut behind each of its calls.

SQLite's own calls are not seen. Its promise is taken instead (WAL mode): what was committed with
`synchronous=FULL` is there; of later commits any number of the first ones, and the log behind
them may hold anything.
"""

import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from datasync.services.storage.ledger.sqlite_backend import SqliteBackend
from datasync.utils import file_utils

BLOCK = 4096
FULL = 2  # PRAGMA synchronous
LEDGER = ("ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db-journal")
Change = tuple[int, bytes, int | None]  # folder, name, what is there then


@dataclass(slots=True, eq=False)
class Step:
    """One micro-operation. `inodes`: whose `fsync` persists it."""

    inodes: frozenset[int]
    entries: tuple[Change, ...] = ()
    folder: int | None = None  # that is made by it
    block: tuple[int, int, bytes] | None = None  # file, number, content
    size: tuple[int, int] | None = None
    mtime: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Commit:
    """The ledger's files behind a commit."""

    database: bytes
    log: bytes
    durable: bool


@dataclass(slots=True)
class File:
    blocks: dict[int, bytes] = field(default_factory=dict)
    size: int = 0
    mtime_ns: int = 1

    def content(self) -> bytes:
        count = -(-self.size // BLOCK)
        parts = (self.blocks.get(number, b"").ljust(BLOCK, b"\0") for number in range(count))
        return b"".join(parts)[: self.size]


@dataclass(slots=True)
class Disk:
    """Files and folders by number; folder 0 is the root."""

    folders: dict[int, dict[bytes, int]] = field(default_factory=lambda: {0: {}})
    files: dict[int, File] = field(default_factory=dict)

    def do(self, step: Step) -> None:
        if all(folder in self.folders for folder, _, _ in step.entries):
            for folder, name, inode in step.entries:
                self._set(folder, name, inode)
            if step.folder is not None:
                self.folders[step.folder] = {}
        if step.block is not None:
            self.files.setdefault(step.block[0], File()).blocks[step.block[1]] = step.block[2]
        if step.size is not None:
            self.files.setdefault(step.size[0], File()).size = step.size[1]
        if step.mtime is not None:
            self.files.setdefault(step.mtime[0], File()).mtime_ns = step.mtime[1]

    def _set(self, folder: int, name: bytes, inode: int | None) -> None:
        if inode is not None:
            self.folders[folder][name] = inode
        elif not self.folders.get(self.folders[folder].get(name, -1)):
            self.folders[folder].pop(name, None)

    def copy(self) -> "Disk":
        return Disk(
            {number: dict(entries) for number, entries in self.folders.items()},
            {
                number: File(dict(file.blocks), file.size, file.mtime_ns)
                for number, file in self.files.items()
            },
        )

    def tree(self, folder: int = 0, above: str = "") -> dict[str, File | None]:
        """Every file by its path, every folder as None."""
        found: dict[str, File | None] = {}
        for name, inode in self.folders.get(folder, {}).items():
            path = above + os.fsdecode(name)
            if inode in self.folders:
                found[path] = None
                found.update(self.tree(inode, path + "/"))
            else:
                found[path] = self.files.get(inode, File())
        return found


@dataclass(frozen=True, slots=True)
class Moment:
    """What may be left of a cut at one point of a run."""

    point: int
    base: Disk
    steps: tuple[Step, ...]  # all that were done
    pending: frozenset[Step]  # those of them that are not persisted
    commits: tuple[Commit, ...]  # the newest durable one, and those behind it
    said: frozenset[str]  # what the run had said by then

    def disk(self, lost: frozenset[Step]) -> Disk:
        """The disk without those of the pending operations."""
        disk = self.base.copy()
        for step in self.steps:
            if step not in lost:
                disk.do(step)
        return disk

    def losses(self, chance: random.Random, count: int) -> set[frozenset[Step]]:
        """Nothing, all, each one alone, all but each one, and some by chance."""
        every = self.pending
        found = {frozenset[Step](), every}
        found.update(frozenset({one}) for one in every)
        found.update(every - {one} for one in every)
        for _ in range(count):
            found.add(
                frozenset(step for step in self.steps if step in every and chance.random() < 0.5)
            )
        return found


class Recorder:
    """Records what is done below a folder, from any thread."""

    def __init__(self, folder: Path) -> None:
        self._lock = threading.RLock()
        self._numbers: dict[tuple[int, int], int] = {}  # device and inode: ours
        self._made = 0
        self._base = Disk()
        self._record: list[Step | Commit | str | frozenset[int] | None] = []
        self._register(os.stat(folder))
        self._take(folder, 0)

    def say(self, word: str) -> None:
        """Note that something has been promised to somebody."""
        self._record.append(word)

    def moments(self) -> Iterator[Moment]:
        """The state before anything was done, and behind each thing that was."""
        steps, pending = list[Step](), set[Step]()
        commits: tuple[Commit, ...] = ()
        said: frozenset[str] = frozenset()
        for point, item in enumerate([None, *self._record]):
            if isinstance(item, Step):
                steps.append(item)
                pending.add(item)
            elif isinstance(item, Commit):
                commits = (item,) if item.durable else (*commits, item)
            elif isinstance(item, str):
                said |= {item}
            elif item is not None:
                pending -= {step for step in pending if not item or step.inodes & item}
            yield Moment(point, self._base, tuple(steps), frozenset(pending), commits, said)

    # What is there already

    def _take(self, folder: Path, number: int) -> None:
        for entry in os.scandir(folder):
            inode = self._register(entry.stat(follow_symlinks=False))
            self._base.folders[number][os.fsencode(entry.name)] = inode
            if entry.is_dir(follow_symlinks=False):
                self._base.folders[inode] = {}
                self._take(folder / entry.name, inode)
            elif entry.is_file(follow_symlinks=False):
                body, times = Path(entry.path).read_bytes(), entry.stat()
                blocks = {at // BLOCK: body[at : at + BLOCK] for at in range(0, len(body), BLOCK)}
                self._base.files[inode] = File(blocks, len(body), times.st_mtime_ns)

    def _register(self, status: os.stat_result) -> int:
        """A new number for a new file: the system uses its own again."""
        number = self._made
        self._made += 1
        self._numbers[status.st_dev, status.st_ino] = number
        return number

    def _known(self, status: os.stat_result) -> int | None:
        return self._numbers.get((status.st_dev, status.st_ino))

    def _place(self, path: Any, folder: int | None) -> tuple[int | None, bytes]:
        """The number of the folder that a name is in, None for one outside, and the name."""
        if folder is not None:
            return self._known(os.fstat(folder)), os.fsencode(path)
        above, name = os.path.split(os.fsencode(os.path.abspath(path)))
        try:
            return self._known(os.stat(above)), name
        except FileNotFoundError:
            return None, name

    def _inode(self, path: Any, folder: int | None) -> int | None:
        return self._known(os.stat(path, dir_fd=folder, follow_symlinks=False))

    def _entries(
        self, *changes: tuple[int | None, bytes, int | None], made: int | None = None
    ) -> None:
        known = tuple(
            (folder, name, inode)
            for folder, name, inode in changes
            if folder is not None and os.fsdecode(name) not in LEDGER
        )
        if known:
            inodes = frozenset(folder for folder, _, _ in known)
            self._record.append(Step(inodes, entries=known, folder=made))

    # The calls

    @contextmanager
    def recording(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("open", "mkdir", "rmdir", "unlink", "utime", "rename", "link"):
                patch.setattr(os, name, self._wrapped(getattr(self, f"_{name}"), getattr(os, name)))
            patch.setattr(os, "pwrite", self._wrapped(self._pwrite, os.pwrite))
            patch.setattr(os, "fsync", self._wrapped(self._fsync, os.fsync))
            patch.setattr(file_utils, "_call", self._wrapped(self._libc, file_utils._call))
            written = SqliteBackend.written
            patch.setattr(SqliteBackend, "written", self._wrapped(self._written, written))
            yield

    def _wrapped(self, record: Callable[..., Any], original: Callable[..., Any]) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            with self._lock:
                return record(original, *given, **named)

        return call

    def _open(self, original: Any, path: Any, flags: int, *mode: int, dir_fd: Any = None) -> int:
        new = flags & os.O_CREAT and not _exists(path, dir_fd)
        descriptor = int(original(path, flags, *mode, dir_fd=dir_fd))
        if new:
            self._entries((*self._place(path, dir_fd), self._register(os.fstat(descriptor))))
        return descriptor

    def _mkdir(self, original: Any, path: Any, mode: int = 0o777, *, dir_fd: Any = None) -> None:
        original(path, mode, dir_fd=dir_fd)
        place = self._place(path, dir_fd)
        if place[0] is not None:
            inode = self._register(os.stat(path, dir_fd=dir_fd))
            self._entries((*place, inode), made=inode)

    def _rmdir(self, original: Any, path: Any, *, dir_fd: Any = None) -> None:
        original(path, dir_fd=dir_fd)
        self._entries((*self._place(path, dir_fd), None))

    def _unlink(self, original: Any, path: Any, *, dir_fd: Any = None) -> None:
        original(path, dir_fd=dir_fd)
        self._entries((*self._place(path, dir_fd), None))

    def _rename(
        self, original: Any, source: Any, target: Any, *, src_dir_fd: Any = None, **named: Any
    ) -> None:
        inode = self._inode(source, src_dir_fd)
        original(source, target, src_dir_fd=src_dir_fd, **named)
        there = self._place(target, named.get("dst_dir_fd"))
        self._entries((*self._place(source, src_dir_fd), None), (*there, inode))

    def _link(self, original: Any, source: Any, target: Any, **named: Any) -> None:
        inode = self._inode(source, named.get("src_dir_fd"))
        original(source, target, **named)
        self._entries((*self._place(target, named.get("dst_dir_fd")), inode))

    def _libc(self, original: Any, name: str, *given: Any) -> None:
        if name == "syncfs":
            original(name, *given)
            self._record.append(frozenset[int]())
            return
        source, from_folder, target, to_folder = given[1], given[0], given[3], given[2]
        moved = self._inode(source, from_folder)
        other = self._inode(target, to_folder) if given[4] == 2 else None
        original(name, *given)
        here, there = self._place(source, from_folder), self._place(target, to_folder)
        self._entries((*here, other), (*there, moved))

    def _utime(self, original: Any, path: Any, times: Any = None, **named: Any) -> None:
        original(path, times, **named)
        by_handle = isinstance(path, int)
        status = os.stat(path, dir_fd=named.get("dir_fd"), follow_symlinks=by_handle)
        inode = self._known(status)
        if inode is not None:
            self._record.append(Step(frozenset({inode}), mtime=(inode, status.st_mtime_ns)))

    def _pwrite(self, original: Any, descriptor: int, data: Any, offset: int) -> int:
        written = int(original(descriptor, data, offset))
        inode = self._known(os.fstat(descriptor))
        assert inode is not None and written == len(data)
        for number in range(offset // BLOCK, -(-(offset + written) // BLOCK)):
            block = os.pread(descriptor, BLOCK, number * BLOCK)
            self._record.append(Step(frozenset({inode}), block=(inode, number, block)))
        size = os.fstat(descriptor).st_size
        self._record.append(Step(frozenset({inode}), size=(inode, size)))
        return written

    def _fsync(self, original: Any, descriptor: int) -> None:
        original(descriptor)
        inode = self._known(os.fstat(descriptor))
        if inode is not None:
            self._record.append(frozenset({inode}))

    def _written(self, original: Any, backend: SqliteBackend, connection: Any) -> None:
        original(backend, connection)
        cursor = connection.connection.cursor()
        (level,) = cursor.execute("PRAGMA synchronous").fetchone()
        cursor.close()
        log = Path(f"{backend.path}-wal").read_bytes()
        self._record.append(Commit(backend.path.read_bytes(), log, level == FULL))


def _exists(path: Any, folder: int | None) -> bool:
    try:
        os.stat(path, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def write_tree(tree: dict[str, File | None], folder: Path) -> None:
    """Make a folder of a disk's tree."""
    for path, file in tree.items():
        if file is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(file.content())
            os.utime(folder / path, ns=(file.mtime_ns, file.mtime_ns))


def torn(commits: Sequence[Commit], chance: random.Random) -> tuple[bytes, bytes]:
    """The ledger's files as a cut may leave them: the newest log, broken behind what is durable."""
    first, last = commits[0], chance.choice(commits)
    log = bytearray(last.log)
    for at in range(len(first.log), len(log), BLOCK):
        if chance.random() < 0.5:
            log[at : at + BLOCK] = bytes(len(log[at : at + BLOCK]))
    return last.database, bytes(log[: chance.choice([len(first.log), len(log)])])
