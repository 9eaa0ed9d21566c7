"""Promise 4, by chance: whatever happens, the next reconciliation reaches the bucket.

A seeded stream of puts, overwrites and deletes, with their events lost, doubled, reordered and
forged; faults of S3, the ledger and the listing; runs and cancellations; stops and starts of the
service; local meddling. `CONVERGENCE_SEED=n` repeats a failure, `CONVERGENCE_SECONDS` looks longer.
"""

import os
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from datasync.errors import LedgerBusy, LedgerError, MirrorError, RunError
from datasync.models.sync_models import RunCounts, RunKind, RunStatus, Settlement
from datasync.services.engine import outcomes, ranges, scan, transfer_loop
from datasync.services.engine.runner import Engine
from datasync.services.s3_sync_service import S3SyncService
from datasync.services.storage.ledger import Ledger
from datasync.services.storage.mirror import Mirror, Publication, Published
from tests.support import fail
from tests.support.disk import open_below
from tests.support.world import OPTIONS, World, eventually

SECONDS = float(os.environ.get("CONVERGENCE_SECONDS", "8"))
pytestmark = [pytest.mark.timeout(300 + SECONDS), pytest.mark.no_cover]
KIB, MIB = 2**10, 2**20
FOLDERS = ("", "a/", "a/b/", "c//", "../", "%FF", "ünï/")
NAMES = ("a", "b", "c", "d e", "+%20", "b/", "x" * 300)
SIZES = (0, 1, 100, 100, 5000, 300 * KIB, 2 * MIB, 17 * MIB)
OFTEN = (30, 10, 30, 30, 10, 3, 1, 1)


