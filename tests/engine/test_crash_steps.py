"""The process ends between any two steps: what remains is as promised, and the rest is made good.

The steps are found by running once; then a process of its own is ended before each of them.
"""

import os
import shutil
from pathlib import Path

import pytest

from datasync.models.sync_models import RunStatus
from datasync.services.storage.mirror import conflict_path_for
from tests.support import crash_stories as story
from tests.support.crash_stories import BEFORE, CHANGED, FOREIGN, TOLD
from tests.support.fork_server import ForkServer
from tests.support.world import World

pytestmark = pytest.mark.no_cover
GONE = ("gone/b", "gone/deep/a")


class Crashes:
    """Copies of one mirror, each in the hands of a process that ends at another step."""

    def __init__(self, folder: Path, forks: ForkServer) -> None:
        self._folder = folder
        self._forks = forks
        story.prepare(folder / "before")

    def end_before(self, step: int) -> tuple[Path, list[str]]:
        """The folder as the process left it, and the steps that it did."""
        folder = self._folder / f"step-{step}"
        shutil.copytree(self._folder / "before", folder, ignore=shutil.ignore_patterns("wake"))
        ended = self._forks.start("tests.support.crash_stories:perform", [str(folder), step])
        assert ended.wait() == (story.STOPPED if step >= 0 else 0)
        return folder, (folder / story.STEPS).read_text().split()


def test_whatever_step_is_the_last_the_state_is_as_promised(
    tmp_path: Path, fork_server: ForkServer
) -> None:
    crashes = Crashes(tmp_path, fork_server)
    _, told = crashes.end_before(-1)
    steps = [name for name in told if name != story.ACCEPTED]
    assert {"renameat2", "rename", "syncfs", "fsync", "mkdir", "rmdir", "commit"} <= set(steps)
    for number, step in enumerate(steps):
        folder, done = crashes.end_before(number)
        accepted = story.ACCEPTED in done
        assert [name for name in done if name != story.ACCEPTED] == steps[:number]
        try:
            assert_as_promised(folder, accepted)
        except BaseException:
            print(f"ended before step {number}, {step}, after {done[-3:]}")
            raise
        shutil.rmtree(folder)


def assert_as_promised(folder: Path, accepted: bool) -> None:
    world = World(folder, story.IN_ORDER, story.bucket_after())
    try:
        story.assert_names_are_whole(world.tree())
        assert_ledger_follows(world)
        if accepted:
            assert_events_are_kept(world)
        assert world.sync().status is RunStatus.SUCCESS
        world.assert_equal()
        assert world.in_sync
        assert_nothing_is_lost(world)
    finally:
        world.close()
    assert os.listdir(world.root / ".datasync" / "staging") == []


def assert_ledger_follows(world: World) -> None:
    """Promise 2: the ledger tells of no version that is not on the disk."""
    for row in world.ledger.rows():
        current = world.bucket.objects.get(row.key)
        if current is not None and row.etag == current.etag and row.path is not None:
            file = world.root / row.path
            moved = world.root / conflict_path_for(row.key)
            assert (file if file.is_file() else moved).read_bytes() == current.body
    known = {row.key for row in world.ledger.rows()}
    for key in GONE:
        assert key in known or key not in world.tree()


def assert_events_are_kept(world: World) -> None:
    """Promise 3: each key is still to be looked at, or is as the bucket has it."""
    dirty = world.ledger.dirty(TOLD)
    for key in TOLD:
        row, current = world.ledger.get(key), world.bucket.objects.get(key)
        settled = row.etag == current.etag if row and current else row is None and current is None
        assert key in dirty or settled, key


def assert_nothing_is_lost(world: World) -> None:
    """What was deleted, and what was not ours, is in the trash."""
    entries = world.mirror.trash_entries()
    bodies = {(world.root / ".datasync/trash" / entry.id).read_bytes() for entry in entries}
    assert bodies >= {CHANGED, FOREIGN, *(BEFORE[key] for key in GONE)}
