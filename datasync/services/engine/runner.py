"""Who works, and when: the lease, the schedule, the runs one after the other, the shutdown.

`Engine` is everything that only the holder of the lease may do; `Runner` is the thread that
holds it for a service and works until it is stopped.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from datasync.errors import (
    DataSyncError,
    DiskFull,
    InternalFault,
    LeaseHeld,
    LedgerBusy,
    LedgerTaken,
    MirrorError,
    RunNotHeld,
)
from datasync.models.sync_models import Run, RunKind, RunStatus, SyncOptions
from datasync.services.engine.dispatch import Dispatcher, Moment
from datasync.services.engine.group import Done
from datasync.services.engine.housekeeping import RELIEF_SECONDS, Housekeeping
from datasync.services.engine.lease import Bell, Lease
from datasync.services.engine.reconcile import Reconciliation
from datasync.services.engine.recovery import recover
from datasync.services.engine.shortage import Shortage
from datasync.services.engine.spans import EngineSpans
from datasync.services.engine.workshop import Workshop
from datasync.services.storage.bucket import Bucket
from datasync.services.storage.ledger import Ledger
from datasync.services.storage.mirror import Mirror
from datasync.tracing.port import OFF, Tracer
from datasync.utils.file_utils import give_freed_memory_back

TURN_SECONDS = 1.0
NOTE_SECONDS = 0.9  # between two looks at what is on its way: less than a turn
BREATH_SECONDS = 0.025
BREATH_SECONDS_EACH = 0.002  # the more was found, the more is waited for
RETRY_SECONDS = 60.0
HOUSEKEEPING_END_SECONDS = 0.5
TAKEN_SECONDS = 60.0  # until a ledger that went to another directory is asked for again
_UNCLEAN = frozenset({RunStatus.PARTIAL, RunStatus.FAILED, RunStatus.INTERRUPTED})


class Engine:
    """The five steps, wired up. Make one for each time the lease is held."""

    def __init__(
        self,
        bucket: Bucket,
        mirror: Mirror,
        ledger: Ledger,
        options: SyncOptions,
        told: Callable[[Sequence[Done]], None],
        ring: Callable[[], None],
        problem: Callable[[Exception], None],
        tracer: Tracer = OFF,
    ) -> None:
        self._bucket = bucket
        self._mirror = mirror
        self._ledger = ledger
        self._options = options
        self._told = told
        self._ring = ring
        self._stopping = threading.Event()
        self._shortage = Shortage()
        self._noted = False  # the ledger tells of transfers
        self._note_at = 0.0
        self._spans = EngineSpans(tracer, options.bucket)
        self._workshop = Workshop(
            bucket, mirror, ledger, options, self._settled, problem, self._spans
        )
        self._dispatcher = Dispatcher(mirror, ledger, options, self._workshop)

    def open(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Take over what a crash left, clear away the rest of it, and start the threads.

        Keys outside the prefix may be many: once `stopped()` says so, the rest of them stays.
        """
        self._ledger.require_claim()
        recover(self._mirror, self._ledger)
        self._mirror.sweep()
        self._ledger.interrupt_runs(time.time())
        while not stopped() and self._ledger.forget_outside(self._options.prefix):
            pass
        self._workshop.start()

    def stop(self) -> None:
        """Ask a run under way to end early."""
        self._stopping.set()

    def close(self, timeout_seconds: float) -> None:
        """Commit what has arrived, abandon the rest, leave nothing staged."""
        self._stopping.set()
        self._workshop.stop(timeout_seconds)

    def wait(self) -> None:
        """Return when nothing is written any more, however long that takes."""
        self._workshop.wait()

    def perform(self, run: Run, on_progress: Callable[[Run], None] | None = None) -> Run:
        """Do one queued or approved run to its end; one cancelled meanwhile stays as it is."""
        try:
            started = self._ledger.start_run(run.id, time.time())
        except RunNotHeld:
            return self._ledger.run(run.id)
        reconciliation = Reconciliation(
            self._bucket,
            self._mirror,
            self._ledger,
            self._options,
            self._workshop,
            started,
            stopping=self._stopping.is_set,
            on_progress=on_progress,
        )
        done = self._spans.run(started, reconciliation.perform)
        self._ledger.relax()  # a run over everything leaves much that nobody may want for hours
        give_freed_memory_back()
        return done

    def dispatch(self) -> int:
        """Hand out the dirty keys that are due; how many."""
        return self._dispatcher.dispatch()

    def resume(self) -> None:
        """Go on with what failed for want of room on the disk, once there is some.

        Raises: LedgerError, MirrorError.
        """
        runs = self._shortage.over(time.monotonic(), self._fits)
        if runs is None:
            return
        self._ledger.hurry(DiskFull.__name__, time.time())
        for prefix in {self._ledger.run(run_id).prefix for run_id in runs}:
            self._ledger.request_run(RunKind.RECONCILE, prefix, time.time())

    def note_transfers(self) -> None:
        """Let every process see what is on its way, once a second. Raises: LedgerError."""
        now = time.monotonic()
        if now < self._note_at:
            return
        self._note_at = now + NOTE_SECONDS
        moving = self._workshop.moving()
        if moving or self._noted:
            self._ledger.note_transfers(moving, time.time())
        self._noted = bool(moving)

    def work_off(self) -> None:
        """Look at every dirty key that is due now, and wait for the last of them.

        Marks and further tries that come meanwhile are left: else this need never end.
        """
        began = Moment(time.time(), self._ledger.latest_mark())
        while self._dispatcher.dispatch(began) or self._dispatcher.in_hand:
            if self._stopping.wait(0.02):
                return

    def _fits(self, size: int) -> bool:
        if self._mirror.check() is not None:
            return False
        with suppress(DiskFull):
            self._mirror.require_room(size)
            return True
        return False

    def _settled(self, done: Sequence[Done]) -> None:
        self._shortage.note(done, time.monotonic())
        if self._dispatcher.settled(done):
            self._ring()
        self._told(done)


