"""Whatever is planted in the mirror, nothing outside it is created, changed, read or removed."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from datasync.errors import FileMissing, MirrorError, PathConflict
from datasync.models.sync_models import FileStat
from datasync.services.storage.directories import Directories
from datasync.services.storage.mirror import Mirror, NotAFile
from tests.support.disk import put, tree, try_put
from tests.support.planting import everything, swapping


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder beside the root that must not change."""
    folder = tmp_path / "outside"
    (folder / "sub").mkdir(parents=True)
    (folder / "a").write_bytes(b"secret")
    (folder / "sub" / "a").write_bytes(b"secret too")
    before = everything(folder)
    yield folder
    assert everything(folder) == before


def _held(path: Path, name: str) -> FileStat:
    status = path.stat()
    return FileStat(name, status.st_size, status.st_mtime_ns)


@pytest.mark.parametrize("key", ["d/a", "d/sub/a", "d/new", "d/new/folder/x"])
def test_a_link_among_the_folders_is_a_conflict(
    mirror: Mirror, root: Path, outside: Path, key: str
) -> None:
    (root / "d").symlink_to(outside)
    secret = _held(outside / "a", key)
    for result in (
        try_put(mirror, key, b"x"),
        try_put(mirror, key, b"x", held=secret),
        mirror.remove([secret], label="x")[0],
    ):
        assert isinstance(result, PathConflict) and result.at == "d"
        assert str(result) == "'d' is a link where a folder is needed"
    uses: list[Callable[[], object]] = [
        lambda: mirror.relocate(key),
        lambda: mirror.touch(key, 1),
    ]
    for use in uses:
        with pytest.raises(PathConflict):
            use()
    with pytest.raises(FileMissing):
        mirror.open(key)
    assert mirror.stat_many([key]) == [NotAFile(key, "link", "d")]
    assert os.readlink(root / "d") == str(outside)


def test_a_link_deeper_down_is_a_conflict_too(mirror: Mirror, root: Path, outside: Path) -> None:
    (root / "p/q").mkdir(parents=True)
    (root / "p/q/r").symlink_to("../../../outside/sub")
    conflict = try_put(mirror, "p/q/r/a", b"x")
    assert isinstance(conflict, PathConflict) and conflict.at == "p/q/r"


@pytest.mark.parametrize("target", ["a", "sub", "none"])
def test_a_link_at_the_target_goes_to_the_trash_itself(
    mirror: Mirror, root: Path, outside: Path, target: str
) -> None:
    (root / "a").symlink_to(outside / target)
    with pytest.raises(FileMissing):
        mirror.open("a")
    assert mirror.stat_many(["a"]) == [NotAFile("a", "link", "a")]
    assert put(mirror, "a", b"ours").trashed
    assert tree(root) == {"a": b"ours"}
    [entry] = mirror.trash_entries()
    assert os.readlink(root / ".datasync/trash" / entry.id) == str(outside / target)
    assert mirror.remove([FileStat("a", 4, 0)], label="x") == [True]


def test_removing_a_link_removes_the_link(mirror: Mirror, root: Path, outside: Path) -> None:
    (root / "d").mkdir()
    (root / "d/a").symlink_to(outside / "a")
    assert mirror.remove([_held(outside / "a", "d/a")], label="x") == [True]
    assert tree(root) == {} and not (root / "d").exists()


def test_a_pipe_and_a_socket_at_the_target_go_to_the_trash(
    mirror: Mirror, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)  # a socket's address must be short
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    assert mirror.stat_many(["pipe", "socket"]) == [
        NotAFile("pipe", "fifo", "pipe"),
        NotAFile("socket", "socket", "socket"),
    ]
    for name in ("pipe", "socket"):
        with pytest.raises(FileMissing):  # at once: nobody waits for a writer
            mirror.open(name)
        assert put(mirror, name, b"ours").trashed
    assert tree(root) == {"pipe": b"ours", "socket": b"ours"}


