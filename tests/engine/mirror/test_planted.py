"""What others plant where the mirror works: files, second names, devices, chains of links."""

import errno
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from datasync.errors import MirrorError, PathConflict, TooManyOpenFiles
from datasync.services.storage.mirror import Mirror, NotAFile, Publication, Published
from tests.support.disk import MTIME, RecordingCalls, put, staged_names, tree, try_put


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A file of somebody else, which must stay as it is."""
    file = tmp_path / "outside"
    file.write_bytes(b"not ours")
    os.utime(file, (1, 1))
    before = file.stat()
    yield file
    now = file.stat()
    assert file.read_bytes() == b"not ours"
    assert (now.st_ino, now.st_mtime_ns, now.st_mode) == (before.st_ino, 10**9, before.st_mode)


def next_names(mirror: Mirror, root: Path, count: int) -> list[Path]:
    """The names that the next staged files would have."""
    with mirror.stage() as staged:
        token, _, number = os.fsdecode(staged.name).partition("-")
    first = int(number, 16) + 1
    return [root / ".datasync/staging" / f"{token}-{first + n:x}" for n in range(count)]


@pytest.mark.parametrize("kind", ["link", "hard link", "fifo", "folder"])
def test_a_name_in_staging_that_is_taken_is_passed_over(
    mirror: Mirror, root: Path, outside: Path, kind: str
) -> None:
    for name in next_names(mirror, root, 5):
        _plant(kind, name, outside)
    put(mirror, "a", b"ours")
    assert tree(root) == {"a": b"ours"}


def _plant(kind: str, name: Path, outside: Path) -> None:
    if kind == "link":
        name.symlink_to(outside)
    elif kind == "hard link":
        name.hardlink_to(outside)
    elif kind == "fifo":
        os.mkfifo(name)
    else:
        name.mkdir()


def test_names_that_are_all_taken_are_an_error(mirror: Mirror, root: Path) -> None:
    for name in next_names(mirror, root, 150):
        name.touch()
    with pytest.raises(MirrorError, match="File exists"):
        mirror.stage()
    put(mirror, "a", b"the last fifty are passed over")


@pytest.mark.parametrize("kind", ["link", "hard link", "fifo", "folder"])
def test_a_staged_file_that_was_swapped_is_neither_written_nor_published(
    mirror: Mirror, root: Path, outside: Path, kind: str
) -> None:
    with mirror.stage() as staged:
        staged.write(b"not ours")  # as long as the other one
        staged.seal()
        name = root / ".datasync/staging" / os.fsdecode(staged.name)
        name.unlink()
        _plant(kind, name, outside)
        with pytest.raises(MirrorError):
            staged.write(b"through the other name")
        with pytest.raises(MirrorError):
            staged.read_at(0, 8)
        [result] = mirror.publish([Publication("a", staged, MTIME)])
        assert isinstance(result, MirrorError)
        assert "not the one" in str(result)
    assert tree(root) == {}


def test_a_chain_of_links_is_one_link_among_the_folders(
    mirror: Mirror, root: Path, tmp_path: Path
) -> None:
    beside = tmp_path / "beside"
    beside.mkdir()
    (root / "c").symlink_to(beside)
    (root / "b").symlink_to("c")
    (root / "d").symlink_to("b")
    (root / "round").symlink_to("round")
    for key in ("d/x", "d/sub/x", "round/x"):
        conflict = try_put(mirror, key, b"x")
        assert isinstance(conflict, PathConflict) and conflict.at == key.split("/")[0]
    assert put(mirror, "d", b"ours").trashed
    assert os.listdir(beside) == []
    assert os.readlink(root / "b") == "c"


def test_a_device_at_the_target_is_not_opened_and_goes_to_the_trash(
    mirror: Mirror, root: Path
) -> None:
    # The one device that every user may make: a whiteout (mknod(2), Linux 5.8).
    os.mknod(root / "a", stat.S_IFCHR | 0o600, os.makedev(0, 0))
    assert mirror.stat_many(["a"]) == [NotAFile("a", "device", "a")]
    with pytest.raises(MirrorError):
        mirror.open("a")
    assert put(mirror, "a", b"ours").trashed
    [entry] = mirror.trash_entries()
    assert stat.S_ISCHR((root / ".datasync/trash" / entry.id).lstat().st_mode)
    assert mirror.prune_trash(0, 4e9) == 1


def test_a_folder_full_of_files_in_the_way_is_left_alone(mirror: Mirror, root: Path) -> None:
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/theirs").write_bytes(b"x")
    assert put(mirror, "a/b", b"ours").file.path == "a/%FF=b"
    assert (root / "a/b/theirs").read_bytes() == b"x"


# What the disk does not let us remove


def test_what_could_not_be_removed_is_removed_later(
    mirror: Mirror, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", _refusing(errno.EROFS))
        for _ in range(3):
            mirror.stage().discard()
    assert len(staged_names(root)) == 3
    mirror.sweep()  # its owner lives: no sweep may touch it
    assert len(staged_names(root)) == 3
    mirror.stage().discard()
    assert staged_names(root) == []


def _refusing(number: int):  # type: ignore[no-untyped-def]
    def call(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


# Refusals that are about no file


def test_no_descriptor_left_is_no_word_about_any_file(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every file of the folder would be fetched again, because it looks changed."""
    put(mirror, "d/a", b"1")
    real = os.open

    def only_the_root(path: bytes, flags: int, *more: int, **named: int) -> int:
        if "dir_fd" in named:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(path, flags, *more, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", only_the_root)
        with pytest.raises(TooManyOpenFiles, match="Too many open files") as raised:
            mirror.stat_many(["d/a"])
    assert raised.value.retryable and "LimitNOFILE" in raised.value.hint
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", _refusing(errno.ENFILE))
        with pytest.raises(TooManyOpenFiles):
            mirror.check()


def test_a_file_system_mounted_below_is_named_as_what_is_in_the_way(
    mirror: Mirror, calls: RecordingCalls, root: Path
) -> None:
    calls.fail("rename_new", errno.EXDEV)
    conflict = try_put(mirror, "disk/a", b"x")
    assert isinstance(conflict, PathConflict)
    assert "another file system is mounted there" in str(conflict)
    assert "S3_PREFIX" in conflict.hint
    held = put(mirror, "a", b"x").file
    calls.fail("rename_new", errno.EXDEV)
    assert isinstance(mirror.remove([held], label="x")[0], PathConflict)
    assert tree(root) == {"a": b"x"}
    assert staged_names(root) == []


def test_an_immutable_file_is_reported_and_stays(
    mirror: Mirror, calls: RecordingCalls, root: Path
) -> None:
    held = put(mirror, "a", b"old").file
    calls.fail("replace", errno.EPERM)
    refused = try_put(mirror, "a", b"new", held=held)
    assert isinstance(refused, MirrorError) and "lsattr" in refused.hint
    assert tree(root) == {"a": b"old"}
    assert isinstance(try_put(mirror, "a", b"new", held=held), Published)


def test_threads_that_stage_at_once_share_the_leftovers(
    mirror: Mirror, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", _refusing(errno.EIO))
        for _ in range(50):
            mirror.stage().discard()
    threads = [threading.Thread(target=lambda: mirror.stage().discard()) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert staged_names(root) == []
