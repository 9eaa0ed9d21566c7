"""What is made durable, and when: files before their renames, folders after them."""

import errno
import os
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from datasync.errors import DiskFull, MirrorError, MirrorUnavailable
from datasync.services.storage.durability import FEW
from datasync.services.storage.mirror import Mirror, Publication, Published
from tests.support.disk import MTIME, RecordingCalls, put, put_all, staged_names, tree

MANY = [(f"d{number}/a", b"x") for number in range(2 * FEW)]


def _order(calls: RecordingCalls) -> list[str]:
    """The calls, each run of equal ones once, writing left out."""
    return [call for call, _ in groupby(calls.calls) if call != "write_at"]


def test_a_few_files_are_synced_one_by_one(mirror: Mirror, calls: RecordingCalls) -> None:
    put_all(mirror, [("d/a", b"1"), ("d/b", b"2")])
    assert _order(calls) == ["sync file", "rename_new", "sync folder"]
    assert calls.calls.count("sync file") == 2
    assert calls.calls.count("sync folder") == 2  # d, and the root that holds it


def test_many_files_share_two_rounds(mirror: Mirror, calls: RecordingCalls) -> None:
    put_all(mirror, MANY)
    assert _order(calls) == ["sync_file_system", "rename_new", "sync_file_system"]
    assert calls.calls.count("sync_file_system") == 2


def test_so_it_is_where_there_is_no_call_for_all(root: Path) -> None:
    calls = RecordingCalls().without("sync_file_system")
    with Mirror(root, calls=calls) as mirror:
        mirror.prepare(bucket_identity="s3://bucket")
        calls.calls.clear()
        put_all(mirror, MANY)
        assert _order(calls) == ["sync file", "rename_new", "sync folder"]
        assert calls.calls.count("sync file") == len(MANY)
        assert calls.calls.count("sync folder") == len(MANY) + 1
        mirror.sync()


class NotingCalls(RecordingCalls):
    """Remembers which folders were made durable, by device and inode."""

    def __init__(self) -> None:
        super().__init__()
        self.synced: set[tuple[int, int]] = set()

    def sync(self, descriptor: int) -> None:
        super().sync(descriptor)
        status = os.fstat(descriptor)
        self.synced.add((status.st_dev, status.st_ino))


def test_a_root_that_was_just_made_is_durable_itself(tmp_path: Path) -> None:
    """Or a power cut could leave the files durable in a folder without a name."""
    calls = NotingCalls()
    with Mirror(tmp_path / "new" / "mirror", calls=calls) as mirror:
        mirror.prepare(bucket_identity="s3://bucket")
    for folder in (tmp_path, tmp_path / "new", tmp_path / "new" / "mirror"):
        status = folder.stat()
        assert (status.st_dev, status.st_ino) in calls.synced, folder


def test_a_root_below_a_folder_that_cannot_be_read_is_durable_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(os, "sync", lambda: synced.append("everything"))
    monkeypatch.setattr(os, "open", refuse(os.open, tmp_path))
    with Mirror(tmp_path / "mirror") as mirror:
        mirror.prepare(bucket_identity="s3://bucket")
    assert synced == ["everything"]


def refuse(opening: Callable[..., int], folder: Path) -> Callable[..., int]:
    """`os.open`, but this folder is not ours to read, which no mode bit tells root."""

    def opened(path: object, *given: Any, **named: Any) -> int:
        if path == folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opening(path, *given, **named)

    return opened


def test_a_root_that_cannot_be_made_durable_is_not_prepared(root: Path) -> None:
    calls = RecordingCalls()
    calls.fail("sync folder", 0, 0, errno.EIO)  # after the root and our folder in it
    mirror = Mirror(root, calls=calls)
    with pytest.raises(MirrorError):
        mirror.prepare(bucket_identity="s3://bucket")
    with pytest.raises(MirrorUnavailable, match="not prepared"):
        mirror.stage()