class Schedule:
    """When the next periodic reconciliation is due. Times are seconds of a steady clock."""

    def __init__(self, interval_seconds: float | None, now: float) -> None:
        self._interval = interval_seconds
        self._unclean = 0
        self.due_at = now if interval_seconds is not None else float("inf")

    def began(self, now: float) -> None:
        """A run over everything begins: the next one is an interval later."""
        if self._interval is not None:
            self.due_at = now + self._interval

    def ended(self, status: RunStatus, now: float) -> None:
        """A run that was not clean is repeated sooner than the interval would have it."""
        if self._interval is None:
            return
        self._unclean = self._unclean + 1 if status in _UNCLEAN else 0
        if self._unclean:
            pause = RETRY_SECONDS * 2 ** min(6, self._unclean - 1)
            self.due_at = min(self.due_at, now + pause)


class Runner(threading.Thread):
    """Competes for the lease and leads while it holds it.

    `failed` hears of what went wrong, `elsewhere` of each time that another process leads.
    """

    def __init__(
        self,
        make_engine: Callable[[], Engine],
        lease: Lease,
        bell: Bell,
        mirror: Mirror,
        ledger: Ledger,
        options: SyncOptions,
        failed: Callable[[Exception], None],
        elsewhere: Callable[[], None],
    ) -> None:
        super().__init__(name="runner", daemon=True)
        self._make_engine = make_engine
        self._lease = lease
        self._bell = bell
        self._mirror = mirror
        self._ledger = ledger
        self._options = options
        self._failed = failed
        self._elsewhere = elsewhere
        self._stopping = threading.Event()
        self._schedule = Schedule(options.interval_seconds, time.monotonic())
        self._close_within = 8.0

    def stop(self, timeout_seconds: float) -> None:
        """End within the time; keys at work stay dirty, nothing stays staged."""
        self._close_within = max(1.0, timeout_seconds - 2.0)
        self._stopping.set()
        self._bell.ring()
        if self.is_alive():
            self.join(timeout_seconds)

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._lease.acquire()
                try:
                    self._bell.listen()
                    self._lead()
                finally:
                    self._bell.close()
                    self._lease.release()
            except LeaseHeld:
                self._elsewhere()
                self._stopping.wait(TURN_SECONDS)
            except LedgerTaken as error:
                self._failed(error)
                self._stopping.wait(TAKEN_SECONDS)
            except Exception as error:  # the edge of this thread: tell, pause, begin again
                self._failed(error)
                self._stopping.wait(5 * TURN_SECONDS)

    def _lead(self) -> None:
        engine = self._make_engine()
        runs = _RunThread(engine, self._ledger, self._failed, self._bell.ring)
        house = Housekeeping(self._mirror, self._ledger, self._options, self._failed)
        try:
            self._ledger.require_claim()
            house.look(time.monotonic())  # on a full disk nothing else may get as far
            self._open(engine, house)
            while not self._stopping.is_set():
                self._lease.require()
                began = time.monotonic()
                found = self._turn(engine, runs, house)
                self._bell.wait(TURN_SECONDS)
                # One event is looked at where it comes; of a burst, many in one turn.
                breath = min(BREATH_SECONDS, found * BREATH_SECONDS_EACH)
                self._stopping.wait(max(0.0, began + breath - time.monotonic()))
        finally:
            deadline = time.monotonic() + self._close_within
            engine.stop()
            house.stop()
            runs.join(self._close_within)
            self._end_runs(runs)
            engine.close(max(1.0, deadline - time.monotonic()))
            house.join(HOUSEKEEPING_END_SECONDS)
            engine.wait()  # nobody else may lead before the last file is in its place

    def _open(self, engine: Engine, house: Housekeeping) -> None:
        try:
            engine.open(self._stopping.is_set)
        except DiskFull:  # what makes room ends with this lead: let it get somewhere first
            until = time.monotonic() + RELIEF_SECONDS
            had_room = self._has_room()  # it is another disk, or a quota: nobody knows when
            while house.busy and time.monotonic() < until and (had_room or not self._has_room()):
                if self._stopping.wait(BREATH_SECONDS):
                    break
            raise

    def _has_room(self) -> bool:
        with suppress(MirrorError):
            return self._mirror.check() is None
        return False

    def _turn(self, engine: Engine, runs: "_RunThread", house: Housekeeping) -> int:
        """Do what there is to do; how many dirty keys were due."""
        try:
            now = time.monotonic()
            self._ledger.require_claim()
            house.look(now)  # first: it makes room on a disk that is too full to work on
            self._end_runs(runs)
            if runs.idle and runs.unrecorded:  # else it would look as if it went on for ever
                self._ledger.interrupt_runs(time.time())
                runs.unrecorded = False
                self._schedule.ended(RunStatus.INTERRUPTED, now)
            self._plan_ahead(now)
            if runs.idle and (run := self._ledger.next_run()) is not None:
                if not run.prefix and not run.approved:
                    self._schedule.began(now)
                runs.begin(run)
            engine.resume()
            found = engine.dispatch()
            with suppress(DataSyncError):  # it is only for show
                engine.note_transfers()
            return found
        except LedgerTaken:
            raise
        except DataSyncError as error:
            self._failed(error)
            self._stopping.wait(TURN_SECONDS)
        return 0

    def _end_runs(self, runs: "_RunThread") -> None:
        while runs.finished:
            self._schedule.ended(runs.finished.popleft().status, time.monotonic())

    def _plan_ahead(self, now: float) -> None:
        if now >= self._schedule.due_at:
            self._ledger.request_run(RunKind.RECONCILE, "", time.time())
            self._schedule.began(now)


