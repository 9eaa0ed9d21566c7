"""The trash: listing it page by page, restoring from it, pruning it."""

import errno
import os
from pathlib import Path

import pytest

from datasync.errors import FileMissing, MirrorError, PathConflict
from datasync.services.storage.mirror import Mirror, TrashEntry
from tests.support.clocks import StandingClock
from tests.support.disk import BUCKET, RecordingCalls, put, put_all, tree

DAY = 86_400.0


@pytest.fixture
def mirror(clocked: Mirror) -> Mirror:
    return clocked


def _trash(mirror: Mirror, key: str, data: bytes, label: str = "run-1") -> None:
    assert mirror.remove([put(mirror, key, data).file], label=label) == [True]


def test_an_entry_tells_what_and_when(mirror: Mirror, clock: StandingClock, root: Path) -> None:
    clock.now = 1_700_000_000.9
    _trash(mirror, "d/a b", b"123", label="held plan/№7")
    assert mirror.trash_entries() == [
        TrashEntry("20231114T221320Z-held-plan-7/d/a b", "d/a b", 3, 1_700_000_000.0, "held-plan-7")
    ]


def test_paging_finds_every_entry_once(mirror: Mirror, clock: StandingClock) -> None:
    keys = ["a", "a.b", "a/b/c", "a/b-", "a0", "z/y/x/w", "%FF", "ü/ü", "A", "a/b/c/d"]
    for number, some in enumerate([keys[:2], keys[3:9], keys[2:3], keys[9:]]):
        clock.now = number
        published = put_all(mirror, [(key, b"1") for key in some])
        mirror.remove([item.file for item in published], label="x")
    whole = mirror.trash_entries()
    assert len(whole) == len(keys) == len({entry.id for entry in whole})
    assert [entry.trashed_at for entry in whole] == sorted(entry.trashed_at for entry in whole)
    for size in (1, 2, 3, 7):
        pages, after = list[TrashEntry](), ""
        while page := mirror.trash_entries(after=after, limit=size):
            pages += page
            after = page[-1].id
        assert pages == whole
    for index, entry in enumerate(whole):
        assert mirror.trash_entries(after=entry.id) == whole[index + 1 :]
    below = mirror.trash_entries(prefix="a/b")
    assert {entry.path for entry in below} == {"a/b/c", "a/b-", "a/b/c/d"}


def test_paging_goes_on_when_the_last_entry_is_gone(mirror: Mirror, clock: StandingClock) -> None:
    published = put_all(mirror, [(key, b"1") for key in ("a", "b/c", "b/d", "e")])
    mirror.remove([item.file for item in published], label="x")
    first = mirror.trash_entries(limit=2)
    mirror.restore(first[-1].id)
    assert [entry.path for entry in mirror.trash_entries(after=first[-1].id)] == ["b/d", "e"]
    folder = first[0].id.partition("/")[0]
    assert [entry.path for entry in mirror.trash_entries(after=folder)] == ["a", "b/d", "e"]
    assert [entry.path for entry in mirror.trash_entries(after=f"{folder}/b")] == ["b/d", "e"]
    assert mirror.trash_entries(after="9") == []


def test_restoring_one_entry(mirror: Mirror, root: Path) -> None:
    published = put(mirror, "d/e/a", b"1")
    mirror.remove([published.file], label="x")
    [entry] = mirror.trash_entries()
    [restored] = mirror.restore(entry.id)
    assert (restored.entry, restored.file, restored.error) == (entry, published.file, None)
    assert tree(root) == {"d/e/a": b"1"}
    assert list((root / ".datasync/trash").iterdir()) == []


def test_restoring_keeps_what_is_there(mirror: Mirror, root: Path) -> None:
    _trash(mirror, "a", b"old")
    _trash(mirror, "d", b"old")
    put_all(mirror, [("a", b"new"), ("d/below", b"new")])
    before = mirror.trash_entries()
    results = mirror.restore(prefix="")
    assert [type(result.error) for result in results] == [PathConflict, PathConflict]
    assert "--overwrite" in (results[0].error.hint if results[0].error else "")
    assert mirror.trash_entries() == before
    [kept] = mirror.restore(prefix="d", overwrite=True)
    assert isinstance(kept.error, PathConflict)
    assert tree(root) == {"a": b"new", "d/below": b"new"}