def test_replacing_is_durable_too(mirror: Mirror, calls: RecordingCalls, root: Path) -> None:
    held = put(mirror, "a", b"1").file
    calls.calls.clear()
    put(mirror, "a", b"2", held=held)
    assert _order(calls) == ["sync file", "replace", "sync folder"]
    calls.calls.clear()
    put(mirror, "a", b"3")
    assert _order(calls) == ["sync file", "rename_new", "exchange", "sync folder"]


def test_removing_and_relocating_are_durable(mirror: Mirror, calls: RecordingCalls) -> None:
    held = put(mirror, "a", b"1").file
    calls.calls.clear()
    mirror.remove([held], label="x")
    assert _order(calls) == ["rename_new", "sync folder"]
    put(mirror, "a", b"1")
    calls.calls.clear()
    mirror.relocate("a")
    assert _order(calls) == ["rename_new", "sync folder"]
    put(mirror, "b", b"1")
    calls.calls.clear()
    mirror.sync()
    assert _order(calls) == ["sync_file_system"]


def test_without_durability_nothing_is_synced(root: Path, calls: RecordingCalls) -> None:
    with Mirror(root, durable=False, calls=calls) as mirror:
        mirror.prepare(bucket_identity="s3://bucket")
        published = put_all(mirror, MANY)
        mirror.remove([item.file for item in published], label="x")
        mirror.restore(prefix="")
        mirror.sync()
    assert not [call for call in calls.calls if "sync" in call]
    assert len(tree(root)) == len(MANY)


def test_a_file_that_cannot_be_made_durable_is_not_published(
    mirror: Mirror, calls: RecordingCalls, root: Path
) -> None:
    calls.fail("sync file", errno.EIO)
    batch = []
    for key in ("a", "b"):
        staged = mirror.stage()
        staged.write(b"1")
        batch.append(Publication(key, staged, MTIME))
    results = mirror.publish(batch)
    assert isinstance(results[0], MirrorError) and isinstance(results[1], Published)
    assert tree(root) == {"b": b"1"}
    batch[0].staged.discard()
    assert staged_names(root) == []


def test_after_a_write_error_nothing_staged_before_is_trusted(
    mirror: Mirror, calls: RecordingCalls, root: Path
) -> None:
    bystander = mirror.stage(1)
    bystander.write(b"1")
    calls.fail("sync_file_system", errno.EIO)
    with pytest.raises(AssertionError):
        put_all(mirror, MANY)
    assert tree(root) == {}
    [result] = mirror.publish([Publication("a", bystander, MTIME)])
    assert isinstance(result, MirrorError) and "write error" in str(result)
    bystander.discard()
    put(mirror, "a", b"2")
    assert tree(root) == {"a": b"2"}


def test_a_folder_that_cannot_be_made_durable_fails_its_files_only(
    mirror: Mirror, calls: RecordingCalls
) -> None:
    put_all(mirror, [("d/a", b"1"), ("e/a", b"1")])
    calls.fail("sync folder", errno.EIO)
    batch = [Publication(key, mirror.stage(0), MTIME) for key in ("d/b", "e/b")]
    results = mirror.publish(batch)
    assert sorted(isinstance(result, Published) for result in results) == [False, True]


def test_many_folders_that_cannot_be_made_durable(mirror: Mirror, calls: RecordingCalls) -> None:
    calls.fail("sync_file_system", 0, errno.ENOSPC)
    batch = [Publication(key, mirror.stage(0), MTIME) for key, _ in MANY]
    assert all(isinstance(result, DiskFull) for result in mirror.publish(batch))


def test_a_removal_that_is_not_durable_is_no_removal(mirror: Mirror, calls: RecordingCalls) -> None:
    held = put(mirror, "a", b"1").file
    calls.fail("sync folder", errno.EIO, errno.EIO, errno.EIO, errno.EIO)
    assert isinstance(mirror.remove([held], label="x")[0], MirrorError)


def test_a_displaced_file_whose_trash_is_not_durable(
    mirror: Mirror, calls: RecordingCalls, root: Path
) -> None:
    (root / "a").write_bytes(b"theirs")
    calls.fail("sync folder", *[errno.EIO] * 8)
    staged = mirror.stage(0)
    [result] = mirror.publish([Publication("a", staged, MTIME)])
    assert isinstance(result, MirrorError)