class _RunThread:
    """Performs one run at a time beside the runner, so that events are never kept waiting."""

    def __init__(
        self,
        engine: Engine,
        ledger: Ledger,
        failed: Callable[[Exception], None],
        ring: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._ledger = ledger
        self._failed = failed
        self._ring = ring
        self._thread: threading.Thread | None = None
        self.finished: deque[Run] = deque()
        self.unrecorded = False  # a run ended and the ledger could not be told

    @property
    def idle(self) -> bool:
        return self._thread is None or not self._thread.is_alive()

    def begin(self, run: Run) -> None:
        """Where no thread is to be had it waits; what events tell of does not."""
        thread = threading.Thread(
            target=self._perform, args=(run,), name=f"run-{run.id}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            self._failed(InternalFault(f"no thread can be started for a run: {error}"))
        else:
            self._thread = thread

    def join(self, timeout_seconds: float) -> None:
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def _perform(self, run: Run) -> None:
        try:
            self.finished.append(self._engine.perform(run))
        except Exception as error:  # the edge of this thread: the run must not stay 'running'
            self._failed(error)
            self._give_up(run, error)
        finally:
            self._ring()

    def _give_up(self, run: Run, error: Exception) -> None:
        text = str(error) if isinstance(error, DataSyncError) else type(error).__name__
        hint = error.hint if isinstance(error, DataSyncError) else "See the log for the traceback."
        try:
            if run.approved and isinstance(error, LedgerBusy):  # what was approved stays so
                self._ledger.interrupt_runs(time.time())
                return
            self.finished.append(
                self._ledger.finish_run(
                    run.id, RunStatus.FAILED, time.time(), error=text, hint=hint
                )
            )
        except DataSyncError as problem:
            self.unrecorded = True
            self._failed(problem)
