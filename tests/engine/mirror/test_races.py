"""Others change the folder between our look and our step: nothing is lost, the step still ends."""

import errno
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from datasync.errors import MirrorError, PathConflict
from datasync.models.sync_models import FileStat
from datasync.services.storage import removing
from datasync.services.storage.directories import Directories, look
from datasync.services.storage.mirror import Mirror, Published
from tests.support.disk import BUCKET, RecordingCalls, put, put_all, staged_names, tree, try_put


def _trashed(mirror: Mirror, root: Path) -> list[bytes]:
    return [(root / ".datasync/trash" / entry.id).read_bytes() for entry in mirror.trash_entries()]


def _writes(path: Path, data: bytes) -> Callable[[], object]:
    return lambda: path.write_bytes(data)


def test_a_file_appears_where_ours_goes(mirror: Mirror, calls: RecordingCalls, root: Path) -> None:
    calls.before["rename_new"] = [_writes(root / "a", b"theirs")]
    assert put(mirror, "a", b"ours").trashed
    assert tree(root) == {"a": b"ours"} and _trashed(mirror, root) == [b"theirs"]


def test_a_folder_appears_where_our_file_goes(
    mirror: Mirror, calls: RecordingCalls, root: Path
) -> None:
    calls.before["rename_new"] = [(root / "a").mkdir]
    assert put(mirror, "a", b"ours").file.path == "%FF=a"


def test_the_folder_is_pruned_under_us(mirror: Mirror, calls: RecordingCalls, root: Path) -> None:
    def prune() -> None:
        (root / "d/e").rmdir()
        (root / "d").rmdir()

    calls.before["rename_new"] = [prune]
    put(mirror, "d/e/a", b"ours")
    assert tree(root) == {"d/e/a": b"ours"}


def test_our_own_file_becomes_a_folder(mirror: Mirror, calls: RecordingCalls, root: Path) -> None:
    held = put(mirror, "a", b"old").file

    def swap() -> None:
        (root / "a").unlink()
        (root / "a").mkdir()

    calls.before["replace"] = [swap]
    assert put(mirror, "a", b"ours", held=held).file.path == "%FF=a"
    assert (root / "a").is_dir()


@pytest.mark.parametrize("missing", [[], ["exchange"]])
def test_what_is_to_be_displaced_becomes_a_folder(root: Path, missing: list[str]) -> None:
    calls = RecordingCalls().without(*missing)
    with Mirror(root, calls=calls) as mirror:
        mirror.prepare(bucket_identity="s3://bucket")
        (root / "a").write_bytes(b"theirs")

        def swap() -> None:
            (root / "a").unlink()
            (root / "a").mkdir()
            (root / "a/below").write_bytes(b"theirs too")

        calls.before["link" if missing else "exchange"] = [swap]
        assert put(mirror, "a", b"ours").file.path == "%FF=a"
    assert tree(root) == {"a/below": b"theirs too", "%FF=a": b"ours"}


def test_what_is_to_be_displaced_vanishes(
    mirror: Mirror, calls: RecordingCalls, root: Path
) -> None:
    (root / "a").write_bytes(b"theirs")
    calls.before["exchange"] = [(root / "a").unlink]
    assert put(mirror, "a", b"ours").trashed is False
    assert tree(root) == {"a": b"ours"} and _trashed(mirror, root) == []


def test_a_file_appears_while_nothing_can_be_exchanged_or_linked(root: Path) -> None:
    calls = RecordingCalls().without("exchange", "link")
    with Mirror(root, calls=calls) as mirror:
        mirror.prepare(bucket_identity="s3://bucket")
        (root / "a").write_bytes(b"first")
        calls.calls.clear()
        # the taken name, the slot, back, the old one to the slot, and now the new one there
        steps: list[Callable[[], object]] = [lambda: None] * 4
        calls.before["rename_new"] = [*steps, _writes(root / "a", b"second")]
        assert put(mirror, "a", b"ours").trashed
        assert tree(root) == {"a": b"ours"}
        assert sorted(_trashed(mirror, root)) == [b"first", b"second"]


def test_a_link_that_is_refused_for_another_reason_is_an_error(root: Path) -> None:
    calls = RecordingCalls().without("exchange")
    with Mirror(root, calls=calls) as mirror:
        mirror.prepare(bucket_identity="s3://bucket")
        (root / "a").write_bytes(b"theirs")
        calls.fail("link", errno.EIO)
        assert isinstance(try_put(mirror, "a", b"ours"), MirrorError)
    assert tree(root) == {"a": b"theirs"}
    assert staged_names(root) == []


def test_a_target_that_never_stands_still_is_a_conflict(
    mirror: Mirror, calls: RecordingCalls, root: Path
) -> None:
    def appear() -> None:
        (root / "a").write_bytes(b"theirs")
        calls.before["exchange"] = [(root / "a").unlink]
        calls.before["rename_new"] += [lambda: None, lambda: None, appear]

    calls.before["rename_new"] = [appear]
    result = try_put(mirror, "a", b"ours")
    assert isinstance(result, PathConflict) and "keeps changing" in str(result)
    assert staged_names(root) == []


