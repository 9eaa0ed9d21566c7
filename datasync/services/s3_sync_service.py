"""The conductor: one object that runs the five steps, in the background or in the foreground.

Knows no HTTP, no settings and no environment. Every process may mark keys and ask for runs;
the one that holds the lease does them.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from datasync.errors import DataSyncError, Interrupted, LeaseHeld, PlanOutdated, RunNotHeld
from datasync.models.sync_models import (
    EnginePlace,
    Outcome,
    OutcomeStatus,
    Run,
    RunKind,
    RunStatus,
    SyncOptions,
)
from datasync.services.engine.group import Done
from datasync.services.engine.lease import Bell, Lease
from datasync.services.engine.planner import is_plan_outdated
from datasync.services.engine.runner import Engine, Runner
from datasync.services.engine.scan import Scan, Step
from datasync.services.run_log import LOGGER, LoggedEngine, tell_run
from datasync.services.storage.bucket import Bucket
from datasync.services.storage.ledger import Ledger
from datasync.services.storage.mirror import Mirror
from datasync.tracing.port import OFF, Tracer, ids_of
from datasync.utils.logger import get_logger, log_many

CLOSE_SECONDS = 8.0


class S3SyncService:
    """Keeps the mirror equal to the bucket. The mirror must be prepared, the ledger open."""

    def __init__(
        self,
        bucket: Bucket,
        mirror: Mirror,
        ledger: Ledger,
        options: SyncOptions,
        tracer: Tracer = OFF,
    ) -> None:
        self._bucket = bucket
        self._mirror = mirror
        self._ledger = ledger
        self._options = options
        self._tracer = tracer
        self._log = get_logger(LOGGER)
        self._lease = Lease(mirror.internal)
        self._bell = Bell(mirror.internal)
        self._runner: Runner | None = None
        self._lock = threading.Lock()
        self._elsewhere = False
        self.last_problem: Exception | None = None
        self._unrecorded: Exception | None = None  # why, since something was recorded last

    @property
    def leading(self) -> bool:
        """Whether the engine runs in this process."""
        return self._lease.held

    @property
    def engine_place(self) -> EnginePlace:
        """Where the engine runs, as this process knows it; after a change, a second later."""
        if self.leading:
            return EnginePlace.HERE
        return EnginePlace.ELSEWHERE if self._elsewhere else EnginePlace.NOWHERE

    @property
    def worry(self) -> str | None:
        """What keeps this process from recording what it does, in a sentence; None if nothing."""
        error = self._unrecorded
        if error is None:
            return None
        said = f"unexpected {type(error).__name__}"
        if isinstance(error, DataSyncError):
            said = f"{error}. {error.hint}"
        return f"what is done cannot be recorded, and is done again: {said}".rstrip(". ")

    # The background

    def start(self) -> None:
        """Compete for the lease and lead when it is ours. Returns at once."""
        with self._lock:
            if self._runner is None:
                self._runner = Runner(
                    self._engine,
                    self._lease,
                    self._bell,
                    self._mirror,
                    self._ledger,
                    self._options,
                    self._problem,
                    self._led_elsewhere,
                )
                self._runner.start()

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Stop taking work, end within the time. Safe to call twice."""
        with self._lock:
            runner, self._runner = self._runner, None
        if runner is not None:
            runner.stop(timeout_seconds)

    def wake(self) -> None:
        """Make the engine look for work now, in whichever process it runs."""
        self._bell.ring()

    # What any process may ask

    def mark(self, keys: Sequence[tuple[str, str]]) -> dict[str, int]:
        """Journal that keys (key, reason) must be looked at; durable when it returns.

        Returns each key's marks number. Raises: LedgerBusy, LedgerError; nothing is marked then.
        """
        marks = self._ledger.mark(keys, time.time())
        self.wake()
        return marks

    def request_run(self, kind: RunKind = RunKind.RECONCILE, prefix: str = "") -> tuple[Run, bool]:
        """Join a run that covers the prefix (False), or queue one (True)."""
        run, new = self._ledger.request_run(kind, prefix, time.time())
        self.wake()
        return run, new

    def approve(self, run_id: int) -> Run:
        """Let a held plan be applied. Raises: RunMissing, RunNotHeld, PlanOutdated."""
        held = self._ledger.run(run_id)
        if held.status is RunStatus.HELD and not held.approved:
            if is_plan_outdated(held, time.time()):
                raise PlanOutdated(f"the plan of run {run_id} is more than a day old")
        with self._saying_why(run_id):
            run = self._ledger.approve(run_id)
        self.wake()
        return run

    def cancel(self, run_id: int) -> Run:
        """End a run early, or reject a held plan. Raises: RunMissing, RunNotHeld."""
        with self._saying_why(run_id):
            run = self._ledger.cancel(run_id, time.time())
        tell_run(run)  # if it is over by that: a running one is told of where it runs
        self.wake()
        return run

    @contextmanager
    def _saying_why(self, run_id: int) -> Iterator[None]:
        """Add to a refusal how the run ended: superseded by a later one, say."""
        try:
            yield
        except RunNotHeld as error:
            ended = self._ledger.run(run_id).error
            raise RunNotHeld(f"{error}: {ended}" if ended else str(error)) from None

    def plan(
        self, prefix: str = "", interrupted: Callable[[], bool] = lambda: False
    ) -> Iterator[Step]:
        """What a run would do now, with what it would leave alone. Changes nothing, needs no lease.

        Raises: BucketError, LedgerError, MirrorError while iterating, Interrupted.
        """
        scan = Scan(
            self._bucket,
            self._ledger,
            self._mirror,
            self._options,
            prefix or self._options.prefix,
            sort=True,
            interrupted=interrupted,
        )
        for step in scan.steps():
            if interrupted():
                raise Interrupted("the plan was stopped before its end")
            yield step

    # The foreground

    def run(
        self,
        kind: RunKind,
        prefix: str,
        on_progress: Callable[[Run], None] | None = None,
    ) -> Run:
        """Take the lease, do one run and every dirty key that is due, release the lease.

        Raises: LeaseHeld when another process runs the engine; KeyboardInterrupt, which leaves
        the run `interrupted`.
        """
        with self._leading() as engine:
            asked, _ = self._ledger.request_run(kind, prefix, time.time(), join=False)
            return self._perform_until(engine, asked.id, on_progress)

    def apply(self, run_id: int, on_progress: Callable[[Run], None] | None = None) -> Run:
        """Take the lease and apply a held plan that was approved.

        Raises: LeaseHeld, RunMissing.
        """
        with self._leading() as engine:
            return self._perform_until(engine, run_id, on_progress)

    @contextmanager
    def _leading(self) -> Iterator[Engine]:
        self._lease.acquire()
        try:
            self._bell.listen()
            engine = self._engine()
            try:
                engine.open()
                yield engine
            except KeyboardInterrupt:
                engine.stop()
                with suppress(DataSyncError):
                    self._ledger.interrupt_runs(time.time())
                raise
            finally:
                engine.close(CLOSE_SECONDS)
        finally:
            self._bell.close()
            self._lease.release()

    def _perform_until(
        self, engine: Engine, run_id: int, on_progress: Callable[[Run], None] | None
    ) -> Run:
        """Do what is queued, in its order, up to this run; then the dirty keys."""
        while (run := self._ledger.next_run()) is not None:
            done = engine.perform(run, on_progress if run.id == run_id else None)
            if done.id == run_id:
                break
        if not self._ledger.run(run_id).cancel_requested:
            engine.work_off()
        return self._ledger.run(run_id)

    # What happens inside

    def _led_elsewhere(self) -> None:
        if not self._elsewhere:
            self._elsewhere = True
            self._log.info(
                "another process leads: this one serves reads and takes events, "
                "and takes over when that one ends"
            )

    def _engine(self) -> Engine:
        self._elsewhere = False
        return LoggedEngine(
            self._bucket,
            self._mirror,
            self._ledger,
            self._options,
            self._told,
            self._bell.ring,
            self._problem,
            self._tracer,
        )

    def _told(self, done: Sequence[Done]) -> None:
        told = [item for item in done if item.outcome is not None]
        failed = (item for item in told if _has_failed(item))
        others = (item for item in told if not _has_failed(item))
        log_many(LOGGER, "warning", map(_line_of, failed))
        log_many(LOGGER, "info", map(_line_of, others))
        broken = [item.broken for item in done if item.broken is not None]
        if broken or told:
            self._unrecorded = broken[-1] if broken else None
        for error in broken:
            self._problem(error)

    def _problem(self, error: Exception) -> None:
        """Something that is not about one key went wrong: told once, at this edge."""
        if isinstance(error, Interrupted | LeaseHeld):
            return
        known = isinstance(error, DataSyncError)
        same = repr(self.last_problem) == repr(error)
        self.last_problem = error
        if not same:
            self._log.error(
                "engine problem",
                error=type(error).__name__,
                detail=str(error),
                exc_info=None if known else error,
            )


def _has_failed(item: Done) -> bool:
    return item.outcome is not None and item.outcome.status is OutcomeStatus.FAILED


def _line_of(item: Done) -> dict[str, object]:
    """The log line of a key, which is found from the trace of its event."""
    assert item.outcome is not None
    mark, fields = item.task.mark, told_of(item.outcome)
    trace_id = ids_of(mark.traceparent).get("trace_id") if mark is not None else None
    return fields if trace_id is None else {**fields, "trace_id": trace_id}


def told_of(outcome: Outcome) -> dict[str, object]:
    """An outcome as the fields of its log line."""
    fields: dict[str, object] = {
        "event": "outcome",
        "key": outcome.key,
        "operation": outcome.operation.value,
        "status": outcome.status.value,
        "message": outcome.message,
        "bytes": outcome.bytes,
        "seconds": round(outcome.seconds, 3),
        "verdict": outcome.verdict.value if outcome.verdict else None,
        "run_id": outcome.run_id,
    }
    return {name: value for name, value in fields.items() if value is not None}
