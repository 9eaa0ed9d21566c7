"""Promises 2 and 3 when the power goes: whatever is left of what was not synced.

The model is that of `tests/support/power_loss.py`: ALICE's weakest one for journaling file
systems, with CrashMonkey's cut behind every call. `POWER_STATES=n` starts a service on n of the
states that may be left; all of them are looked at in memory.
"""

import os
import random
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from datasync.models.sync_models import RunStatus
from datasync.services.storage.ledger import Ledger, sqlite_url
from datasync.services.storage.mirror import conflict_path_for
from tests.support import crash_stories as story
from tests.support.crash_stories import AFTER, BEFORE, CHANGED, FOREIGN, TOLD
from tests.support.power_loss import Commit, Disk, File, Moment, Recorder, torn, write_tree
from tests.support.world import World

STATES = int(os.environ.get("POWER_STATES", "12"))
BY_CHANCE = 10  # states of each moment, beside the regular ones
INTERNAL = "mirror/.datasync/"
pytestmark = [pytest.mark.timeout(120 + STATES), pytest.mark.no_cover]


@dataclass(frozen=True, slots=True)
class Told:
    """What a ledger says behind one commit: rows with a file (key to ETag, path), and marks."""

    rows: dict[str, tuple[str, str]]
    known: frozenset[str]
    marked: frozenset[str]


class Ledgers:
    """Reads the ledgers of commits, each once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told: dict[Commit, Told] = {}
        folder.mkdir()

    def told(self, commit: Commit) -> Told:
        if commit not in self._told:
            self._told[commit] = self._read(commit)
        return self._told[commit]

    def _read(self, commit: Commit) -> Told:
        file = self._folder / f"{len(self._told)}.db"
        file.write_bytes(commit.database)
        Path(f"{file}-wal").write_bytes(commit.log)
        with closing(sqlite3.connect(file)) as connection:
            rows = connection.execute("SELECT key, etag, path FROM objects").fetchall()
            marks = connection.execute("SELECT key FROM dirty").fetchall()
        return Told(
            {key.decode(): (etag, path.decode()) for key, etag, path in rows if path},
            frozenset(key.decode() for key, _, _ in rows),
            frozenset(key.decode() for (key,) in marks),
        )


class Cuts:
    """A recorded run, and what is asserted of each state that a cut may leave."""

    def __init__(self, folder: Path, fresh: bool, seed: int) -> None:
        self.random = random.Random(seed)
        self.bucket = story.bucket_after()
        self._fresh = fresh
        self._ledgers = Ledgers(folder / "ledgers")
        self._folder = folder / "run"
        self._folder.mkdir()
        if not fresh:
            story.prepare(self._folder)
        recorder = Recorder(self._folder)
        with recorder.recording():
            world = story.follow(self._folder, lambda: recorder.say("accepted"))
        world.assert_equal()
        world.close()
        self.moments = list(recorder.moments())

    def states(self) -> Iterator[tuple[Moment, Disk]]:
        for moment in self.moments:
            for lost in moment.losses(self.random, BY_CHANCE):
                yield moment, moment.disk(lost)

    def assert_state(self, moment: Moment, disk: Disk) -> None:
        """What needs no service to be seen."""
        tree = disk.tree()
        found = visible(tree)
        if self._fresh:
            aside = {conflict_path_for("way"): AFTER["way"]}
            assert found.items() <= (AFTER | aside).items()
        else:
            story.assert_names_are_whole(found)
            bodies = {file.content() for file in tree.values() if file is not None}
            assert bodies >= {CHANGED, FOREIGN, BEFORE["gone/b"], BEFORE["gone/deep/a"]}
        if moment.commits and "accepted" in moment.said:
            assert "mirror/.datasync" in tree, "the folder of the ledger is gone"
        for commit in moment.commits:
            self._assert_ledger(self._ledgers.told(commit), found, "accepted" in moment.said)

    def _assert_ledger(self, told: Told, found: dict[str, bytes], accepted: bool) -> None:
        for key, current in self.bucket.objects.items():
            etag, path = told.rows.get(key, ("", ""))
            if etag == current.etag:  # Promise 2: the ledger never leads the disk
                file = found.get(path) or found.get(conflict_path_for(key))
                assert file == current.body, f"{key} is in the ledger and not on the disk"
        for key in TOLD if accepted else ():  # Promise 3
            current_etag = self.bucket.objects[key].etag if key in self.bucket.objects else None
            settled = told.rows[key][0] if key in told.rows else None
            assert key in told.marked or settled == current_etag, f"the event of {key} is lost"

    def assert_recovers(self, moment: Moment, disk: Disk, folder: Path) -> None:
        """A service that starts on what is left reaches equality."""
        folder.mkdir()
        write_tree(disk.tree(), folder)
        internal = folder / INTERNAL
        if moment.commits and internal.is_dir():
            database, log = torn(moment.commits, self.random)
            (internal / "ledger.db").write_bytes(database)
            (internal / "ledger.db-wal").write_bytes(log)
        world = World(folder, story.IN_ORDER, story.bucket_after())
        try:
            dirty = world.ledger.dirty(TOLD)
            for key in TOLD if "accepted" in moment.said else ():
                row, current = world.ledger.get(key), world.bucket.objects.get(key)
                assert key in dirty or (row and row.etag) == (current and current.etag)
            assert world.sync().status is RunStatus.SUCCESS
            world.assert_equal()
            assert world.in_sync
        finally:
            world.close()
        assert os.listdir(folder / INTERNAL / "staging") == []


def visible(tree: dict[str, File | None]) -> dict[str, bytes]:
    """What a reader of the mirror sees."""
    files = {path: file.content() for path, file in tree.items() if file is not None}
    return {
        path.removeprefix("mirror/"): body
        for path, body in files.items()
        if not path.startswith(INTERNAL)
    }


@pytest.mark.parametrize("fresh", [False, True], ids=["a mirror that changes", "a first start"])
def test_whatever_a_power_cut_leaves_is_whole_and_no_event_is_lost(
    tmp_path: Path, fresh: bool
) -> None:
    seed = int(os.environ.get("POWER_SEED") or secrets.randbelow(10**9))
    print(f"POWER_SEED={seed}")
    cuts = Cuts(tmp_path, fresh, seed)
    states = list(cuts.states())
    for moment, disk in states:
        cuts.assert_state(moment, disk)
    assert len(states) > 1000
    for number, (moment, disk) in enumerate(cuts.random.sample(states, STATES)):
        cuts.assert_recovers(moment, disk, tmp_path / f"state-{number}")


def test_a_ledger_elsewhere_is_in_a_folder_that_stays(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    with recorder.recording():
        ledger = Ledger.open(sqlite_url(tmp_path / "elsewhere" / "ledger.db"))
        ledger.mark({"a": "event"}, 1.0)
    ledger.close()
    *_, last = recorder.moments()
    assert "elsewhere" in last.disk(last.pending).tree()