def test_restoring_with_overwriting_swaps_the_two(
    mirror: Mirror, root: Path, calls: RecordingCalls
) -> None:
    _trash(mirror, "a", b"old")
    put(mirror, "a", b"new")
    calls.calls.clear()
    [restored] = mirror.restore(prefix="a", overwrite=True)
    assert restored.error is None and "exchange" in calls.calls
    assert tree(root) == {"a": b"old"}
    [entry] = mirror.trash_entries()
    assert (entry.label, (root / ".datasync/trash" / entry.id).read_bytes()) == ("replaced", b"new")


def test_restoring_below_a_prefix_takes_the_newest_of_each_path(
    mirror: Mirror, clock: StandingClock, root: Path
) -> None:
    for number in range(12):  # within one second, and over ten of them
        _trash(mirror, "d/a", b"%d" % number)
    clock.now = 60.0
    _trash(mirror, "d/b", b"newer", label="a")
    clock.now = 30.0
    _trash(mirror, "d/b", b"older", label="b")
    _trash(mirror, "e", b"x")
    assert {one.entry.path for one in mirror.restore(prefix="d/")} == {"d/a", "d/b"}
    assert tree(root) == {"d/a": b"11", "d/b": b"newer"}


@pytest.mark.parametrize(
    "entry",
    ["", "x", "20231114T221320Z-x", "20231114T221320Z-x/none", "99999999T999999Z-x/a"]
    + [
        "20231114T221320Z-x/../../mirror.json",
        "20231114T221320Z-x//a",
        "../../a",
        "19700101T000000Z-run-1",
    ]
    + [
        "19700101T000000Z-run-1/d",
        "19700101T000000Z-run-1/.datasync/a",
        "19700101T000000Z-run-1/../../mirror.json",
    ],
)
def test_restoring_what_is_not_in_the_trash(mirror: Mirror, root: Path, entry: str) -> None:
    _trash(mirror, "d/a", b"1")
    with pytest.raises(MirrorError):
        mirror.restore(entry)
    assert tree(root) == {}
    mirror.check()


def test_restore_takes_an_entry_or_a_prefix(mirror: Mirror) -> None:
    with pytest.raises(ValueError):
        mirror.restore()
    with pytest.raises(ValueError):
        mirror.restore("x", prefix="y")
    assert mirror.restore(prefix="none") == []


def test_one_that_vanishes_does_not_stop_the_others(
    mirror: Mirror, root: Path, calls: RecordingCalls
) -> None:
    published = put_all(mirror, [(key, b"1") for key in ("a", "b", "c")])
    mirror.remove([item.file for item in published], label="x")
    second = mirror.trash_entries()[1]
    calls.fail("rename_new", errno.EIO)
    calls.before["rename_new"] = [int, (root / ".datasync/trash" / second.id).unlink]
    results = mirror.restore(prefix="")
    errors = [type(result.error) for result in results]
    assert errors == [MirrorError, FileMissing, type(None)]
    assert tree(root) == {"c": b"1"}


def test_pruning_removes_what_is_old_and_nothing_else(
    mirror: Mirror, clock: StandingClock, root: Path
) -> None:
    put(mirror, "kept", b"1")
    for number in range(3):
        clock.now = number * DAY
        for key in ("a/b/c", "a/d", "e"):
            _trash(mirror, key, b"%d" % number)
    (root / ".datasync/trash/notes").mkdir()
    (root / ".datasync/trash/notes/mine").write_bytes(b"x")
    assert mirror.prune_trash(1.5 * DAY, now=2 * DAY) == 3
    assert {entry.trashed_at for entry in mirror.trash_entries()} == {DAY, 2 * DAY}
    assert mirror.prune_trash(0, now=3 * DAY) == 6
    assert mirror.trash_entries() == []
    assert [path.name for path in (root / ".datasync/trash").iterdir()] == ["notes"]
    assert tree(root) == {"kept": b"1"}


def test_pruning_ends_early_at_any_file(mirror: Mirror, clock: StandingClock) -> None:
    for number in range(2):
        clock.now = number * DAY
        for key in ("a/b", "a/c", "d"):
            _trash(mirror, key, b"1")
    looks = iter([False, False, True, True])
    assert mirror.prune_trash(0, 9 * DAY, lambda: next(looks)) == 1
    assert len(mirror.trash_entries()) == 5
    assert mirror.prune_trash(0, now=9 * DAY) == 5


