"""Looking at files: lstat in bulk, opening, and what is no file."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from datasync.errors import DiskFull, FileMissing, MirrorError, MirrorUnavailable
from datasync.models.sync_models import FileStat
from datasync.services.storage import looking
from datasync.services.storage.directories import Directories, kind_of, look, translated
from datasync.services.storage.mirror import Mirror, NotAFile
from tests.support.disk import MTIME, open_below, put_all

Stat = Callable[..., os.stat_result]


def _refusing(real: Stat, name: bytes, number: int) -> Stat:
    """os.stat that is refused one name: as root nothing is ever refused for real."""

    def refuse(path: bytes, **options: object) -> os.stat_result:
        if path == name:
            raise OSError(number, os.strerror(number))
        return real(path, **options)

    return refuse


def test_many_files_in_one_call(mirror: Mirror, root: Path) -> None:
    put_all(mirror, [("a", b"1"), ("d/b", b"22"), ("d/e/c", b"")])
    (root / "d/file").write_bytes(b"x")
    paths = ["a", "d/b", "d/none", "d/e/c", "d/e", "no/such/folder", "d/file/below", "a"]
    time = MTIME * 10**9
    assert mirror.stat_many(paths) == [
        FileStat("a", 1, time),
        FileStat("d/b", 2, time),
        None,
        FileStat("d/e/c", 0, time),
        NotAFile("d/e", "directory", "d/e"),
        None,
        None,
        FileStat("a", 1, time),
    ]
    assert mirror.stat_many([]) == []


def test_a_link_is_no_file_whatever_it_points_to(mirror: Mirror, root: Path) -> None:
    put_all(mirror, [("d/a", b"1")])
    (root / "b").symlink_to("d/a")
    (root / "c").symlink_to("d")
    assert mirror.stat_many(["b", "c", "c/a"]) == [
        NotAFile("b", "link", "b"),
        NotAFile("c", "link", "c"),
        NotAFile("c/a", "link", "c"),
    ]


def test_files_that_are_as_they_were(mirror: Mirror, root: Path) -> None:
    put_all(mirror, [("a", b"1"), ("d/b", b"22"), ("d/\u00e9", b"333"), ("d/e/c", b"")])
    time = MTIME * 10**9
    (root / "link").symlink_to("a")
    (root / "linked").symlink_to("d")
    os.utime(root / "link", ns=(time, time), follow_symlinks=False)
    os.utime(root / "d/e", ns=(time, time))
    asked = {
        ("a", 1, time): True,
        ("a", 2, time): False,
        ("a", 1, time + 1): False,
        ("d/b", 2, time): True,
        ("d/\u00e9", 3, time): True,
        ("d/none", 1, time): False,
        ("d/e", (root / "d/e").stat().st_size, time): False,  # a folder
        ("d/e/c", 0, time): True,
        ("link", os.lstat(root / "link").st_size, time): False,
        ("link", 1, time): False,
        ("linked/b", 2, time): False,
        ("no/such/folder", 1, time): False,
        ("a/below", 1, time): False,
    }
    files = [(path.encode(), size, mtime_ns) for path, size, mtime_ns in asked]
    assert mirror.are_unchanged(files) == list(asked.values())
    assert mirror.are_unchanged([]) == []


def test_more_folders_than_handles(mirror: Mirror, root: Path) -> None:
    files = [(f"d{number}/e/f", b"x") for number in range(150)]
    put_all(mirror, files)
    before = open_below(root)
    found = mirror.stat_many([key for key, _ in files + files[::-1]])
    assert all(isinstance(one, FileStat) for one in found)
    assert open_below(root) == before


@pytest.mark.parametrize(
    "path",
    ["", ".", "..", "../x", "/etc/passwd", "a/../a", "a//a", "\0", "d/\0", "\ud800", "d/\ud800"]
    + ["x" * 300, "x" * 300 + "/y", ".datasync/mirror.json", ".datasync/staging/x"],
)
def test_what_is_no_path_holds_no_file(mirror: Mirror, path: str) -> None:
    put_all(mirror, [("a", b"1"), ("d/a", b"1")])
    assert mirror.stat_many([path, "a"])[0] is None
    if "\ud800" not in path:  # no row has such a path
        assert not mirror.are_unchanged([(path.encode(), 1, MTIME * 10**9)])[0]
    with pytest.raises(FileMissing):
        mirror.open(path)


def test_opening_a_file(mirror: Mirror) -> None:
    put_all(mirror, [("d/a", b"hello")])
    descriptor = mirror.open("d/a")
    try:
        assert os.read(descriptor, 10) == b"hello"
        assert not os.get_inheritable(descriptor)
        with pytest.raises(OSError):
            os.write(descriptor, b"x")
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("path", ["none", "none/x", "d", "d/a/below"])
def test_opening_what_is_no_file(mirror: Mirror, path: str) -> None:
    put_all(mirror, [("d/a", b"hello")])
    with pytest.raises(FileMissing):
        mirror.open(path)


def test_what_cannot_be_looked_at_is_not_missing(
    mirror: Mirror, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_all(mirror, [("d/a", b"1"), ("e/a", b"1"), ("b", b"1")])
    monkeypatch.setattr(os, "stat", _refusing(os.stat, b"b", errno.EACCES))
    assert mirror.stat_many(["b", "e/a"]) == [
        NotAFile("b", "unreadable", "b"),
        FileStat("e/a", 1, MTIME * 10**9),
    ]
    assert mirror.are_unchanged([(b"b", 1, MTIME * 10**9)]) == [False]
    with pytest.raises(MirrorError, match="'b': Permission denied") as raised:
        mirror.open("b")
    assert not isinstance(raised.value, FileMissing)


def test_a_folder_that_cannot_be_entered_is_not_missing(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_all(mirror, [("d/a", b"1"), ("b", b"1")])
    real = os.open

    def refuse(path: bytes, flags: int, *rest: int, dir_fd: int | None = None) -> int:
        if path == b"d":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, flags, *rest, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refuse)
    assert mirror.stat_many(["d/a", "b"]) == [
        NotAFile("d/a", "unreadable", "d"),
        FileStat("b", 1, MTIME * 10**9),
    ]
    with pytest.raises(MirrorError) as raised:
        mirror.open("d/a")
    assert not isinstance(raised.value, FileMissing)


@pytest.mark.parametrize("planted", ["fifo", "link", "nothing"])
def test_a_file_swapped_while_it_is_opened(
    mirror: Mirror, root: Path, monkeypatch: pytest.MonkeyPatch, planted: str
) -> None:
    put_all(mirror, [("a", b"1"), ("b", b"2")])

    def look_and_swap(name: bytes, folder: int) -> os.stat_result | None:
        found = look(name, folder)
        (root / "a").unlink()
        if planted == "fifo":
            os.mkfifo(root / "a")
        elif planted == "link":
            (root / "a").symlink_to("b")
        return found

    monkeypatch.setattr(looking, "look", look_and_swap)
    with pytest.raises(FileMissing):
        mirror.open("a")


def test_a_link_that_vanishes_while_we_look_is_nothing(
    mirror: Mirror, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "d").symlink_to("e")
    monkeypatch.setattr(Directories, "kind", lambda self, path: None)
    assert mirror.stat_many(["d/a"]) == [None]

    def refuse(self: Directories, path: str) -> None:
        raise OSError(errno.EIO, "x")

    monkeypatch.setattr(Directories, "kind", refuse)
    assert mirror.stat_many(["d/a"]) == [NotAFile("d/a", "unreadable", "d")]


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        (stat.S_IFREG, "file"),
        (stat.S_IFDIR, "directory"),
        (stat.S_IFLNK, "link"),
        (stat.S_IFIFO, "fifo"),
        (stat.S_IFSOCK, "socket"),
        (stat.S_IFBLK, "device"),
        (stat.S_IFCHR, "device"),
    ],
)
def test_kinds(mode: int, kind: str) -> None:
    assert kind_of(mode | 0o644) == kind


@pytest.mark.parametrize(
    ("number", "path", "error"),
    [
        (errno.ENOSPC, "a", DiskFull),
        (errno.EDQUOT, "a", DiskFull),
        (errno.EROFS, "a", MirrorUnavailable),
        (errno.ESTALE, "a", MirrorUnavailable),
        (errno.EACCES, "a", MirrorError),
        (errno.EACCES, ".datasync/staging", MirrorUnavailable),
        (errno.EIO, "a", MirrorError),
    ],
)
def test_translation(number: int, path: str, error: type[MirrorError]) -> None:
    found = translated(OSError(number, "x", "/absolute/a"), path)
    assert type(found) is error
    assert str(found) == f"'{path}': {os.strerror(number)}"
