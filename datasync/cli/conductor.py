"""Performs a run for the command line: here when the lease is free, else where it is held.

The work goes on in a thread of its own, so that Ctrl-C reaches the main thread at once and can
be turned into the run's cancellation. Prints through the display only.
"""

import threading
import time
from collections.abc import Callable

from datasync.cli.display import Display
from datasync.cli.exits import Terminated
from datasync.errors import LeaseHeld
from datasync.models.sync_models import Run, RunKind, RunStatus
from datasync.services.s3_sync_service import S3SyncService
from datasync.services.storage.ledger import Ledger

POLL_SECONDS = 0.2
LEASE_RETRY_SECONDS = 3.0
STOP_SECONDS = 10.0

_OVER = frozenset(RunStatus) - {RunStatus.QUEUED, RunStatus.RUNNING}


class _Work(threading.Thread):
    """One foreground run in a thread; `latest` is the run as last reported.

    A daemon, because a second Ctrl-C must end the process even if the work hangs.
    """

    def __init__(self, perform: Callable[[Callable[[Run], None]], Run]) -> None:
        super().__init__(name="datasync-run", daemon=True)
        self._perform = perform
        self._ended = threading.Event()
        self.latest: Run | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.latest = self._perform(self._report)
        except Exception as error:  # handed over to the thread that waits for it
            self.error = error
        finally:
            self._ended.set()

    def ended_within(self, timeout_seconds: float) -> bool:
        """Wait for the end of the work; whether it came.

        Not by `join`: in Python 3.11 a signal during it makes a living thread look ended.
        """
        return self._ended.wait(timeout_seconds)

    def _report(self, run: Run) -> None:
        self.latest = run


class Conductor:
    """Performs one run to its end and shows it."""

    def __init__(self, service: S3SyncService, ledger: Ledger, display: Display) -> None:
        self._service = service
        self._ledger = ledger
        self._display = display
        self._asked: int | None = None

    def perform(self, kind: RunKind, prefix: str) -> Run:
        """Perform a run of this kind below `prefix` and return it finished.

        Raises: KeyboardInterrupt, after the run was cancelled; DataSyncError of the run.
        """
        while True:
            try:
                return self._perform_here(kind, prefix)
            except LeaseHeld:
                run = self._follow(kind, prefix)
            if run is not None:
                return run

    def _perform_here(self, kind: RunKind, prefix: str) -> Run:
        work = _Work(lambda report: self._service.run(kind, prefix, report))
        work.start()
        try:
            self._watch(work)
        except (KeyboardInterrupt, Terminated):
            self._display.say("Stopping: the run is cancelled, nothing half done is kept.")
            self._stop(work)
            raise
        if work.error is not None:
            raise work.error
        assert work.latest is not None
        return work.latest

    def _watch(self, work: _Work) -> None:
        while not work.ended_within(POLL_SECONDS):
            if work.latest is not None:
                self._display.show(work.latest)

    def _stop(self, work: _Work) -> None:
        """Cancel the run as soon as its id is known, and wait for its end within a bound."""
        cancelled = False
        deadline = time.monotonic() + STOP_SECONDS
        while not work.ended_within(POLL_SECONDS) and time.monotonic() < deadline:
            run = work.latest
            if run is not None and not cancelled and run.status not in _OVER:
                self._service.cancel(run.id)
                cancelled = True

    def _follow(self, kind: RunKind, prefix: str) -> Run | None:
        """Ask the process that holds the lease, and show its progress.

        None when the lease is worth another try: its holder may have gone away meanwhile.
        """
        if self._asked is None:
            run, created = self._service.request_run(kind, prefix)
            self._asked = run.id
            self._display.say(
                f"Another DataSync process serves this directory; it "
                f"{'was asked for' if created else 'is already at'} run {run.id}. "
                "Ctrl-C stops watching, not the run."
            )
        retry_at = time.monotonic() + LEASE_RETRY_SECONDS
        pause = threading.Event()
        while time.monotonic() < retry_at:
            run = self._ledger.run(self._asked)
            self._display.show(run)
            if run.status in _OVER:
                return run
            pause.wait(POLL_SECONDS)
        return None