@pytest.mark.parametrize("name", [".datasync", ".datasync/staging", ".datasync/trash"])
def test_our_own_folders_are_never_links(tmp_path: Path, outside: Path, name: str) -> None:
    root = tmp_path / "mirror"
    (root / name).parent.mkdir(parents=True)
    (root / name).symlink_to(outside)
    with pytest.raises(PathConflict):
        Mirror(root).prepare(bucket_identity="s3://bucket")


@pytest.mark.parametrize("name", ["staging", "trash", ""])
def test_our_own_folders_swapped_for_links_later(
    mirror: Mirror, root: Path, outside: Path, name: str
) -> None:
    held = put(mirror, "a", b"ours").file
    ours = root / ".datasync" / name
    ours.rename(root / "moved")
    ours.symlink_to(outside)
    if name != "trash":
        with pytest.raises(MirrorError):
            mirror.stage()
        with pytest.raises(MirrorError):
            mirror.check()
        with pytest.raises(MirrorError):
            mirror.sweep()
    if name != "staging":
        assert isinstance(mirror.remove([held], label="x")[0], MirrorError)
        assert (root / "a").read_bytes() == b"ours"
        with pytest.raises(MirrorError):
            mirror.restore(prefix="")
        with pytest.raises(MirrorError):
            mirror.prune_trash(-1e9, 0)


@pytest.mark.parametrize("planted", ["link", "file", "fifo"])
def test_a_folder_of_the_trash_that_is_none(
    mirror: Mirror, root: Path, outside: Path, planted: str
) -> None:
    folder = root / ".datasync/trash/20200101T000000Z-x"
    if planted == "link":
        folder.symlink_to(outside)
    elif planted == "file":
        folder.write_bytes(b"x")
    else:
        os.mkfifo(folder)
    assert mirror.trash_entries() == []
    with pytest.raises(MirrorError):
        mirror.restore("20200101T000000Z-x/a")
    assert mirror.prune_trash(-1e12, 0) == 0


def test_pruning_the_trash_follows_no_link(mirror: Mirror, root: Path, outside: Path) -> None:
    folder = root / ".datasync/trash/20200101T000000Z-x"
    (folder / "sub").mkdir(parents=True)
    (folder / "link").symlink_to(outside)
    (folder / "sub/link").symlink_to(outside / "a")
    assert mirror.prune_trash(0, 2e9) == 2
    assert os.listdir(root / ".datasync/trash") == []


def test_restoring_through_a_link_is_a_conflict(mirror: Mirror, root: Path, outside: Path) -> None:
    assert mirror.remove([put(mirror, "d/new", b"1").file], label="x") == [True]
    (root / "d").symlink_to(outside)
    [entry] = mirror.trash_entries()
    for overwrite in (False, True):
        [restored] = mirror.restore(entry.id, overwrite=overwrite)
        assert isinstance(restored.error, PathConflict)
    assert [one.id for one in mirror.trash_entries()] == [entry.id]


def test_folders_swapped_for_links_during_work(mirror: Mirror, root: Path, outside: Path) -> None:
    held = FileStat("d/a", 6, 0)
    uses: list[Callable[[], object]] = [
        lambda: mirror.remove([held, FileStat("d/sub/a", 10, 0)], label="x"),
        lambda: mirror.touch("d/a", 1),
        lambda: os.close(mirror.open("d/sub/a")),
        lambda: mirror.restore(prefix="d/", overwrite=True),
    ]
    with swapping(root, outside, "d"):
        for number in range(300):
            result = try_put(mirror, ("d/a", "d/sub/a", "d/sub/new/a")[number % 3], b"ours")
            assert not isinstance(result, Exception) or isinstance(result, MirrorError)
            with suppress(MirrorError):
                uses[number % 4]()


