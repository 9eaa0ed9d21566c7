"""Everything that may happen to a mirror, one method a happening; each is checked as it ends.

A failing case of `test_model.py` prints as such calls and becomes a test in `test_scripts.py`:

    play.put("a", 30)
    play.killed(7)
    play.settle()
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from datasync.errors import DataSyncError, KeyRejected, MirrorError
from datasync.models.sync_models import (
    ListedObject,
    Run,
    RunCounts,
    RunKind,
    RunStatus,
    State,
)
from tests.engine.model.faulty import (
    FaultyLedger,
    ModelWorld,
    killed,
    small_sizes,
)
from tests.engine.model.meddling import Meddling
from tests.engine.model.places import Homes, Sentinel, look
from tests.engine.model.reference import MARKED, Reference
from tests.support import fail
from tests.support.fake_objects import FakeObject

KEYS = (
    "a",
    "a/b",
    "a/b/c",
    "dir/",
    "dir/x",
    "b//c",
    "../out",
    "/lead",
    ".datasync/x",
    "%FFé",
    "s+ %",
)
NEVER = "never/was"
FAULTS: dict[str, Callable[[int], fail.Fault]] = {
    "refused": lambda times: fail.refused(times=times),
    "500": lambda times: fail.status(500, times=times),
    "slow down": lambda times: fail.status(503, times=times),
    "403": lambda times: fail.status(403, times=times),
    "412": lambda times: fail.status(412, times=times),
    "reset": lambda times: fail.reset_after(0, times=times),
    "short": lambda times: fail.short(by=1, times=times),
    "wrong byte": lambda times: fail.wrong_byte(at=0, times=times),
    "stall": lambda times: fail.stall(times=times),
    "lying etag": lambda times: fail.head(etag="f" * 32, times=times),
}


class Play(Meddling):
    """One world, its reference and all that may happen. Close it in the end."""

    def __init__(self, folder: Path) -> None:
        self.patch = pytest.MonkeyPatch()
        small_sizes(self.patch)
        self.ledger_faults = FaultyLedger(self.patch)
        folder.mkdir(exist_ok=True)
        self.sentinel = Sentinel(folder / "outside")
        self.world = ModelWorld(folder)
        self.bucket = self.world.bucket
        self.truth = Reference(self.world, self.sentinel, Homes((*KEYS, NEVER)))
        self._stored: dict[str, list[FakeObject]] = {}
        self._unique = 0
        self.put("anchor", 5)

    def close(self) -> None:
        self.world.close()
        self.patch.undo()

    # The bucket

    def put(self, key: str, size: int, how: str = "plain") -> None:
        """A new version: plain, multipart, with a checksum, archived."""
        self._unique += 1
        body = f"<{self._unique}>".encode().ljust(min(size, 64), b".")[:size]
        body += bytes((self._unique + i) % 251 for i in range(251)) * (size // 251 + 1)
        self._put(key, body[:size], how)

    def overwrite(self, key: str) -> None:
        """Another content of the same size and date."""
        if (old := self.bucket.objects.get(key)) and old.body:
            self._unique += 1
            body = f"<{self._unique}>".encode().ljust(len(old.body), b"+")[: len(old.body)]
            self._put(key, body, "plain", old.last_modified)

    def put_back(self, key: str) -> None:
        """The content before this one once more, with this one's date."""
        stored = self._stored.get(key, [])
        if len(stored) > 1 and (now := self.bucket.objects.get(key)):
            self._put(key, stored[-2].body, "plain", now.last_modified)

    def _put(self, key: str, body: bytes, how: str, modified: int | None = None) -> None:
        self.truth.versions.setdefault(key, set()).add(body)  # before anybody can have it
        self.truth.homes.key_at.update({path: key for path in self.truth.homes.of(key)})
        made = self.bucket.put(
            key,
            body,
            part_size=max(1, len(body) // 3) if how == "parts" and body else None,
            checksum="crc64nvme" if how == "checksum" else None,
            storage_class="GLACIER" if how == "archived" else "STANDARD",
            last_modified=modified,
        )
        self._stored.setdefault(key, []).append(made)
        self.truth.changed = True

    def delete(self, key: str) -> None:
        """A delete, or a delete marker: for a reader they are the same."""
        self.bucket.delete(key)
        self.truth.changed = True

    def undelete(self, key: str) -> None:
        """The delete marker goes, and an older version is the current one again."""
        if versions := self._stored.get(key):
            self._replace(key, versions[0])

    def archive(self, key: str, storage_class: str = "GLACIER", restored: bool = False) -> None:
        """The same version in another class; restored for a while, it can be read."""
        if old := self.bucket.objects.get(key):
            fields = {name: getattr(old, name) for name in FakeObject.__slots__}
            fields.update(storage_class=storage_class, restored=restored)
            self._replace(key, FakeObject(**fields))

    def _replace(self, key: str, stored: FakeObject) -> None:
        with self.bucket._lock:
            self.bucket.objects[key] = stored
            self.bucket._sorted = None
        self.truth.changed = True

    def list_odd_name(self) -> None:
        """The bucket has a key that cannot be one."""
        if not self.bucket._extra:
            self.bucket.list_also(ListedObject("\\xff", 3, "e", 1, problem="its key is not UTF-8"))

    # Events: right, lost (none is sent), doubled, late or forged (one is sent at any time)

    def event(self, *keys: str) -> None:
        self._mark(keys)
        self.truth.end()

    def _mark(self, keys: tuple[str, ...]) -> None:
        self.truth.begin()
        self.world.service.mark([(key, "event") for key in keys])
        for key in keys:
            self.bucket.note(key, MARKED)

    def event_of_no_key(self) -> None:
        before = self.world.ledger.dirty_count()
        with pytest.raises(KeyRejected):
            self.world.service.mark([("a", "event"), ("\udcff", "event")])
        assert self.world.ledger.dirty_count() == before

    # The engine

    @contextmanager
    def _engine_works(self) -> Iterator[None]:
        self.truth.begin()
        yield
        self.world.assert_nothing_staged()

    def work_off(self) -> None:
        with self._engine_works():
            with suppress(MirrorError), self.world.service._leading() as engine:
                engine.work_off()  # a disk that refuses everything ends it
        self.truth.end()

    def run(self, prefix: str = "", verify: bool = False) -> Run:
        kind = RunKind.VERIFY if verify else RunKind.RECONCILE
        if not prefix and not verify:
            self.truth.changed = bool(self.bucket._empty_listings or self.bucket.cut_short)
        with self._engine_works():
            with suppress(MirrorError):  # a disk that refuses everything, once the run is over
                self.world.sync(prefix, kind)
        run = self.world.ledger.runs(1)[0]
        self.truth.end(compared=run.status not in (RunStatus.FAILED, RunStatus.INTERRUPTED))
        if run.status in (RunStatus.SUCCESS, RunStatus.PARTIAL):
            assert_adds_up(run.counts)
        return run

    def run_while(self, request: int, key: str, happening: str, told: bool) -> None:
        """A run, and as its request of that number comes, something happens to a key."""

        def happen() -> None:
            if happening == "put":
                self.put(key, 20)
            elif happening == "delete":
                self.delete(key)
            if told:
                self.world.service.mark([(key, "event")])
                self.bucket.note(key, MARKED)

        with self.bucket.at(request, happen):
            self.run()

    def run_stopped(self, request: int, how: str) -> None:
        """A run that ends early as its request of that number comes: cancelled, or no progress."""

        def cancel() -> None:
            for run in self.world.ledger.runs(1):
                if run.finished is None:
                    self.world.service.cancel(run.id)

        def stop() -> None:
            self.bucket.outage = fail.refused().error

        with self.bucket.at(request, cancel if how == "cancelled" else stop):
            self.run()
        self.bucket.outage = None

    def dry_run(self) -> None:
        state = look(self.world.root), self.world.ledger.rows(limit=1000), self.world.trash()
        try:
            list(self.world.service.plan())
        except DataSyncError:
            pass  # a listing that fails
        assert state == (
            look(self.world.root),
            self.world.ledger.rows(limit=1000),
            self.world.trash(),
        )

    def killed(self, step: int | str, prefix: str = "") -> bool:
        """kill -9 before that step of a run, by number or name. Whether it lasted so long."""
        self.truth.begin()
        self.truth.changed = True
        self.world.close()
        died = killed(step, lambda: self._begin_and_run(prefix))
        self.world.open()
        self.truth.end(compared=not died)
        return died

    def _begin_and_run(self, prefix: str) -> None:
        self.world.open()
        with suppress(MirrorError):
            self.world.sync(prefix)

    def approve(self) -> None:
        for run in self.world.ledger.held_runs():
            with self._engine_works():
                self.world.service.approve(run.id)
                with suppress(MirrorError):
                    self.world.service.apply(run.id)
            self.truth.end(compared=True)

    def reject(self) -> None:
        for run in self.world.ledger.held_runs():
            self.world.service.cancel(run.id)

    def restart(self) -> None:
        self.world.reopen()
        self.truth.check_state()

    def lose_ledger(self) -> None:
        """Nobody knows any more which files are ours; they are found and proved again."""
        seen = look(self.world.root)
        self.world.lose_ledger()
        self.truth.planted = seen
        self.truth.accepted.clear()
        self.truth.check_state()

    # Faults

    def fault(self, key: str, name: str, times: int = 1) -> None:
        """One of `FAULTS` for the next requests of a key."""
        self.bucket.script(key, FAULTS[name](times))

    def listing_fault(self, how: str) -> None:
        """The next listing fails, lies or is in no order."""
        if how == "unordered":
            self.bucket.list_unordered()
        elif how == "empty":
            self.bucket.list_empty()
        elif how == "cut":
            self.bucket.cut_short = 1
        else:
            times = 2 if how == "fails for good" else 1
            self.bucket.script_list(*[fail.at_page(2)] * times)

    def disk_fault(self, call: str, number: int, after: int = 0) -> None:
        """The disk refuses a call, after so many that it does."""
        self.world.calls.fail(call, *[0] * after, number)

    def ledger_fault(self) -> None:
        self.ledger_faults.failures = 1

    def forget_faults(self) -> None:
        self.bucket.forget_faults()
        self.world.calls.failures.clear()
        self.ledger_faults.failures = 0

    # The trash

    def restore(self, overwrite: bool) -> None:
        """Somebody takes the newest entry of the trash back."""
        if not (entries := self.world.mirror.trash_entries()):
            return
        entry, seen = entries[-1], look(self.world.root)
        done = self.world.mirror.restore(entry.id, overwrite=overwrite)[0]
        if done.file is not None:
            self.truth.planted[entry.path] = look(self.world.root)[entry.path]
            self.truth.changed = True
        else:
            assert look(self.world.root) == seen

    # The end

    def settle(self) -> None:
        """All faults are over: what is left differs in nothing, and is known to be right."""
        self.forget_faults()
        run = self._run_and_approve()
        held = {row.key for row in self.world.ledger.rows(limit=1000)}
        if obstacles := self._obstacles(held.union(self.bucket.objects)):
            if self._obstacles(mirrored := self.truth.mirrored()):
                assert run.status is RunStatus.PARTIAL and not self.world.in_sync
                self._assert_reported(mirrored)
            for path in obstacles:
                self._remove_obstacle(path)
            run = self._run_and_approve()
        assert run.status is RunStatus.SUCCESS, run
        assert self.truth.differences() == []
        stale = self.truth.stale()
        assert self.world.in_sync == (not stale)
        gets = self.bucket.counts["get"]
        again = self.run()
        assert again.status is RunStatus.SUCCESS
        assert stale or (again.counts.planned, self.bucket.counts["get"]) == (0, gets)

    def _run_and_approve(self) -> Run:
        run = self.run()
        if run.status is not RunStatus.HELD:
            return run
        assert not self.world.in_sync
        self.approve()
        return self.run()

    def _obstacles(self, keys: Iterable[str]) -> list[str]:
        """What is not ours and keeps an object out, or its file from going.

        It is where the object needs a folder, or its file aside.
        """
        homes = [self.truth.homes.of(key) for key in keys]
        needed = {above for home, _ in homes for above in map(str, Path(home).parents)}
        taken = {aside for home, aside in homes if (self.world.root / home).is_dir()}
        return [
            path for path in self.truth.planted if path in needed or str(Path(path).parent) in taken
        ]

    def _remove_obstacle(self, path: str) -> None:
        """As an operator would who was told of it."""
        (self.world.root / path).unlink()
        del self.truth.planted[path]
        if Path(path).name == "mine":
            (self.world.root / path).parent.rmdir()

    def _assert_reported(self, keys: Iterable[str]) -> None:
        """Whoever is kept out is known by name, with the reason."""
        failed = {failure.key for failure in self.world.ledger.failures(limit=1000)}
        rows = self.world.ledger.rows(limit=1000)
        synced = {row.key for row in rows if row.state is State.SYNCED}
        assert failed.union(synced).issuperset(keys)


def assert_adds_up(counts: RunCounts) -> None:
    done = counts.downloaded + counts.deleted + counts.adopted + counts.skipped + counts.failed
    assert counts.planned == done
