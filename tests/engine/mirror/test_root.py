"""Preparing a folder, and noticing that it is not the one that was prepared."""

import errno
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from datasync.errors import (
    ConfigurationError,
    DiskFull,
    MirrorError,
    MirrorUnavailable,
)
from datasync.models.sync_models import FileStat
from datasync.services.storage.mirror import Mirror, Publication
from tests.support.disk import (
    BUCKET,
    RecordingCalls,
    put,
    staged_names,
    tree,
)


def test_making_a_mirror_touches_nothing(root: Path) -> None:
    Mirror(root)
    assert not root.exists()


def test_preparing_makes_the_folders_and_the_marker(mirror: Mirror, root: Path) -> None:
    assert sorted(os.listdir(root / ".datasync")) == ["mirror.json", "staging", "trash"]
    marker = json.loads((root / ".datasync/mirror.json").read_text())
    assert marker["bucket"] == BUCKET and marker["format"] == 1
    assert len(marker["mirror_id"]) == 32 and marker["created"] > 0
    assert os.listdir(root / ".datasync/staging") == []


def test_preparing_again_keeps_the_marker(mirror: Mirror, root: Path) -> None:
    before = (root / ".datasync/mirror.json").read_bytes()
    mirror.prepare(bucket_identity=BUCKET)
    Mirror(root).prepare(bucket_identity=BUCKET)
    assert (root / ".datasync/mirror.json").read_bytes() == before


def test_many_processes_prepare_at_once(root: Path) -> None:
    mirrors = [Mirror(root) for _ in range(8)]
    threads = [
        threading.Thread(target=mirror.prepare, kwargs={"bucket_identity": BUCKET})
        for mirror in mirrors
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for mirror in mirrors:
        mirror.check()
        mirror.close()
    assert sorted(os.listdir(root / ".datasync")) == ["mirror.json", "staging", "trash"]


def test_the_mirror_of_another_bucket_is_refused_until_adopted(mirror: Mirror, root: Path) -> None:
    put(mirror, "a", b"1")
    other = Mirror(root)
    with pytest.raises(ConfigurationError, match="mirror of s3://bucket") as refused:
        other.prepare(bucket_identity="s3://other")
    assert "--adopt" in refused.value.hint
    with pytest.raises(MirrorUnavailable):
        other.sweep()
    other.prepare(bucket_identity="s3://other", adopt=True)
    other.check()
    assert tree(root) == {"a": b"1"}
    with pytest.raises(ConfigurationError):
        Mirror(root).prepare(bucket_identity=BUCKET)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"bucket": 1, "format": "x"}', "\0"])
def test_a_damaged_marker_is_refused_until_adopted(mirror: Mirror, root: Path, text: str) -> None:
    (root / ".datasync/mirror.json").write_text(text)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Mirror(root).prepare(bucket_identity=BUCKET)
    with pytest.raises(MirrorUnavailable):
        mirror.check()
    Mirror(root).prepare(bucket_identity=BUCKET, adopt=True)
    assert json.loads((root / ".datasync/mirror.json").read_text())["bucket"] == BUCKET


def test_a_marker_of_a_later_format_is_refused(mirror: Mirror, root: Path) -> None:
    path = root / ".datasync/mirror.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(ConfigurationError, match="format 2"):
        Mirror(root).prepare(bucket_identity=BUCKET)


def test_a_marker_that_is_no_file_is_refused(mirror: Mirror, root: Path) -> None:
    path = root / ".datasync/mirror.json"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(MirrorUnavailable):
        Mirror(root).prepare(bucket_identity=BUCKET)
    with pytest.raises(MirrorUnavailable):
        mirror.check()


def test_the_root_may_be_a_link_that_the_operator_made(tmp_path: Path) -> None:
    (tmp_path / "big disk").mkdir()
    (tmp_path / "link").symlink_to("big disk")
    with Mirror(tmp_path / "link") as mirror:
        mirror.prepare(bucket_identity=BUCKET)
        put(mirror, "a", b"1")
    assert (tmp_path / "big disk/a").read_bytes() == b"1"