def test_names_that_are_not_utf8_break_nothing(mirror: Mirror, root: Path) -> None:
    raw = os.fsencode(root)
    for folder in (raw, raw + b"/.datasync/trash", raw + b"/.datasync/staging"):
        with open(folder + b"/\xff\xfe", "wb"):
            pass
    inside = raw + b"/.datasync/trash/20200101T000000Z-\xff"
    os.makedirs(raw + b"/.datasync/trash/20200101T000000Z-x/\xff/sub")
    os.makedirs(inside)
    with open(raw + b"/.datasync/trash/20200101T000000Z-x/\xff/sub/\xfe", "wb"):
        pass
    (root / ".datasync/trash/20200101T000000Z-x/b").write_bytes(b"1")
    assert [entry.path for entry in mirror.trash_entries()] == ["b"]
    assert [one.entry.path for one in mirror.restore(prefix="")] == ["b"]
    assert put(mirror, "ü", b"1").file.path == "ü"
    assert mirror.prune_trash(0, 2e9) == 1
    assert os.path.exists(raw + b"/\xff\xfe") and os.path.exists(inside)
    assert mirror.sweep() == 1


def test_case_variants_of_our_folder_stay_out_of_it(root: Path) -> None:
    with Mirror(root, case_sensitive=False) as mirror:
        mirror.prepare(bucket_identity="s3://bucket")
        assert put(mirror, ".DataSync/mirror.json", b"x").file.path == "%FF=.DataSync/mirror.json"


@pytest.mark.parametrize("key", [".data\u200csync/mirror.json", "\u2060.DataSync/mirror.json"])
def test_what_looks_like_our_folder_stays_out_of_it(root: Path, key: str) -> None:
    with Mirror(root, case_sensitive=False) as mirror:
        mirror.prepare(bucket_identity="s3://bucket")
        assert put(mirror, key, b"x").file.path == f"%FF={key}"


ZWNJ = "\u200c"


@pytest.fixture
def overlooking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that overlooks an invisible character, as ext4 does with case folding.

    Simulated, because few kernels and only root can mount one.
    """

    def plain(path: Any) -> Any:
        return path.replace(ZWNJ.encode(), b"") if isinstance(path, bytes) else path

    for name in ("open", "stat", "mkdir"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda path, *given, real=real, **named: real(plain(path), *given, **named)
        )


@pytest.mark.usefixtures("overlooking")
@pytest.mark.parametrize("path", ["mirror.json", "staging/x", "trash/20200101T000000Z-x/a"])
def test_our_folder_under_another_name_is_not_entered(
    mirror: Mirror, root: Path, path: str
) -> None:
    other = f".data{ZWNJ}sync/{path}"
    mirror.stage(0).discard()
    before = sorted(str(each) for each in root.rglob("*"))
    status = (root / ".datasync/mirror.json").stat()
    uses: list[Callable[[], object]] = [
        lambda: mirror.relocate(other),
        lambda: mirror.touch(other, 1),
        lambda: mirror.open(other),
    ]

    conflict = try_put(mirror, other, b"x")
    assert isinstance(conflict, PathConflict) and "own folder" in str(conflict)
    assert isinstance(mirror.remove([FileStat(other, 1, 1)], label="x")[0], PathConflict)
    assert not isinstance(mirror.stat_many([other])[0], FileStat)
    for use in uses:
        with pytest.raises(MirrorError):
            use()

    assert sorted(str(each) for each in root.rglob("*")) == before
    assert (root / ".datasync/mirror.json").stat().st_mtime_ns == status.st_mtime_ns
    assert put(mirror, f"a{ZWNJ}b/x", b"1").file.path == f"a{ZWNJ}b/x"
    mirror.check()


@pytest.mark.parametrize("path", [".", "..", "a/..", "a/../..", "/", "a//b", "/etc"])
def test_folder_handles_never_leave_the_root(root: Path, path: str) -> None:
    (root / "a").mkdir(parents=True)
    with Directories(os.open(root, os.O_RDONLY)) as directories:
        directories.open("a")
        for create in (False, True):
            with pytest.raises(MirrorError):
                directories.open(path, create=create)
    assert os.listdir(root) == ["a"] and os.listdir(root / "a") == []
