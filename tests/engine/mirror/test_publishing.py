"""Publishing: whole files, at their homes, losing nothing that was there."""

import errno
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from datasync.errors import (
    FileMissing,
    MirrorError,
    PathConflict,
)
from datasync.models.sync_models import FileStat
from datasync.services.storage.mirror import Mirror, Publication, Published
from tests.support.disk import (
    BUCKET,
    MTIME,
    RecordingCalls,
    put,
    put_all,
    staged_names,
    tree,
    try_put,
)


def test_a_file_arrives_whole_with_its_time(mirror: Mirror, root: Path) -> None:
    published = put(mirror, "d/e/a.txt", b"hello")
    assert published == Published(FileStat("d/e/a.txt", 5, MTIME * 10**9), trashed=False)
    assert tree(root) == {"d/e/a.txt": b"hello"}
    assert mirror.stat_many(["d/e/a.txt"]) == [published.file]
    assert staged_names(root) == []


def test_nothing_to_publish_or_remove_is_no_work(mirror: Mirror, calls: RecordingCalls) -> None:
    assert mirror.publish([]) == []
    assert mirror.remove([], label="x") == []
    assert calls.calls == []


def test_hostile_keys_arrive_below_the_root(mirror: Mirror, tmp_path: Path, root: Path) -> None:
    keys = [
        "../x",
        "/etc/x",
        "a/../../x",
        ".datasync/mirror.json",
        "a//b",
        "n\0l",
        "d/" * 400 + "x",
    ]
    keys += ["\\", "ü" * 300, "%FF=a", "-rf", "\n", "."]
    before = sorted(os.listdir(tmp_path))
    put_all(mirror, [(key, key.encode()) for key in keys])
    assert sorted(os.listdir(tmp_path)) == before
    descriptors = [mirror.open(put(mirror, key, key.encode()).file.path) for key in keys]
    for key, descriptor in zip(keys, descriptors, strict=True):
        assert os.read(descriptor, 2000) == key.encode()
        os.close(descriptor)
    mirror.check()


def test_our_own_file_is_replaced_without_trash(mirror: Mirror, root: Path) -> None:
    held = put(mirror, "a", b"old").file
    assert put(mirror, "a", b"newer", held=held, mtime=5).trashed is False
    assert tree(root) == {"a": b"newer"}
    assert mirror.trash_entries() == []
    assert os.stat(root / "a").st_mtime_ns == 5 * 10**9


def test_a_file_that_was_there_before_goes_to_the_trash(mirror: Mirror, root: Path) -> None:
    (root / "a").write_bytes(b"theirs")
    assert put(mirror, "a", b"ours").trashed is True
    assert tree(root) == {"a": b"ours"}
    [entry] = mirror.trash_entries()
    assert (entry.path, entry.size, entry.label) == ("a", 6, "replaced")
    assert (root / ".datasync/trash" / entry.id).read_bytes() == b"theirs"


def test_our_own_file_that_someone_edited_goes_to_the_trash(mirror: Mirror, root: Path) -> None:
    held = put(mirror, "a", b"ours").file
    (root / "a").write_bytes(b"edited")
    assert put(mirror, "a", b"newer", held=held).trashed is True
    [entry] = mirror.trash_entries()
    assert (root / ".datasync/trash" / entry.id).read_bytes() == b"edited"


def test_a_hard_link_is_broken_and_not_written_through(mirror: Mirror, tmp_path: Path) -> None:
    held = put(mirror, "a", b"ours").file
    os.link(tmp_path / "mirror/a", tmp_path / "outside")
    put(mirror, "a", b"newer", held=held)
    assert (tmp_path / "outside").read_bytes() == b"ours"
    os.link(tmp_path / "outside", tmp_path / "mirror/b")
    put(mirror, "b", b"newer")
    assert (tmp_path / "outside").read_bytes() == b"ours"


def test_a_file_beside_a_folder_of_its_name(mirror: Mirror, root: Path) -> None:
    put(mirror, "a/b", b"below")
    home = put(mirror, "a", b"beside").file
    assert home.path == "%FF=a"
    assert put(mirror, "a", b"again", held=home).file.path == "%FF=a"
    assert tree(root) == {"a/b": b"below", "%FF=a": b"again"}


def test_a_relocated_file_is_found_without_the_ledger(mirror: Mirror, root: Path) -> None:
    put_all(mirror, [("a/b", b"1"), ("a", b"2")])
    (root / "a/b").unlink()
    (root / "a").rmdir()
    published = put(mirror, "a", b"3", held=None)
    assert published.file.path == "%FF=a" and published.trashed
    assert tree(root) == {"%FF=a": b"3"}


def test_our_file_makes_way_for_a_folder(mirror: Mirror, root: Path) -> None:
    put(mirror, "d/a", b"file")
    conflict = try_put(mirror, "d/a/b/c", b"below")
    assert isinstance(conflict, PathConflict) and conflict.at == "d/a"
    assert "'d/a' is a file where a folder is needed" in str(conflict)
    moved = mirror.relocate("d/a")
    assert moved == FileStat("d/%FF=a", 4, MTIME * 10**9)
    put(mirror, "d/a/b/c", b"below")
    assert mirror.relocate("d/a") == moved
    assert tree(root) == {"d/%FF=a": b"file", "d/a/b/c": b"below"}