def test_a_file_vanishes_while_it_is_removed(
    mirror: Mirror, calls: RecordingCalls, root: Path
) -> None:
    held = put(mirror, "a", b"1").file
    calls.before["rename_new"] = [(root / "a").unlink]
    assert mirror.remove([held], label="x") == [False]


def test_a_refused_removal_is_its_own_error(
    mirror: Mirror, calls: RecordingCalls, root: Path
) -> None:
    held = [put(mirror, key, b"1").file for key in ("a", "b")]
    calls.fail("rename_new", errno.EACCES)
    answers = mirror.remove(held, label="x")
    assert isinstance(answers[0], MirrorError) and answers[1] is True
    assert tree(root) == {"a": b"1"}


def test_a_folder_removed_by_others_lets_those_above_go(
    mirror: Mirror, calls: RecordingCalls, root: Path
) -> None:
    held = put(mirror, "d/e/f/a", b"1").file
    real = os.rmdir
    gone: list[bytes] = []

    def before(path: bytes, *, dir_fd: int) -> None:
        if not gone:
            real(path, dir_fd=dir_fd)  # someone is faster than us
        gone.append(path)
        real(path, dir_fd=dir_fd)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "rmdir", before)
        assert mirror.remove([held], label="x") == [True]
    assert gone == [b"f", b"e", b"d"]
    assert os.listdir(root) == [".datasync"]


def test_relocating_what_cannot_be_made_durable(
    mirror: Mirror, calls: RecordingCalls, root: Path
) -> None:
    put(mirror, "a", b"1")
    calls.fail("sync folder", errno.EIO)
    with pytest.raises(MirrorError):
        mirror.relocate("a")
    assert mirror.relocate("a").path == "%FF=a"  # tried again, it is found done


def test_a_file_swapped_for_a_link_while_it_is_touched(
    mirror: Mirror, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "outside").write_bytes(b"safe")
    before = os.stat(tmp_path / "outside")
    put(mirror, "a", b"1")

    def look_and_swap(name: bytes, folder: int) -> os.stat_result | None:
        found = look(name, folder)
        (root / "a").unlink()
        (root / "a").symlink_to("../outside")
        return found

    monkeypatch.setattr(removing, "look", look_and_swap)
    mirror.touch("a", 1)
    assert os.stat(tmp_path / "outside").st_mtime_ns == before.st_mtime_ns


def test_two_mirrors_publish_one_key_at_once(
    mirror: Mirror, calls: RecordingCalls, root: Path
) -> None:
    with Mirror(root) as other:
        other.prepare(bucket_identity=BUCKET)
        calls.before["rename_new"] = [lambda: put(other, "a", b"theirs")]
        assert isinstance(try_put(mirror, "a", b"ours"), Published)
    assert tree(root) == {"a": b"ours"} and _trashed(mirror, root) == [b"theirs"]


def test_a_folder_vanishes_while_the_trash_is_listed(
    mirror: Mirror, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = put_all(mirror, [(key, b"1") for key in ("a/x", "b/x", "c/x")])
    mirror.remove([item.file for item in published], label="x")
    [folder] = (root / ".datasync/trash").iterdir()
    real = Directories.names

    def names_then_gone(self: Directories, path: str) -> list[bytes]:
        found = real(self, path)
        if path.endswith("-x"):
            shutil.rmtree(folder / "b")
        return found

    monkeypatch.setattr(Directories, "names", names_then_gone)
    assert [entry.path for entry in mirror.trash_entries()] == ["a/x", "c/x"]


def test_below_a_file_that_vanishes_the_conflict_stands(
    mirror: Mirror, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a").write_bytes(b"theirs")

    def refuse(self: Directories, path: str) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Directories, "kind", refuse)
    assert isinstance(mirror.remove([FileStat("a/b", 1, 1)], label="x")[0], PathConflict)


def test_a_published_file_whose_folder_is_moved_away_is_no_failure(
    mirror: Mirror, calls: RecordingCalls, root: Path
) -> None:
    """Its folder cannot be made durable any more; the next reconciliation finds it missing."""
    calls.without("sync_file_system")

    def lose_folders() -> None:
        for number in range(80):
            (root / f"d{number}").rename(root / f"moved{number}")

    waits: list[Callable[[], object]] = [lambda: None] * 80
    calls.before["rename_new"] = [*waits, lose_folders]
    put_all(mirror, [*((f"d{number}/a", b"1") for number in range(80)), ("last", b"1")])
    assert len(tree(root)) == 81


def test_writers_in_many_threads(mirror: Mirror, root: Path) -> None:
    keys = [f"d{number % 3}/f{number}" for number in range(120)]

    def work(key: str) -> bool | MirrorError:
        return mirror.remove([put(mirror, key, b"x").file], label="x")[0]

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(work, keys)) == [True] * len(keys)
    assert tree(root) == {} and os.listdir(root) == [".datasync"]
    assert {entry.path for entry in mirror.trash_entries()} == set(keys)