def test_pruning_goes_on_beside_a_folder_that_cannot_be_removed(
    mirror: Mirror, clock: StandingClock, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        clock.now = number * DAY
        _trash(mirror, "d/a", b"1")
    stubborn = os.stat(root / ".datasync/trash/19700102T000000Z-run-1/d").st_ino
    unlink = os.unlink

    def refusing(name: bytes, *, dir_fd: int) -> None:
        if os.fstat(dir_fd).st_ino == stubborn:
            raise PermissionError(errno.EPERM, "immutable")
        unlink(name, dir_fd=dir_fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refusing)
        with pytest.raises(MirrorError, match="19700102T000000Z-run-1"):
            mirror.prune_trash(0, now=9 * DAY)
        assert [entry.trashed_at for entry in mirror.trash_entries()] == [DAY]
    assert mirror.prune_trash(0, now=9 * DAY) == 1


def test_folders_deeper_than_a_recursion_may_be(mirror: Mirror, root: Path) -> None:
    published = put(mirror, "/" * 1023 + "x", b"deep")
    assert mirror.stat_many([published.file.path]) == [published.file]
    assert mirror.remove([published.file], label="x") == [True]
    assert [path.name for path in root.iterdir()] == [".datasync"]
    assert [entry.path for entry in mirror.trash_entries()] == [published.file.path]
    assert mirror.prune_trash(0, now=DAY) == 1


def test_folders_deeper_than_handles_are_kept(mirror: Mirror, root: Path) -> None:
    published = put(mirror, "d/" * 150 + "x", b"deep")
    assert mirror.remove([published.file], label="x") == [True]
    replacement = put(mirror, "d/" * 150 + "x", b"newer").file
    [entry] = mirror.trash_entries()
    assert [one.error for one in mirror.restore(entry.id, overwrite=True)] == [None]
    assert mirror.stat_many([replacement.path]) == [published.file]
    assert [entry.size for entry in mirror.trash_entries()] == [5]


def test_a_trash_folder_that_was_deleted_is_made_again(mirror: Mirror, root: Path) -> None:
    (root / ".datasync/trash").rmdir()
    assert mirror.trash_entries() == []
    assert mirror.prune_trash(0, 0) == 0
    _trash(mirror, "a", b"1")
    assert len(mirror.trash_entries()) == 1


def test_a_restore_that_is_not_durable_is_not_reported_done(
    mirror: Mirror, calls: RecordingCalls
) -> None:
    _trash(mirror, "a", b"1")
    calls.fail("sync folder", errno.EIO, errno.EIO)
    with pytest.raises(MirrorError):
        mirror.restore(prefix="")


@pytest.mark.parametrize("happening", ["pruned", "restored"])
def test_a_folder_of_the_trash_that_goes_just_before_its_file_comes(
    mirror: Mirror, root: Path, calls: RecordingCalls, clock: StandingClock, happening: str
) -> None:
    """Another process empties the trash, or restores the folder's only file, at that moment."""
    with Mirror(root, clock=clock) as other:
        other.prepare(bucket_identity=BUCKET)
        _trash(mirror, "d/before", b"0")
        file = put(mirror, "d/a", b"1").file
        calls.before["rename_new"] = [
            lambda: other.prune_trash(0, DAY) if happening == "pruned" else other.restore(prefix="")
        ]
        assert mirror.remove([file], label="run-1") == [True]
    assert "d/a" not in tree(root)
    [entry] = [one for one in mirror.trash_entries() if one.path == "d/a"]
    assert (root / ".datasync/trash" / entry.id).read_bytes() == b"1"


def test_a_place_in_the_trash_that_keeps_going_away_deletes_nothing(
    mirror: Mirror, root: Path, calls: RecordingCalls
) -> None:
    file = put(mirror, "a", b"1").file
    calls.fail("rename_new", *[errno.ENOENT] * 99)
    [answer] = mirror.remove([file], label="run-1")
    assert isinstance(answer, PathConflict)
    assert tree(root) == {"a": b"1"}


def test_a_folder_that_a_run_removes_while_its_file_is_restored(
    mirror: Mirror, root: Path, calls: RecordingCalls
) -> None:
    _trash(mirror, "d/e/a", b"1")
    calls.before["rename_new"] = [lambda: os.removedirs(root / "d/e")]
    [restored] = mirror.restore(prefix="")
    assert restored.error is None
    assert tree(root) == {"d/e/a": b"1"}