def test_relocating_what_is_not_there(mirror: Mirror, root: Path) -> None:
    for key in ("a", "no/folder"):
        with pytest.raises(FileMissing):
            mirror.relocate(key)
    put(mirror, "a", b"1")
    (root / "%FF=a").mkdir()
    with pytest.raises(PathConflict) as conflict:
        mirror.relocate("a")
    assert conflict.value.at == "%FF=a"
    assert (root / "a").read_bytes() == b"1"


def test_both_homes_taken_by_folders_is_a_conflict(mirror: Mirror, root: Path) -> None:
    (root / "a").mkdir()
    (root / "%FF=a").mkdir()
    conflict = try_put(mirror, "a", b"1")
    assert isinstance(conflict, PathConflict) and conflict.at == "%FF=a"


def test_one_bad_item_does_not_stop_its_neighbours(mirror: Mirror, root: Path) -> None:
    (root / "file").write_bytes(b"x")
    keys = ["a", "", "file/below", "x" * 2000, "b", "\ud800"]
    batch = [Publication(key, mirror.stage(0), MTIME) for key in keys]
    results = mirror.publish(batch)
    assert [isinstance(result, Published) for result in results] == [1, 0, 0, 0, 1, 0]
    assert all(isinstance(r, MirrorError) for r in results if not isinstance(r, Published))
    assert len(staged_names(root)) == 4
    for item in batch:
        item.staged.discard()
    assert staged_names(root) == []


@pytest.mark.parametrize("key", [".datasync-notes/x", ".datasync/x", ".datasyncs", "plain"])
def test_what_the_disk_refuses_one_key_is_no_matter_of_the_mirror(
    mirror: Mirror, calls: RecordingCalls, key: str
) -> None:
    calls.fail("rename_new", errno.EPERM, errno.EPERM, errno.EPERM)
    assert type(try_put(mirror, key, b"1")) is MirrorError
    assert type(try_put(mirror, key, b"1", mtime=2**80)) is MirrorError
    calls.failures.clear()
    held = put(mirror, key, b"1").file
    calls.fail("rename_new", errno.EPERM, errno.EPERM, errno.EPERM)
    assert type(mirror.remove([held], label="x")[0]) is MirrorError
    with pytest.raises(MirrorError) as caught:
        mirror.relocate(key)
    assert type(caught.value) is MirrorError


def test_a_time_that_no_disk_can_hold_is_an_error_of_its_item(mirror: Mirror) -> None:
    assert isinstance(try_put(mirror, "a", b"1", mtime=2**80), MirrorError)


def test_a_held_path_that_is_no_path_is_refused(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"safe")
    status = os.stat(tmp_path / "outside")
    held = FileStat("../outside", status.st_size, status.st_mtime_ns)
    assert isinstance(try_put(mirror, "a", b"1", held=held), MirrorError)
    assert isinstance(mirror.remove([held], label="x")[0], MirrorError)
    assert (tmp_path / "outside").read_bytes() == b"safe"


def test_a_held_file_that_is_gone_is_written_again(mirror: Mirror, root: Path) -> None:
    held = put(mirror, "d/a", b"1").file
    (root / "d/a").unlink()
    (root / "d").rmdir()
    assert put(mirror, "d/a", b"2", held=held) == Published(
        FileStat("d/a", 1, MTIME * 10**9), trashed=False
    )


@pytest.mark.usefixtures("umask")
def test_modes_follow_the_umask(mirror: Mirror, root: Path) -> None:
    put(mirror, "d/a", b"1")
    assert stat.S_IMODE(os.stat(root / "d/a").st_mode) == 0o640
    assert stat.S_IMODE(os.stat(root / "d").st_mode) == 0o750


def test_a_reader_sees_the_old_or_the_new_file_always(mirror: Mirror, root: Path) -> None:
    _watch_a_changing_file(mirror, root)


def test_so_it_does_where_names_cannot_be_exchanged(root: Path) -> None:
    calls = RecordingCalls().without("exchange")
    with Mirror(root, calls=calls) as mirror:
        mirror.prepare(bucket_identity=BUCKET)
        _watch_a_changing_file(mirror, root)
    assert "link" in calls.calls


def _watch_a_changing_file(mirror: Mirror, root: Path) -> None:
    """Replace `a` in every way there is; a reader must never miss it or see two versions mixed."""
    size, stop = 50_000, threading.Event()
    held = put(mirror, "a", b"0" * size).file

    def read() -> set[bytes]:
        seen = set()
        while not stop.is_set():
            data = (root / "a").read_bytes()
            seen.add(data[:1] if data == data[:1] * size else data)
        return seen

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        try:
            for number in range(150):
                known = held if number % 2 else None  # ours, or something for the trash
                held = put(mirror, "a", b"%d" % (number % 10) * size, held=known).file
        finally:
            stop.set()
    assert {len(data) for data in reader.result()} == {1}
    assert len(mirror.trash_entries()) == 75


def test_without_exchange_and_hard_links_nothing_is_lost(root: Path) -> None:
    calls = RecordingCalls().without("exchange", "link")
    with Mirror(root, calls=calls) as mirror:
        mirror.prepare(bucket_identity=BUCKET)
        (root / "a").write_bytes(b"theirs")
        assert put(mirror, "a", b"ours").trashed
        [entry] = mirror.trash_entries()
        assert (root / ".datasync/trash" / entry.id).read_bytes() == b"theirs"
