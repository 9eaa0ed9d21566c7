"""Every step that touches the disk, and every cause for which it may fail: one matrix.

Whatever step fails: each name holds the old or the new version, nothing is left staged, the error
names the cause, nobody tries again and again, and all is well once the cause is gone.
`DISK_FAULTS=all` tries every cause at every step; by default each step meets them in turn.
"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from datasync.errors import DataSyncError
from datasync.models.sync_models import RunStatus
from datasync.services.engine import fetch, ranges, recording, transfer_loop
from tests.support.disk import open_below
from tests.support.faults import CAUSES, Faults, faults, reason
from tests.support.world import World

__all__ = ["faults"]
ALL = os.environ.get("DISK_FAULTS") == "all"
pytestmark = [pytest.mark.timeout(1800 if ALL else 120), pytest.mark.no_cover]
KIB = 2**10
ASKED = 30


class Story:
    """A world in which every step of the engine has something to do, over and over."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.chapter = 0
        self.before: dict[str, bytes] = {}

    def begin(self) -> None:
        """A synced mirror, and then changes of every kind in the bucket and in the mirror."""
        world, number = self.world, self.chapter
        self.chapter += 1
        text = f"version {number} ".encode()
        world.bucket.put("small", text)
        world.bucket.put("folder/middle", text * 200)
        world.bucket.put("large", text * 2000)
        world.bucket.put("parts", text * 40, part_sizes=(200, len(text * 40) - 200))
        world.bucket.put("edited", text)
        world.bucket.delete(f"gone/{number - 1}")
        world.bucket.put(f"gone/{number + 1}", text)
        world.bucket.put("a/b" if number % 2 else "a", text)
        world.bucket.delete("a" if number % 2 else "a/b")
        world.bucket.put("adopted", text)
        world.bucket.put("dated", b"same", last_modified=1_600_000_000 + number)
        _overwrite(world.root / "edited", b"by somebody else")
        _overwrite(world.root / "adopted", text)
        self.before = world.tree()

    def act(self) -> list[str]:
        """One event, in a group of its own, and one run; the errors of whoever asked for them."""
        steps = (
            lambda: self.world.service.mark([("small", "event")]),
            lambda: self.world.sync("none/"),
            self.world.sync,
        )
        said = []
        for step in steps:
            try:
                step()
            except DataSyncError as error:
                said.append(str(error))
        return said

    def told(self, since: int) -> list[str]:
        """What the ledger tells of what went wrong since the run of this id."""
        ledger = self.world.ledger
        runs = [run for run in ledger.runs() if run.id > since]
        said = [run.error or "" for run in runs]
        for run in runs:
            said += [one.message for one in ledger.outcomes(run_id=run.id) if one.error]
        said += [mark.last_error or "" for mark in ledger.dirty(["small"]).values()]
        return said

    def last_run(self) -> int:
        return self.world.ledger.runs(1)[0].id

    def is_whole(self) -> bool:
        """Whether every name holds what it held before, or what the bucket has."""
        now = {key: stored.body for key, stored in self.world.bucket.objects.items()}
        for path, body in self.world.tree().items():
            name = path.replace("%FF=", "")  # a file that made way for a folder
            if body not in (self.before.get(path), self.before.get(name), now.get(name)):
                return False
        kept = set(self.before) & {key for key in now if "a" != key[0]}
        return kept <= set(self.world.tree())

    def is_done(self) -> bool:
        """Whether all was done, as if nothing had happened: then there is nothing to tell."""
        self.world.mirror.sweep()
        try:
            self.world.assert_equal()
        except AssertionError:
            return False
        return True

    def heal(self) -> None:
        """The cause is gone: the next run makes all equal, and leaves nothing behind."""
        world = self.world
        world.mirror.sweep()
        assert world.sync().status is RunStatus.SUCCESS
        world.assert_equal()
        assert world.in_sync


def _overwrite(path: Path, text: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(text)


@pytest.fixture
def story(world: World, monkeypatch: pytest.MonkeyPatch, faults: Faults) -> Iterator[Story]:
    monkeypatch.setattr(fetch, "MEMORY_BYTES", KIB)
    monkeypatch.setattr(fetch, "LARGE_BYTES", 8 * KIB)
    for name in ("FIRST_BYTES", "RANGE_BYTES"):
        monkeypatch.setattr(ranges, name, 4 * KIB)
    monkeypatch.setattr(transfer_loop, "pause_seconds", lambda *_: 0.0)
    monkeypatch.setattr(ranges, "pause_seconds", lambda *_: 0.0)
    monkeypatch.setattr(recording, "TRIES", 1)
    made = Story(world)
    for _ in range(2):
        made.begin()
        made.heal()
    faults.seen.clear()
    for _ in range(2):
        made.begin()
        made.act()
        made.heal()
    yield made


def problems(story: Story, faults: Faults, point: str, number: int) -> list[str]:
    """What is wrong when this step fails for this cause."""
    world = story.world
    story.begin()
    world.bucket.counts.clear()
    since = story.last_run()
    with faults.on(point, number):
        said = story.act()
    said += story.told(since)
    found = []
    if not story.is_whole():
        found.append(f"torn or lost: {world.tree()}")
    with world.mirror.stage():
        pass  # also has what the disk did not let us remove removed now
    if world.staged():
        found.append(f"staged: {world.staged()}")
    named = any(reason(number, point) in text for text in said)
    if faults.struck and not named and not story.is_done():
        found.append(f"the cause is not named: {said}")
    if world.bucket.counts["get"] > ASKED:
        found.append(f"asked S3 {world.bucket.counts['get']} times")
    try:
        story.heal()
    except (AssertionError, DataSyncError) as error:
        found.append(f"not well again: {error!r:.300}")
    return found


def points(faults: Faults, third: int) -> Iterator[tuple[str, int]]:
    """A third of the matrix, so that three workers may share it."""
    for index, point in enumerate(sorted(faults.seen)):
        if index % 3 == third:
            for number in CAUSES if ALL else [CAUSES[index // 3 % len(CAUSES)]]:
                yield point, number


@pytest.mark.parametrize("third", range(3))
def test_whatever_step_fails_nothing_is_torn_and_all_is_well_again(
    story: Story, faults: Faults, third: int
) -> None:
    bad = {}
    for point, number in list(points(faults, third)):
        found = problems(story, faults, point, number)
        if found:
            bad[f"{point}, {errno.errorcode[number]} ({faults.struck} times)"] = found
    assert bad == {}
    story.world.close()
    assert open_below(story.world.root) == 0
    story.world.open()


def test_the_matrix_has_every_kind_of_step(faults: Faults, story: Story) -> None:
    """Else the rest of this module would prove less than it says."""
    steps = "\n".join(faults.seen)
    for step in (
        *("_create: open", "_look: statvfs", "write_at: pwrite", "_read_at: pread"),
        *("sync_all: syncfs", "StagedFile.sync: fsync", "_finished: utime", "_put: rename\n"),
        *("_place_new: renameat2", "stage_whole: utime", "stage_whole: fstat"),
        *("_put: renameat2", "displace: renameat2", "of_folders: fsync", "of_folders: syncfs"),
        *(
            "_to_trash: renameat2",
            "_step: mkdir",
            "prune: rmdir",
            "StagingFolder.remove: unlink",
            "flock",
        ),
        *("settle: commit", "_write_marks: commit", "finish_run: commit", "rows: execute"),
    ):
        assert step in steps, step