class Chaos:
    """One world and everything that may happen to it."""

    def __init__(self, folder: Path, seed: int, patch: pytest.MonkeyPatch) -> None:
        self.random = random.Random(seed)
        self.ledger_errors = 0
        self.disk_errors = 0
        self.engines: list[Engine] = []
        self.runs: list[int] = []
        self.late: list[str] = []  # keys of events that come out of order
        self._patch(patch)
        self.world = World(folder, replace(OPTIONS, delete_limit_percent=100.0, timeout_seconds=5))
        self.world.bucket.page_size = 7
        self.world.bucket.put("anchor", b"a listing is never empty")
        self.world.service.start()

    def _patch(self, patch: pytest.MonkeyPatch) -> None:
        """Short pauses, faults on demand, and a hold on each engine."""
        for module in (transfer_loop, ranges, scan):
            patch.setattr(module, "pause_seconds", lambda *_: 0.001)
        patch.setattr(outcomes, "defer_seconds", lambda *_: 0.001)
        settle, publish, make = Ledger.settle, Mirror.publish, S3SyncService._engine

        def settle_or_not(ledger: Ledger, settlement: Settlement) -> None:
            if self.ledger_errors:
                self.ledger_errors -= 1
                raise self.random.choice([LedgerBusy, LedgerError])("scripted")
            settle(ledger, settlement)

        def publish_or_not(
            mirror: Mirror, batch: list[Publication]
        ) -> list[Published | MirrorError]:
            if self.disk_errors:
                self.disk_errors -= 1
                return [MirrorError("scripted")] * len(batch)
            return publish(mirror, batch)

        def make_and_keep(service: S3SyncService) -> Engine:
            self.engines.append(make(service))
            return self.engines[-1]

        patch.setattr(Ledger, "settle", settle_or_not)
        patch.setattr(Mirror, "publish", publish_or_not)
        patch.setattr(S3SyncService, "_engine", make_and_keep)

    def step(self) -> None:
        actions: list[tuple[int, Callable[[], object]]] = [
            (40, self.put),
            (10, self.put_same_size),
            (15, self.delete),
            (15, self.forge),
            (10, self.send_late),
            (15, self.fault),
            (3, self.listing_fault),
            (8, self.meddle),
            (4, self.request),
            (2, self.cancel),
            (2, self.refuse),
            (4, self.quiet),
            (1, self.restart),
        ]
        weights, calls = zip(*actions, strict=True)
        self.random.choices(calls, weights)[0]()

    # The bucket, and what is told of it

    def key(self) -> str:
        return self.random.choice(FOLDERS) + self.random.choice(NAMES)

    def put(self) -> None:
        key, (size,) = self.key(), self.random.choices(SIZES, OFTEN)
        self._put(key, self.random.randbytes(size))

    def put_same_size(self) -> None:
        key = self.random.choice(sorted(self.world.bucket.objects))
        stored = self.world.bucket.objects[key]
        body = self.random.randbytes(len(stored.body))
        self._put(key, body, last_modified=stored.last_modified)

    def _put(self, key: str, body: bytes, last_modified: int | None = None) -> None:
        part_size = self.random.choice([None, None, len(body) // 2 + 1])
        checksum = self.random.choice([None, None, "crc64nvme"])
        self.world.bucket.put(
            key, body, part_size=part_size, checksum=checksum, last_modified=last_modified
        )
        self.tell(key)

    def delete(self) -> None:
        key = self.random.choice(sorted(self.world.bucket.objects))
        if key != "anchor":
            self.world.bucket.delete(key)
            self.tell(key)

    def tell(self, key: str) -> None:
        fate = self.random.choice(["sent", "sent", "lost", "doubled", "late"])
        if fate == "late":
            self.late.append(key)
        elif fate != "lost":
            for _ in range(2 if fate == "doubled" else 1):
                self.world.service.mark([(key, "event")])

    def send_late(self) -> None:
        self.random.shuffle(self.late)
        while self.late:
            self.world.service.mark([(self.late.pop(), "late event")])

    def forge(self) -> None:
        self.world.service.mark([(self.key(), "forged event")])

    # What goes wrong

    def fault(self) -> None:
        faults = [
            fail.refused(),
            fail.status(500),
            fail.status(503),
            fail.status(403),
            fail.status(412),
            fail.reset_after(0),
            fail.short(by=1),
            fail.wrong_byte(at=0),
            fail.stall(),
            fail.head(etag="f" * 32),
            fail.error(LedgerBusy("not what a bucket says"), times=5),
        ]
        key = self.random.choice(sorted(self.world.bucket.objects))
        self.world.bucket.script(key, self.random.choice(faults))

    def listing_fault(self) -> None:
        page = self.random.randrange(1, 4)
        self.world.bucket.script_list(*[fail.at_page(page)] * self.random.randrange(1, 5))
        self.world.bucket._unordered = self.random.random() < 0.3

    def meddle(self) -> None:
        """Files that are there are removed, cut, written to or touched; none is made."""
        rows = [row for row in self.world.ledger.rows(limit=1000) if row.path is not None]
        if not rows:
            return
        path = self.world.root / (self.random.choice(rows).path or "")
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
        except OSError:
            return  # gone, or a folder by now
        with open(descriptor, "wb", buffering=0) as file:
            if self.random.random() < 0.5:
                file.truncate(self.random.randrange(3))
            os.write(descriptor, b"meddled"[: self.random.randrange(8)])
            os.utime(descriptor, (1, self.random.randrange(10**9)))
        if self.random.random() < 0.3:
            path.unlink(missing_ok=True)

    def refuse(self) -> None:
        """The ledger or the disk refuses a step or two."""
        if self.random.random() < 0.5:
            self.ledger_errors = 2
        else:
            self.disk_errors = 2

    # The service

    def request(self) -> None:
        kind = self.random.choice([RunKind.RECONCILE, RunKind.RECONCILE, RunKind.VERIFY])
        run, _ = self.world.service.request_run(kind, self.random.choice(FOLDERS))
        self.runs.append(run.id)

    def cancel(self) -> None:
        try:
            self.world.service.cancel(self.random.choice(self.runs or [1]))
        except RunError:
            pass  # over, or never asked for

    def quiet(self) -> None:
        """Wait until every mark and every run is worked off."""
        eventually(lambda: self.world.ledger.dirty_count() == 0, 30)
        eventually(lambda: all(self._over(run_id) for run_id in self.runs), 30)

    def _over(self, run_id: int) -> bool:
        return self.world.ledger.run(run_id).finished is not None

    def restart(self) -> None:
        self.world.service.stop(10)
        assert not self.world.service.leading
        self.world.assert_nothing_staged()
        self.world.reopen(concurrency=self.random.choice([None, None, 1, 3]))
        self.world.service.start()

    # What must be true in the end

    def end(self) -> None:
        self.world.bucket._scripts.clear()
        self.world.bucket._list_script.clear()
        self.ledger_errors = self.disk_errors = 0
        self.quiet()
        run, _ = self.world.service.request_run()
        eventually(lambda: self._over(run.id), 30)
        run = self.world.ledger.run(run.id)
        assert run.status is RunStatus.SUCCESS, run
        assert_adds_up(run.counts)
        self.world.assert_equal()
        again, _ = self.world.service.request_run()
        eventually(lambda: self._over(again.id), 30)
        assert self.world.ledger.run(again.id).counts.planned == 0
        assert self.world.ledger.totals().failed == 0
        eventually(lambda: nothing_in_flight(self.engines[-1]))
        self.world.close()
        assert open_below(self.world.root) == 0


def assert_adds_up(counts: RunCounts) -> None:
    done = counts.downloaded + counts.deleted + counts.adopted + counts.skipped + counts.failed
    assert counts.planned == done
    assert counts.listed == counts.unchanged + counts.planned - counts.deleted


def nothing_in_flight(engine: Engine) -> bool:
    shop = engine._workshop
    loops = [
        (each._active, each._arrived, each._later, each._taken, each._to_prove, each._results)
        for each in shop._pool._loops
    ]
    held = [shop._waiting, shop._tallies, *(one for loop in loops for one in loop)]
    proved = all(loop._proving.idle for loop in shop._pool._loops)
    idle = shop._pool.queues.empty and proved and not any(held)
    return idle and not engine._dispatcher.in_hand and not shop._committer.backlog


def test_whatever_happens_the_next_reconciliation_reaches_the_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over, number = time.monotonic() + SECONDS, 0
    first = int(os.environ.get("CONVERGENCE_SEED") or secrets.randbelow(10**9))
    while time.monotonic() < over:
        print(f"CONVERGENCE_SEED={first + number}", flush=True)
        with monkeypatch.context() as patch:
            chaos = Chaos(tmp_path / str(number), first + number, patch)
            for _ in range(400):
                chaos.step()
            chaos.end()
        number += 1
