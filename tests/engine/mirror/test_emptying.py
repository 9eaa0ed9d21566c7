"""What leaves the trash before its time: beyond its share of the disk, and where room is short."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from datasync.services.storage import emptying
from datasync.models.figures import DiskUsage
from datasync.services.storage.mirror import Mirror
from tests.support.clocks import StandingClock
from tests.support.disk import put

HOUR = 3600.0
SIZE = 65_536
Disk = Callable[[float, float], None]


@pytest.fixture
def mirror(clocked: Mirror) -> Mirror:
    return clocked


@pytest.fixture
def disk(root: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Sets the size of the disk, and what is free of it, in files of `SIZE` as they weigh here."""

    def set_to(total: float, free: float) -> None:
        trashed = (path for path in root.glob(".datasync/trash/*/**/*") if path.is_file())
        one = next(trashed).stat().st_blocks * 512
        usage = DiskUsage(round(total * one), round(free * one))
        monkeypatch.setattr(emptying, "disk_usage", lambda _root: usage)

    return set_to


def fill_trash(mirror: Mirror, clock: StandingClock, hours: int) -> None:
    """One file of each hour: `0`, `1`, ... the newest of the last one."""
    for hour in range(hours):
        clock.now = hour * HOUR
        mirror.remove([put(mirror, f"d/{hour}", os.urandom(SIZE)).file], label="events")


def left(mirror: Mirror) -> list[str]:
    return [entry.path for entry in mirror.trash_entries()]


def shrink(mirror: Mirror, clock: StandingClock, max_percent: float | None) -> int:
    return mirror.shrink_trash(HOUR, clock.now, max_percent=max_percent).files


def test_beyond_its_share_of_the_disk_the_oldest_go(
    mirror: Mirror, clock: StandingClock, disk: Disk
) -> None:
    fill_trash(mirror, clock, 6)
    disk(100, 50)
    assert shrink(mirror, clock, 6.0) == 0
    assert shrink(mirror, clock, 4.0) == 2
    assert left(mirror) == ["d/2", "d/3", "d/4", "d/5"]
    assert shrink(mirror, clock, 100.0) == 0


def test_what_went_there_within_the_hour_stays_whatever_its_share(
    mirror: Mirror, clock: StandingClock, disk: Disk
) -> None:
    fill_trash(mirror, clock, 4)
    disk(100, 0)
    assert shrink(mirror, clock, 0.0) == 2
    assert left(mirror) == ["d/2", "d/3"]  # one of an hour ago to the second, one of now


def test_a_full_disk_gets_back_what_it_lacks_and_no_more(
    mirror: Mirror, clock: StandingClock, disk: Disk
) -> None:
    fill_trash(mirror, clock, 6)
    disk(100, 2)  # 1 % must stay free, and 1 % is wanted beyond it
    assert shrink(mirror, clock, None) == 0
    disk(100, 0.5)
    emptied = mirror.shrink_trash(HOUR, clock.now)
    assert (emptied.files, emptied.bytes >= SIZE) == (2, True)
    assert left(mirror) == ["d/2", "d/3", "d/4", "d/5"]


def test_a_file_with_another_name_gives_nothing_back(
    mirror: Mirror, clock: StandingClock, disk: Disk, root: Path, tmp_path: Path
) -> None:
    fill_trash(mirror, clock, 5)
    [oldest] = root.glob(".datasync/trash/*/d/0")
    os.link(oldest, tmp_path / "another name")
    disk(100, 1)
    assert shrink(mirror, clock, None) == 2
    assert left(mirror) == ["d/2", "d/3", "d/4"]


def test_names_that_no_key_has_are_weighed_and_removed(
    mirror: Mirror, clock: StandingClock, disk: Disk, root: Path
) -> None:
    fill_trash(mirror, clock, 4)
    [folder] = root.glob(".datasync/trash/*/d/0")
    strange = os.fsencode(folder.parent) + b"/\xff\n"
    os.mkdir(strange)
    with open(strange + b"/\xfe", "wb") as stream:
        stream.write(os.urandom(SIZE))
    disk(100, 50)
    assert shrink(mirror, clock, 4.0) == 1
    assert shrink(mirror, clock, 2.0) == 2
    assert left(mirror) == ["d/2", "d/3"]


def test_a_disk_that_does_not_count_its_space_gets_nothing_back(
    mirror: Mirror, clock: StandingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_trash(mirror, clock, 3)
    monkeypatch.setattr(emptying, "disk_usage", lambda _root: DiskUsage(0, 0))
    assert shrink(mirror, clock, 0.0) == 0
    assert len(left(mirror)) == 3
