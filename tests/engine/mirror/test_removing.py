"""Removing to the trash, and dating what stays."""

from pathlib import Path

import pytest

from datasync.errors import (
    FileMissing,
    MirrorError,
)
from datasync.models.sync_models import FileStat
from datasync.services.storage.mirror import Mirror
from tests.support.disk import (
    BUCKET,
    put,
    put_all,
    tree,
)


def test_removed_files_go_to_the_trash_and_empty_folders_go(mirror: Mirror, root: Path) -> None:
    published = put_all(mirror, [("a/b/c", b"1"), ("a/b/d", b"2"), ("e", b"3"), ("f/g", b"4")])
    (root / "f/theirs").write_bytes(b"5")
    gone = FileStat("a/none", 1, 1), FileStat("none/x", 1, 1)
    answers = mirror.remove([*(item.file for item in published), *gone], label="run-7")
    assert answers == [True, True, True, True, False, False]
    assert tree(root) == {"f/theirs": b"5"}
    assert not (root / "a").exists() and (root / "f").exists()
    entries = mirror.trash_entries()
    assert [entry.path for entry in entries] == ["a/b/c", "a/b/d", "e", "f/g"]
    assert {entry.label for entry in entries} == {"run-7"}


def test_a_file_that_changed_since_goes_to_the_trash_all_the_same(
    mirror: Mirror, root: Path
) -> None:
    held = put(mirror, "a", b"ours").file
    (root / "a").write_bytes(b"edited by someone")
    assert mirror.remove([held], label="events") == [True]
    [entry] = mirror.trash_entries()
    assert (root / ".datasync/trash" / entry.id).read_bytes() == b"edited by someone"


def test_a_folder_in_our_files_place_is_left_alone(mirror: Mirror, root: Path) -> None:
    held = put(mirror, "a", b"1").file
    (root / "a").unlink()
    (root / "a").mkdir()
    assert mirror.remove([held], label="x") == [False]
    assert (root / "a").is_dir()


def test_below_a_plain_file_nothing_is_left(mirror: Mirror, root: Path) -> None:
    (root / "a").write_bytes(b"theirs")
    assert mirror.remove([FileStat("a/b/c", 1, 1)], label="x") == [False]
    assert tree(root) == {"a": b"theirs"}


def test_the_same_path_can_be_removed_many_times_in_a_second(root: Path) -> None:
    with Mirror(root, clock=lambda: 0.0) as mirror:
        mirror.prepare(bucket_identity=BUCKET)
        for number in range(5):
            assert mirror.remove([put(mirror, "a", b"%d" % number).file], label="x") == [True]
        assert mirror.remove([put(mirror, "a/b", b"below").file], label="x") == [True]
        ids = [entry.id for entry in mirror.trash_entries()]
    assert sorted(ids) == ids
    assert ids[-1].startswith("19700101T000000Z.") and len(set(ids)) == 6
    contents = {(root / ".datasync/trash" / one).read_bytes() for one in ids}
    assert contents == {b"0", b"1", b"2", b"3", b"4", b"below"}


def test_touching_sets_the_time(mirror: Mirror, root: Path) -> None:
    put(mirror, "d/a", b"1")
    assert mirror.touch("d/a", 7) == FileStat("d/a", 1, 7 * 10**9)
    assert mirror.stat_many(["d/a"]) == [FileStat("d/a", 1, 7 * 10**9)]


def test_touching_what_is_no_file(mirror: Mirror, root: Path) -> None:
    (root / "folder").mkdir()
    (root / "link").symlink_to("nowhere")
    for path in ("none", "none/x", "folder", "link"):
        with pytest.raises(FileMissing):
            mirror.touch(path, 1)
    with pytest.raises(MirrorError):
        mirror.touch("../x", 1)