def test_a_root_that_is_a_file_is_unavailable(root: Path) -> None:
    root.write_text("not a folder")
    with pytest.raises(MirrorUnavailable, match="made"):
        Mirror(root).prepare(bucket_identity=BUCKET)
    with pytest.raises(MirrorUnavailable, match="opened"):
        Mirror(root).stat_many(["a"])


def test_checking_changes_nothing(mirror: Mirror, root: Path) -> None:
    mirror.check()
    assert tree(root) == {} and staged_names(root) == []


def test_a_root_that_went_away_is_noticed_everywhere(mirror: Mirror, root: Path) -> None:
    staged = mirror.stage()
    root.rename(root.with_name("unmounted"))
    uses: list[Callable[[], object]] = [
        mirror.check,
        mirror.stage,
        mirror.sweep,
        mirror.sync,
        lambda: mirror.require_room(0),
        lambda: mirror.stat_many(["a"]),
        lambda: mirror.open("a"),
        lambda: mirror.relocate("a"),
        lambda: mirror.touch("a", 1),
        lambda: mirror.trash_entries(),
        lambda: mirror.restore(prefix=""),
        lambda: mirror.prune_trash(0, 0),
    ]
    for replaced in (False, True):
        if replaced:  # the bare mount point
            root.mkdir()
        for use in uses:
            with pytest.raises(MirrorUnavailable):
                use()
        assert isinstance(mirror.publish([Publication("a", staged, 0)])[0], MirrorUnavailable)
        assert isinstance(mirror.remove([FileStat("a", 1, 1)], label="x")[0], MirrorUnavailable)
    assert os.listdir(root) == []
    root.rmdir()
    root.with_name("unmounted").rename(root)
    mirror.check()
    staged.discard()


def test_a_root_whose_marker_is_another_ones_is_noticed(mirror: Mirror, root: Path) -> None:
    marker = root / ".datasync/mirror.json"
    said = json.loads(marker.read_text())
    marker.write_text(json.dumps(said | {"mirror_id": "another"}))
    with pytest.raises(MirrorUnavailable, match="not the one"):
        mirror.check()
    marker.unlink()
    with pytest.raises(MirrorUnavailable, match="not the one"):
        mirror.check()


def test_a_disk_that_is_nearly_full_is_noticed(root: Path) -> None:
    with Mirror(root, min_free_percent=0.0) as roomy:
        roomy.prepare(bucket_identity=BUCKET)
        roomy.check()
        with pytest.raises(DiskFull):
            roomy.stage(2**62)
    # 101 % free is what no disk has
    with Mirror(root, min_free_percent=101.0) as crowded:
        crowded.prepare(bucket_identity=BUCKET)
        with pytest.raises(DiskFull, match="101 %"):
            crowded.stage()
        with pytest.raises(DiskFull, match="101 %"):
            crowded.require_room(0)
        assert "101 %" in str(crowded.check())


def test_a_folder_that_cannot_be_made_durable_is_not_prepared(root: Path) -> None:
    calls = RecordingCalls()
    calls.fail("sync folder", errno.EIO)
    mirror = Mirror(root, calls=calls)
    with pytest.raises(MirrorError):
        mirror.prepare(bucket_identity=BUCKET)
    with pytest.raises(MirrorUnavailable, match="not prepared"):
        mirror.stage()
    mirror.prepare(bucket_identity=BUCKET)
    mirror.check()


def test_our_own_folder_can_be_reached_by_descriptor(mirror: Mirror) -> None:
    with mirror.internal() as folder:
        assert sorted(os.listdir(folder)) == ["mirror.json", "staging", "trash"]


def test_a_marker_whose_folder_is_gone(mirror: Mirror, root: Path) -> None:
    (root / ".datasync").rename(root / "moved")
    with pytest.raises(MirrorUnavailable):
        mirror.check()
    assert os.listdir(root) == ["moved"]
