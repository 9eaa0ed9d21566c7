"""Events are only hints: whatever becomes of them, one reconciliation ends equal to the bucket.

Short stories, by chance: puts, overwrites and deletes, their events shuffled, doubled, dropped,
delayed and forged, in every envelope. All the while a reader looks at each file: it must be one
whole version that the bucket had, and nothing outside the root may change.
`EVENT_STORIES=n` tells so many, `EVENT_SEED=n` repeats one.
"""

import json
import os
import random
import secrets
from dataclasses import replace
from pathlib import Path


import pytest

from datasync.controllers.intake import Intake
from datasync.errors import JournalFull
from datasync.models.sync_models import RunStatus
from datasync.services.events.journal import Journal
from tests.support import envelopes
from tests.support.traffic import Busy
from tests.support.world import OPTIONS, World, eventually

STORIES = int(os.environ.get("EVENT_STORIES", "25"))
KEYS = (
    "a",
    "a/b",
    "b c",
    "b+c",
    "%20",
    "../out",
    ".datasync/x",
    "c//d",
    "/lead",
    "ünï/ö",
    "x" * 300,
)
SIZES = (0, 1, 30, 400_000)
ENVELOPES = tuple(envelopes.ENVELOPES.values())
pytestmark = [pytest.mark.timeout(300 + STORIES), pytest.mark.no_cover]
WORLD_OPTIONS = replace(OPTIONS, bucket=envelopes.BUCKET)


class Reader:
    """Looks at every file again and again; remembers the first thing that must not be."""

    def __init__(self, world: World) -> None:
        self._root = world.root
        self.versions: set[bytes] = set()
        self.looks = 0
        self.wrong: str | None = None

    def look(self) -> None:
        self.looks += 1
        for folder, folders, names in os.walk(self._root):
            if Path(folder) == self._root and ".datasync" in folders:
                folders.remove(".datasync")
            for name in names:
                self._read(Path(folder, name))

    def _read(self, file: Path) -> None:
        try:
            content = file.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return
        if content not in self.versions:
            self.wrong = self.wrong or f"{file.name}: {len(content)} bytes that no version had"


class Story:
    """One bucket, and what its senders make of its events."""

    def __init__(self, world: World, intake: Intake, seed: int) -> None:
        self.random = random.Random(seed)
        self.world = world
        self.intake = intake
        self.reader = Reader(world)
        self.late: list[bytes] = []

    def tell(self) -> None:
        for _ in range(self.random.randrange(5, 30)):
            self.random.choice([self.put, self.put, self.delete, self.forge, self.send_late])()
        self.send_late()

    def put(self) -> None:
        key, size = self.random.choice(KEYS), self.random.choice(SIZES)
        body = self.random.randbytes(size)
        self.reader.versions.add(body)  # before anybody can have it
        self.world.bucket.put(key, body)
        self._event(key)

    def delete(self) -> None:
        key = self.random.choice(KEYS)
        if key in self.world.bucket.objects:
            self.world.bucket.delete(key)
            self._event(key)

    def forge(self) -> None:
        """Of keys that did not change, or that never were."""
        key = self.random.choice([*KEYS, "never/was", "../../etc/never"])
        self._send(self._made(key))

    def send_late(self) -> None:
        self.random.shuffle(self.late)
        while self.late:
            self._send(self.late.pop())

    def _event(self, key: str) -> None:
        body, fate = self._made(key), self.random.choice(["sent", "lost", "doubled", "late"])
        if fate == "late":
            self.late.append(body)
        elif fate != "lost":
            for _ in range(2 if fate == "doubled" else 1):
                self._send(body)

    def _made(self, key: str) -> bytes:
        """In any envelope. What it says of the key's fate is of no matter: S3 is asked."""
        return json.dumps(self.random.choice(ENVELOPES)(key)).encode()

    def _send(self, body: bytes) -> None:
        try:
            assert self.intake.take([body], "test") == [None]
        except JournalFull:
            pass  # lost, like any other

    def end(self) -> None:
        eventually(lambda: self.world.ledger.dirty_count() == 0, 30)
        run, _ = self.world.service.request_run()
        ends = (RunStatus.SUCCESS, RunStatus.HELD)
        eventually(lambda: self.world.ledger.run(run.id).status in ends, 30)
        if self.world.ledger.run(run.id).status is RunStatus.HELD:
            assert not self.world.bucket.objects  # a person has to say that this is meant
            self.world.service.approve(run.id)
        eventually(lambda: self.world.ledger.run(run.id).status is RunStatus.SUCCESS, 30)
        self.world.assert_equal()


def test_thousands_of_stories_end_equal(tmp_path: Path) -> None:
    first = int(os.environ.get("EVENT_SEED") or secrets.randbelow(10**9))
    outside = tmp_path / "outside.txt"
    outside.write_bytes(b"untouched")
    for number in range(STORIES):
        print(f"EVENT_SEED={first + number}", flush=True)
        world = World(tmp_path / "in" / str(number), WORLD_OPTIONS)
        journal = Journal(world.ledger, world.service.wake)
        intake = Intake(journal, world.ledger, world.options, lambda: False)
        story = Story(world, intake, first + number)
        world.service.start()
        try:
            with Busy(story.reader.look, 0.0):
                story.tell()
                story.end()
        finally:
            journal.close()
            world.close()
        assert story.reader.wrong is None
        assert story.reader.looks > 0
        beside = {path.name for path in (tmp_path / "in" / str(number)).iterdir()}
        assert beside == {"mirror"}
    assert {path.name for path in tmp_path.iterdir()} == {"in", "outside.txt"}
    assert outside.read_bytes() == b"untouched"


def test_the_reader_sees_a_file_that_is_no_version(world: World) -> None:
    reader = Reader(world)
    (world.root / "torn").write_bytes(b"half")
    reader.look()
    assert reader.wrong is not None and "torn" in reader.wrong
