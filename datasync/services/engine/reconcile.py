"""One run: compare everything, do what differs, and delete last, if at all.

A run whose listing failed deletes nothing. A plan of deletes that looks wrong is held for
approval. Every delete is one more look at the key in S3: only its 404 removes the file.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from datasync.errors import DataSyncError, Interrupted, LedgerBusy, LedgerError
from datasync.models.sync_models import (
    Action,
    FileStat,
    ObjectRow,
    Operation,
    Run,
    RunCounts,
    RunKind,
    RunStatus,
    Settlement,
    State,
    SyncOptions,
)
from datasync.services.engine import planner
from datasync.services.engine.outcomes import held_file
from datasync.services.engine.scan import Scan, Step
from datasync.services.engine.tasks import Found, Result, Task, recorded
from datasync.services.engine.workshop import Workshop, intact_keys
from datasync.services.storage.bucket import Bucket
from datasync.services.storage.ledger import Ledger
from datasync.services.storage.mirror import Mirror

TICK_SECONDS = 0.5
LEFT_OUT_HINT = (
    "None of them was deleted, and the next run lists again. If this lasts, look for a proxy or "
    "cache on the way to S3."
)
PLANNED_AT_ONCE = 1_000  # deletes that are written into the plan in one transaction
RUNS_REMEMBERED = 100  # for what the latest runs did
_RECORDED = frozenset({Operation.SKIP, Operation.REJECT})
_COMPARED = frozenset({RunStatus.SUCCESS, RunStatus.PARTIAL, RunStatus.HELD})


class Reconciliation:
    """Performs one run that the ledger has started; `stopping()` ends it early."""

    def __init__(
        self,
        bucket: Bucket,
        mirror: Mirror,
        ledger: Ledger,
        options: SyncOptions,
        workshop: Workshop,
        run: Run,
        *,
        stopping: Callable[[], bool] = lambda: False,
        on_progress: Callable[[Run], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._bucket = bucket
        self._mirror = mirror
        self._ledger = ledger
        self._options = options
        self._workshop = workshop
        self._run = run
        self._stopping = stopping
        self._on_progress = on_progress
        self._clock = clock
        self._prefix = run.prefix or options.prefix
        self._cancelled = False
        self._ticked = 0.0
        # Before everything was compared once it is all new, and nothing of it is drift.
        recent = ledger.runs(RUNS_REMEMBERED)
        self._baseline = any(
            done.status in _COMPARED and self._prefix.startswith(done.prefix) for done in recent
        )
        self._past = planner.past(recent, self._prefix, options.prefix, clock())
        self._latest_mark = ledger.latest_mark()  # of those that are older than the listing
        self._tally = workshop.open_tally(run.id, run.counts if run.approved else RunCounts())
        self._files_to_delete = 0
        self._gone: list[tuple[str, str]] = []  # to be deleted, not in the plan yet

    def perform(self) -> Run:
        """Do the run to its end and record it; errors become its status."""
        error: DataSyncError | None
        try:
            status, error = self._work()
        except Interrupted as stopped:
            self._workshop.withdraw(self._run.id)
            while not self._tally.wait(TICK_SECONDS) and not self._stopping():
                pass
            status, error = RunStatus.INTERRUPTED, stopped
            if self._cancelled:
                status = RunStatus.CANCELLED
        finally:
            self._workshop.close_tally(self._tally)
        return self._finish(status, error)

    def _work(self) -> tuple[RunStatus, DataSyncError | None]:
        try:
            return self._apply() if self._run.approved else self._reconcile(), None
        except Interrupted:
            raise
        except DataSyncError as error:
            while not self._tally.wait(TICK_SECONDS):  # what was handed over is done all the same
                with suppress(LedgerError):
                    self._tick()
            return RunStatus.FAILED, error

    # The two kinds of work

    def _reconcile(self) -> RunStatus:
        self._mirror.check()
        mirrored = self._ledger.count(self._prefix)
        scan = Scan(
            self._bucket,
            self._ledger,
            self._mirror,
            self._options,
            self._prefix,
            verify=self._run.kind is RunKind.VERIFY,
            interrupted=self._interrupted,
        )
        for step in scan.steps():
            self._take(step)
        self._drain()
        if self._gone:
            self._plan(self._gone)
        self._supersede()
        reason = planner.hold_reason(
            self._files_to_delete, mirrored, scan.listed, self._options, self._past
        )
        if reason is not None:
            self._run = replace(self._run, error=reason)
            return RunStatus.HELD
        status = self._apply()
        left_out = self._left_out()
        if left_out is not None:
            self._run = replace(self._run, error=left_out)
            return RunStatus.PARTIAL
        self._drop_void_marks()
        return status

    def _left_out(self) -> str | None:
        """What the listing left out although S3 has it, by what became of the plan of deletes.

        A listing that ended early may have left out new keys as well, of which nobody knows: the
        mirror must not be called equal to the bucket. A key that an event tells of, or brought
        since the run began, may have come after its page.
        """
        after, first, count = "", "", 0
        while plan := self._ledger.planned_deletes(self._run.id, after=after):
            after = plan[-1][0]
            keys = [key for key, _ in plan]
            rows, marks = self._ledger.get_many(keys), self._ledger.dirty(keys)
            kept = [
                key
                for key, etag in plan
                if key in rows and key not in marks and self._is_unchanged(rows[key], etag)
            ]
            first, count = first or next(iter(kept), ""), count + len(kept)
        if not count:
            return None
        told = "1 key" if count == 1 else f"{count} keys"
        return f"the listing left out {told} that S3 has: {first!r}{', ...' if count > 1 else ''}"

    def _is_unchanged(self, row: ObjectRow, etag: str) -> bool:
        """Whether S3 was asked about a planned delete and still has the very version we hold."""
        held = row.state is State.SYNCED and row.path is not None
        return held and row.etag == etag and not self._is_newer(row)

    def _drop_void_marks(self) -> None:
        """Forget marks of keys that neither the bucket nor the mirror has, and S3 answers oddly.

        A key that was listed has a row by now, whatever became of it. One without a row was not,
        and if its mark is older than the listing there is nothing that it could still tell of:
        an event that somebody made up must not keep the mirror from being in sync. Only for a
        listing that nothing speaks against.
        """
        after = ""
        while marks := self._ledger.failing_marks(self._prefix, after):
            after = marks[-1].key
            old = [mark for mark in marks if mark.marks <= self._latest_mark]
            known = self._ledger.get_many([mark.key for mark in old])
            void = tuple(mark for mark in old if mark.key not in known)
            if void:
                self._ledger.settle(Settlement(cleared=void))

    def _apply(self) -> RunStatus:
        """Look at every key that the plan wants gone; S3 decides each."""
        self._mirror.check()
        after = ""
        while plan := self._ledger.planned_deletes(self._run.id, after=after):
            after = plan[-1][0]
            self._confirm(plan)
            self._tick()
        self._drain()
        return RunStatus.PARTIAL if self._tally.counts.failed else RunStatus.SUCCESS

    def _take(self, step: Step) -> None:
        self._tick()
        if self._tally.broken is not None:  # what cannot be recorded is not worth going on
            raise self._tally.broken
        if step.again:
            self._begin_again()
        self._tally.listed(step.listed, step.unchanged)
        deletes = [action for action in step.actions if action.operation is Operation.DELETE]
        if deletes:
            self._plan_deletes(deletes)
        records = [action for action in step.actions if action.operation in _RECORDED]
        if records:
            results = [recorded(action, self._run.id) for action in records]
            self._workshop.submit_results(self._tally, results, self._interrupted)
        work = [
            action
            for action in step.actions
            if action.operation in (Operation.DOWNLOAD, Operation.ADOPT)
        ]
        if work:
            self._submit(work, step.files)

    def _begin_again(self) -> None:
        """An unordered listing made keys look deleted that only come later."""
        self._ledger.plan_anew(self._run.id)
        self._gone = []
        self._files_to_delete = 0
        self._tally.relisted()

    def _plan_deletes(self, actions: Sequence[Action]) -> None:
        rows = [action.row for action in actions if action.row is not None]
        # What an event brought since the run began, no page of the listing need show yet.
        older = [row for row in rows if row.path is not None and not self._is_newer(row)]
        self._files_to_delete += len(older)
        self._gone += [(row.key, row.etag) for row in rows]
        if len(self._gone) >= PLANNED_AT_ONCE:
            self._plan(self._gone)

    def _plan(self, gone: Sequence[tuple[str, str]]) -> None:
        self._ledger.plan_deletes(self._run.id, gone)
        self._gone = []

    def _submit(self, actions: Sequence[Action], files: dict[str, FileStat]) -> None:
        marks = self._ledger.dirty([action.key for action in actions])
        tasks = [
            Task(
                action.key,
                _operation(action, action.key in marks),
                action.row,
                action.listed,
                marks.get(action.key),
                run_id=self._run.id,
                intact=_intact(action, files),
                found=files.get(action.key),
            )
            for action in actions
        ]
        drift = sum(
            action.key not in marks and not self._is_newer(action.row) and planner.is_drift(action)
            for action in actions
        )
        self._workshop.submit_bulk(
            self._tally, tasks, self._interrupted, drift if self._baseline else 0
        )

    def _confirm(self, plan: Sequence[tuple[str, str]]) -> None:
        rows = self._ledger.get_many([key for key, _ in plan])
        if self._run.approved:  # a version that came since was shown to nobody
            shown = dict(plan)
            rows = {key: row for key, row in rows.items() if row.etag == shown[key]}
        marks = self._ledger.dirty(list(rows))
        intact = intact_keys(self._mirror, rows)
        tasks = [
            Task(
                key,
                Operation.DELETE,
                row,
                mark=marks.get(key),
                run_id=self._run.id,
                intact=key in intact,
                approved=self._run.approved,
            )
            for key, row in rows.items()
        ]
        held = [task for task in tasks if held_file(task.row) is not None]
        # Where no file is stored there is nothing to lose and nothing to ask.
        bare = [Result(task, Found.FORGOTTEN) for task in tasks if held_file(task.row) is None]
        untold = sum(task.mark is None and not self._is_newer(task.row) for task in tasks)
        drift = untold if self._baseline else 0
        self._workshop.submit_results(self._tally, bare, self._interrupted)
        self._workshop.submit_bulk(self._tally, held, self._interrupted, drift)

    def _is_newer(self, row: ObjectRow | None) -> bool:
        """Whether the file came after the run began: an event brought it."""
        began = self._run.started
        if row is None or row.synced_at is None or began is None:
            return False
        # Of a time that is still to come nothing can be said: the clock was set back.
        return began <= row.synced_at <= self._clock()

    # Going on, and ending

    def _interrupted(self) -> bool:
        self._look_around()
        return self._stopping() or self._cancelled

    def _tick(self) -> None:
        if self._interrupted():
            raise Interrupted(
                "the run was cancelled" if self._cancelled else "the service was stopped"
            )

    def _look_around(self) -> None:
        """About twice a second: save the progress, and see whether the run was cancelled."""
        now = time.monotonic()
        if now - self._ticked < TICK_SECONDS:
            return
        self._ticked = now
        counts = self._tally.counts
        moving = self._workshop.bytes_in_flight(self._run.id)
        try:
            self._ledger.save_counts(self._run.id, replace(counts, bytes=counts.bytes + moving))
            current = self._ledger.run(self._run.id)
        except LedgerBusy:  # the next look is soon enough
            return
        self._cancelled = current.cancel_requested
        if self._on_progress is not None:
            self._on_progress(current)

    def _drain(self) -> None:
        """Wait for everything handed over. Raises: Interrupted, and what kept it off the ledger."""
        while not self._tally.wait(TICK_SECONDS):
            self._tick()
        if self._tally.broken is not None:
            raise self._tally.broken

    def _supersede(self) -> None:
        """Every older held plan of what this run has compared is out of date now."""
        reason = f"superseded by run {self._run.id}"
        for held in self._ledger.held_runs():
            if held.id != self._run.id and self._has_compared(held.prefix):
                self._ledger.finish_run(held.id, RunStatus.CANCELLED, self._clock(), error=reason)

    def _has_compared(self, prefix: str) -> bool:
        """Whether this run covers another one's prefix, which may be of an earlier S3_PREFIX."""
        scope = self._options.prefix
        return self._prefix == scope or (prefix or scope).startswith(self._prefix)

    def _finish(self, status: RunStatus, error: DataSyncError | None) -> Run:
        passing = status is RunStatus.INTERRUPTED or isinstance(error, LedgerBusy)
        if passing and self._run.approved and not self._cancelled:
            return self._leave_approved()
        reason = str(error) if error is not None else self._run.error
        hint = error.hint if error is not None else None
        if status is RunStatus.HELD:
            hint = (
                f"Look at the plan, then approve it with 'datasync approve {self._run.id}' "
                f"or POST /sync/runs/{self._run.id}/approve, or reject it with "
                f"'datasync cancel {self._run.id}' or POST /sync/runs/{self._run.id}/cancel."
            )
        elif status is RunStatus.PARTIAL and reason is not None:
            hint = LEFT_OUT_HINT
        elif status is RunStatus.SUCCESS:
            reason = None
        run = self._ledger.finish_run(
            self._run.id,
            status,
            self._clock(),
            counts=self._tally.counts,
            error=reason,
            hint=hint,
        )
        if self._on_progress is not None:
            self._on_progress(run)
        return run

    def _leave_approved(self) -> Run:
        """A plan that was approved stays so: whoever leads next goes on with it."""
        self._ledger.save_counts(self._run.id, self._tally.counts)
        self._ledger.interrupt_runs(self._clock())
        return self._ledger.run(self._run.id)


def _operation(action: Action, marked: bool) -> Operation:
    """A marked key of another version is asked for: to prove its file would not clear the mark."""
    row, listed = action.row, action.listed
    if marked and row is not None and listed is not None:
        if not planner.same_version(listed, row):
            return Operation.DOWNLOAD
    return action.operation


def _intact(action: Action, files: dict[str, FileStat]) -> bool:
    """Whether an unchanged object need not be sent again: our file is as we left it."""
    held = held_file(action.row)
    return held is not None and files.get(action.key) == held and action.reason != _AGAIN


_AGAIN = "SKIP_EXISTING_FILES is off"
