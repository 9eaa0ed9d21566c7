"""Performs a run for the command line: here when the lease is free, else where it is held.

Works in the calling thread, the main one, so that Ctrl-C reaches the engine itself: it then
abandons what is under way and leaves nothing staged. Prints through the display only.
"""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from datasync.cli.display import Display
from datasync.errors import LeaseHeld
from datasync.models.sync_models import Run, RunKind, RunStatus

if TYPE_CHECKING:
    from datasync.services.s3_sync_service import S3SyncService
    from datasync.services.storage.ledger import Ledger

POLL_SECONDS = 0.2
LEASE_RETRY_SECONDS = 3.0

_OVER = frozenset(RunStatus) - {RunStatus.QUEUED, RunStatus.RUNNING}


class Conductor:
    """Performs one run to its end and shows it."""

    def __init__(self, service: "S3SyncService", ledger: "Ledger", display: Display) -> None:
        self._service = service
        self._ledger = ledger
        self._display = display
        self._asked: int | None = None

    def perform(self, kind: RunKind, prefix: str) -> Run:
        """Perform a run of this kind below `prefix` and return it finished.

        Raises: KeyboardInterrupt, after the run was ended; DataSyncError of the run.
        """
        return self._conduct(
            lambda: self._service.run(kind, prefix, self._display.show),
            lambda: self._service.request_run(kind, prefix),
        )

    def apply(self, run_id: int) -> Run:
        """Approve a held run, apply it and return it finished.

        Raises: RunMissing, RunNotHeld, and as `perform`.
        """
        run = self._service.approve(run_id)
        return self._conduct(
            lambda: self._service.apply(run_id, self._display.show), lambda: (run, True)
        )

    def _conduct(self, here: Callable[[], Run], ask: Callable[[], tuple[Run, bool]]) -> Run:
        """Do a run `here`, or `ask` the process that holds the lease and follow it there.

        `ask` gives the run, and whether it was asked for anew.
        """
        while True:
            try:
                return self._do(here)
            except LeaseHeld:
                run = self._follow(ask)
            if run is not None:
                return run

    def _do(self, here: Callable[[], Run]) -> Run:
        try:
            return here()
        except KeyboardInterrupt:
            self._display.say("Stopped. What was complete is kept; the next sync goes on there.")
            raise

    def _follow(self, ask: Callable[[], tuple[Run, bool]]) -> Run | None:
        """Ask the process that holds the lease, and show its progress.

        None when the lease is worth another try: its holder may have gone away meanwhile.
        """
        if self._asked is None:
            run, created = ask()
            self._asked = run.id
            self._display.say(
                f"Another DataSync process serves this directory; it "
                f"{'was asked for' if created else 'is already at'} run {run.id}. "
                "Ctrl-C stops watching, not the run."
            )
        try:
            return self._watch(self._asked)
        except KeyboardInterrupt:
            self._display.say(f"Run {self._asked} goes on; stop it: datasync cancel {self._asked}")
            raise

    def _watch(self, run_id: int) -> Run | None:
        retry_at = time.monotonic() + LEASE_RETRY_SECONDS
        pause = threading.Event()
        while time.monotonic() < retry_at:
            run = self._ledger.run(run_id)
            self._display.show(run)
            if run.status in _OVER and not (run.status is RunStatus.HELD and run.approved):
                return run
            pause.wait(POLL_SECONDS)
        return None
