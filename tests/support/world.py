"""A whole small world for engine tests: a fake bucket, a real folder, a real SQLite ledger."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from datasync.controllers.equality import ProofRule, in_sync, read_facts
from datasync.models.sync_models import ObjectRow, Run, RunKind, RunStatus, SyncOptions
from datasync.services.s3_sync_service import S3SyncService
from datasync.services.storage.bucket import Bucket
from datasync.services.storage.ledger import Ledger, sqlite_url
from datasync.services.storage.mirror import Mirror, path_for
from tests.support.fake_bucket import FakeBucket

IDENTITY = "s3://bucket"
OPTIONS = SyncOptions(bucket="bucket", interval_seconds=None, timeout_seconds=10.0)


def eventually(condition: Callable[[], object], timeout_seconds: float = 10.0) -> None:
    """Wait until the condition holds; fail when it does not in time."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.005)


class World:
    """Everything a test of the engine touches. `sync()` is one run in the foreground."""

    def __init__(
        self, folder: Path, options: SyncOptions = OPTIONS, bucket: FakeBucket | None = None
    ) -> None:
        self.folder = folder
        self.root = folder / "mirror"
        self.bucket = bucket or FakeBucket()
        self.options = options
        self.open()

    def open(self) -> None:
        self.mirror = self.make_mirror()
        self.mirror.prepare(bucket_identity=IDENTITY)
        self.ledger = Ledger.open(sqlite_url(self.root / ".datasync" / "ledger.db"))
        self.service = S3SyncService(self.port(), self.mirror, self.ledger, self.options)

    def port(self) -> Bucket:
        """What the engine sees of the bucket."""
        return self.bucket

    def make_mirror(self) -> Mirror:
        return Mirror(self.root)

    def close(self) -> None:
        self.service.stop()
        self.ledger.close()
        self.mirror.close()

    def reopen(self, **changes: object) -> None:
        """Stop and start again, with other options where given."""
        self.close()
        self.options = replace(self.options, **changes)  # type: ignore[arg-type]
        self.open()

    def lose_ledger(self) -> None:
        self.close()
        for path in (self.root / ".datasync").glob("ledger.db*"):
            path.unlink()
        self.open()

    def perform(self, kind: RunKind = RunKind.RECONCILE) -> Run:
        """One run in the background, to its end."""
        run, _ = self.service.request_run(kind)
        eventually(lambda: self.ledger.run(run.id).finished is not None)
        return self.ledger.run(run.id)

    def sync(self, prefix: str = "", kind: RunKind = RunKind.RECONCILE) -> Run:
        return self.service.run(kind, prefix)

    def row(self, key: str) -> ObjectRow:
        found = self.ledger.get(key)
        assert found is not None, key
        return found

    def file(self, key: str) -> Path:
        return self.root / (self.row(key).path or path_for(key))

    def tree(self) -> dict[str, bytes]:
        """Every file of the mirror by its path, the service's own folder left out."""
        found = {}
        for path, folders, names in os.walk(self.root):
            if Path(path) == self.root:
                folders.remove(".datasync")
            for name in names:
                file = Path(path) / name
                with suppress(FileNotFoundError):  # deleted or moved since it was listed
                    found[str(file.relative_to(self.root))] = file.read_bytes()
        return found

    def trash(self) -> list[str]:
        return sorted(entry.path for entry in self.mirror.trash_entries())

    def staged(self) -> list[str]:
        staging = self.root / ".datasync" / "staging"
        return [str(path) for path in staging.rglob("*") if path.suffix != ".owner"]

    @property
    def in_sync(self) -> bool:
        """What the service would say of itself."""
        rule = ProofRule(interval_seconds=3600.0)
        return in_sync(read_facts(self.ledger, self.options.prefix, rule))

    def status(self, run_id: int) -> RunStatus:
        return self.ledger.run(run_id).status

    def assert_equal(self) -> None:
        """The tree is the bucket: every object whole at its path, nothing else, nothing staged."""
        wanted = {
            key: stored.body
            for key, stored in self.bucket.objects.items()
            if not (key.endswith("/") and not stored.body)
        }
        held = {key: self.file(key).read_bytes() for key in wanted if self.ledger.get(key)}
        assert held == wanted
        assert len(self.tree()) == len(wanted)
        self.assert_nothing_staged()

    def assert_nothing_staged(self) -> None:
        assert self.staged() == []


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture
def live(world: World) -> World:
    """A world whose service runs and leads."""
    world.service.start()
    eventually(lambda: world.service.leading)
    return world


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """An event that comes only when the test is over."""
    event = threading.Event()
    yield event
    event.set()
